"""New weights for a model in use, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.model.decoder import Decoder


def check_weights(model: Decoder, stream: Iterable[tuple[str, Tensor]]) -> None:
    """Look at a whole set of tensors and copy nothing.

    Raises:
        InputError: A tensor is unknown, comes twice, has another shape or dtype, or is missing.
    """
    for _ in _checked(model, stream):
        pass


def copy_weights(model: Decoder, stream: Iterable[tuple[str, Tensor]]) -> None:
    """Copy a whole set of tensors into the model.

    Raises:
        InputError: As for `check_weights`; the tensors before the wrong one are already copied.
    """
    for target, tensor in _checked(model, stream):
        with torch.no_grad():
            target.copy_(tensor)


def _checked(
    model: Decoder, stream: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    targets = dict(model.state_dict())
    left = set(targets)
    for name, tensor in stream:
        target = targets.get(name)
        if target is None:
            raise InputError(f"weights: {name}", None, "the model has no such tensor")
        if name not in left:
            raise InputError(f"weights: {name}", None, "came twice")
        if tensor.shape != target.shape:
            raise InputError(
                f"weights: {name}", tuple(tensor.shape), f"expected shape {tuple(target.shape)}"
            )
        if tensor.dtype != target.dtype:
            raise InputError(f"weights: {name}", tensor.dtype, f"expected {target.dtype}")
        yield target, tensor
        left.discard(name)
    if left:
        raise InputError(f"weights: {min(left)}", None, f"missing, with {len(left) - 1} others")
