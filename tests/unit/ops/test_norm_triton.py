import pytest
import torch
from tests.suites.norm import (
    check_add_rms_norm,
    check_gated_group_norm,
    check_gated_slices,
    check_main_grad,
    check_rms_norm,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(1, 8), (2, 5, 40), (3, 130)])
def test_rms_norm(shape, dtype):
    check_rms_norm(shape, dtype)


def test_add_rms_norm():
    check_add_rms_norm((37, 40), torch.float32)


@pytest.mark.parametrize("groups", [1, 3])
def test_gated_group_norm(groups):
    check_gated_group_norm(67, 60, groups, torch.float32)


def test_column_slices():
    check_gated_slices(torch.float32)


def test_main_grad():
    check_main_grad(torch.float32)


def test_no_rows():
    check_rms_norm((0, 8), torch.float32)
