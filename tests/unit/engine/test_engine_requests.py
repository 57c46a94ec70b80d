import asyncio
import random
from dataclasses import replace

import pytest
import torch
from tests.suites.decoding import check_near_tie

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Message, SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.policy import EnginePolicy
from nautiloid.model.decoder import Decoder

GREEDY = SamplingParams(temperature=0.0, max_tokens=12)


def is_empty(engine):
    return (
        not len(engine.scheduler)
        and not engine.requests
        and not engine.finished
        and len(engine.pool.free_slots) == engine.pool.num_slots
        and len(engine.pool.free_pages) == engine.pool.num_pages
    )


def test_two_thousand_random_operations_leak_nothing(config, tokenizer):
    model = Decoder(replace(config, pattern="M*"))
    model.init_weights(Seed(0))
    engine = Engine(model, tokenizer=tokenizer, max_batch=4, memory_bytes=400_000)
    assert engine.pool.num_slots == 4
    draw = random.Random(0)
    alive, finished = {}, 0
    for _ in range(2_000):
        what = draw.random()
        if what < 0.35:
            prompt = [draw.randrange(40, 350)] * draw.choice([1, 3, 20, 70])
            params = SamplingParams(
                max_tokens=draw.choice([1, 2, 5, 12]),
                temperature=draw.choice([0.0, 1.0]),
                stop=draw.choice([(), ("a",)]),
            )
            alive[engine.submit(prompt, params)] = params
        elif what < 0.5 and alive:
            request_id = draw.choice(list(alive))
            stopped = engine.abort(request_id)
            assert stopped is not None
            assert stopped.finish_reason == "abort"
            assert engine.abort(request_id) is None
            del alive[request_id]
        elif what < 0.52:
            engine.pause()
            assert len(engine.pool.free_slots) == engine.pool.num_slots
            engine.resume()
        else:
            for request_id, done in engine.step().items():
                assert len(done.ids) <= alive.pop(request_id).max_tokens
                finished += 1
        leases = [r.lease for r in engine.scheduler.running.values()]
        assert None not in leases
        assert len(leases) + len(engine.pool.free_slots) == engine.pool.num_slots
    while alive:
        for request_id in engine.step():
            del alive[request_id]
    assert finished > 200
    assert is_empty(engine)


def test_abort_frees_a_place_for_the_next_in_line(model):
    engine = Engine(model, max_batch=1, stop_ids=())
    first, second = (engine.submit([40 + i], GREEDY) for i in range(2))
    engine.step()
    assert list(engine.scheduler.running) == [first]
    stopped = engine.abort(first)
    assert stopped is not None
    assert stopped.finish_reason == "abort"
    assert len(stopped.ids) == 1
    engine.step()
    assert list(engine.scheduler.running) == [second]
    engine.abort(second)
    assert is_empty(engine)


def test_generate_and_stream_leave_submitted_requests_alone(model):
    engine = Engine(model, max_batch=4, stop_ids=())
    request_id = engine.submit([50], GREEDY)
    engine.generate([[51]], SamplingParams(temperature=0, max_tokens=20))
    reported = engine.step()
    assert list(reported) == [request_id]
    assert len(reported[request_id].ids) == 12


def test_pausing_changes_nothing(model):
    prompts = [[60, 61], [62] * 30, [63]]
    engine = Engine(model, max_batch=2, stop_ids=())
    plain = engine.generate(prompts, GREEDY)
    ids = [engine.submit(p, GREEDY) for p in prompts]
    done = {}
    for step in range(60):
        done |= engine.step()
        if step % 5 == 3:
            engine.pause()
            with pytest.raises(InputError, match="engine: paused"):
                engine.step()
            engine.resume()
    for prompt, request_id, before in zip(prompts, ids, plain, strict=True):
        check_near_tie(model, prompt, before.ids, done[request_id].ids)
    assert is_empty(engine)


def copy_of(model, seed=None):
    other = Decoder(model.config)
    other.load_state_dict(model.state_dict())
    if seed is not None:
        other.init_weights(Seed(seed))
    return other


