"""The head family: cross-entropy, log probabilities, entropy and KL without the full logits."""

from nautiloid.ops.head.chunked import HeadLoss, cross_entropy, kl, logprobs

__all__ = ["HeadLoss", "cross_entropy", "kl", "logprobs"]
