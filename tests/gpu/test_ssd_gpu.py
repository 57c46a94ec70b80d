"""The scan's kernels on a GPU in bf16; products round their operands to 8 bits."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import interpreter, ssd

interpreter.allow_loaded_bounds()

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("name", ssd.CASES)
def test_same_as_the_reference(name):
    ssd.check(ssd.CASES[name], torch.bfloat16, "cuda", 8e-3)


def test_full_size():
    case = ssd.Case((1000, 1, 63, 64, 300), H=16, P=64, G=2, N=128, is_raw=True, has_initial=True)
    ssd.check(case, torch.bfloat16, "cuda", 6e-3)


def test_runs_agree_bit_for_bit():
    case = ssd.Case((900, 130), H=16, P=64, G=2, N=128, is_raw=True)
    inputs = {k: v.cuda() for k, v in ssd._inputs(case).items()}
    inputs = {k: v.to(torch.bfloat16 if v.dim() > 1 else torch.float32) for k, v in inputs.items()}
    inputs["d_final"] = inputs["d_final"].float()
    first, second = ssd._found(case, dict(inputs)), ssd._found(case, dict(inputs))
    for a, b in zip(first, second, strict=True):
        assert a is b is None or torch.equal(a, b)
