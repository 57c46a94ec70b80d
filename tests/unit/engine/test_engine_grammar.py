"""Structured output: whatever a random model writes parses, and a bad structure harms nobody else."""

import json
import re
import sys
import time

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message, SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.engine.grammar import Grammars
from nautiloid.engine.request import Request
from nautiloid.engine.shaping import Shaper
from nautiloid.engine.speculation import Speculation

CPU = torch.device("cpu")
CHAT = [Message("user", "What is 12 + 7 - 5?")]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "ok": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["a", 'b\n"c']},
    },
    "required": ["name", "ok", "count", "kind"],
    "additionalProperties": False,
}
CHOICES = ("yes", "yes, but", "no", 'say "hi"\n\\', "caf\u00e9")
LARK = 'start: item ("," item)?\nitem: /[a-c]{1,3}/ | "[" item "]"\n'


def check(params, text):
    """Whether a complete answer has the structure that was asked for."""
    kind, structure = params.structure
    if kind == "json_schema":
        value = json.loads(text)
        assert list(value) == SCHEMA["required"]
        assert len(value["name"]) <= 6
        assert isinstance(value["ok"], bool)
        assert 0 <= value["count"] <= 99
        assert value["kind"] in SCHEMA["properties"]["kind"]["enum"]
    elif kind == "regex":
        assert re.fullmatch(structure, text)
    elif kind == "choice":
        assert text in structure
    else:
        item = r"\[*[a-c]{1,3}\]*"
        assert re.fullmatch(rf"{item}(,{item})?", text)
        assert text.count("[") == text.count("]")


STRUCTURES = [
    {"json_schema": SCHEMA},
    {"json_schema": json.dumps(SCHEMA)},
    {"regex": r"[0-9]{1,3}-[a-f]+\."},
    {"grammar": LARK},
    {"choice": CHOICES},
]


@pytest.fixture(scope="module")
def engine(model, tokenizer):
    return Engine(model, tokenizer=tokenizer, max_batch=8)


@pytest.fixture
def grammars(tokenizer, config):
    return Grammars(tokenizer, config.vocab_size, frozenset(tokenizer.eos_ids))


def spell(grammars, tokenizer, state):
    """What may come next, as texts."""
    ids = grammars.masks([state], CPU)[0].nonzero()[:, 0].tolist()
    return [tokenizer.decode([i]) for i in ids]


def test_answers_of_a_random_model_parse_beside_free_requests(engine, tokenizer):
    asked = [
        SamplingParams(temperature=1.5, seed=seed, max_tokens=150, **structure)
        for seed in range(4)
        for structure in STRUCTURES
    ]
    free = SamplingParams(temperature=0, max_tokens=12)
    mixed = [params for one in asked for params in (one, free)]
    done = engine.generate(["Sort: 3, 17"] * len(mixed), mixed)
    plain = engine.generate(["Sort: 3, 17"], free)[0]
    assert {c.ids for c in done[1::2]} == {plain.ids}
    complete = 0
    for params, completion in zip(asked, done[::2], strict=True):
        if completion.finish_reason == "stop":
            assert completion.ids[-1] in tokenizer.eos_ids
            check(params, completion.text)
            complete += 1
        assert max(completion.ids) < tokenizer.vocab_size
    assert complete > 15


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"repetition_penalty": 1.5}])
def test_greedy_and_penalized_answers_parse(engine, settings):
    for structure in STRUCTURES[2:]:
        params = SamplingParams(max_tokens=150, **settings, **structure)
        done = engine.generate(["x"], params)[0]
        if done.finish_reason == "stop":
            check(params, done.text)
        else:
            assert len(done.ids) == 150


def test_the_structure_begins_where_the_thinking_ends(engine, tokenizer):
    params = SamplingParams(
        max_tokens=60, seed=2, thinking_budget_tokens=10, choice=CHOICES, temperature=1.2
    )
    for seed in range(4):
        done = engine.generate([CHAT], SamplingParams(**_with(params, seed=seed)))[0]
        assert done.finish_reason == "stop"
        assert done.content.strip() in {c.strip() for c in CHOICES}
        assert done.reasoning_tokens <= 11
        assert done.ids[done.reasoning_tokens] == tokenizer.special("</think>")
    off = engine.generate([CHAT], params, thinking=False)[0]
    assert off.reasoning is None
    assert off.text in CHOICES


