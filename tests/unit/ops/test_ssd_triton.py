"""The scan's GPU kernels in Triton's interpreter."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import interpreter, ssd

interpreter.allow_loaded_bounds()

# masked entries above the diagonal may overflow
pytestmark = pytest.mark.filterwarnings("ignore:overflow")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("name", ssd.CASES)
def test_same_as_the_reference(name):
    ssd.check(ssd.CASES[name], torch.float32, DEVICE, 2e-5)


def test_half_precision():
    ssd.check(ssd.CASES["odd lengths, packed"], torch.float16, DEVICE, 3e-3)


def test_gradients_of_a_long_sequence_in_slabs(monkeypatch):
    from nautiloid.ops.ssd import cuda

    # states of two chunks at a time
    monkeypatch.setattr(cuda, "MOST_STATE_BYTES", 2 * 2 * 2 * 16 * 16 * 4)
    ssd.check(ssd.Case((200, 65), has_initial=True), torch.float32, DEVICE, 2e-5)


def test_segments_cover_every_chunk():
    from nautiloid.ops.ssd.segments import cut

    segments = cut([70, 1, 64, 300], 64, 2, torch.device("cpu"))
    assert segments.table[:, 1].tolist() == [2, 1, 1, 1, 2, 2]
    assert segments.table[:, 2].tolist() == [0, 70, 71, 135, 199, 327]
    assert segments.firsts == (0, 2, 3, 4, 5, 7, 9)
    assert segments.slabs(4) == [(0, 3), (3, 5), (5, 6)]
