"""Random schedules of requests through an engine, and what must hold of every one of them."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from tests.suites.decoding import TIE, full_logits

from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.engine.budget import Sizes, activation_bytes
from nautiloid.engine.engine import PREFILL_TOKENS_GPU, Engine
from nautiloid.model.blocks.attention import AttentionConfig
from nautiloid.model.blocks.mamba import MambaConfig
from nautiloid.model.blocks.moe import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.decoder import Decoder
from nautiloid.model.states import StateTypes

VOCAB = 61
CHUNK = 16
PAGE = 8


def hybrid(pattern="M*EM*", seed=3, **options):
    """A tiny model; scan chunks of 16 tokens."""
    config = ModelConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        pattern=pattern,
        max_position_embeddings=160,
        initializer_range=0.2,
        blocks={
            "M": MambaConfig(
                mamba_num_heads=4, mamba_head_dim=8, n_groups=2, ssm_state_size=16, chunk_size=CHUNK
            ),
            "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=8),
            "E": MoEConfig(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
        },
        dtype="float32",
        **options,
    )
    model = Decoder(config)
    model.init_weights(Seed(seed))
    return model


def engine_of(model, *, pages, max_batch=3, snapshots=4, page_tokens=PAGE, **options):
    """An engine with so many pages and snapshots that can be handed out."""
    if options.get("prefix_cache"):
        options["snapshots"] = snapshots
    else:
        snapshots = 0
    is_cpu = model.device.type == "cpu"
    types = StateTypes(model.dtype)
    sizes = Sizes.of(model.config, page_tokens, types, None, has_tables=not is_cpu)
    memory = (max_batch + 1) * (sizes.slot_bytes + sizes.table_bytes)
    memory += snapshots * sizes.slot_bytes + (pages + 1) * sizes.page_bytes
    if not is_cpu:
        memory += activation_bytes(
            model.config,
            tokens=options.get("prefill_tokens") or PREFILL_TOKENS_GPU,
            rows=max_batch,
            itemsize=model.dtype.itemsize,
        )
    engine = Engine(
        model,
        max_batch=max_batch,
        memory_bytes=memory,
        page_tokens=page_tokens,
        stop_ids=(),
        **options,
    )
    assert engine.pool.num_slots == max_batch
    return engine


def check_logprobs(model, done, temperature=0.0, bound=3e-5, tie=TIE):
    """Near-tie rule against the full forward of the same tokens, for a request run with others.

    A greedy id is the best one or within `tie` logits of it; logprobs agree within `bound`.
    """
    if not done.ids:
        return
    rows = full_logits(model, [*done.prompt_ids, *done.ids])[len(done.prompt_ids) - 1 : -1]
    chosen = torch.tensor(done.ids)[:, None]
    if temperature == 0:
        assert (rows.amax(-1) - rows.gather(1, chosen)[:, 0]).max() < tie
    else:
        rows = rows / temperature
    expected = rows.log_softmax(-1).gather(1, chosen)[:, 0]
    torch.testing.assert_close(torch.tensor(done.logprobs), expected, atol=bound, rtol=1e-5)


def check_pool(engine):
    """Nothing leaked: every slot, snapshot and page is free or held by exactly who should hold it."""
    pool, scheduler = engine.pool, engine.scheduler
    holders = [0] * (pool.num_pages + 1)
    slots = set()
    for request in scheduler.running.values():
        slots.add(request.lease.slot)
        for page in request.lease.pages:
            holders[page] += 1
    rows = set()
    for entry in scheduler.sharing.cache if scheduler.sharing else ():
        if entry.row is not None:
            rows.add(entry.row)
        for page in entry.pages:
            holders[page] += 1
    assert pool.refs == holders
    assert pool.free_pages == {p for p in range(1, pool.num_pages + 1) if not holders[p]}
    assert slots.isdisjoint(pool.free_slots)
    assert len(slots) == len(scheduler.running)
    assert slots | pool.free_slots == set(range(pool.num_slots))
    assert rows.isdisjoint(pool.free_snapshots)
    assert len(rows) + len(pool.free_snapshots) == pool.num_snapshots
    assert all(r.lease is None for r in scheduler.waiting)
    if scheduler.sharing:
        live = set(scheduler.running) | {r.id for r in scheduler.waiting}
        assert set(scheduler.sharing.cuts) <= set(scheduler.running)
        assert set(scheduler.sharing.keys) <= live
        assert set(scheduler.sharing.waits) <= live


def check_empty(engine):
    """Nothing waits or runs, and dropping the cached prefixes frees everything."""
    assert not len(engine.scheduler)
    assert not engine.requests
    assert not engine.finished
    check_pool(engine)
    engine.scheduler.forget()
    assert len(engine.pool.free_slots) == engine.pool.num_slots
    assert len(engine.pool.free_pages) == engine.pool.num_pages
    assert len(engine.pool.free_snapshots) == engine.pool.num_snapshots
    assert not engine.scheduler.swapped


@dataclass(frozen=True)
class Asked:
    """One request of a schedule: a beginning that others share, then tokens of its own."""

    family: int
    shared: int
    own: int
    max_tokens: int
    temperature: float
    priority: int
    client: str

    @property
    def prompt(self):
        """Token ids."""
        shared = [(7 * self.family + 3 * i + i * i) % VOCAB for i in range(self.shared)]
        return [*shared, *[(11 * self.own + 5 * i) % VOCAB for i in range(self.own)]]

    @property
    def params(self):
        """Sampling settings."""
        return SamplingParams(
            temperature=self.temperature, max_tokens=self.max_tokens, seed=self.own
        )


LENGTHS = [0, 1, PAGE - 1, PAGE, PAGE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 40]
asked = st.builds(
    Asked,
    family=st.integers(0, 1),
    shared=st.sampled_from(LENGTHS),
    own=st.integers(1, 12),
    max_tokens=st.integers(1, 14),
    temperature=st.sampled_from([0.0, 0.0, 1.0]),
    priority=st.sampled_from([0, 0, 1]),
    client=st.sampled_from(["a", "b"]),
)
# what happens between steps: a request comes, some steps run, one is aborted, all are paused
event = st.one_of(
    asked,
    asked,
    st.integers(1, 6),
    st.tuples(st.just("abort"), st.integers(0, 7)),
    st.just("pause"),
)


def play(engine, events):
    """Run a schedule to its end; completions by what was asked, aborted ones left out."""
    known, done = {}, []

    def take(finished):
        done.extend((known.pop(i), completion) for i, completion in finished.items())

    for what in events:
        if isinstance(what, Asked):
            if len(what.prompt) + what.max_tokens > engine.max_context_tokens:
                continue
            known[
                engine.submit(what.prompt, what.params, priority=what.priority, client=what.client)
            ] = what
        elif isinstance(what, int):
            for _ in range(what):
                take(engine.step())
                check_pool(engine)
        elif what == "pause":
            engine.pause()
            assert len(engine.pool.free_slots) == engine.pool.num_slots
            engine.resume()
        elif known:
            request_id = sorted(known)[what[1] % len(known)]
            del known[request_id]
            engine.abort(request_id)
            check_pool(engine)
    take(engine.drain())
    assert not known
    check_empty(engine)
    return done
