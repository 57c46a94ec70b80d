import pytest
import torch
from tests.suites.paged import check_decode, check_gather, check_neighbours

from nautiloid.ops import tuning

CUT = {f"paged_decode_{2**i}": {"SPLITS": 4, "LEAST": 16} for i in range(5)}


@pytest.fixture(params=[False, True], ids=["whole", "cut"])
def splits(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(tuning, "_current", lambda: CUT)


@pytest.mark.parametrize("new", [1, 3])
def test_shuffled_pages(splits, new):
    check_decode([17, 1, 70, 16], torch.float32, 2e-6, new=new)


def test_norm_and_rotation(splits):
    check_decode([40, 3], torch.float32, 1e-5, has_norm=True, rotated=16)


def test_part_of_a_head_turns_for_several_tokens():
    check_decode([40, 3], torch.float32, 1e-5, new=2, rotated=8, queries=6, groups=1)


def test_odd_head_width():
    check_decode([21], torch.float32, 2e-6, width=24, groups=1)


def test_half_precision():
    check_decode([40, 3], torch.float16, 3e-3, has_norm=True, rotated=16)


def test_shorter_cache_type():
    check_decode([40, 3], torch.float32, 3e-3, kv_dtype=torch.float16)


def test_sequences_keep_to_themselves(splits):
    check_neighbours(torch.float32)


def test_gather():
    check_gather(torch.float32)
