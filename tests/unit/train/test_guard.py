import math

import pytest

from nautiloid.core.errors import InputError
from nautiloid.train.guard import Guard


def test_bad_steps_are_skipped_and_counted():
    guard = Guard(max_bad_steps=3)
    assert guard.admits(1, 1.0, 1.0)
    assert not guard.admits(2, math.nan, 1.0)
    assert not guard.admits(3, 1.0, math.inf)
    assert guard.admits(4, 1.0, 1.0)
    assert (guard.skipped, guard.streak) == (2, 0)


def test_too_many_in_a_row_end_the_run_with_a_remedy():
    guard = Guard(max_bad_steps=2)
    guard.admits(6, math.nan, 1.0)
    with pytest.raises(
        InputError, match=r"step 7: loss nan.*2 such steps in a row: lower trainer.optim.lr"
    ):
        guard.admits(7, math.nan, 1.0)


def test_spikes_are_told_from_noise():
    guard = Guard(max_bad_steps=2)
    assert not any(guard.is_spike(3.0 + 0.05 * (-1) ** i) for i in range(40))
    assert guard.is_spike(9.0)
    assert not guard.is_spike(3.0)


def test_state_round_trip():
    guard, other = Guard(2), Guard(2)
    for i in range(30):
        guard.is_spike(i / 7)
    guard.admits(1, math.nan, 0.0)
    other.load_state_dict(guard.state_dict())
    assert other.state_dict() == guard.state_dict()
