import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.kernels import normal, relative_error

from nautiloid.ops.linear import linear, segmented_linear, wide_linear
from nautiloid.ops.linear.cuda import linear as thin_linear

pytestmark = pytest.mark.gpu


def cuda(x):
    return x.to("cuda", torch.bfloat16)


def test_weight_gradients_are_summed_in_float32():
    x, w, b = cuda(normal(512, 64)), cuda(normal(128, 64)), cuda(normal(128))
    w.requires_grad_().main_grad = torch.zeros(128, 64, device="cuda")
    total = torch.zeros(128, 64, dtype=torch.float64, device="cuda")
    for i in range(3):
        dy = cuda(normal(512, 128, seed=i))
        linear(x, w, b).backward(dy)
        total += dy.double().t() @ x.double()
    assert w.grad is None
    assert relative_error(w.main_grad, total) < 1e-5


@pytest.mark.parametrize("is_adjacent", [True, False])
def test_segments(is_adjacent):
    x = cuda(normal(512, 64)).requires_grad_()
    parts = [p.requires_grad_() for p in cuda(normal(224, 64)).split([64, 128, 32])]
    sums = torch.zeros(224, 64, device="cuda").split([64, 128, 32])
    for part, total in zip(parts, sums, strict=True):
        part.main_grad = total if is_adjacent else total.clone()
    dy = cuda(normal(512, 224, seed=1))
    segmented_linear(x, parts).backward(dy)
    expected = dy.double().t() @ x.detach().double()
    assert relative_error(torch.cat([p.main_grad for p in parts]), expected) < 1e-5


@pytest.mark.parametrize("rows", [1, 3, 8, 33])
@pytest.mark.parametrize(("outputs", "inputs"), [(2688, 4096), (10304, 2688), (77, 130)])
def test_few_rows(rows, outputs, inputs):
    x, w, b = cuda(normal(rows, inputs)), cuda(normal(outputs, inputs, scale=0.02)), normal(outputs)
    expected = x.double() @ w.double().t() + b.cuda().bfloat16().double()
    assert relative_error(thin_linear(x, w, cuda(b)), expected) < 5e-3
    with torch.no_grad():
        assert relative_error(linear(x, w, cuda(b)), expected) < 5e-3
        wide = wide_linear(x, w)
    assert wide.dtype == torch.float32
    assert relative_error(wide, x.double() @ w.double().t()) < 1e-5
