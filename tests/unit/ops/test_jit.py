"""Compiled CPU kernels against the plain formulas: values, states, gradients, NaN, odd sizes."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.core.errors import InputError
from nautiloid.ops import compiled, conv, moe, norm, ssd
from nautiloid.ops.activation import activate
from nautiloid.ops.attention import sdpa
from nautiloid.ops.linear import linear
from nautiloid.ops.sampling import greedy

if not compiled.is_available():
    pytest.skip("compiled kernels need numba and torch's OpenMP", allow_module_level=True)

from tests.suites import rounding

from nautiloid.ops.activation import jit as activation_jit
from nautiloid.ops.attention import jit as attention_jit
from nautiloid.ops.conv import jit as conv_jit
from nautiloid.ops.embedding import jit as embedding_jit
from nautiloid.ops.linear import jit as linear_jit
from nautiloid.ops.mamba import jit as mamba_jit
from nautiloid.ops.moe import jit as moe_jit
from nautiloid.ops.norm import jit as norm_jit
from nautiloid.ops.norm import jit_train
from nautiloid.ops.sampling import jit as sampling_jit

few = settings(max_examples=25, deadline=None)
rows_ = st.integers(1, 16)
seeds = st.integers(0, 1 << 16)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found, expected, tolerance=2e-6):
    scale = expected.double().norm().clamp(min=1e-30)
    error = float((found.double() - expected.double()).norm() / scale)
    assert error < tolerance, error


@few
@given(rows=rows_, width=st.integers(1, 70), inner=st.sampled_from([1, 7, 16, 33, 64]), seed=seeds)
def test_linear(rows, width, inner, seed):
    x, w, b = draw(seed, rows, inner), draw(seed + 1, width, inner), draw(seed + 2, width)
    close(linear_jit.linear(x, w, b), torch.nn.functional.linear(x, w, b).double())


@few
@given(rows=rows_, width=st.integers(1, 70), seed=seeds)
def test_norms(rows, width, seed):
    x, d, w = draw(seed, rows, width), draw(seed + 1, rows, width), draw(seed + 2, width)
    close(norm_jit.rms_norm(x, w, 1e-5), norm.reference.rms_norm(x, w, 1e-5))
    for found, expected in zip(
        norm_jit.add_rms_norm(x, d, w, 1e-5),
        norm.reference.add_rms_norm(x, d, w, 1e-5),
        strict=True,
    ):
        close(found, expected)


def with_gradients(function, *tensors):
    inputs = [t.clone().requires_grad_() for t in tensors]
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = sum((draw(i, *o.shape) * o).sum() for i, o in enumerate(outputs))
    loss.backward()
    return [o.detach() for o in outputs] + [t.grad for t in inputs]


@few
@given(rows=st.integers(1, 150), groups=st.sampled_from([1, 2]), seed=seeds)
def test_norms_with_gradients(rows, groups, seed):
    x, d, w = draw(seed, rows, 24), draw(seed + 1, rows, 24), draw(seed + 2, 24)
    wide = draw(seed + 3, rows, 40)
    cases = [
        (jit_train.rms_norm, norm.reference.rms_norm, (x, w), (1e-5,)),
        (jit_train.add_rms_norm, norm.reference.add_rms_norm, (x, d, w), (1e-5,)),
    ]
    for ours, reference, tensors, rest in cases:
        found = with_gradients(lambda *t, f=ours, r=rest: f(*t, *r), *tensors)
        expected = with_gradients(
            lambda *t, f=reference, r=rest: f(*t, *r), *(t.double() for t in tensors)
        )
        for a, b in zip(found, expected, strict=True):
            close(a, b)

    def gated(function):
        return lambda y, z, w: function(y, z[:, 9:33], w, groups, 1e-5)

    found = with_gradients(gated(jit_train.gated_group_norm), x, wide, w)
    reference = gated(norm.reference.gated_group_norm)
    expected = with_gradients(reference, x.double(), wide.double(), w.double())
    for a, b in zip(found, expected, strict=True):
        close(a, b)


@few
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    taps=st.sampled_from([2, 3, 4]),
    has_bias=st.booleans(),
    has_context=st.booleans(),
    seed=seeds,
)
def test_convolution_with_gradients(lengths, taps, has_bias, has_context, seed):
    wide, weight = draw(seed, sum(lengths), 30), draw(seed + 1, 20, taps)
    more = [draw(seed + 2, 20)] if has_bias else []
    more += [draw(seed + 3, len(lengths), taps - 1, 20)] if has_context else []

    def run(function):
        def call(x, w, *rest):
            bias = rest[0] if has_bias else None
            context = rest[-1] if has_context else None
            return function(x[:, 5:25], w, bias, lengths, context)

        return call

    found = with_gradients(run(conv_jit.conv_silu), wide, weight, *more)
    doubles = [t.double() for t in (wide, weight, *more)]
    expected = with_gradients(run(conv.reference.conv_silu), *doubles)
    for a, b in zip(found, expected, strict=True):
        close(a, b)


@few
@given(
    rows=rows_,
    groups=st.sampled_from([1, 2]),
    size=st.sampled_from([5, 16, 64]),
    has_bias=st.booleans(),
    seed=seeds,
)
def test_mixer_step(rows, groups, size, has_bias, seed):
    heads, width, taps = 4, 6, 4
    inner, channels = heads * width, heads * width + 2 * groups * size
    projected = draw(seed, rows, inner + channels + heads)
    conv_state, weight = draw(seed + 1, rows, taps - 1, channels), draw(seed + 2, channels, taps)
    bias = draw(seed + 3, channels) if has_bias else None
    dt_bias, a_log, skip = (draw(seed + i, heads) for i in (4, 5, 6))
    norm_weight, state = draw(seed + 7, inner), draw(seed + 8, rows, heads, width, size)
    own_conv, own_state = conv_state.clone(), state.clone()
    limit = (0.01, 1.5)
    found = mamba_jit.step(
        projected, own_conv, weight, bias, dt_bias, a_log, skip, norm_weight, own_state,
        groups, 1e-5, limit,
    )  # fmt: skip
    z, xbc, dt = projected.split([inner, channels, heads], -1)
    dt = torch.nn.functional.softplus(dt + dt_bias).clamp(*limit)
    u = conv.conv_silu_step(conv_state, xbc, weight.t().contiguous(), bias)
    x, B, C = u.split([inner, groups * size, groups * size], -1)
    y = ssd.ssd_step(
        state,
        x.view(rows, heads, width),
        dt,
        -a_log.exp(),
        B.view(rows, groups, size),
        C.view(rows, groups, size),
        skip,
    )
    close(found, norm.reference.gated_group_norm(y.flatten(-2), z, norm_weight, groups, 1e-5), 1e-5)
    close(own_conv, conv_state)
    close(own_state, state)


@few
@given(
    tokens=st.integers(1, 20),
    experts=st.sampled_from([4, 9, 32]),
    top_k=st.integers(1, 4),
    score=st.sampled_from(["sigmoid", "softmax"]),
    has_bias=st.booleans(),
    seed=seeds,
)
def test_router(tokens, experts, top_k, score, has_bias, seed):
    x, w = draw(seed, tokens, 32), draw(seed + 1, experts, 32)
    bias = draw(seed + 2, experts) if has_bias else None
    found = moe_jit.route(x, w, bias, top_k, scaling=2.5, score=score)
    expected = moe.route(x @ w.t(), bias, top_k, scaling=2.5, score=score)
    # scores that are nearly equal may change places
    choice = expected.scores_TE if bias is None else expected.scores_TE + bias
    found_choice, best = (choice.gather(1, r.experts_TK) for r in (found, expected))
    torch.testing.assert_close(found_choice, best, atol=1e-5, rtol=1e-5)
    assert all(len(set(row)) == top_k for row in found.experts_TK.tolist())
    weights = expected.scores_TE.gather(1, found.experts_TK)
    close(found.weights_TK, 2.5 * weights / weights.sum(-1, keepdim=True), 1e-5)
    close(found.scores_TE, expected.scores_TE, 1e-5)


@few
@given(
    tokens=st.integers(1, 40),
    width=st.sampled_from([7, 32, 50]),
    gated=st.booleans(),
    activation=st.sampled_from(["relu2", "silu"]),
    one_takes_all=st.booleans(),
    seed=seeds,
)
def test_experts(tokens, width, gated, activation, one_takes_all, seed):
    up, down = draw(seed, 6, width, 16), draw(seed + 1, 6, 16, width)
    gate = draw(seed + 2, 6, width, 16) if gated else None
    chosen = torch.rand(tokens, 6, generator=torch.Generator().manual_seed(seed)).topk(2).indices
    if one_takes_all:
        chosen[:, 0] = 5
        chosen[:, 1] = 2
    x, weights = draw(seed + 3, tokens, 16), draw(seed + 4, tokens, 2)
    args = (x, chosen.contiguous(), weights, up, down, gate, activation)
    close(moe_jit.experts(*args), moe.reference.experts(*args), 1e-5)


def test_a_nan_token_stays_nan_and_alone():
    x = draw(0, 3, 32)
    x[1] = torch.nan
    routing = moe_jit.route(x, draw(1, 8, 32), None, 2)
    assert routing.weights_TK.isnan().any(1).tolist() == [False, True, False]
    up, down = draw(2, 8, 16, 32), draw(3, 8, 32, 16)
    y = moe_jit.experts(x, routing.experts_TK, routing.weights_TK, up, down)
    assert y.isnan().any(1).tolist() == [False, True, False]


@few
@given(
    past=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    heads=st.sampled_from([1, 2]),
    each=st.sampled_from([1, 3]),
    seed=seeds,
)
def test_attention_step(past, heads, each, seed):
    count, width, page = len(past), 8, 4
    pages = [-(-(n + 1) // page) for n in past]
    order = torch.randperm(sum(pages), generator=torch.Generator().manual_seed(seed)) + 1
    table = torch.zeros(count, 1 + max(pages), dtype=torch.long)
    rows = (sum(pages) + 1) * page
    keys, values = draw(seed, rows, heads, width), draw(seed + 1, rows, heads, width)
    qkv = draw(seed + 2, count, (each + 2) * heads * width)
    q, k, v = qkv.split([each * heads * width, heads * width, heads * width], -1)
    q, k, v = (t.unflatten(-1, (-1, width)) for t in (q, k, v))
    expected, start = [], 0
    for s, n in enumerate(past):
        own = order[start : start + pages[s]]
        start += pages[s]
        table[s, 0], table[s, 1 : 1 + pages[s]] = n, own
        at = torch.cat([torch.arange(int(p) * page, int(p) * page + page) for p in own])[:n]
        full_k, full_v = torch.cat([keys[at], k[s : s + 1]]), torch.cat([values[at], v[s : s + 1]])
        expected.append(sdpa.extend(q[s : s + 1], full_k, full_v, scale=0.3))
    found = attention_jit.decode(q, k, v, keys, values, table, page, scale=0.3)
    close(found, torch.cat(expected), 1e-5)
    for s, n in enumerate(past):
        row = int(table[s, 1 + n // page]) * page + n % page
        assert torch.equal(keys[row], k[s])
        assert torch.equal(values[row], v[s])


@few
@given(rows=rows_, width=st.integers(1, 99), seed=seeds)
def test_greedy_choice(rows, width, seed):
    logits = draw(seed, rows, width) * 10
    ids, logprobs = sampling_jit.greedy(logits)
    assert ids.tolist() == logits.argmax(-1).tolist()
    expected = logits.log_softmax(-1).amax(-1)
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=1e-5)


def test_greedy_choice_where_logits_are_not_finite():
    logits = draw(0, 5, 40)
    logits[0, 3], logits[1, 3], logits[2], logits[3, :25] = (
        torch.nan,
        torch.inf,
        -torch.inf,
        -torch.inf,
    )
    ids, logprobs = sampling_jit.greedy(logits)
    assert logprobs.isfinite().tolist() == [False, False, False, True, True]
    assert ids[3] == logits[3].argmax()
    close(logprobs[3:], logits[3:].log_softmax(-1).amax(-1))


def test_small_ones():
    table, ids = draw(0, 9, 5), torch.tensor([8, 0, 3])
    assert torch.equal(embedding_jit.embedding(ids, table), table[ids])
    h, gate = draw(1, 3, 7), draw(2, 3, 7)
    for g in (None, gate):
        for activation in ("relu2", "silu"):
            expected = moe.activate(h, g, activation)
            close(activation_jit.activate(h, g, activation), expected)
    close(activation_jit.add(h, gate), h + gate)


def test_gradients_and_other_dtypes_take_the_torch_path():
    x, w = draw(0, 2, 16).requires_grad_(), draw(1, 4, 16)
    linear(x, w).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        assert linear(x.double(), w.double()).dtype == torch.float64
        assert activate(x.half(), None, "relu2").dtype == torch.float16
        assert greedy(x.double())[1].dtype == torch.float64


def test_an_explicit_backend_needs_its_package(monkeypatch):
    monkeypatch.setattr("nautiloid.ops.backends.has", lambda package: False)
    with pytest.raises(InputError, match=r"nautiloid\[cpu\]"):
        compiled.is_wanted("numba")


def test_an_explicit_backend_needs_threads(monkeypatch):
    monkeypatch.setattr(compiled, "is_available", lambda: False)
    with pytest.raises(InputError, match="OpenMP"):
        compiled.is_wanted("numba")
    assert not compiled.is_wanted("auto")


def test_a_recording_names_what_torch_did_and_repeats_the_rest():
    x, w = draw(0, 2, 16), draw(1, 4, 16)
    with torch.inference_mode():
        with compiled.record() as recording:
            y = linear(x, w)
        assert recording.obstacle is None
        x.copy_(draw(2, 2, 16))
        recording.replay()
        close(y, x @ w.t())
        with compiled.record() as recording:
            linear(x, w).exp()
        assert recording.obstacle == "aten::exp"
        with compiled.record() as recording:
            x.add_(1)
        assert recording.obstacle == "aten::add_"


def test_bits_do_not_depend_on_what_numba_was_used_for_before():
    # A decorated function makes numba's own code generator, which curation does on import.
    code = "import numba, runpy, sys; numba.njit(lambda x: x); runpy.run_path(sys.argv[1], run_name='__main__')"
    child = subprocess.run(
        [sys.executable, "-c", code, rounding.__file__],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == rounding.digest()
