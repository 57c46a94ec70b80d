"""Routing and routed experts of some tokens on a CPU, each in one parallel region.

The experts are bound by reading the weights of the chosen ones; every touched weight is read once.

Import this only where `ops.compiled.is_available`.

Suffixes: T tokens, E experts, K chosen experts, A = T K assignments, L input width, M expert width.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from array import array

import numpy as np
import torch
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import FAST, Kernel, bits
from nautiloid.ops.intrinsics import (
    barrier,
    exp32,
    floats,
    integers,
    real,
    share,
    silu32,
    team,
    thread,
)
from nautiloid.ops.jit_target import njit
from nautiloid.ops.moe import ROUTED_TOKENS
from nautiloid.ops.moe.reference import Activation, Routing, Score
from nautiloid.ops.products import packed_product, rows_product
from nautiloid.ops.quant.int8 import Int8Weight

_ROWS = array("q", range(ROUTED_TOKENS))
# rows of an expert matrix that a thread takes at a time
BLOCK = 32


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _scores(logits, scores, t, experts, is_softmax):
    """Sigmoid or softmax of one token's logits."""
    if is_softmax:
        top = logits[t, 0]
        for e in range(experts):
            top = max(top, logits[t, e])
        total = np.float32(0)
        for e in range(experts):
            scores[t, e] = exp32(logits[t, e] - top)
            total += scores[t, e]
        for e in range(experts):
            scores[t, e] /= total
    else:
        for e in range(experts):
            scores[t, e] = np.float32(1) / (np.float32(1) + exp32(-logits[t, e]))


