import itertools
import math

import pytest
import torch

from nautiloid.ops.sampling import sample
from nautiloid.ops.sampling.counters import ACCEPT, DRAFT, SAMPLE, seed_tensor, uniforms
from nautiloid.ops.sampling.rejection import draw_drafts, invert, reject

RUNS = 60_000


def seeds(count):
    """Spread as the engine's seeds are: counters in a row would share stretches of the generator."""
    return torch.randint(-(2**63), 2**63 - 1, (count,), generator=torch.Generator().manual_seed(1))


def check_chi_square(counts, expected):
    """Counts [X] of independent draws follow probabilities [X]."""
    kept = expected > 0
    assert counts[~kept].sum() == 0
    wanted = counts.sum() * expected[kept]
    score = ((counts[kept] - wanted) ** 2 / wanted).sum().item()
    freedom = int(kept.sum()) - 1
    # mean and variance of a chi-square are k and 2 k: four and a half deviations
    assert score < freedom + 4.5 * math.sqrt(2 * freedom), (score, freedom)


def uniform(seed, position):
    """SplitMix64 in whole numbers."""
    mask = (1 << 64) - 1
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def test_numbers_are_those_of_the_definition():
    values = [0, 1, 77, (1 << 64) - 1, 1 << 63]
    for position in (0, 1, 500):
        got = uniforms(seed_tensor(values), torch.full((len(values),), position))
        assert got.tolist() == [uniform(seed, position) for seed in values]


def test_streams_are_uniform_and_independent():
    at = torch.full((RUNS,), 3)
    streams = [uniforms(seeds(RUNS), at, s) for s in (SAMPLE, DRAFT, ACCEPT)]
    streams.append(uniforms(seeds(RUNS), at + 1, SAMPLE))
    for a in streams:
        check_chi_square(
            torch.bincount((a * 16).long(), minlength=16), torch.full((16,), 1 / 16).double()
        )
    for a, b in itertools.combinations(streams, 2):
        cells = (a * 8).long() * 8 + (b * 8).long()
        check_chi_square(torch.bincount(cells, minlength=64), torch.full((64,), 1 / 64).double())


def test_invert_skips_what_weighs_nothing():
    weights = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]]).expand(3, -1)
    assert invert(weights, torch.tensor([0.0, 0.5, 1 - 2.0**-53], dtype=torch.double)).tolist() == [
        1,
        3,
        3,
    ]


def chain(seed, depth, vocabulary, *, cut=False):
    """Logits for every history of up to `depth` tokens; `cut` excludes some of them."""
    generator = torch.Generator().manual_seed(seed)
    table = {}
    for size in range(depth):
        for history in itertools.product(range(vocabulary), repeat=size):
            logits = torch.randn(vocabulary, generator=generator) * 1.5
            if cut:
                logits[torch.randint(vocabulary, (1,), generator=generator)] = -torch.inf
            table[history] = logits
    return table


def rows(table, histories):
    """Logits [B, V] after each history [B, size]."""
    size = histories.shape[1]
    flat = torch.stack([table[h] for h in itertools.product(range(4), repeat=size)])
    index = torch.zeros(len(histories), dtype=torch.long)
    for k in range(size):
        index = index * 4 + histories[:, k]
    return flat[index]


def joint(table, depth):
    """Probability of every sequence of `depth` tokens."""
    out = []
    for ids in itertools.product(range(4), repeat=depth):
        p = 1.0
        for k, token in enumerate(ids):
            p *= table[ids[:k]].double().softmax(-1)[token].item()
        out.append(p)
    return torch.tensor(out, dtype=torch.double)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("kind", ["random", "fixed"])
