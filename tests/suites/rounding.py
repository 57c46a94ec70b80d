"""The bits that compiled kernels of a training step return; run as a script, their digest."""

import hashlib

import torch

from nautiloid.ops.conv import jit as conv_jit
from nautiloid.ops.norm import jit_train


def digest():
    """SHA-256 over values and gradients of convolution and norms, on fixed odd-sized inputs."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).requires_grad_()

    x, d, w, wide = draw(70, 90), draw(70, 90), draw(90), draw(70, 200)
    taps, bias = draw(90, 4), draw(90)
    outputs = [
        jit_train.rms_norm(x, w, 1e-5),
        *jit_train.add_rms_norm(x, d, w, 1e-5),
        jit_train.gated_group_norm(x, wide[:, 7:97], w, 2, 1e-5),
        conv_jit.conv_silu(x, taps, bias, [41, 29], None)[0],
    ]
    torch.autograd.backward([o.square().sum() for o in outputs])
    found = [*outputs, *(t.grad for t in (x, d, w, wide, taps, bias))]
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in found)).hexdigest()


if __name__ == "__main__":
    print(digest())
