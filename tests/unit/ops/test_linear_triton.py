"""The GPU linear map of a few rows in Triton's interpreter."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import interpreter
from tests.suites.kernels import normal, relative_error
from tests.suites.ops import poisoned_memory

from nautiloid.ops.linear import cuda

interpreter.allow_loaded_bounds()

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU suite covers it")


@pytest.mark.parametrize(
    ("tokens", "outputs", "inputs", "has_bias"),
    [(1, 40, 300, False), (3, 10, 70, True), (7, 33, 256, True), (20, 16, 21, False)],
)
def test_linear_equals_the_product(tokens, outputs, inputs, has_bias):
    x, weight = normal(tokens, inputs).float(), normal(outputs, inputs, scale=0.1).float()
    bias = normal(outputs).float() if has_bias else None
    expected = x.double() @ weight.double().t()
    if bias is not None:
        expected += bias.double()
    with poisoned_memory():
        found = cuda.linear(x, weight, bias)
        # rows that lie apart, as a column slice of a wider tensor does
        apart = cuda.linear(torch.cat([x, x], 1)[:, :inputs], weight, bias)
        out = torch.full_like(found, torch.nan)
        cuda.linear(x, weight, bias, out)
    assert relative_error(found, expected) < 1e-6
    assert torch.equal(out, found)
    assert torch.equal(found, apart)
