"""The head family: cross-entropy, log probabilities, entropy and KL without the full logits.

Each function runs in chunks of plain torch, or by the GPU kernels where its tensors are on a GPU.
"""

from nautiloid.ops.backends import by_device
from nautiloid.ops.head import chunked
from nautiloid.ops.head.chunked import HeadLoss

__all__ = ["HeadLoss", "cross_entropy", "kl", "kl_top", "logprobs"]


def _kernels():
    from nautiloid.ops.head import cuda

    return cuda


cross_entropy = by_device(chunked.cross_entropy, lambda: _kernels().cross_entropy)
logprobs = by_device(chunked.logprobs, lambda: _kernels().logprobs)
kl = by_device(chunked.kl, lambda: _kernels().kl)
kl_top = by_device(chunked.kl_top, lambda: _kernels().kl_top)