def _with(params, **changes):
    return {name: getattr(params, name) for name in params.__slots__} | changes


def test_without_stop_ids_a_complete_answer_ends_the_request(model, tokenizer):
    engine = Engine(model, tokenizer=tokenizer, stop_ids=())
    done = engine.generate(["x"], SamplingParams(regex="[ab]{3}", max_tokens=9))[0]
    assert done.finish_reason == "stop"
    assert re.fullmatch("[ab]{3}", done.text)


def test_a_structure_is_streamed_and_cut_at_max_tokens(engine):
    params = SamplingParams(regex="[a-z]{40,}", max_tokens=5, seed=0)
    pieces = list(engine.stream("x", params))
    assert pieces[-1].completion.finish_reason == "length"
    assert re.fullmatch("[a-z]+", "".join(p.text for p in pieces))


def test_stop_ids_only_where_the_answer_is_complete(grammars, tokenizer):
    state = grammars.state("regex", "ab?")
    assert spell(grammars, tokenizer, state) == ["a"]
    state.accept(tokenizer.encode("a")[0])
    assert spell(grammars, tokenizer, state) == ["</s>", "<|im_end|>", "b"]
    state.accept(tokenizer.encode("b")[0])
    assert spell(grammars, tokenizer, state) == ["</s>", "<|im_end|>"]


def test_rollback_takes_tokens_back(grammars, tokenizer):
    state = grammars.state("regex", "[0-9]{3}x")
    masks = []
    digits = tokenizer.encode("123x")
    for token_id in digits:
        masks.append(grammars.masks([state], CPU))
        state.accept(token_id)
    state.rollback(2)
    assert torch.equal(grammars.masks([state], CPU), masks[2])
    for token_id in digits[2:]:
        state.accept(token_id)
    state.rollback(0)
    assert spell(grammars, tokenizer, state) == ["</s>", "<|im_end|>"]
    state.rollback(4)
    assert torch.equal(grammars.masks([state], CPU), masks[0])


def test_rows_beyond_the_tokenizer_and_special_tokens_are_masked(grammars, tokenizer, config):
    allowed = grammars.masks([grammars.state("regex", r"(?s:.*)")], CPU)[0]
    assert len(allowed) == config.vocab_size > tokenizer.vocab_size
    assert not allowed[tokenizer.vocab_size :].any()
    specials = [i for i in tokenizer.specials.values() if i not in tokenizer.eos_ids]
    assert not allowed[specials].any()
    assert allowed[list(tokenizer.eos_ids)].all()


def test_a_compiled_structure_is_kept(grammars):
    first = grammars.state("choice", CHOICES)
    started = time.perf_counter()
    again = grammars.state("choice", CHOICES)
    assert time.perf_counter() - started < 0.05
    first.accept(int(grammars.masks([first], CPU)[0].nonzero()[0]))
    assert not torch.equal(grammars.masks([first], CPU), grammars.masks([again], CPU))


def deep():
    schema = top = {}
    for _ in range(20_000):
        schema["not"] = {}
        schema = schema["not"]
    return top


@pytest.mark.parametrize(
    ("structure", "match"),
    [
        ({"regex": "(a"}, "sampling.regex: .a: .*unclosed group"),
        ({"regex": "(?=a)b"}, "sampling.regex: .*look-around"),
        ({"regex": "(" * 5000 + "a" + ")" * 5000}, "sampling.regex"),
        ({"regex": "a" * 300_000}, "sampling.regex: 300000 characters: use at most 262144"),
        ({"json_schema": {"type": "objekt"}}, "sampling.json_schema: .*Invalid type: objekt"),
        ({"json_schema": '{"type":'}, "sampling.json_schema: .*EOF"),
        ({"json_schema": {"a": {1, 2}}}, "sampling.json_schema: is not JSON"),
        ({"json_schema": deep()}, "sampling.json_schema: .*recursion"),
        ({"json_schema": '{"not":' * 5000 + "{}" + "}" * 5000}, "recursion limit"),
        (
            {"json_schema": {"type": "string", "enum": [1]}},
            "sampling.json_schema: .*Unsatisfiable schema",
        ),
        (
            {"json_schema": {"$ref": "https://example.com/schema.json"}},
            "sampling.json_schema: .*does not fetch",
        ),
        ({"grammar": "begin: x"}, "sampling.grammar: .*no start rule"),
        ({"grammar": "start: /a"}, "sampling.grammar"),
        ({"grammar": "start: " + "(" * 5000}, "sampling.grammar"),
    ],
)
def test_a_bad_structure_is_refused_while_others_go_on(engine, structure, match):
    beside = engine.submit("x", SamplingParams(temperature=0, max_tokens=4))
    engine.step()
    started = time.perf_counter()
    with pytest.raises(InputError, match=match):
        engine.submit("x", SamplingParams(**structure))
    assert time.perf_counter() - started < 6
    done = {}
    while not done:
        done = engine.step()
    assert list(done) == [beside]
    assert not engine.requests


