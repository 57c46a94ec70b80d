import random
from dataclasses import replace

import pytest
import torch
from tests.suites.decoding import check_greedy
from tests.suites.steps import run_ahead

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message, SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.speculation import Speculation
from nautiloid.engine.verify import Speculator
from nautiloid.model.config import MTPConfig
from nautiloid.model.context import Context
from nautiloid.model.mtp import shift_within

GREEDY = SamplingParams(temperature=0.0, max_tokens=20)
CHAT = [Message("user", "What is 12 + 7 - 5?")]


def prompts(count, seed=0, longest=150):
    draw = random.Random(seed)
    return [
        [draw.randrange(40, 350) for _ in range(draw.randint(1, longest))] for _ in range(count)
    ]


@pytest.fixture
def build(drafting_model, tokenizer):
    engines = []

    def make(kind="mtp", num_tokens=3, **options):
        how = {"ngram_tokens": (1, 3)} | options.pop("how", {})
        speculation = Speculation(kind=kind, num_tokens=num_tokens, **how)
        options = {"max_batch": 4, "stop_ids": (), "tokenizer": tokenizer} | options
        engines.append(Engine(drafting_model, speculation=speculation, **options))
        return engines[-1]

    yield make
    for engine in engines:
        assert not len(engine.scheduler)
        assert not engine.requests
        assert len(engine.pool.free_slots) == engine.pool.num_slots


@pytest.fixture(scope="module")
def plain(drafting_model, tokenizer):
    return Engine(drafting_model, max_batch=4, stop_ids=(), tokenizer=tokenizer)


KINDS = [("mtp", k) for k in (1, 2, 3, 5)] + [("ngram", k) for k in (1, 3, 5)]


@pytest.mark.parametrize(("kind", "num_tokens"), KINDS)
def test_greedy_equals_the_full_forward(build, drafting_model, kind, num_tokens):
    engine = build(kind, num_tokens)
    asked = [*prompts(3, 0, 70), [50, 60, 70] * 9]
    for prompt, done in zip(asked, engine.generate(asked, GREEDY), strict=True):
        assert done.finish_reason == "length"
        assert len(done.ids) == 20
        check_greedy(drafting_model, prompt, done.ids, done.logprobs)
    counts = engine.draft_counts
    assert counts is not None
    assert sum(counts.accepted) > 0
    assert sum(counts.drafted) > sum(counts.accepted)


def test_prompts_in_pieces(build, drafting_model):
    engine = build()
    engine.scheduler.prefill_tokens = 32
    for prompt, done in zip(prompts(5, 2), engine.generate(prompts(5, 2), GREEDY), strict=True):
        check_greedy(drafting_model, prompt, done.ids, done.logprobs)


def test_the_head_drafts_as_it_was_trained(build, drafting_model):
    """First drafts equal those of the whole sequence, whatever was drafted and rejected before."""
    engine = build("mtp", 3)
    seen = []
    draft = engine.loop.speculator.drafter.draft

    def note(requests, counts):
        drafts = draft(requests, counts)
        seen.extend(
            ([*r.prompt_ids, *r.ids], ids[0])
            for r, ids in zip(requests, drafts.ids, strict=True)
            if ids
        )
        return drafts

    engine.loop.speculator.drafter.draft = note
    engine.scheduler.prefill_tokens = 40
    engine.generate(prompts(3, 4), GREEDY)
    assert len(seen) > 20
    for ids, drafted in seen:
        tokens = torch.tensor(ids)
        with torch.no_grad():
            output = drafting_model.hidden(
                tokens, Context.packed([len(ids)]), [shift_within(tokens, [len(ids)], 1)]
            )
            logits = drafting_model.logits(output.mtp[0])[-2]
        assert logits.max() - logits[drafted] < 1e-4


@pytest.mark.parametrize("kind", ["mtp", "ngram"])
def test_statistics_are_exact_when_forced(build, kind):
    asked = [list(range(352))]  # every token has been there
    for rate, accepted in ((1.0, 3), (0.0, 0)):
        engine = build(kind, 3, how={"forced_acceptance": rate})
        done = engine.generate(asked, replace(GREEDY, max_tokens=1 + 4 * (1 + accepted)))[0]
        drafts = done.drafts
        assert drafts is not None
        assert len(done.ids) == 1 + 4 * (1 + accepted)
        assert engine.draft_counts == drafts
        if accepted:
            assert drafts.drafted == drafts.accepted == (4, 4, 4)
        else:
            # the last steps have room for fewer drafts
            assert drafts.accepted == (0, 0, 0)
            assert drafts.drafted == (3, 2, 1)


