import math
import random

import pytest
import torch
from tests.suites.decoding import check_greedy, check_near_tie, full_logits

from nautiloid.core.errors import InputError
from nautiloid.core.types import MediaPart, Message, SamplingParams
from nautiloid.engine.engine import Engine

GREEDY = SamplingParams(temperature=0.0, max_tokens=20)
CHAT = [Message("user", "What is 12 + 7 - 5?")]


@pytest.fixture
def engine(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, max_batch=4, stop_ids=())
    yield engine
    assert not len(engine.scheduler)
    assert not engine.requests
    assert not engine.finished
    assert len(engine.pool.free_slots) == engine.pool.num_slots
    assert len(engine.pool.free_pages) == engine.pool.num_pages


def prompts(count, seed=0, longest=150):
    draw = random.Random(seed)
    return [
        [draw.randrange(40, 350) for _ in range(draw.randint(1, longest))] for _ in range(count)
    ]


def test_decoding_equals_the_full_forward(engine, model):
    for prompt, done in zip(prompts(6), engine.generate(prompts(6), GREEDY), strict=True):
        assert done.finish_reason == "length"
        assert len(done.ids) == 20
        check_greedy(model, prompt, done.ids, done.logprobs)


def test_batch_composition_does_not_matter_near_tie_rule(engine, model):
    together = engine.generate(prompts(9, seed=1), GREEDY)
    for prompt, done in zip(prompts(9, seed=1), together, strict=True):
        alone = engine.generate([prompt], GREEDY)[0]
        check_near_tie(model, prompt, alone.ids, done.ids)


def test_prompts_in_pieces_equal_whole_ones(engine, model):
    engine.scheduler.prefill_tokens = 32
    for prompt, done in zip(
        prompts(5, seed=2), engine.generate(prompts(5, seed=2), GREEDY), strict=True
    ):
        check_greedy(model, prompt, done.ids, done.logprobs)


def test_a_long_sequence_borrows_pages(model, tokenizer):
    engine = Engine(model, max_batch=4, memory_bytes=900_000, stop_ids=())
    assert engine.pool.home * engine.pool.page_tokens < 300 <= engine.max_context_tokens
    asked = [*prompts(3, seed=3, longest=20), prompts(1, seed=4)[0] * 3]
    asked[-1] = (asked[-1] * 300)[:300]
    for prompt, done in zip(asked, engine.generate(asked, GREEDY), strict=True):
        check_greedy(model, prompt, done.ids, done.logprobs)


def test_sampled_logprobs_equal_score(engine):
    params = SamplingParams(max_tokens=30, seed=5)
    for prompt, done in zip(prompts(3), engine.generate(prompts(3), params), strict=True):
        scored = engine.score([[*prompt, *done.ids]])[0]
        assert len(scored) == len(prompt) + len(done.ids) - 1
        assert scored[len(prompt) - 1 :] == pytest.approx(done.logprobs, abs=2e-5)


def test_score_packs_and_takes_a_temperature(engine, model):
    sequences = [s for s in prompts(30, seed=6) if len(s) > 1]
    for ids, scored in zip(sequences, engine.score(sequences, temperature=0.7), strict=True):
        rows = (full_logits(model, ids)[:-1] / 0.7).log_softmax(-1)
        expected = rows.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(scored), expected, atol=2e-5, rtol=1e-5)


def test_logprobs_are_those_of_the_filtered_distribution(engine, model):
    params = SamplingParams(temperature=1.7, top_k=5, top_p=0.9, logprobs=7, max_tokens=12, seed=1)
    done = engine.generate([[50, 60]], params)[0]
    logits = full_logits(model, [50, 60, *done.ids])[1:-1]
    for row, token_id, logprob, top in zip(
        logits, done.ids, done.logprobs, done.top_logprobs, strict=True
    ):
        values, kept = (row / 1.7).topk(5)
        probs = values.softmax(-1)
        count = int(((probs.cumsum(-1) - probs) < 0.9).sum())
        expected = dict(
            zip(
                kept[:count].tolist(),
                probs[:count].div(probs[:count].sum()).log().tolist(),
                strict=True,
            )
        )
        assert top == pytest.approx(expected, abs=2e-5)
        assert logprob == pytest.approx(top[token_id], abs=1e-6)


