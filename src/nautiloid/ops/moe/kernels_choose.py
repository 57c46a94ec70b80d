"""The router for few tokens: logits of a few experts and inner dims a program, then one token a program.

Suffixes: T tokens, D hidden size, E experts, K chosen experts, S splits of the hidden size.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait
from nautiloid.ops.moe.kernels_route import _drop_groups, _first, _order


@triton.jit(do_not_specialize=["T"])
def logits_kernel(
    x, weight, parts, T, x_stride,
    D: tl.constexpr, E: tl.constexpr, BT: tl.constexpr, BE: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """parts [S, T, E]: `x W^T` over one slice of BK inner dims; the weights come before x is there."""
    follow(CHAINED)
    e = tl.program_id(0) * BE + tl.arange(0, BE)
    k = tl.program_id(1) * BK + tl.arange(0, BK)
    t = tl.program_id(2) * BT + tl.arange(0, BT)
    w_at = weight + e[:, None] * D + k[None, :]
    w = tl.load(w_at, (e < E)[:, None] & (k < D)[None, :], other=0.0)
    wait(CHAINED)
    x_at = x + t.to(tl.int64)[:, None] * x_stride + k[None, :]
    xt = tl.load(x_at, (t < T)[:, None] & (k < D)[None, :], other=0.0)
    y = tl.dot(w.to(xt.dtype), tl.trans(xt), input_precision=PRECISION)
    at = parts + (tl.program_id(1) * T + t)[None, :] * E + e[:, None]
    tl.store(at, y, (e < E)[:, None] & (t < T)[None, :])


@triton.jit(do_not_specialize=["T"])
def choose_kernel(
    parts, bias, replay, scores, experts, weights, T, scaling,
    E: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, EP: tl.constexpr, SPLITS: tl.constexpr,
    IS_SIGMOID: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_REPLAY: tl.constexpr,
    IS_NORMED: tl.constexpr, GROUPS: tl.constexpr, KEPT: tl.constexpr, PER: tl.constexpr,
    GP: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """parts [S, T, E] to scores [T, E], experts [T, K] best first, weights [T, K]."""
    follow(CHAINED)
    # one row, so that the functions of many rows serve here too
    e = tl.arange(0, EP)
    k = tl.arange(0, KP)
    is_expert = (e < E)[None, :]
    if HAS_BIAS:
        b = tl.load(bias + e, e < E, other=0.0).to(tl.float32)[None, :]
    t = tl.program_id(0).to(tl.int64)
    wait(CHAINED)
    x = tl.zeros([1, EP], tl.float32)
    for s in tl.static_range(SPLITS):
        x += tl.load(parts + (s * T + t) * E + e[None, :], is_expert, other=0.0)
    if IS_SIGMOID:
        s = tl.sigmoid(x)
    else:
        x = tl.where(is_expert, x, -float("inf"))
        s = tl.exp(x - tl.max(x, 1)[:, None])
        s = s / tl.sum(s, 1)[:, None]
    tl.store(scores + t * E + e[None, :], s, is_expert)
    choice = s + b if HAS_BIAS else s
    choice = tl.where(is_expert, choice, -float("inf"))
    if KEPT < GROUPS:
        choice = _drop_groups(choice, e, PER, GROUPS, KEPT, GP, EP)
    keys = _order(choice)
    chosen = tl.zeros([1, KP], tl.int32)
    taken = tl.zeros([1, KP], tl.float32)
    for i in tl.static_range(K):
        if HAS_REPLAY:
            best = tl.load(replay + t * K + i + tl.zeros([1], tl.int32)).to(tl.int32)
        else:
            best = _first(keys, tl.max(keys, 1), e, EP)
            keys = tl.where(e[None, :] == best[:, None], -0x80000000, keys)
        mine = tl.sum(tl.where(e[None, :] == best[:, None], s, 0.0), 1)
        chosen = tl.where((k == i)[None, :], best[:, None], chosen)
        taken = tl.where((k == i)[None, :], mine[:, None], taken)
    if IS_NORMED:
        taken = taken / (tl.sum(taken, 1)[:, None] + 1e-20)
    at = t * K + k[None, :]
    tl.store(experts + at, chosen.to(experts.dtype.element_ty), (k < K)[None, :])
    tl.store(weights + at, taken * scaling, (k < K)[None, :])
