"""Drawing tokens from logits."""

from torch import Tensor

from nautiloid.ops import compiled
from nautiloid.ops.sampling.reference import filter_logits, sample

__all__ = ["filter_logits", "greedy", "sample"]

# rows up to which the compiled kernel runs
FEW = 64


def greedy(logits_BV: Tensor) -> tuple[Tensor, Tensor]:
    """Ids of the highest logits and their log probabilities; NaN where a row is not finite.

    >>> import torch
    >>> ids, logprobs = greedy(torch.tensor([[0.0, 1.0]]))
    >>> ids.item(), round(logprobs.item(), 4)
    (1, -0.3133)
    """
    if logits_BV.shape[0] <= FEW and compiled.fits(logits_BV):
        from nautiloid.ops.sampling import jit

        return jit.greedy(logits_BV)
    best_B, ids_B = logits_BV.max(-1)
    return ids_B, best_B - logits_BV.logsumexp(-1)