def test_samples_follow_the_distribution(model):
    engine = Engine(model, max_batch=100, stop_ids=())
    done = engine.generate([[70, 80]], SamplingParams(max_tokens=1, n=1000, top_k=4, seed=0))
    values, ids = full_logits(model, [70, 80])[-1].topk(4)
    for token_id, p in zip(ids.tolist(), values.softmax(-1).tolist(), strict=True):
        share = sum(c.ids[0] == token_id for c in done) / 1000
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 1000)


def test_a_seed_fixes_a_request_whatever_runs_beside_it(engine, model):
    params = SamplingParams(max_tokens=15, seed=11)
    alone = engine.generate([[44, 45]], params)[0]
    others = [SamplingParams(max_tokens=k + 3) for k in range(5)]
    crowd = engine.generate([*prompts(5), [44, 45]], [*others, params])[-1]
    assert crowd.ids == alone.ids
    assert engine.generate([[44, 45]], SamplingParams(max_tokens=15, seed=12))[0].ids != alone.ids
    first, second = engine.generate([[44, 45]], SamplingParams(max_tokens=15, seed=11, n=2))
    assert first.ids == alone.ids != second.ids


def test_unseeded_requests_differ_and_the_engine_seed_fixes_them(model):
    runs = [
        Engine(model, seed=s, stop_ids=()).generate([[44]] * 2, SamplingParams(max_tokens=9))
        for s in (1, 1, 2)
    ]
    assert runs[0][0].ids != runs[0][1].ids
    assert [c.ids for c in runs[0]] == [c.ids for c in runs[1]] != [c.ids for c in runs[2]]


def test_n_completions_in_order(engine):
    params = [SamplingParams(n=2, max_tokens=3, seed=1), SamplingParams(n=3, max_tokens=4, seed=1)]
    done = engine.generate([[40], [41]], params)
    assert [(c.prompt_ids, len(c.ids)) for c in done] == [((40,), 3)] * 2 + [((41,), 4)] * 3


def test_stop_ids_end_and_are_not_text(engine, tokenizer):
    free = engine.generate([CHAT], GREEDY)[0]
    stop = free.ids[7]
    done = engine.generate(
        [CHAT], SamplingParams(temperature=0, max_tokens=20, stop_token_ids=(stop,))
    )[0]
    cut = free.ids.index(stop)
    assert done.finish_reason == "stop"
    assert done.ids == free.ids[: cut + 1]
    assert done.text == tokenizer.decode(free.ids[:cut])


def test_the_grammar_ends_completions(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer)
    assert {*tokenizer.renderer().stop_ids, *model.config.eos_ids} <= engine.stop_ids
    done = engine.generate([CHAT] * 16, SamplingParams(temperature=2.0, max_tokens=100))
    ended = [c for c in done if c.finish_reason == "stop"]
    assert ended
    assert all(c.ids[-1] in engine.stop_ids for c in ended)


def test_stop_strings_across_tokens_are_never_emitted(engine, tokenizer):
    free = engine.generate([[60, 61]], GREEDY)[0]
    whole = free.text
    middle = next(i for i in range(5, len(whole)) if "\ufffd" not in whole[i : i + 3])
    stop = whole[middle : middle + 3]
    params = SamplingParams(temperature=0, max_tokens=20, stop=(stop, "never there"))
    done = engine.generate([[60, 61]], params)[0]
    assert done.finish_reason == "stop"
    assert done.text == whole[: whole.find(stop)]
    assert done.ids == free.ids[: len(done.ids)]
    pieces = list(engine.stream([60, 61], params))
    assert "".join(p.text for p in pieces) == done.text
    assert pieces[-1].completion is not None
    assert pieces[-1].completion.text == done.text


def test_a_stream_is_the_completion_in_pieces(engine):
    for seed in range(3):
        params = SamplingParams(max_tokens=40, seed=seed, thinking_budget_tokens=10)
        whole = engine.generate([CHAT], params)[0]
        pieces = list(engine.stream(CHAT, params))
        assert tuple(i for p in pieces for i in p.ids) == whole.ids
        assert "".join(p.text for p in pieces) == whole.text
        assert "".join(p.reasoning for p in pieces).strip() == (whole.reasoning or "")
        assert "".join(p.content for p in pieces).strip() == whole.content
        assert [p.completion is not None for p in pieces] == [False] * (len(pieces) - 1) + [True]