def test_new_weights_take_over(model):
    other = copy_of(model, seed=9)
    engine = Engine(copy_of(model), stop_ids=())
    old = engine.generate([[70, 71]], GREEDY)[0]
    request_id = engine.submit([70, 71], GREEDY)
    engine.step()
    with pytest.raises(InputError, match="pause first"):
        engine.load_weights(other.state_dict().items(), 3)
    engine.pause()
    engine.load_weights(other.state_dict().items(), 3)
    engine.resume()
    done = {}
    while not done:
        done = engine.step()
    assert done[request_id].version == 0  # its first token came from the old weights
    new = engine.generate([[70, 71]], GREEDY)[0]
    assert (old.version, new.version) == (0, 3)
    assert new.ids == Engine(other, stop_ids=()).generate([[70, 71]], GREEDY)[0].ids != old.ids
    assert done[request_id].ids[:1] == old.ids[:1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda w: w | {"extra.weight": torch.zeros(1)},
            "extra.weight: the model has no such tensor",
        ),
        (lambda w: {k: v for k, v in w.items() if k != "norm_f.weight"}, "norm_f.weight: missing"),
        (lambda w: w | {"norm_f.weight": torch.zeros(3)}, "norm_f.weight.*expected shape"),
        (
            lambda w: w | {"norm_f.weight": w["norm_f.weight"].bfloat16()},
            "norm_f.weight.*expected torch.float32",
        ),
    ],
)
def test_wrong_weights_are_named_and_a_torn_set_stops_the_engine(model, change, match):
    engine = Engine(copy_of(model), stop_ids=())
    wrong = change(dict(model.state_dict()))
    before = engine.generate([[40]], GREEDY)[0]
    with pytest.raises(InputError, match=match):
        engine.load_weights(wrong.items(), 1)  # seen before anything is changed
    assert engine.generate([[40]], GREEDY)[0].ids == before.ids
    with pytest.raises(InputError, match=match):
        engine.load_weights(iter(wrong.items()), 1)
    with pytest.raises(InputError, match="load_weights failed"):
        engine.generate([[40]], GREEDY)
    engine.load_weights(model.state_dict().items(), 2)
    assert engine.generate([[40]], GREEDY)[0].version == 2


def test_concurrent_callers_share_batches(model, tokenizer, monkeypatch):
    engine = Engine(model, tokenizer=tokenizer, max_batch=8, stop_ids=())
    policy = EnginePolicy(engine, GREEDY)
    sizes = []
    decode = engine.runner.decode
    monkeypatch.setattr(engine.runner, "decode", lambda rs: sizes.append(len(rs)) or decode(rs))

    async def ask():
        asked = [[Message("user", f"{i} + 1")] for i in range(6)]
        return await asyncio.gather(
            *(policy.respond(m, thinking=i % 2 == 0) for i, m in enumerate(asked))
        )

    turns = asyncio.run(ask())
    assert max(sizes) == 6
    assert len(sizes) == 11
    assert all(len(turn.ids) == len(turn.logprobs) == 12 for turn in turns)
    whole = engine.generate([[Message("user", "1 + 1")]], GREEDY, thinking=False)[0]
    assert turns[1].message.content == whole.content
    assert turns[1].prompt_ids == whole.prompt_ids
    assert is_empty(engine)


def test_a_cancelled_call_frees_its_place(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, stop_ids=())
    policy = EnginePolicy(engine)

    async def ask():
        long = SamplingParams(max_tokens=400)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(policy.respond([Message("user", "x")], params=long), 0.05)
        return await policy.respond([Message("user", "y")], params=GREEDY)

    assert len(asyncio.run(ask()).ids) == 12
    assert is_empty(engine)


def test_a_failing_step_reaches_every_caller(model, tokenizer, monkeypatch):
    engine = Engine(model, tokenizer=tokenizer, stop_ids=())
    policy = EnginePolicy(engine, GREEDY)

    def broken(requests):
        raise RuntimeError("out of paper")

    monkeypatch.setattr(engine.runner, "decode", broken)

    async def ask():
        calls = (policy.respond([Message("user", "x")]) for _ in range(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [str(e) for e in asyncio.run(ask())] == ["out of paper"] * 3
    assert is_empty(engine)


def test_bad_requests_reach_their_caller_only(model, tokenizer):
    policy = EnginePolicy(Engine(model, tokenizer=tokenizer, stop_ids=()), GREEDY)

    async def ask():
        good, bad = policy.respond([Message("user", "x")]), policy.respond([])
        return await asyncio.gather(good, bad, return_exceptions=True)

    good, bad = asyncio.run(ask())
    assert not isinstance(good, BaseException)
    assert len(good.ids) == 12
    assert isinstance(bad, InputError)
