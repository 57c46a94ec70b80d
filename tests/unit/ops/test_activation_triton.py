import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from nautiloid.ops.activation import cuda

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(1,), (7, 13), (3, 4099)])
def test_relu2_and_its_gradient(dtype, shape):
    x = torch.randn(shape, device=DEVICE).to(dtype).requires_grad_()
    dy = torch.randn(shape, device=DEVICE).to(dtype)
    y = cuda.relu2(x)
    y.backward(dy)
    positive = x.detach().double().relu()
    torch.testing.assert_close(y.detach(), positive.square().to(dtype))
    torch.testing.assert_close(x.grad, (2 * positive * dy.double()).to(dtype))
