import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import adamw

from nautiloid.ops.adamw import cuda

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("mode", adamw.MODES)
def test_the_step_is_the_formula(mode):
    adamw.check_update(cuda.update, mode, DEVICE)


@pytest.mark.parametrize("mode", adamw.MODES)
def test_a_step_left_out_changes_nothing(mode):
    adamw.check_skip(cuda.update, mode, DEVICE)


def test_square_sum():
    adamw.check_square_sum(cuda.square_sum, DEVICE)
