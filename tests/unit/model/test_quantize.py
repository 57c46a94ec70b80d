"""8-bit weights: bounds of rounding, kernels against widened weights, whole models, refusals."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.model.decoder import Decoder
from nautiloid.model.precision import PrecisionConfig, PrecisionRule
from nautiloid.model.presets import preset
from nautiloid.model.quantize import pack_weights, weight_bytes
from nautiloid.model.weights import save
from nautiloid.ops import moe
from nautiloid.ops.embedding.packed import packed_embedding
from nautiloid.ops.linear.packed import packed_linear
from nautiloid.ops.quant.int8 import GROUP, INT8, Int8Weight

INT8_ = INT8()
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 1 << 16)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def packed(x):
    return Int8Weight(**INT8_.pack(x))


def close(found, expected, tolerance=2e-6):
    error = (found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30)
    assert error < tolerance, float(error)


@few
@given(
    rows=st.integers(1, 9),
    columns=st.sampled_from([1, 7, 63, 64, 65, 200]),
    power=st.integers(-20, 20),
    seed=seeds,
)
def test_rounding_errs_by_half_a_step(rows, columns, power, seed):
    """A step is 1/127 of the largest value of a group, and up to 2**-8 more or less in bfloat16."""
    x = draw(seed, rows, columns) * 2.0**power
    parts = INT8_.pack(x)
    assert parts["data"].dtype == torch.int8
    assert parts["scale"].shape == (rows, -(-columns // GROUP))
    for at in range(0, columns, GROUP):
        block = x[:, at : at + GROUP]
        bound = block.abs().amax(-1, keepdim=True) / 127 * (0.5 + 2.0**-7)
        assert ((INT8_.unpack(parts)[:, at : at + GROUP] - block).abs() <= bound).all()


def test_zeros_stay_and_rounding_is_to_even():
    assert INT8_.operand(torch.zeros(2, 70)).eq(0).all()
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]])
    assert INT8_.unpack(INT8_.pack(x)).tolist() == [[127, 0, 2, 2, 0, -2]]


def test_what_is_not_finite_is_not_hidden():
    assert INT8_.operand(torch.tensor([[1.0, float("nan")]])).isnan().any()
    assert not INT8_.operand(torch.tensor([[1.0, float("inf")]])).isfinite().all()


def test_the_gradient_passes_as_if_nothing_was_rounded():
    x = draw(0, 3, 5).requires_grad_()
    (INT8_.operand(x) * torch.arange(5.0)).sum().backward()
    assert torch.equal(x.grad, torch.arange(5.0).expand(3, 5))


@few
@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 70),
    inner=st.sampled_from([1, 7, 16, 64, 100, 192]),
    has_bias=st.booleans(),
    seed=seeds,
)
def test_linear(rows, width, inner, has_bias, seed):
    x, w = draw(seed, rows, inner), draw(seed + 1, width, inner)
    bias = draw(seed + 2, width) if has_bias else None
    with torch.inference_mode():
        found = packed_linear(x, packed(w), bias)
        close(found, torch.nn.functional.linear(x, INT8_.operand(w), bias).double())


def test_linear_in_blocks():
    w = draw(0, 2100, 128)
    close(packed_linear(draw(1, 33, 128), packed(w)), draw(1, 33, 128) @ INT8_.operand(w).t())


@few
@given(tokens=st.integers(0, 40), width=st.integers(1, 130), seed=seeds)
def test_embedding(tokens, width, seed):
    table = draw(seed, 11, width)
    ids = torch.randint(11, (tokens,), generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        assert torch.equal(packed_embedding(ids, packed(table)), INT8_.operand(table)[ids])


@few
@given(
    tokens=st.sampled_from([1, 3, 20, 70]),
    shape=st.sampled_from([(32, 16), (70, 18), (64, 64)]),
    gated=st.booleans(),
    backend=st.sampled_from(["auto", "torch"]),
    seed=seeds,
)
def test_experts(tokens, shape, gated, backend, seed):
    wide, narrow = shape
    weights = [draw(seed, 5, wide, narrow), draw(seed + 1, 5, narrow, wide)]
    weights.append(draw(seed + 2, 5, wide, narrow) if gated else None)
    x, scores = draw(seed + 3, tokens, narrow), draw(seed + 4, tokens, 5)
    chosen = scores.topk(2).indices
    args = x, chosen, scores.gather(1, chosen)
    activation = "silu" if gated else "relu2"
    plain = [None if w is None else INT8_.operand(w) for w in weights]
    expected = moe.reference.experts(*args, *plain, activation)
    few = [None if w is None else packed(w) for w in weights]
    with torch.inference_mode():
        close(moe.packed.experts(*args, *few, activation, backend=backend), expected, 5e-6)


@pytest.fixture(scope="module")
def config():
    shape = {"vocab_size": 96, "hidden_size": 64, "pattern": "ME*-M", "initializer_range": 0.15}
    return replace(preset("debug"), mtp=None, **shape)


def made(config, **options):
    model = Decoder(config, **options)
    model.init_weights(Seed(0))
    return model


@pytest.mark.parametrize("tied", [False, True])
def test_a_packed_model_equals_one_with_rounded_weights(config, tied):
    config = replace(config, tie_word_embeddings=tied)
    model = made(config)
    ids = torch.arange(90)[None] % 96
    pack_weights(model, "int8")
    rules = (PrecisionRule(weight="int8"),)
    rounded = made(config, precision=PrecisionConfig(rules=rules))
    with torch.no_grad():
        table = rounded.embeddings.weight
        table.copy_(INT8_.operand(table.detach().clone()))
        close(model(ids), rounded(ids), 1e-5)


def test_bytes_fall_and_no_wide_copy_is_left(config):
    model = made(config)
    wide = weight_bytes(model)
    pack_weights(model, "int8")
    assert weight_bytes(model) < 0.4 * wide
    assert max(p.numel() for p in model.parameters()) <= 64 * 16
    pack_weights(model, "int8")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_with_packed_weights(config, tmp_path, dtype):
    """Rule: prompts and tokens one by one give the log probabilities of a whole forward."""
    save(made(config), tmp_path / "model", dtype=dtype)
    engine = Engine(tmp_path / "model", weight_format="int8", max_batch=3, stop_ids=())
    assert engine.facts()["weight_format"] == "int8"
    prompts = [[1, 2, 3], [5] * 20, [7, 8]]
    done = engine.generate(prompts, SamplingParams(temperature=0, max_tokens=8))
    if dtype == "bfloat16":
        assert all(len(c.ids) == 8 for c in done)
        return
    scores = engine.score([[*p, *c.ids] for p, c in zip(prompts, done, strict=True)])
    for row, completion in zip(scores, done, strict=True):
        expected = torch.tensor(row[-8:])
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="load_weights"):
        engine.load_weights([], version=1)


def test_refusals(config, tmp_path):
    model = made(config)
    with pytest.raises(InputError, match="weight_format"):
        pack_weights(model, "int3")
    with pytest.raises(InputError, match="weight_format"):
        Engine(model, weight_format="int8")
    save(model, tmp_path / "model")
    with pytest.raises(InputError, match="has no kernels for cuda"):
        Engine(tmp_path / "model", weight_format="int8", device="cuda")
    with pytest.raises(InputError, match="deterministic"):
        Engine(tmp_path / "model", weight_format="int8", deterministic=True)


def test_packed_weights_are_not_saved(config, tmp_path):
    model = Decoder(config)
    model.init_weights(Seed(0))
    pack_weights(model, "int8")
    with pytest.raises(InputError, match="load the model without weight_format"):
        save(model, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
