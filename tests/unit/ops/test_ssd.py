import pytest
import torch
from tests.suites.ops import check_same, leaf

from nautiloid.ops.ssd import chunked, reference, ssd_step

LENGTHS = ([64, 64], [5, 1, 37, 20], [100], [3, 3, 3], [16], [17, 15])


def inputs(lengths, sequences=0):
    total, heads, width, groups, size = sum(lengths), 4, 6, 2, 5
    args = [
        leaf(total, heads, width),
        leaf(total, heads, low=0.01, high=0.8),
        leaf(heads, low=-3, high=-0.1),
        leaf(total, groups, size, seed=1),
        leaf(total, groups, size, seed=2),
        leaf(heads, seed=3),
    ]
    return [*args, leaf(sequences, heads, width, size)] if sequences else args


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("has_initial", [False, True])
def test_chunked_equals_token_by_token(lengths, has_initial):
    args = inputs(lengths, len(lengths) if has_initial else 0)

    def run(fn, **options):
        return lambda *a: fn(*a[:6], lengths, a[6] if has_initial else None, **options)

    check_same(run(reference.ssd), run(chunked.ssd, chunk=16), args)


@pytest.mark.parametrize("chunk", [8, 32, 64])
def test_chunk_length_changes_nothing(chunk):
    args = inputs([50, 9])
    check_same(
        lambda *a: chunked.ssd(*a, [50, 9], chunk=16),
        lambda *a: chunked.ssd(*a, [50, 9], chunk=chunk),
        args,
    )


def test_a_sequence_may_be_cut_anywhere_when_its_state_is_passed_on():
    args = [a.detach() for a in inputs([40])]
    whole, last = chunked.ssd(*args, [40])
    state, parts = None, []
    for start, stop in ((0, 7), (7, 8), (8, 40)):
        piece = [a[start:stop] if a.shape[0] == 40 else a for a in args]
        y, state = chunked.ssd(*piece, [stop - start], state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_single_steps_equal_the_scan():
    args = [a.detach() for a in inputs([12])]
    x, dt, A, B, C, D = args
    whole, last = reference.ssd(*args, [12])
    state = torch.zeros(1, 4, 6, 5, dtype=torch.float64)
    steps = [
        ssd_step(state, x[t : t + 1], dt[t : t + 1], A, B[t : t + 1], C[t : t + 1], D)
        for t in range(12)
    ]
    torch.testing.assert_close(torch.cat(steps), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_float32_scan_stays_within_the_published_error():
    lengths = [512]
    args = [a.detach() for a in inputs(lengths)]
    exact, state = reference.ssd(*args, lengths)
    y, last = chunked.ssd(*(a.float() for a in args), lengths)
    assert float((y - exact).norm() / exact.norm()) < 1e-6
    assert float((last - state).norm() / state.norm()) < 1e-5


def test_a_nan_in_one_sequence_does_not_reach_its_neighbours():
    args = [a.detach() for a in inputs([5, 6, 7])]
    args[0][7] = torch.nan
    y, last = chunked.ssd(*args, [5, 6, 7])
    assert y[:5].isfinite().all()
    assert y[11:].isfinite().all()
    assert last[0].isfinite().all()
    assert last[2].isfinite().all()
