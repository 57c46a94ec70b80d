"""The mixer on a GPU in bf16: the block takes the one-operator path, with the same results."""

import pytest
import torch

pytest.importorskip("triton")

from nautiloid.model.blocks.mamba.block import MambaMix
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.context import Context
from nautiloid.ops.config import OpsConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

LENGTHS = (500, 1, 130)
CONFIG = MambaConfig(mamba_num_heads=16, mamba_head_dim=64, n_groups=2, ssm_state_size=128)


def inputs() -> list[torch.Tensor]:
    """Projected rows in bf16 and the six weights in float32."""
    c, generator = CONFIG, torch.Generator(device="cuda").manual_seed(0)
    heads, channels = c.mamba_num_heads, c.conv_channels
    shapes = [
        (sum(LENGTHS), sum(c.segments.values())), (channels, c.conv_kernel), (channels,), (heads,),
        (heads,), (heads,), (c.inner,),
    ]  # fmt: skip
    values = [0.5 * torch.randn(s, generator=generator, device="cuda") for s in shapes]
    return [values[0].bfloat16(), *values[1:]]


def gradients(ops: OpsConfig, dtype: torch.dtype | None) -> list[torch.Tensor]:
    """Output and gradients of a random weighting."""
    leaves = [v.to(dtype or v.dtype).requires_grad_() for v in inputs()]
    out = MambaMix(CONFIG, 1e-5, ops, "0")(*leaves, Context.packed(LENGTHS, "cuda"))
    generator = torch.Generator(device="cuda").manual_seed(1)
    weight = torch.randn(out.shape, generator=generator, device="cuda").bfloat16()
    return [out.detach(), *torch.autograd.grad(out, leaves, weight.to(out.dtype))]


def test_one_operator_is_the_separate_ones():
    exact = gradients(OpsConfig(ssd="torch", conv="torch", norm="torch"), torch.float64)
    for i, (found, expected) in enumerate(zip(gradients(OpsConfig(), None), exact, strict=True)):
        error = (found.double() - expected).norm() / expected.norm()
        # A_log and D: sums over all tokens lose digits to cancellation
        assert error < (5e-2 if i in (5, 6) else 1e-2), (i, float(error))
