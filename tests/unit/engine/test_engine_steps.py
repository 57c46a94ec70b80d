"""Steps that run ahead of the host: on a CPU the same code, one operation at a time."""

from dataclasses import replace

import pytest
import torch
from tests.suites.steps import FREE, GREEDY, assert_near, mixed_params, prompts_of, run_ahead

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message
from nautiloid.engine.engine import Engine
from nautiloid.engine.graphs import batch_sizes
from nautiloid.engine.routes import POOL_TOKENS, UniformRoutes
from nautiloid.engine.speculation import Speculation


def is_empty(engine):
    pool = engine.pool
    return (
        not engine.requests and len(pool.free_slots) == pool.num_slots and not engine.loop.pending
    )


def engine_of(model, **options):
    return Engine(model, stop_ids=(), page_tokens=8, **{"max_batch": 8, **options})


def test_steps_ahead_give_what_steps_that_wait_give(model):
    prompts, params = prompts_of(21, 340), mixed_params(21)
    plain = engine_of(model).generate(prompts, params)
    ahead = run_ahead(engine_of(model, prefill_tokens=64))
    got = ahead.generate(prompts, params)
    assert [c.ids for c in got] == [c.ids for c in plain]
    assert_near(got, plain, 1e-4)
    assert is_empty(ahead)
    assert ahead.runner.steps is not None
    assert set(ahead.runner.steps.steps) > {1}


def test_a_step_is_launched_before_the_last_one_is_known(model):
    engine = run_ahead(engine_of(model))
    request = engine.requests[engine.submit([1, 2, 3], GREEDY)]
    for _ in range(3):
        engine.step()
        assert request.in_flight == 1
    assert len(request.ids) == 2


def test_the_page_table_on_the_device_follows_the_leases(model):
    engine = run_ahead(engine_of(model, memory_bytes=400_000, max_batch=4))
    steps, table, checked = engine.runner.steps, engine.pool.store.page_table, []
    assert steps is not None
    launch = steps.launch

    def check(requests):
        step = launch(requests)
        for request in requests:
            pages = list(request.lease.pages)
            assert table[request.lease.slot, : len(pages)].tolist() == pages
            checked.append(len(pages))
        return step

    steps.launch = check
    params = replace(GREEDY, max_tokens=30)
    engine.generate(prompts_of(9, 340, seed=4), params)
    assert len(checked) > 9 * 25
    assert max(checked) > min(checked)
    assert is_empty(engine)


def test_requests_that_need_the_host_make_the_batch_wait(model, tokenizer):
    params = [
        GREEDY,
        replace(FREE, logprobs=3),
        replace(FREE, frequency_penalty=0.5),
        replace(FREE, max_tokens=20),
    ]
    prompts = prompts_of(4, 340)
    plain = engine_of(model, tokenizer=tokenizer).generate(prompts, params)
    engine = run_ahead(engine_of(model, tokenizer=tokenizer))
    got = engine.generate(prompts, params)
    assert [c.ids for c in got] == [c.ids for c in plain]
    assert [list(t) for t in got[1].top_logprobs] == [list(t) for t in plain[1].top_logprobs]
    assert is_empty(engine)


def test_a_stop_id_ends_a_request_whose_next_token_is_on_its_way(model):
    plain = engine_of(model).generate([[5, 6, 7]], GREEDY)[0]
    stop = plain.ids[3]
    engine = run_ahead(engine_of(model))
    got = engine.generate([[5, 6, 7]], replace(GREEDY, stop_token_ids=(stop,)))[0]
    assert got.finish_reason == "stop"
    assert got.ids == plain.ids[: plain.ids.index(stop) + 1]
    assert is_empty(engine)
    assert engine.generate([[5, 6, 7]], GREEDY)[0].ids == plain.ids


def test_aborting_with_tokens_in_flight_frees_everything(model):
    engine = run_ahead(engine_of(model))
    ids = [engine.submit(p, GREEDY) for p in prompts_of(5, 340)]
    for _ in range(3):
        engine.step()
    for request_id in ids:
        engine.abort(request_id)
    engine.step()
    assert is_empty(engine)


def test_pausing_with_tokens_in_flight_changes_nothing(model):
    prompts = prompts_of(5, 340)
    plain = engine_of(model).generate(prompts, FREE)
    engine = run_ahead(engine_of(model))
    ids = [engine.submit(p, FREE) for p in prompts]
    done = {}
    for turn in range(100):
        done |= engine.step()
        if turn == 4:
            engine.pause()
            engine.resume()
        if len(done) == 5:
            break
    assert [done[i].ids for i in ids] == [c.ids for c in plain]


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_a_thinking_budget_waits_only_near_its_end(model, tokenizer, budget):
    params = replace(FREE, max_tokens=25, thinking_budget_tokens=budget)
    asked = [[Message("user", "1 + 1")], [Message("user", "2 + 7")]]
    plain = engine_of(model, tokenizer=tokenizer).generate(asked, params)
    engine = run_ahead(engine_of(model, tokenizer=tokenizer))
    waited = 0
    ids = [engine.submit(prompt, params) for prompt in asked]
    done = {}
    while len(done) < 2:
        done |= engine.step()
        waited += not engine.loop.pending
    assert [done[i] for i in ids] == plain
    assert 0 < waited < 20


def test_sizes_cover_every_batch():
    for most in (1, 3, 32, 100, 256):
        sizes = batch_sizes(most)
        assert sizes == sorted(set(sizes))
        assert sizes[-1] == most


def test_uniform_routes_are_distinct_and_uniform(model):
    routes = UniformRoutes(model, engine_of(model).intake.seed)
    layer = next(iter(model.moe_layers())).config
    assert routes.layers_LTK.shape[-1] == layer.num_experts_per_tok
    ordered = routes.layers_LTK.sort(-1).values
    assert (ordered.diff(dim=-1) > 0).all()
    counts = torch.bincount(routes.layers_LTK.flatten().long(), minlength=layer.n_routed_experts)
    share = routes.layers_LTK.numel() / layer.n_routed_experts
    assert ((counts - share).abs() < 6 * share**0.5).all()
    assert 1 <= routes.distinct_experts(2) <= layer.n_routed_experts
    assert routes.run(POOL_TOKENS + 3)[0].shape[0] == POOL_TOKENS + 3


def test_forced_experts_change_the_text_and_repeat_with_the_seed(model):
    runs = [
        run_ahead(engine_of(model, routing=routing)).generate([[3, 4, 5]], GREEDY)[0]
        for routing in (None, "uniform", "uniform")
    ]
    assert runs[1] == runs[2]
    assert runs[0].logprobs != runs[1].logprobs


def test_forced_experts_need_experts(config):
    from nautiloid.model.decoder import Decoder

    dense = Decoder(replace(config, pattern="M*-M"))
    with pytest.raises(InputError, match="no experts"):
        Engine(dense, routing="uniform")
    with pytest.raises(InputError, match="uniform"):
        Engine(dense, routing="even")


def test_drafts_are_checked_by_steps_of_fixed_size(model):
    # a text that repeats itself, so that its own past is a good draft
    prompts = [[7, 8, 9, 10] * 6, [3, 4, 5] * 7, [11, 12] * 9]
    speculation = Speculation(kind="ngram", num_tokens=3)
    params = replace(GREEDY, max_tokens=20)
    plain = engine_of(model).generate(prompts, params)
    engine = run_ahead(engine_of(model, speculation=speculation))
    got = engine.generate(prompts, params)
    assert [c.ids for c in got] == [c.ids for c in plain]
    assert engine.runner.steps is not None
    assert engine.runner.steps.checks
