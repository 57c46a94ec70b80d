"""Weight gradients summed in float32 over micro-batches, beside weights of a shorter dtype.

A weight that carries a tensor `main_grad` (float32, same shape) takes its gradient there: backward
functions add to it and give autograd nothing.
"""

from __future__ import annotations

from torch import Tensor


def main_grad(weight: Tensor | None) -> Tensor | None:
    """The float32 sum that a weight carries, if any and if it is trained.

    >>> main_grad(Tensor()) is None
    True
    """
    return (
        getattr(weight, "main_grad", None) if weight is not None and weight.requires_grad else None
    )


def give(gradient: Tensor, into: Tensor | None, weight: Tensor) -> Tensor | None:
    """What a backward returns for a weight: its gradient, or None once it is added to `into`.

    >>> w, total = Tensor([1.0]), Tensor([2.0])
    >>> give(Tensor([3.0]), total, w), total
    (None, tensor([5.]))
    """
    if into is None:
        return gradient.to(weight.dtype)
    into.add_(gradient.view_as(into))
    return None
