import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.norm import (
    check_add_rms_norm,
    check_gated_group_norm,
    check_gated_slices,
    check_main_grad,
    check_rms_norm,
)

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 8), (77, 2688), (9, 32, 128)])
def test_rms_norm(shape, dtype):
    check_rms_norm(shape, dtype)


@pytest.mark.parametrize("width", [2688, 3136])
def test_add_rms_norm(width):
    check_add_rms_norm((101, width), torch.bfloat16)


@pytest.mark.parametrize(("width", "groups"), [(4096, 8), (7680, 8), (600, 3)])
def test_gated_group_norm(width, groups):
    check_gated_group_norm(131, width, groups, torch.bfloat16)


def test_column_slices():
    check_gated_slices(torch.bfloat16)


def test_main_grad():
    check_main_grad(torch.bfloat16)
