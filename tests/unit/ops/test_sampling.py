import torch

from nautiloid.ops.sampling import filter_logits, sample


def rows(count, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    return (
        torch.full((count,), temperature),
        torch.full((count,), top_k),
        torch.full((count,), top_p),
        torch.full((count,), min_p),
    )


def test_greedy_rows_take_the_best_token_beside_sampled_rows():
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]])
    temperature, top_k, top_p, min_p = rows(2)
    temperature[0] = 0
    ids, lp = sample(logits, temperature, top_k, top_p, min_p, torch.tensor([0.0, 0.0]))
    assert ids.tolist() == [1, 0]
    torch.testing.assert_close(lp, logits.log_softmax(-1)[[0, 1], [1, 0]])


def test_draws_follow_the_filtered_distribution():
    logits = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).expand(20_000, -1)
    args = rows(20_000, temperature=0.7, top_k=5)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids, lp = sample(logits, *args, uniforms)
    expected = filter_logits(logits[:1], *(a[:1] for a in args)).softmax(-1)[0].double()
    counts = torch.bincount(ids, minlength=8).double()
    kept = expected > 0
    assert counts[~kept].sum() == 0
    chi_square = ((counts - 20_000 * expected)[kept] ** 2 / (20_000 * expected[kept])).sum()
    assert chi_square < 18.5  # 99.9 % of a chi-square with 4 degrees of freedom
    torch.testing.assert_close(lp.double(), expected.log()[ids], rtol=1e-5, atol=1e-5)


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert filter_logits(logits, *rows(1, top_p=0.6)).isfinite().tolist() == [[True, True, False]]
    assert filter_logits(logits, *rows(1, top_p=0.5)).isfinite().tolist() == [[True, False, False]]
    assert filter_logits(logits, *rows(1, top_p=1e-9)).isfinite().tolist() == [[True, False, False]]


def test_min_p_drops_tokens_far_below_the_best():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert filter_logits(logits, *rows(1, min_p=0.5)).isfinite().tolist() == [[True, True, False]]


def test_the_last_token_is_drawn_at_the_edge():
    logits = torch.zeros(1, 5)
    ids, _ = sample(logits, *rows(1), torch.tensor([1 - 1e-16], dtype=torch.float64))
    assert ids.item() == 4
