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


# few cases: each compiles kernels of its own
NANO = ssd.Case((1000, 1, 63, 64, 300), H=16, P=64, G=2, N=128, is_raw=True, has_initial=True)


@pytest.mark.parametrize("name", ["odd lengths, packed", "head width no power of two"])
def test_same_as_the_reference(name):
    ssd.check(ssd.CASES[name], torch.bfloat16, "cuda", 8e-3)


def test_full_size():
    ssd.check(NANO, torch.bfloat16, "cuda", 6e-3)


def test_a_single_chunk():
    """Counts of one, which the compiler would take for constants."""
    case = ssd.Case((5,), H=16, P=64, G=2, N=128, is_raw=True, has_initial=False)
    ssd.check(case, torch.bfloat16, "cuda", 8e-3)


def test_runs_agree_bit_for_bit():
    first, second = (ssd.run(NANO, torch.bfloat16, "cuda") for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a is b is None or torch.equal(a, b)
