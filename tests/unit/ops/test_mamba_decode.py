import pytest
import torch
from tests.suites.mamba_steps import (
    Case,
    check_neighbours,
    check_random_rounding,
    check_step,
    check_verify,
)

from nautiloid.ops.mamba import decode

pytestmark = pytest.mark.filterwarnings("ignore:overflow")

CASES = [
    Case(),
    Case(heads=3, width=20, groups=1, state=24, taps=2, has_bias=False),
    Case(heads=8, limit=(0.3, 1.1)),
]


@pytest.fixture(params=[1 << 30, 10, 1], ids=["head", "heads", "group"])
def _kernel(request, monkeypatch):
    """The kernels of small and of large batches."""
    monkeypatch.setattr(decode, "FEWEST_WALKS", request.param)


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_token(case):
    check_step(case, [4, 0, 5], torch.float32, 2e-6)


@pytest.mark.usefixtures("_kernel")
def test_half_precision():
    check_step(Case(), [1], torch.float16, 2e-3)


@pytest.mark.usefixtures("_kernel")
def test_sequences_keep_to_themselves():
    check_neighbours(torch.float32)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_random_rounding(half):
    check_random_rounding(torch.float32, half)


@pytest.mark.parametrize("taps", [2, 4])
def test_drafts(taps):
    check_verify(Case(heads=2, width=20, groups=1, taps=taps), torch.float32, 5e-6, new=2)
