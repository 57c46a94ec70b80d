"""What a training step keeps, recomputes or moves to the host. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nautiloid.core.errors import InputError

Part = Literal["norm", "activation", "router", "conv", "latent", "block"]


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Trades of time for memory; none of them changes a bit of any result.

    Args:
        recompute: Outputs that are thrown away once their consumer has run, and formed again when the
            backward reaches the consumer. `norm` is the norm before each block and the gated norm,
            `activation` that of MLPs and shared experts, `router` scores and weights of the router,
            `conv` the convolution's output, `latent` the input of latent experts, `block` everything
            between two layers.
        layers: Trunk layers that recompute and offload; None is all of them.
        offload_activations: Keep what the backward needs in pinned host memory, and fetch it one
            layer ahead; no effect on a CPU.
        offload_optimizer: Keep masters and moments in pinned host memory and stream them through the
            update; needs `trainer.weights` masters or stochastic.
        smallest_offload: Elements of the smallest tensor that is worth the way to the host.
    """

    recompute: tuple[Part, ...] = ()
    layers: tuple[int, ...] | None = None
    offload_activations: bool = False
    offload_optimizer: bool = False
    smallest_offload: int = 1 << 20

    def __post_init__(self) -> None:
        for part in self.recompute:
            if part not in get_args(Part):
                raise InputError(
                    "trainer.memory.recompute", part, f"use some of {', '.join(get_args(Part))}"
                )
        if self.smallest_offload < 1:
            raise InputError(
                "trainer.memory.smallest_offload", self.smallest_offload, "use at least 1"
            )

    def of_layer(self, index: int | None) -> frozenset[Part]:
        """What trunk layer `index` recomputes, or with None a layer outside the trunk.

        >>> sorted(MemoryConfig(recompute=("norm",), layers=(1,)).of_layer(1))
        ['norm']
        """
        return frozenset(self.recompute) if self.covers(index) else frozenset()

    def covers(self, index: int | None) -> bool:
        """Whether the settings hold for trunk layer `index`, or with None outside the trunk."""
        return self.layers is None or index in self.layers
