"""The mixer as one GPU operator, in Triton's interpreter, against its separate operators."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import interpreter
from tests.suites.ops import poisoned_memory

from nautiloid.model.blocks.mamba.block import MambaMix
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.context import Context
from nautiloid.ops.config import OpsConfig
from nautiloid.ops.mamba.cuda import MixerSizes, mixer

interpreter.allow_loaded_bounds()

# masked entries above the diagonal may overflow
pytestmark = pytest.mark.filterwarnings("ignore:overflow")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LENGTHS = (66, 3)
CONFIG = MambaConfig(
    mamba_num_heads=2, mamba_head_dim=16, n_groups=2, ssm_state_size=16, time_step_limit=(0.05, 3.0)
)


def inputs(dtype: torch.dtype) -> list[torch.Tensor]:
    """Projected rows and the six weights, in the order of `mixer`."""
    c = CONFIG
    generator = torch.Generator().manual_seed(0)
    heads, channels = c.mamba_num_heads, c.conv_channels
    shapes = [
        (sum(LENGTHS), sum(c.segments.values())), (channels, c.conv_kernel), (channels,), (heads,),
        (heads,), (heads,), (c.inner,),
    ]  # fmt: skip
    values = [torch.randn(s, generator=generator, dtype=torch.float64) * 0.7 for s in shapes]
    return [v.to(DEVICE, dtype).requires_grad_() for v in values]


@pytest.mark.parametrize("keeps_conv", [True, False])
def test_same_as_the_separate_operators(keeps_conv):
    exact, leaves = inputs(torch.float64), inputs(torch.float32)
    ctx = Context.packed(LENGTHS, DEVICE)
    expected = MambaMix(CONFIG, 1e-5, OpsConfig.reference(), "0")(*exact, ctx)
    sizes = MixerSizes(16, 2, 1e-5, CONFIG.time_step_limit, keeps_conv)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    weight = weight.to(DEVICE)
    with poisoned_memory():
        found = mixer(*leaves, LENGTHS, sizes)
        gradients = torch.autograd.grad(found, leaves, weight)
    exact_gradients = torch.autograd.grad(expected, exact, weight.double())
    pairs = zip((found, *gradients), (expected, *exact_gradients), strict=True)
    for i, (f, e) in enumerate(pairs):
        error = (f.double() - e).norm() / e.norm()
        assert error < (1e-4 if i in (4, 5) else 2e-5), (i, float(error))


def test_gradients_go_to_their_sums():
    leaves, again = inputs(torch.float32), inputs(torch.float32)
    sizes = MixerSizes(16, 2, 1e-5, CONFIG.time_step_limit)
    for v in again[3:]:
        v.main_grad = torch.ones_like(v)
    mixer(*leaves, LENGTHS, sizes).sum().backward()
    # hooks on saved tensors give back tensors that are not the parameters
    with torch.autograd.graph.saved_tensors_hooks(lambda v: v, lambda v: v):
        mixer(*again, LENGTHS, sizes).sum().backward()
    for plain, summed in zip(leaves[3:], again[3:], strict=True):
        assert summed.grad is None
        assert plain.grad is not None
        torch.testing.assert_close(summed.main_grad, plain.grad + 1)
