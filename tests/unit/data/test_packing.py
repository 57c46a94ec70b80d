import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.data.packing import best_fit


@st.composite
def problems(draw):
    capacity = draw(st.integers(1, 200))
    lengths = draw(st.lists(st.integers(1, capacity), max_size=60))
    return lengths, capacity


@given(problems())
@settings(max_examples=300)
def test_every_piece_once_and_no_row_over_capacity(problem):
    lengths, capacity = problem
    rows = best_fit(lengths, capacity)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in row) <= capacity for row in rows)
    assert all(row == sorted(row) for row in rows)


@given(problems())
@settings(max_examples=300)
def test_same_room_as_the_plain_algorithm(problem):
    lengths, capacity = problem
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda i: rooms[i])] -= length
        else:
            rooms.append(capacity - length)
    ours = [capacity - sum(lengths[i] for i in row) for row in best_fit(lengths, capacity)]
    assert sorted(ours) == sorted(rooms)


def test_many_pieces_are_fast_and_fill_the_rows():
    lengths = np.random.default_rng(0).geometric(1 / 300, 100_000).clip(1, 8192).tolist()
    began = time.perf_counter()
    rows = best_fit(lengths, 8192)
    assert time.perf_counter() - began < 3
    assert sum(lengths) / (8192 * len(rows)) > 0.999