def test_a_stream_that_is_left_frees_its_place(engine):
    stream = engine.stream(CHAT, GREEDY)
    next(stream)
    assert engine.requests
    stream.close()
    engine.stream(CHAT, GREEDY)  # never started


@pytest.mark.parametrize("budget", [0, 1, 7, 30])
def test_the_thinking_budget_holds(engine, tokenizer, budget):
    params = SamplingParams(max_tokens=60, seed=3, thinking_budget_tokens=budget)
    done = engine.generate([CHAT], params)[0]
    close = tokenizer.special("</think>")
    at = done.ids.index(close)
    most = budget + max(1, budget // 10) if budget else 0
    assert done.reasoning_tokens == at <= most
    assert done.forced == ((at,) if at >= budget else ())
    scored = engine.score([[*done.prompt_ids, *done.ids]])[0][len(done.prompt_ids) - 1 :]
    assert scored == pytest.approx(done.logprobs, abs=2e-5)
    assert done.text.partition("</think>")[0].strip() == (done.reasoning or "")


def test_a_budget_beyond_the_limit_of_tokens_forces_nothing(engine):
    free = engine.generate([CHAT], SamplingParams(max_tokens=12, seed=3))[0]
    params = SamplingParams(max_tokens=12, seed=3, thinking_budget_tokens=100)
    done = engine.generate([CHAT], params)[0]
    assert done.ids == free.ids
    assert done.forced == ()
    assert done.finish_reason == "length"
    assert done.reasoning_tokens == 12
    assert done.content == ""


def test_the_span_may_be_forced_by_the_very_last_token(engine, tokenizer):
    params = SamplingParams(temperature=0, max_tokens=12, thinking_budget_tokens=10)
    done = engine.generate([CHAT], params)[0]
    assert done.forced == (11,)
    assert done.ids[-1] == tokenizer.special("</think>")
    assert done.finish_reason == "length"
    assert done.reasoning_tokens == 11


def test_forced_tokens_carry_the_model_s_own_logprob(engine, tokenizer):
    settings = {"temperature": 0.6, "top_k": 3, "frequency_penalty": 1.5, "seed": 5}
    bias = {tokenizer.special("</think>"): -100.0}
    params = SamplingParams(
        max_tokens=20, thinking_budget_tokens=4, logprobs=2, logit_bias=bias, **settings
    )
    done = engine.generate([CHAT], params)[0]
    assert done.forced == (5,)
    scored = engine.score([[*done.prompt_ids, *done.ids]])[0][len(done.prompt_ids) - 1 :]
    assert done.logprobs[5] == pytest.approx(scored[5], abs=2e-5)
    assert done.logprobs[4] != pytest.approx(scored[4], abs=1e-2)
    assert len(done.top_logprobs) == len(done.ids)


def test_budget_and_effort_are_told_where_asked(engine, tokenizer):
    def asked(thinking=True, **settings):
        params = SamplingParams(max_tokens=1, **settings)
        done = engine.generate([CHAT], params, thinking=thinking)[0]
        return tokenizer.decode(done.prompt_ids)

    assert "budget" not in asked(thinking_budget_tokens=5)
    told = {"thinking_budget_tokens": 5, "thinking_budget_cue": True}
    assert "{thinking token budget: 5}" in asked(**told)
    assert "{reasoning effort: low}" in asked(thinking_effort="low")
    assert "{" not in asked(thinking=False, thinking_effort="low", **told)
    with pytest.raises(InputError, match=r"sampling.thinking_effort: huge: .*use one of low"):
        asked(thinking_effort="huge")


def test_no_budget_where_nothing_thinks(engine):
    params = SamplingParams(max_tokens=20, seed=3, thinking_budget_tokens=5)
    done = engine.generate([CHAT], params, thinking=False)[0]
    assert done.forced == ()
    assert done.reasoning is None
    assert done.reasoning_tokens == 0


def test_texts_ids_and_messages_mix(engine, tokenizer):
    text, ids, chat = engine.generate(["Sort 3, 17", [40, 41], CHAT], GREEDY)
    assert text.prompt_ids == tuple(tokenizer.encode("Sort 3, 17"))
    assert text.content == text.text
    assert ids.prompt_ids == (40, 41)
    assert chat.prompt_ids == tuple(tokenizer.renderer().prompt(CHAT))
    assert chat.reasoning == chat.text.strip()


def test_completions_stop_at_the_end_of_the_context(engine, config):
    prompt = prompts(1)[0][:1] * (config.max_position_embeddings - 4)
    done = engine.generate([prompt], SamplingParams(max_tokens=100))[0]
    assert len(done.ids) == 4
    assert done.finish_reason == "length"


def test_not_a_number_fails_its_own_request_only(model, tokenizer, config):
    poisoned = [45, 46, 349, 47]
    asked = [*prompts(3, seed=8), poisoned, *prompts(3, seed=9)]
    asked = [[i if i != 349 or p is poisoned else 40 for i in p] for p in asked]
    engine = Engine(model, max_batch=4, stop_ids=())
    clean = engine.generate(asked, GREEDY)
    row = model.embeddings.weight.data[349].clone()
    try:
        model.embeddings.weight.data[349] = math.nan
        for again in range(3):
            done = engine.generate([poisoned] * again + asked, GREEDY)[again:]
            for index, (prompt, one, good) in enumerate(zip(asked, done, clean, strict=True)):
                if index == 3:
                    assert one.finish_reason == "error"
                    assert one.ids == ()
                elif 349 not in good.ids:
                    check_near_tie(model, prompt, one.ids, good.ids)
                    assert all(map(math.isfinite, one.logprobs))
    finally:
        model.embeddings.weight.data[349] = row


@pytest.mark.parametrize(
    ("prompt", "params", "match"),
    [
        ([], {}, "prompt: is empty"),
        ("", {}, "prompt: is empty"),
        ([400], {}, "prompt: 400"),
        ([1.5], {}, "prompt: 1.5"),
        ([True], {}, "prompt: True"),
        ([40] * 512, {}, "prompt: 512 tokens"),
        ([Message("user", "x"), 3], {}, "mixes messages"),
        ([Message("user", (MediaPart("image", "a.png"),))], {}, "image a.png"),
        ("text", {"thinking_budget_tokens": 3}, "thinking_budget_tokens"),
        ("text", {"stop_token_ids": (999,)}, "sampling.stop_token_ids: 999"),
        ("text", {"logit_bias": {999: 1}}, "sampling.logit_bias: 999: ids are 0 to 351"),
        ("text", {"thinking_effort": "low"}, "sampling.thinking_effort: low: needs a prompt of"),
    ],
)
def test_what_cannot_be_honoured_is_refused(engine, prompt, params, match):
    with pytest.raises(InputError, match=match):
        engine.generate([[40], prompt], SamplingParams(max_tokens=3, **params))


def test_misshapen_calls_are_refused(engine, model):
    with pytest.raises(InputError, match="prompts"):
        engine.generate("one text")
    with pytest.raises(InputError, match="prompts"):
        engine.generate(CHAT)
    with pytest.raises(InputError, match="params: 1"):
        engine.generate([[40], [41]], [GREEDY])
    with pytest.raises(InputError, match=r"sampling\.n"):
        engine.submit([40], SamplingParams(n=2))
    with pytest.raises(InputError, match="tools"):
        engine.generate(["text"], GREEDY, tools=[{"name": "f"}])
    with pytest.raises(InputError, match="max_batch"):
        Engine(model, max_batch=0)
    with pytest.raises(InputError, match="score: 1 tokens"):
        engine.score([[40]])
    bare = Engine(model)
    with pytest.raises(InputError, match="tokenizer"):
        bare.generate(["text"])
    with pytest.raises(InputError, match="tokenizer"):
        bare.generate([CHAT])
    with pytest.raises(InputError, match=r"sampling\.stop"):
        bare.generate([[40]], SamplingParams(stop=("x",)))
    assert bare.generate([[40]], GREEDY)[0].text == ""
