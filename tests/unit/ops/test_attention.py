import pytest
import torch
from tests.suites.ops import check_same, leaf

from nautiloid.ops.attention import reference, rotate, sdpa


@pytest.mark.parametrize("lengths", [[8, 8], [1, 5, 2, 9], [7], [30, 2, 2, 29, 3]])
@pytest.mark.parametrize("heads", [(4, 2), (4, 4), (3, 1)])
def test_packed_attention(lengths, heads):
    total = sum(lengths)
    args = [
        leaf(total, heads[0], 8),
        leaf(total, heads[1], 8, seed=1),
        leaf(total, heads[1], 8, seed=2),
    ]
    check_same(
        lambda *a: reference.attention(*a, lengths, scale=0.3),
        lambda *a: sdpa.attention(*a, lengths, scale=0.3),
        args,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"window": 3},
        {"is_causal": False},
        {"is_causal": False, "window": 2},
        {"sinks_Q": torch.zeros(4)},
    ],
)
def test_options_run_by_the_formula(options):
    args = [leaf(9, 4, 8), leaf(9, 2, 8, seed=1), leaf(9, 2, 8, seed=2)]
    check_same(
        lambda *a: reference.attention(*a, [4, 5], scale=0.3, **options),
        lambda *a: sdpa.attention(*a, [4, 5], scale=0.3, **options),
        args,
    )


def test_window_of_the_whole_length_is_no_window():
    q, k, v = leaf(6, 4, 8), leaf(6, 2, 8, seed=1), leaf(6, 2, 8, seed=2)
    wide = reference.attend(q, k, v, scale=0.3, window=6)
    torch.testing.assert_close(wide, reference.attend(q, k, v, scale=0.3))


def test_a_sink_only_takes_probability():
    q, k, v = leaf(6, 4, 8), leaf(6, 2, 8, seed=1), leaf(6, 2, 8, seed=2)
    none = reference.attend(q, k, v, scale=0.3, sinks_Q=torch.full((4,), -1e9))
    torch.testing.assert_close(none, reference.attend(q, k, v, scale=0.3))


def test_decode_and_extend_equal_the_last_rows():
    q, k, v = (leaf(2 * 9, heads, 8, seed=heads).detach() for heads in (4, 2, 1))
    v = v.expand(-1, 2, -1)
    whole = reference.attention(q, k, v, [9, 9], scale=0.3).view(2, 9, 4, 8)
    keys, values = k.reshape(2, 9, 2, 8), v.reshape(2, 9, 2, 8)
    queries = q.view(2, 9, 4, 8)
    torch.testing.assert_close(
        sdpa.decode(queries[:, -1], keys, values, None, scale=0.3), whole[:, -1]
    )
    short = sdpa.decode(
        torch.stack([queries[0, 8], queries[1, 4]]), keys, values, torch.tensor([9, 5]), scale=0.3
    )
    torch.testing.assert_close(short, torch.stack([whole[0, 8], whole[1, 4]]))
    torch.testing.assert_close(
        sdpa.extend(queries[0, 5:], keys[0], values[0], scale=0.3), whole[0, 5:]
    )


def test_rotation_depends_on_the_distance_alone():
    q, k = leaf(1, 1, 8).detach(), leaf(1, 1, 8, seed=1).detach()

    def score(at, to):
        a = rotate(q, torch.tensor([at]), 100.0, 8)
        return (a * rotate(k, torch.tensor([to]), 100.0, 8)).sum()

    torch.testing.assert_close(score(3, 1), score(13, 11), rtol=1e-5, atol=1e-5)
    part = rotate(q, torch.tensor([5]), 100.0, 4)
    assert torch.equal(part[..., 4:], q[..., 4:])
