"""Decoding kernels on a GPU in bf16."""

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites import mamba_steps, paged
from tests.suites.mamba_steps import Case
from tests.suites.states import check_states

from nautiloid.ops.mamba import decode

pytestmark = pytest.mark.gpu

NANO = Case(heads=64, width=64, groups=8, state=128)


@pytest.fixture(params=[1 << 30, 6, 1], ids=["head", "heads", "group"])
def _kernel(request, monkeypatch):
    monkeypatch.setattr(decode, "FEWEST_WALKS", request.param)


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_mixer_step(dtype):
    bound = 2e-2 if dtype == torch.bfloat16 else 1e-5
    mamba_steps.check_step(NANO, [4, 0, 5], dtype, bound)
    mamba_steps.check_step(Case(heads=10, width=80, groups=2, limit=(0.1, 1.0)), [2], dtype, bound)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_drafts(dtype):
    mamba_steps.check_verify(NANO, dtype, 3e-2 if dtype == torch.bfloat16 else 2e-5)


@pytest.mark.usefixtures("_kernel")
def test_mixer_sequences_keep_to_themselves():
    mamba_steps.check_neighbours(torch.bfloat16)


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_random_rounding(half):
    mamba_steps.check_random_rounding(torch.bfloat16, half)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("new", [1, 4])
def test_paged_attention(dtype, new):
    bound = 1e-2 if dtype == torch.bfloat16 else 1e-5
    sizes = {"queries": 32, "groups": 2, "width": 128, "page": 64}
    paged.check_decode([3000, 1, 64, 700], dtype, bound, new=new, **sizes)
    sizes["groups"] = 4
    paged.check_decode([200, 1], dtype, 2 * bound, new=new, has_norm=True, rotated=128, **sizes)
    paged.check_decode([200, 1], dtype, 2 * bound, new=new, has_norm=True, rotated=64, **sizes)


def test_attention_sequences_keep_to_themselves():
    paged.check_neighbours(torch.bfloat16)


def test_extend():
    paged.check_gather(torch.bfloat16)
    paged.check_extend(torch.bfloat16, 1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rotates", [False, True])
def test_a_model_through_its_states(dtype, rotates):
    check_states("cuda", dtype, 5e-2 if dtype == torch.bfloat16 else 1e-3, rotates=rotates)