def test_zero_drafts_between_drafts(build, drafting_model):
    """vLLM #39273: a step without drafts must go on from the last accepted state."""
    for kind in ("mtp", "ngram"):
        for period in (2, 3) if kind == "mtp" else (2,):
            engine = build(kind, 3)
            drafter, turn = engine.loop.speculator.drafter, []
            draft = drafter.draft

            def sometimes(requests, counts, draft=draft, turn=turn, period=period):
                turn.append(1)
                quiet = len(turn) % period == 0
                some = [
                    0 if quiet or (r.id + len(turn)) % 3 == 0 else c
                    for r, c in zip(requests, counts, strict=True)
                ]
                return draft(requests, some)

            drafter.draft = sometimes
            asked = [*prompts(4, 5, 60), [50, 60, 70] * 9, [41, 42] * 9]
            for prompt, done in zip(asked, engine.generate(asked, GREEDY), strict=True):
                check_greedy(drafting_model, prompt, done.ids, done.logprobs)


@pytest.mark.parametrize("kind", ["mtp", "ngram"])
def test_preemption_in_the_middle(build, drafting_model, kind):
    engine = build(kind, 3)
    asked = [*prompts(3, 6), [50, 60, 70] * 9]
    ids = {engine.submit(p, GREEDY): p for p in asked}
    done, steps = {}, 0
    while len(done) < len(ids):
        done |= engine.step()
        steps += 1
        if steps % 3 == 0:
            engine.pause()
            engine.resume()
    for request_id, prompt in ids.items():
        check_greedy(drafting_model, prompt, done[request_id].ids, done[request_id].logprobs)


def test_plain_requests_beside_drafting_ones(build, plain):
    engine = build("mtp", 3)
    asked = [*prompts(4, 7), [50, 60, 70] * 9, [41, 42] * 9]
    params = [
        replace(GREEDY, max_tokens=12 + i, presence_penalty=0.5 * (i % 2))
        for i in range(len(asked))
    ]
    expected = plain.generate(asked, params)
    done = engine.generate(asked, params)
    assert [d.drafts is None for d in done] == [i % 2 == 1 for i in range(len(asked))]
    for a, b in zip(done, expected, strict=True):
        assert a.ids == b.ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)


@pytest.mark.parametrize("kind", ["mtp", "ngram"])
def test_stops_cut_an_accepted_run(build, plain, tokenizer, kind):
    engine = build(kind, 5)
    free = plain.generate([[50, 60, 70] * 9], GREEDY)[0]
    for at in range(2, 12, 3):
        params = replace(GREEDY, stop_token_ids=(free.ids[at],))
        (a,), (b,) = (
            engine.generate([free.prompt_ids], params),
            plain.generate([free.prompt_ids], params),
        )
        assert (a.ids, a.text, a.finish_reason) == (b.ids, b.text, b.finish_reason)
        params = replace(GREEDY, max_tokens=at)
        (a,), (b,) = (
            engine.generate([free.prompt_ids], params),
            plain.generate([free.prompt_ids], params),
        )
        assert (a.ids, a.text, a.finish_reason) == (b.ids, b.text, b.finish_reason)
    whole = free.text
    middle = next(i for i in range(5, len(whole)) if "\ufffd" not in whole[i : i + 3])
    params = replace(GREEDY, stop=(whole[middle : middle + 3],))
    (a,), (b,) = (
        engine.generate([free.prompt_ids], params),
        plain.generate([free.prompt_ids], params),
    )
    assert (a.ids, a.text, a.finish_reason) == (b.ids, b.text, b.finish_reason)
    assert a.finish_reason == "stop"
    pieces = list(engine.stream(free.prompt_ids, params))
    assert "".join(p.text for p in pieces) == a.text
    assert tuple(i for p in pieces for i in p.ids) == a.ids


@pytest.mark.parametrize("budget", [0, 1, 7, 30])
@pytest.mark.parametrize("kind", ["mtp", "ngram"])
def test_the_thinking_budget_holds(build, plain, tokenizer, kind, budget):
    engine = build(kind, 4)
    params = SamplingParams(temperature=0, max_tokens=60, thinking_budget_tokens=budget)
    (a,), (b,) = engine.generate([CHAT], params), plain.generate([CHAT], params)
    assert (a.ids, a.forced, a.reasoning_tokens) == (b.ids, b.forced, b.reasoning_tokens)
    assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)


