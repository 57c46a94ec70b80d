"""Completions with drafts follow the same distribution as without."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.speculation import Speculation
from nautiloid.model.config import MTPConfig
from nautiloid.model.decoder import Decoder

RUNS = 1000
DEPTH = 3
# every token is there, so that n-grams find drafts
PROMPT = [*range(6), 3, 5, 4, 0, 1, 3]


@pytest.fixture(scope="module")
def small_model(config):
    mtp = MTPConfig(pattern="*", depth=2)
    model = Decoder(
        replace(config, vocab_size=6, hidden_size=32, pattern="M*", mtp=mtp, initializer_range=0.15)
    )
    model.init_weights(Seed(2))
    return model


def expected(model, params):
    """Probability of every sequence of the first tokens, by the filters' formulas."""
    with torch.no_grad():
        states = {(): 1.0}
        for _ in range(DEPTH):
            histories = list(states)
            logits = model(torch.tensor([[*PROMPT, *h] for h in histories]))[:, -1]
            probs = (logits.double() / params.temperature).softmax(-1)
            grown = {}
            for history, row in zip(histories, probs, strict=True):
                values, ids = row.sort(descending=True)
                if params.top_k:
                    values, ids = values[: params.top_k], ids[: params.top_k]
                values = values / values.sum()
                kept = (values.cumsum(0) - values) < params.top_p
                values, ids = values[kept] / values[kept].sum(), ids[kept]
                for p, token in zip(values.tolist(), ids.tolist(), strict=True):
                    grown[(*history, token)] = states[history] * p
            states = grown
    return states


PLAIN = SamplingParams(temperature=1.0, max_tokens=4, n=RUNS, seed=3)
FILTERED = replace(PLAIN, temperature=1.6, top_k=5, top_p=0.8)


@pytest.mark.parametrize(("kind", "params"), [("mtp", PLAIN), ("mtp", FILTERED), ("ngram", PLAIN)])
def test_completions_follow_the_distribution(small_model, kind, params):
    speculation = Speculation(kind=kind, num_tokens=2, ngram_tokens=(1, 2))
    engine = Engine(small_model, max_batch=500, stop_ids=(), speculation=speculation)
    done = engine.generate([PROMPT], params)
    counts = engine.draft_counts
    assert counts is not None
    rates = [a / d for a, d in zip(counts.accepted, counts.drafted, strict=True)]
    assert all(0.01 < rate < 0.99 for rate in rates), rates
    seen = Counter(completion.ids[:DEPTH] for completion in done)
    wanted = expected(small_model, params)
    assert set(seen) <= set(wanted)
    # rare ones together, so that a chi-square holds
    likely = {ids: p for ids, p in wanted.items() if p * RUNS >= 5}
    rest = 1 - sum(likely.values())
    cells = [(seen[ids], p) for ids, p in likely.items()]
    if rest * RUNS >= 1:
        cells.append((RUNS - sum(seen[ids] for ids in likely), rest))
    score = sum((count - RUNS * p) ** 2 / (RUNS * p) for count, p in cells)
    freedom = len(cells) - 1
    assert score < freedom + 4.5 * math.sqrt(2 * freedom), (score, freedom)


def test_a_seed_fixes_a_request_whatever_runs_beside_it(small_model):
    for kind in ("mtp", "ngram"):
        speculation = Speculation(kind=kind, num_tokens=3, ngram_tokens=(1, 2))
        engine = Engine(small_model, max_batch=4, stop_ids=(), speculation=speculation)
        params = SamplingParams(max_tokens=20, seed=11)
        alone = engine.generate([PROMPT], params)[0]
        others = [SamplingParams(max_tokens=k + 3) for k in range(5)]
        asked = [[k, 5] * (k + 1) for k in range(5)]
        crowd = engine.generate([*asked, PROMPT], [*others, params])[-1]
        assert crowd.ids == alone.ids
        other = engine.generate([PROMPT], SamplingParams(max_tokens=20, seed=12))[0]
        assert other.ids != alone.ids


def test_logprobs_are_those_of_the_target(small_model):
    for kind in ("mtp", "ngram"):
        speculation = Speculation(kind=kind, num_tokens=3, ngram_tokens=(1, 2))
        engine = Engine(small_model, max_batch=4, stop_ids=(), speculation=speculation)
        params = SamplingParams(max_tokens=30, seed=5)
        for prompt in (PROMPT, [2, 1]):
            done = engine.generate([prompt], params)[0]
            scored = engine.score([[*prompt, *done.ids]])[0]
            assert scored[len(prompt) - 1 :] == pytest.approx(done.logprobs, abs=5e-5)
