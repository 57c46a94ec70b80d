import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.conv import check_conv, check_empty_sequence, check_slices

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("lengths", [[300], [1, 2, 129, 64]])
def test_gradients(lengths, dtype):
    check_conv(lengths, 1000, 4, dtype)


@pytest.mark.parametrize("taps", [2, 3])
def test_other_taps(taps):
    check_conv([70, 3], 136, taps, torch.bfloat16, bias=False, initial=False)


def test_column_slices():
    check_slices(torch.bfloat16, channels=264)


def test_a_sequence_without_tokens():
    check_empty_sequence(torch.bfloat16)