@Kernel
def _route(p):
    a = carray(p, 15)
    tokens, width, experts, top_k = a[7], a[8], a[9], a[10]
    bias = carray(floats(a[2]), experts)
    logits = carray(floats(a[3]), (tokens, experts))
    scores = carray(floats(a[4]), (tokens, experts))
    chosen = carray(integers(a[5]), (tokens, top_k))
    weights = carray(floats(a[6]), (tokens, top_k))
    is_softmax, is_normed, scaling = a[11], a[12], real(a[13])
    rows = carray(integers(a[14]), tokens)
    first, last = share((experts + 3) // 4, thread(), team())
    rows_product(
        a[1], width, 4 * first, min(4 * last, experts), a[0], rows, 0, tokens, a[3], experts
    )
    barrier()
    first, last = share(tokens, thread(), team())
    for t in range(first, last):
        _scores(logits, scores, t, experts, is_softmax != 0)
        total = np.float32(0)
        for k in range(top_k):
            best, best_value = -1, np.float32(0)
            for e in range(experts):
                value = scores[t, e] + bias[e] if a[2] != 0 else scores[t, e]
                # a NaN counts as the best, so that it is not lost
                if best < 0 or value > best_value or value != value:
                    is_free = True
                    for j in range(k):
                        is_free = is_free and chosen[t, j] != e
                    if is_free:
                        best, best_value = e, value
            chosen[t, k] = best
            weights[t, k] = scores[t, best]
            total += scores[t, best]
        factor = np.float32(scaling)
        if is_normed != 0:
            factor /= total + np.float32(1e-20)
        for k in range(top_k):
            weights[t, k] *= factor


def route(
    x_TD: Tensor,
    weight_ED: Tensor,
    bias_E: Tensor | None,
    top_k: int,
    *,
    norm_topk_prob: bool = True,
    scaling: float = 1.0,
    score: Score = "sigmoid",
) -> Routing:
    """Router product and `reference.route` without groups and replay."""
    tokens, width = x_TD.shape
    experts = weight_ED.shape[0]
    both = x_TD.new_empty(2, tokens, experts)
    weights = x_TD.new_empty(tokens, top_k)
    chosen = torch.empty(tokens, top_k, dtype=torch.long)
    _route(
        x_TD.data_ptr(), weight_ED.data_ptr(), 0 if bias_E is None else bias_E.data_ptr(),
        both[0].data_ptr(), both[1].data_ptr(), chosen.data_ptr(), weights.data_ptr(),
        tokens, width, experts, top_k, score == "softmax", norm_topk_prob, bits(scaling),
        _ROWS.buffer_info()[0],
    )  # fmt: skip
    return Routing(chosen, weights, both[1])


@njit(error_model="numpy", forceinline=True)
def _product(weight, scale, e, rows, inner, first, last, x, index, start, stop, out, scratch):
    """`rows_product` of expert e, float32 or 8-bit."""
    if scale == 0:
        matrix = weight + 4 * e * rows * inner
        rows_product(matrix, inner, first, last, x, index, start, stop, out, rows)
    else:
        scales = scale + 2 * e * rows * ((inner + 63) // 64)
        matrix = weight + e * rows * inner
        packed_product(
            matrix, scales, inner, first, last, x, index, start, stop, out, rows, scratch
        )


@Kernel
def _experts(p):
    a = carray(p, 21)
    tokens, top_k, experts, narrow, wide = a[12], a[13], a[14], a[15], a[16]
    count = tokens * top_k
    chosen = carray(integers(a[1]), count)
    weights = carray(floats(a[2]), count)
    h = carray(floats(a[6]), (count, wide))
    g = carray(floats(a[7]), (count, wide))
    y = carray(floats(a[8]), (count, narrow))
    out = carray(floats(a[9]), (tokens, narrow))
    sorted_weights = carray(floats(a[11]), count)
    # sorted assignments: token of each, place of each, first of each expert, experts with tokens
    table = carray(integers(a[10]), 3 * count + 2 * experts + 2)
    token, place, itself = table[:count], table[count : 2 * count], table[2 * count : 3 * count]
    starts = table[3 * count : 3 * count + experts + 1]
    used = table[3 * count + experts + 1 :]
    has_gate, is_silu = a[5] != 0, a[17] != 0
    if thread() == 0:
        for e in range(experts + 1):
            starts[e] = 0
        for i in range(count):
            starts[chosen[i] + 1] += 1
        n = 0
        for e in range(experts):
            if starts[e + 1] > 0:
                used[1 + n] = e
                n += 1
            starts[e + 1] += starts[e]
        used[0] = n
        for i in range(count):
            e = chosen[i]
            at = starts[e]
            starts[e] += 1
            place[i] = at
            token[at] = i // top_k
            itself[at] = at
            sorted_weights[at] = weights[i]
        for e in range(experts, 0, -1):
            starts[e] = starts[e - 1]
        starts[0] = 0
    barrier()
    widened = np.empty(4 * max(narrow, wide) if a[18] != 0 else 1, np.float32)
    scratch = widened.ctypes.data
    blocks = (wide + BLOCK - 1) // BLOCK
    first, last = share(used[0] * blocks, thread(), team())
    for unit in range(first, last):
        e = used[1 + unit // blocks]
        begin = (unit % blocks) * BLOCK
        end = min(begin + BLOCK, wide)
        i, j = starts[e], starts[e + 1]
        _product(a[3], a[18], e, wide, narrow, begin, end, a[0], token, i, j, a[6], scratch)
        if has_gate:
            _product(a[5], a[20], e, wide, narrow, begin, end, a[0], token, i, j, a[7], scratch)
        for at in range(i, j):
            w = sorted_weights[at]
            for m in range(begin, end):
                v = g[at, m] if has_gate else h[at, m]
                if is_silu:
                    act = silu32(v)
                else:
                    # a NaN stays one
                    v = np.float32(0) if v < np.float32(0) else v
                    act = v * v
                h[at, m] = act * h[at, m] * w if has_gate else act * w
    barrier()
    blocks = (narrow + BLOCK - 1) // BLOCK
    first, last = share(used[0] * blocks, thread(), team())
    for unit in range(first, last):
        e = used[1 + unit // blocks]
        begin = (unit % blocks) * BLOCK
        end = min(begin + BLOCK, narrow)
        _product(
            a[4], a[19], e, narrow, wide, begin, end, a[6], itself,
            starts[e], starts[e + 1], a[8], scratch,
        )  # fmt: skip
    widened[0] = 0  # an array lives until its last use, not that of its address
    barrier()
    first, last = share(tokens, thread(), team())
    for t in range(first, last):
        for c in range(narrow):
            out[t, c] = y[place[t * top_k], c]
        for k in range(1, top_k):
            row = place[t * top_k + k]
            for c in range(narrow):
                out[t, c] += y[row, c]


def _addresses(weight: Tensor | Int8Weight | None) -> tuple[int, int]:
    """Of the numbers and of the scales; 0 where there are none."""
    if isinstance(weight, Int8Weight):
        return weight.data.data_ptr(), weight.scale.data_ptr()
    return (0 if weight is None else weight.data_ptr()), 0


def experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up_EML: Tensor | Int8Weight,
    down_ELM: Tensor | Int8Weight,
    gate_EML: Tensor | Int8Weight | None = None,
    activation: Activation = "relu2",
) -> Tensor:
    """Same contract as `reference.experts` for contiguous tensors, without gradients.

    Args:
        up_EML: float32 or packed in 8 bits, as all three weights.

    >>> x, e = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.long)
    >>> experts(x, e, torch.ones(1, 1), torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)).item()
    4.0
    """
    tokens, top_k = experts_TK.shape
    num_experts, wide, narrow = up_EML.shape
    count = tokens * top_k
    out = torch.empty_like(x_TL)
    hidden = x_TL.new_empty(count, wide)
    gated = hidden if gate_EML is None else torch.empty_like(hidden)
    y = x_TL.new_empty(count, narrow)
    sorted_weights = x_TL.new_empty(count)
    table = torch.empty(3 * count + 2 * num_experts + 2, dtype=torch.long)
    (up, up_scale), (down, down_scale), (gate, gate_scale) = map(
        _addresses, (up_EML, down_ELM, gate_EML)
    )
    _experts(
        x_TL.data_ptr(), experts_TK.data_ptr(), weights_TK.data_ptr(), up, down, gate,
        hidden.data_ptr(), gated.data_ptr(), y.data_ptr(), out.data_ptr(), table.data_ptr(),
        sorted_weights.data_ptr(), tokens, top_k, num_experts, narrow, wide, activation == "silu",
        up_scale, down_scale, gate_scale,
    )  # fmt: skip
    return out
