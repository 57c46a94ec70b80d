import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import embedding

from nautiloid.ops.embedding import cuda

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rows_add_up(dtype):
    embedding.check(cuda.add_rows, DEVICE, dtype)


def test_the_gradient_goes_to_main_grad():
    weight = torch.nn.Parameter(torch.randn(8, 4, device=DEVICE))
    weight.main_grad = torch.ones_like(weight)
    tokens = torch.tensor([1, 1, 7], device=DEVICE)
    cuda.embedding(tokens, weight).sum().backward()
    assert weight.grad is None
    assert weight.main_grad[:, 0].tolist() == [1, 3, 1, 1, 1, 1, 1, 2]