def test_top_logprobs_and_raw_ones(build, plain):
    engine = build("mtp", 3)
    for raw in (False, True):
        params = SamplingParams(
            temperature=0.8, top_k=5, logprobs=4, raw_logprobs=raw, max_tokens=12, seed=1
        )
        done = engine.generate([[50, 60] * 5], params)[0]
        scored = engine.score([[*done.prompt_ids, *done.ids]])[0][len(done.prompt_ids) - 1 :]
        assert len(done.top_logprobs) == 12
        for token_id, logprob, top, plainly in zip(
            done.ids, done.logprobs, done.top_logprobs, scored, strict=True
        ):
            if token_id in top:
                assert top[token_id] == pytest.approx(logprob, abs=1e-5)
            assert (logprob == pytest.approx(plainly, abs=1e-4)) == raw


def test_leaving_frees_everything(build):
    engine = build("mtp", 3)
    stream = engine.stream(CHAT, GREEDY)
    next(stream)
    stream.close()
    request_id = engine.submit([50, 60] * 8, GREEDY)
    for _ in range(3):
        engine.step()
    aborted = engine.abort(request_id)
    assert aborted is not None
    assert aborted.finish_reason == "abort"


def test_what_cannot_draft_is_refused(model, config):
    with pytest.raises(InputError, match=r"no MTP head; use Speculation\(kind=\"ngram\"\)"):
        Engine(model, speculation=Speculation(kind="mtp"))
    for bad in ({"num_tokens": 0}, {"num_tokens": 9}, {"kind": "tree"}, {"ngram_tokens": (3, 2)}):
        with pytest.raises(InputError, match=f"speculation.{next(iter(bad))}"):
            Speculation(**bad)
    sets = replace(config, mtp=MTPConfig(num_nextn_predict_layers=2))
    with pytest.raises(InputError, match="one set"):
        Speculation(kind="mtp").check(sets)
    mixer = replace(config, mtp=MTPConfig(pattern="ME"))
    with pytest.raises(InputError, match="cannot forget"):
        Speculation(kind="mtp").check(mixer)


@pytest.mark.parametrize("num_tokens", [1, 2, 4])
def test_steps_without_the_host_draft_and_keep_the_same(build, drafting_model, num_tokens):
    """The step that a GPU records, run here one operation at a time: the same numbers, the same tokens."""
    asked = [*prompts(5, 8, 60), [50, 60, 70] * 9, [41, 42] * 9]
    params = [
        replace(GREEDY, max_tokens=9 + 2 * i, temperature=0.9 * (i % 2), seed=i)
        for i in range(len(asked))
    ]
    slow, fast = build("mtp", num_tokens), run_ahead(build("mtp", num_tokens))
    wanted, done = slow.generate(asked, params), fast.generate(asked, params)
    assert isinstance(fast.loop.speculator, Speculator)
    assert fast.loop.speculator.steps
    for a, b in zip(done, wanted, strict=True):
        assert a.ids == b.ids
        assert a.drafts == b.drafts
        assert a.logprobs == pytest.approx(b.logprobs, abs=3e-5)
    kinds = ({"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.05}, {})
    filtered = [replace(p, **kinds[i % 4]) for i, p in enumerate(params)]
    for a, b in zip(fast.generate(asked, filtered), slow.generate(asked, filtered), strict=True):
        assert (a.ids, a.drafts) == (b.ids, b.drafts)
        assert a.logprobs == pytest.approx(b.logprobs, abs=3e-5)
    assert {has_filters for _, has_filters in fast.loop.speculator.steps} == {False, True}
    budget = SamplingParams(temperature=0, max_tokens=40, thinking_budget_tokens=7)
    (a,), (b,) = fast.generate([CHAT], budget), slow.generate([CHAT], budget)
    assert (a.ids, a.forced) == (b.ids, b.forced)


@pytest.mark.parametrize(("kind", "is_ahead"), [("mtp", False), ("mtp", True), ("ngram", False)])
def test_not_a_number_fails_its_own_request_only(build, drafting_model, kind, is_ahead):
    poisoned = [45, 46, 349, 47]
    asked = [*prompts(2, 8, 40), poisoned, *prompts(2, 9, 40), [50, 60, 70] * 9]
    asked = [[i if i != 349 or p is poisoned else 40 for i in p] for p in asked]
    engine = build(kind, 3)
    if is_ahead:
        run_ahead(engine)
    clean = engine.generate(asked, GREEDY)
    row = drafting_model.embeddings.weight.data[349].clone()
    try:
        drafting_model.embeddings.weight.data[349] = torch.nan
        for _ in range(2):
            done = engine.generate([*asked, poisoned], GREEDY)
            assert [one.finish_reason == "error" for one in done] == [
                349 in prompt for prompt in [*asked, poisoned]
            ]
            for one, good in zip(done, clean, strict=False):
                if one.finish_reason != "error":
                    assert one.ids == good.ids
                    assert one.drafts == good.drafts
    finally:
        drafting_model.embeddings.weight.data[349] = row
