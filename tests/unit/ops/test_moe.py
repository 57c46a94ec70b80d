import pytest
import torch
from tests.suites.ops import check_same, leaf

from nautiloid.ops.moe import balance_loss, choose, grouped, reference, route


def chosen(tokens, top_k, experts, *, never=()):
    generator = torch.Generator().manual_seed(tokens)
    allowed = torch.tensor([e for e in range(experts) if e not in never])
    rows = [
        allowed[torch.randperm(len(allowed), generator=generator)[:top_k]] for _ in range(tokens)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("activation", ["relu2", "silu"])
@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("tokens", [1, 2, 9, 40])
def test_grouped_equals_token_by_token(activation, is_gated, tokens):
    index = chosen(tokens, 3, 6, never=(4,))
    args = [leaf(tokens, 5), leaf(tokens, 3), leaf(6, 4, 5), leaf(6, 5, 4, seed=1)]
    args += [leaf(6, 4, 5, seed=2)] if is_gated else []

    def run(fn):
        return lambda x, w, up, down, gate=None: fn(x, index, w, up, down, gate, activation)

    check_same(run(reference.experts), run(grouped.experts), args)
    with torch.no_grad():
        expected, found = run(reference.experts)(*args), run(grouped.experts)(*args)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_one_expert_may_take_every_token():
    index = torch.zeros(20, 1, dtype=torch.long)
    args = [leaf(20, 5), leaf(20, 1), leaf(6, 4, 5), leaf(6, 5, 4)]

    def run(fn):
        return lambda x, w, up, down: fn(x, index, w, up, down)

    check_same(run(reference.experts), run(grouped.experts), args)


def test_the_bias_moves_the_choice_and_never_the_weights():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    plain = route(logits, torch.zeros(4), 2, scaling=2.5)
    assert plain.experts_TK.tolist() == [[0, 1]]
    biased = route(logits, torch.tensor([-0.3, 0, 0, 0.1]), 2, scaling=2.5)
    assert biased.experts_TK.tolist() == [[1, 0]]
    expected = torch.tensor([[1.133877, 1.366123]], dtype=torch.float64)
    torch.testing.assert_close(biased.weights_TK, expected, rtol=0, atol=1e-6)


def test_group_limit_keeps_the_groups_with_the_best_two_scores():
    scores = torch.tensor([[0.9, 0.0, 0.5, 0.5]])
    assert choose(scores, None, 2, 1, 1).tolist()[0][0] == 0
    assert sorted(choose(scores, None, 2, 2, 1).tolist()[0]) == [2, 3]


def test_replayed_routes_keep_the_gradient_of_the_router():
    logits = leaf(3, 4)
    recorded = route(logits, None, 2).experts_TK.to(torch.int16)
    replayed = route(logits, torch.tensor([9.0, -9, 9, -9]), 2, replay_TK=recorded)
    assert torch.equal(replayed.experts_TK, recorded.long())
    (gradient,) = torch.autograd.grad(replayed.weights_TK.square().sum(), logits)
    assert gradient.abs().sum() > 0


def test_balance_loss_of_the_published_example():
    rows = [[2, 1, 0, -1], [1.5, 0.5, 0, -1], [1, 2, -1, 0], [3, 0, 1, -2]]
    scores = torch.tensor(rows, dtype=torch.float64).sigmoid()
    loss = 1e-4 * balance_loss(scores, 2, (4,))
    assert abs(float(loss) - 1.2797188689e-4) < 1e-13


def test_padding_counts_nowhere_in_the_balance_loss():
    scores = leaf(6, 4).sigmoid()
    valid = torch.tensor([True, True, True, True, False, False])
    padded = balance_loss(scores, 2, (6,), valid)
    torch.testing.assert_close(padded, balance_loss(scores[:4], 2, (4,)))
    uneven = balance_loss(scores, 2, (4, 2))
    each = (balance_loss(scores[:4], 2, (4,)) + balance_loss(scores[4:], 2, (2,))) / 2
    torch.testing.assert_close(uneven, each)