def test_compiling_is_time_boxed(tokenizer, config):
    grammars = Grammars(tokenizer, config.vocab_size, frozenset(), limit_s=0.05)
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"takes over 0.05 s to compile; make it simpler"):
        grammars.state("regex", "(a{1000}){1000}")
    assert time.perf_counter() - started < 2


def test_a_structure_that_outgrows_its_limits_fails_its_own_request(engine):
    hostile = SamplingParams(regex="(a?){2000}a{2000}", max_tokens=20)
    free = SamplingParams(temperature=0, max_tokens=8)
    before = engine.generate(["x"], free)[0]
    done, beside = engine.generate(["x"] * 2, [hostile, free])
    assert done.finish_reason == "error"
    assert beside.ids == before.ids


def test_without_a_tokenizer_or_the_library(model, tokenizer, config, monkeypatch):
    with pytest.raises(InputError, match=r"sampling.regex: a: the engine has no tokenizer"):
        Engine(model).generate([[40]], SamplingParams(regex="a"))
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(InputError, match=r"llguidance: not installed: .*nautiloid\[structured\]"):
        Grammars(tokenizer, config.vocab_size, frozenset())


def test_masks_come_before_penalties_and_biases(grammars, config):
    """A biased or penalized id that the structure excludes stays excluded."""
    one = Request(
        id=0,
        prompt_ids=(40,),
        params=SamplingParams(logit_bias={200: 100.0}, repetition_penalty=0.1),
        seed=0,
        stop_ids=frozenset(),
        max_tokens=9,
        grammar=grammars.state("regex", "[0-9]+"),
        is_shaped=True,
        ids=[41],
    )
    logits = torch.randn(1, config.vocab_size)
    allowed = grammars.masks([one.grammar], CPU)[0]
    Shaper(CPU).apply(logits, [one])
    assert torch.equal(logits[0] > -torch.inf, allowed)


@pytest.mark.parametrize("how", ["pause", "speculation", "prefix_cache", "prefill_tokens"])
def test_structures_and_penalties_survive_what_the_engine_does(model, tokenizer, how):
    """Greedy, so equal up to near ties, which these prompts do not meet."""
    greedy = {"temperature": 0.0, "max_tokens": 40}
    asked = [
        SamplingParams(**greedy, json_schema=SCHEMA),
        SamplingParams(**greedy, repetition_penalty=1.3, frequency_penalty=0.3),
        SamplingParams(**greedy, regex="[a-z ]{30,}", presence_penalty=1.0),
        SamplingParams(**greedy, min_tokens=20, logit_bias={50: 2.0}),
        SamplingParams(**greedy),
    ]
    prompts = ["Sort these: 3, 17 and 45."] * len(asked)
    plain = Engine(model, tokenizer=tokenizer, max_batch=4).generate(prompts, asked)
    options = {
        "speculation": {"speculation": Speculation(kind="ngram", num_tokens=3)},
        "prefix_cache": {"prefix_cache": True},
        "prefill_tokens": {"prefill_tokens": 16},
    }
    engine = Engine(model, tokenizer=tokenizer, max_batch=4, **options.get(how, {}))
    ids = [engine.submit(p, one) for p, one in zip(prompts, asked, strict=True)]
    done, steps = {}, 0
    while len(done) < len(ids):
        done |= engine.step()
        steps += 1
        if how == "pause" and steps % 7 == 3:
            engine.pause()
            engine.resume()
    assert [done[i].ids for i in ids] == [one.ids for one in plain]
    assert not engine.sampler.shaper.penalties.seen
