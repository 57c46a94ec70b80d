import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautiloid.engine import ngrams
from nautiloid.engine.ngrams import Ngrams


def search(ids, sizes, count):
    """The same by looking everywhere."""
    for size in range(sizes[1], sizes[0] - 1, -1):
        for start in range(len(ids) - 1, size - 1, -1):
            if ids[start - size : start] == ids[len(ids) - size :]:
                out = list(ids)
                for _ in range(count):
                    out.append(out[start + len(out) - len(ids)])
                return out[len(ids) :]
    return []


@given(
    ids=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    sizes=st.tuples(st.integers(1, 3), st.integers(0, 2)),
    count=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_drafts_are_those_of_a_search(ids, sizes, count, seed):
    sizes = (sizes[0], sizes[0] + sizes[1])
    index, draw, at = Ngrams(sizes), random.Random(seed), 0
    while at < len(ids):
        step = draw.randint(1, 5)
        index.extend(ids[at : at + step])
        at += step
        assert index.draft(count) == search(ids[:at], sizes, count)


def test_a_long_prompt_is_indexed_in_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ngrams, "INDEXED_TOKENS", 100)
    index = Ngrams((2, 2))
    index.extend([*range(1000), 3, 4])
    assert index.num_indexed == 100
    assert index.draft(2) == [5, 6]
    for token in range(5, 15):
        index.extend([token])
    assert index.num_indexed == 1011
    assert index.draft(1) == [15]
