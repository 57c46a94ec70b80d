import pytest
import torch
from tests.suites.conv import check_conv, check_empty_sequence, check_slices

from nautiloid.ops import tuning


@pytest.mark.parametrize("taps", [2, 4])
@pytest.mark.parametrize("lengths", [[7], [1, 2, 9]])
def test_gradients(lengths, taps):
    check_conv(lengths, 12, taps, torch.float32)


def test_half_precision_without_bias_and_context():
    check_conv([5, 3], 12, 4, torch.float16, bias=False, initial=False)


def test_several_chunks_and_channel_blocks(monkeypatch):
    small = {"CHUNK": 8, "BLOCK_C": 16, "ROWS": 4}
    table = {"conv_forward": small, "conv_backward": small}
    monkeypatch.setattr(tuning, "_current", lambda: table)
    check_conv([8, 21, 2], 40, 4, torch.float32)


def test_column_slices():
    check_slices(torch.float32)


def test_a_sequence_without_tokens():
    check_empty_sequence(torch.float32)
