"""Output-discarding recomputation and offload of what autograd saves for the backward.

A module's output that only the next operator saves need not be kept: autograd is given a recipe in
its place, which forms the output again when the consumer's backward asks for it
(training_systems 1.5). The module's own graph stays, so gradients have the same bits. Everything
else that is saved may wait in pinned host memory (1.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from nautiloid.model.memory_config import MemoryConfig, Part
from nautiloid.model.offload import Offload


class Recipe:
    """Forms one discarded tensor again, once, for all that saved it or a view of it.

    What it is made from must be detached: no gradient goes this way.
    """

    def __init__(self, again: Callable[[], Tensor]):
        self.again = again
        self.made: Tensor | None = None
        self.users = 0

    def take(self) -> Tensor:
        """The tensor; forgotten when its last user has asked."""
        if self.made is None:
            # with gradients on: without them some operators take another path, with other bits
            with torch.enable_grad():
                self.made = self.again().detach()
        made = self.made
        self.users -= 1
        if self.users <= 0:
            self.made = None
        return made


class _Discarded:
    """What autograd keeps instead of a tensor: a recipe and the view to take of its result."""

    def __init__(self, recipe: Recipe, view: Tensor):
        recipe.users += 1
        self.recipe = recipe
        self.layout = (view.shape, view.stride(), view.storage_offset())
        self.dtype = view.dtype

    def take(self) -> Tensor:
        whole = self.recipe.take()
        assert whole.dtype == self.dtype
        shape, stride, offset = self.layout
        same = (whole.shape, whole.stride(), whole.storage_offset()) == self.layout
        return whole if same else whole.as_strided(shape, stride, offset)


class Memory:
    """Decides for the modules of one decoder what the backward finds saved.

    Args:
        config: Settings.
        is_parameter: Whether a storage address belongs to weights, which stay where they are.
    """

    def __init__(self, config: MemoryConfig, is_parameter: Callable[[int], bool]):
        self.config = config
        self.offload = Offload(config.smallest_offload, is_parameter)
        self.recipes: dict[int, Recipe] = {}
        self.left: list[tuple[int, Tensor]] = []
        self.parts: frozenset[Part] = frozenset(config.recompute)
        self.is_offloading = False

    @contextmanager
    def layer(self, index: int | None) -> Iterator[None]:
        """The forward of one layer; None is a layer outside the trunk."""
        outside, self.parts = self.parts, self.config.of_layer(index)
        offloads = self.config.offload_activations and self.config.covers(index)
        self.is_offloading = offloads and torch.is_grad_enabled()
        try:
            if not (self.parts or self.is_offloading):
                yield
                return
            if self.is_offloading:
                self.offload.open()
            with saved_tensors_hooks(self._pack, self._unpack):
                yield
        finally:
            if self.is_offloading:
                self.offload.close()
            self.is_offloading = False
            for address, _ in self.left:
                del self.recipes[address]
            self.left.clear()
            self.parts = outside

    def drops(self, part: Part) -> bool:
        """Whether the current layer recomputes this part; `block` covers all others."""
        return torch.is_grad_enabled() and part in self.parts

    @contextmanager
    def discard(self, part: Part, output: Tensor, again: Callable[[], Tensor]) -> Iterator[None]:
        """Keep `again` instead of `output` wherever the body saves it for its backward.

        Args:
            part: What the output is; without effect unless the layer recomputes it.
            output: Result of a module, of which the module itself saves nothing.
            again: Forms the same bits; it must not hold `output`.
        """
        if not self.drops(part):
            yield
            return
        address = output.untyped_storage().data_ptr()
        self.recipes[address] = Recipe(again)
        try:
            with saved_tensors_hooks(self._pack, self._unpack):
                yield
        finally:
            del self.recipes[address]

    def leave(self, part: Part, output: Tensor, again: Callable[[], Tensor]) -> None:
        """`discard` until the end of the layer, for a module that does not run the consumer itself."""
        if self.drops(part):
            address = output.untyped_storage().data_ptr()
            self.recipes[address] = Recipe(again)
            # an address names one tensor only while that is alive
            self.left.append((address, output))

    def checkpoint(self, part: Part, run: Callable[..., Any], *inputs: Tensor) -> Any:
        """`run(*inputs)`, of which only the inputs are kept when the layer recomputes `part`."""
        if not self.drops(part):
            return run(*inputs)

        def alone(*inputs: Tensor) -> Any:  # also when the backward runs it again
            outside, self.parts = self.parts, frozenset()
            try:
                return run(*inputs)
            finally:
                self.parts = outside

        # no operator of a model draws random numbers
        return checkpoint(alone, *inputs, use_reentrant=False, preserve_rng_state=False)

    def _pack(self, tensor: Tensor) -> Any:
        recipe = self.recipes.get(tensor.untyped_storage().data_ptr())
        if recipe is not None:
            return _Discarded(recipe, tensor)
        return self.offload.pack(tensor) if self.is_offloading else tensor

    def _unpack(self, kept: Any) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept.take()
