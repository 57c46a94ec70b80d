import pytest
import torch
from tests.suites import adamw

from nautiloid.ops.adamw import reference


@pytest.mark.parametrize("mode", adamw.MODES)
def test_the_step_is_the_formula(mode):
    adamw.check_update(reference.update, mode, "cpu")


@pytest.mark.parametrize("mode", adamw.MODES)
def test_a_step_left_out_changes_nothing(mode):
    adamw.check_skip(reference.update, mode, "cpu")


def test_square_sum():
    adamw.check_square_sum(reference.square_sum, "cpu")


def test_rounding_at_random_has_the_right_mean():
    x = torch.full((20_000,), 1 + 2**-9)  # a quarter of the way from 1 to the next bfloat16
    bits = reference.random_bits(0, x.numel(), 7, x.device) & 0xFFFF
    share = (reference.round_random(x, bits) > 1).float().mean()
    assert abs(share - 0.25) < 0.01


def test_random_bits_depend_on_key_and_place_alone():
    whole = reference.random_bits(0, 10_000, 5, torch.device("cpu"))
    assert torch.equal(whole[4090:4110], reference.random_bits(4090, 20, 5, torch.device("cpu")))
    assert not torch.equal(whole, reference.random_bits(0, 10_000, 6, torch.device("cpu")))