def test_tokens_follow_the_target_whatever_is_drafted(kind, cut):
    """Three tokens by several drafts, some of them redrafted at the same positions, as decoding does."""
    depth, draft_count = 3, 2
    target, draft = chain(0, depth, 4, cut=cut), chain(1, depth, 4)
    start = seeds(RUNS)
    done = torch.zeros(RUNS, depth + draft_count, dtype=torch.long)
    have = torch.zeros(RUNS, dtype=torch.long)
    accepted = room = 0
    while (have < depth).any():
        for size in range(depth):
            group = (have == size).nonzero()[:, 0]
            if not len(group):
                continue
            history = done[group, :size]
            seed, at = start[group], torch.full((len(group),), size)
            room = min(draft_count, depth - 1 - size)
            drafts, q = torch.zeros(len(group), draft_count, dtype=torch.long), None
            if kind == "random":
                q = torch.full((len(group), draft_count, 4), 0.25)
            logits = torch.zeros(len(group), draft_count + 1, 4)
            for k in range(room + 1):
                logits[:, k] = rows(target, torch.cat([history, drafts[:, :k]], 1))
                if k < room and q is not None:
                    guess = rows(draft, torch.cat([history, drafts[:, :k]], 1))
                    drafts[:, k], q[:, k] = draw_drafts(guess, seed, at + k)
                elif k < room:
                    drafts[:, k] = (size + k) % 4
            counts = torch.full((len(group),), room)
            kept, ids, logp = reject(logits, drafts, counts, q, seed, at)
            accepted += int(kept.sum())
            for k in range(room + 1):
                taken = kept >= k
                done[group[taken], size + k] = ids[taken, k]
                expected = logits[taken, k].log_softmax(-1).gather(1, ids[taken, k, None])[:, 0]
                torch.testing.assert_close(logp[taken, k], expected)
            have[group] += kept + 1
    index = (done[:, 0] * 4 + done[:, 1]) * 4 + done[:, 2]
    assert accepted > RUNS // 4
    check_chi_square(torch.bincount(index, minlength=64), joint(target, depth))


def test_without_drafts_it_is_plain_sampling():
    logits = torch.randn(50, 3, 9, generator=torch.Generator().manual_seed(0))
    seed, at, none = seeds(50), torch.arange(50), torch.zeros(50, dtype=torch.long)
    kept, ids, logp = reject(logits, torch.zeros(50, 2).long(), none, None, seed, at)
    one = torch.ones(50)
    plain, plain_logp = sample(logits[:, 0], one, none, one, one * 0, uniforms(seed, at))
    assert kept.tolist() == [0] * 50
    assert ids[:, 0].tolist() == plain.tolist()
    torch.testing.assert_close(logp[:, 0], plain_logp)


def certain(*ids, vocabulary=5):
    out = torch.full((len(ids), vocabulary), -torch.inf)
    out[torch.arange(len(ids)), torch.tensor(ids)] = 0.0
    return out


def test_greedy_keeps_what_equals_the_best_token():
    target = torch.stack([certain(1, 2, 3), certain(1, 2, 3), certain(1, 2, 3), certain(1, 2, 3)])
    drafts = torch.tensor([[1, 2], [1, 4], [0, 2], [1, 2]])
    counts = torch.tensor([2, 2, 2, 1])
    kept, ids, logp = reject(target, drafts, counts, None, seeds(4), torch.zeros(4).long())
    assert kept.tolist() == [2, 1, 0, 1]
    assert [row[: n + 1] for row, n in zip(ids.tolist(), kept.tolist(), strict=True)] == [
        [1, 2, 3],
        [1, 2],
        [1],
        [1, 2],
    ]
    assert logp[0].tolist() == [0.0] * 3


def test_a_row_that_is_not_finite_shows_and_harms_no_other():
    target = torch.zeros(2, 2, 5)
    target[0, 1] = math.nan
    q = torch.full((2, 1, 5), 0.2)
    drafts, counts = torch.tensor([[1], [1]]), torch.tensor([1, 1])
    kept, _, logp = reject(target, drafts, counts, q, seeds(2), torch.zeros(2).long())
    assert kept.tolist() == [1, 1]
    assert math.isfinite(logp[0, 0])
    assert math.isnan(logp[0, 1])
    assert torch.isfinite(logp[1]).all()


def test_a_forced_rate_keeps_as_asked():
    target = torch.zeros(2000, 4, 5)
    drafts, counts = torch.zeros(2000, 3).long(), torch.full((2000,), 3)
    for rate, low, high in ((0.0, 0, 0), (1.0, 3, 3), (0.5, 0.8, 0.95)):
        kept, _, _ = reject(
            target, drafts, counts, None, seeds(2000), counts * 0, forced_acceptance=rate
        )
        assert low <= kept.double().mean() <= high
