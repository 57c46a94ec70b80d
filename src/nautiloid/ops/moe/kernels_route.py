"""Router scores, top-k choice and weights, and their gradient; one group of tokens a program.

Suffixes: T tokens, E experts, K chosen experts.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl


@triton.jit
def _order(x):
    """int32 that sorts like float32 x."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _first(keys, best, e, EP: tl.constexpr):
    """Lowest index whose key is the row's best."""
    return tl.min(tl.where(keys == best[:, None], e[None, :], EP), 1)


@triton.jit
def _best(choice, e, EP: tl.constexpr):
    """Index of each row's largest value, the lowest index among equals."""
    keys = _order(choice)
    return _first(keys, tl.max(keys, 1), e, EP)


@triton.jit
def _drop_groups(choice, e, PER: tl.constexpr, GROUPS: tl.constexpr, KEPT: tl.constexpr,
                 GP: tl.constexpr, EP: tl.constexpr):  # fmt: skip
    """Experts outside the KEPT groups with the best sum of their two best become -inf."""
    g = tl.arange(0, GP)
    sums = tl.full([choice.shape[0], GP], -float("inf"), tl.float32)
    for i in tl.static_range(GROUPS):
        mine = tl.where((e // PER == i)[None, :], choice, -float("inf"))
        first = tl.max(mine, 1)
        second = tl.max(tl.where(e[None, :] == _best(mine, e, EP)[:, None], -float("inf"), mine), 1)
        sums = tl.where((g == i)[None, :], (first + second)[:, None], sums)
    keep = tl.zeros([choice.shape[0], EP], tl.int1)
    for _ in tl.static_range(KEPT):
        best = _best(sums, g, GP)
        keep = keep | ((e // PER)[None, :] == best[:, None])
        sums = tl.where(g[None, :] == best[:, None], -float("inf"), sums)
    return tl.where(keep, choice, -float("inf"))


@triton.jit
def route_kernel(
    logits, bias, replay, scores, experts, weights, T, E, scaling,
    K: tl.constexpr, KP: tl.constexpr, EP: tl.constexpr, ROWS: tl.constexpr,
    IS_SIGMOID: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_REPLAY: tl.constexpr,
    IS_NORMED: tl.constexpr, GROUPS: tl.constexpr, KEPT: tl.constexpr, PER: tl.constexpr,
    GP: tl.constexpr
):  # fmt: skip
    """logits [T, E] to scores [T, E], experts [T, K] best first, weights [T, K]."""
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.arange(0, EP)
    k = tl.arange(0, KP)
    inside = (t < T)[:, None] & (e < E)[None, :]
    where = t.to(tl.int64)[:, None] * E + e[None, :]
    x = tl.load(logits + where, inside, other=0.0)
    if IS_SIGMOID:
        s = tl.sigmoid(x)
    else:
        x = tl.where((e < E)[None, :], x, -float("inf"))
        top = tl.max(x, 1)
        s = tl.exp(x - top[:, None])
        total = tl.sum(s, 1)
        s = s / total[:, None]
    tl.store(scores + where, s, inside)
    choice = s
    if HAS_BIAS:
        choice += tl.load(bias + e, e < E, other=0.0)[None, :]
    choice = tl.where((e < E)[None, :], choice, -float("inf"))
    if KEPT < GROUPS:
        choice = _drop_groups(choice, e, PER, GROUPS, KEPT, GP, EP)
    out = t.to(tl.int64)[:, None] * K + k[None, :]
    mask = (t < T)[:, None] & (k < K)[None, :]
    if HAS_REPLAY:
        chosen = tl.load(replay + out, mask, other=0).to(tl.int32)
    else:
        chosen = tl.zeros([ROWS, KP], tl.int32)
        # integers, because their reductions over a warp are one instruction
        keys = _order(choice)
        for i in tl.static_range(K):
            best = _first(keys, tl.max(keys, 1), e, EP)
            chosen = tl.where((k == i)[None, :], best[:, None], chosen)
            keys = tl.where(e[None, :] == best[:, None], -0x80000000, keys)
    # the scores of the chosen come from their logits again, which beats K more sums over a row
    taken = tl.load(logits + t.to(tl.int64)[:, None] * E + chosen, mask, other=0.0)
    if IS_SIGMOID:
        taken = tl.sigmoid(taken)
    else:
        taken = tl.exp(taken - top[:, None]) / total[:, None]
    taken = tl.where(mask, taken, 0.0)
    if IS_NORMED:
        taken = taken / (tl.sum(taken, 1)[:, None] + 1e-20)
    tl.store(experts + out, chosen.to(experts.dtype.element_ty), mask)
    tl.store(weights + out, taken * scaling, mask)


@triton.jit
def route_backward_kernel(
    scores, experts, dweights, dscores, dlogits, T, E, scaling,
    K: tl.constexpr, EP: tl.constexpr, ROWS: tl.constexpr, IS_SIGMOID: tl.constexpr,
    IS_NORMED: tl.constexpr, HAS_DSCORES: tl.constexpr
):  # fmt: skip
    """dlogits [T, E] from the gradients of weights [T, K] and, if any, of scores [T, E]."""
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.arange(0, EP)
    inside = (t < T)[:, None] & (e < E)[None, :]
    where = t.to(tl.int64)[:, None] * E + e[None, :]
    s = tl.load(scores + where, inside, other=0.0)
    # hits weighs an expert chosen twice (recorded routes may do that) twice
    hits = tl.zeros([ROWS, EP], tl.float32)
    ds = tl.zeros([ROWS, EP], tl.float32)
    for i in tl.static_range(K):
        at = t.to(tl.int64) * K + i
        is_it = e[None, :] == tl.load(experts + at, t < T, other=0).to(tl.int32)[:, None]
        dw = tl.load(dweights + at, t < T, other=0.0).to(tl.float32)
        hits += tl.where(is_it, 1.0, 0.0)
        ds += tl.where(is_it, dw[:, None], 0.0)
    ds = ds * scaling
    if IS_NORMED:
        total = tl.sum(hits * s, 1) + 1e-20
        mean = tl.sum(ds * s, 1) / total
        ds = (ds - hits * mean[:, None]) / total[:, None]
    if HAS_DSCORES:
        ds += tl.load(dscores + where, inside, other=0.0)
    if IS_SIGMOID:
        dl = ds * s * (1.0 - s)
    else:
        dl = s * (ds - tl.sum(ds * s, 1)[:, None])
    tl.store(dlogits + where, dl.to(dlogits.dtype.element_ty), inside)


@triton.jit
def balance_kernel(
    scores, valid, chunks, starts, p_sums, hit_sums, sizes, E,
    K: tl.constexpr, EP: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
    HAS_VALID: tl.constexpr
):  # fmt: skip
    """Sums over one chunk of a packing row: normalised scores and unbiased top-k hits [C, E], tokens."""
    chunk = tl.program_id(0)
    row = tl.load(chunks + 2 * chunk)
    first = tl.load(starts + row) + tl.load(chunks + 2 * chunk + 1) * CHUNK
    end = tl.minimum(first + CHUNK, tl.load(starts + row + 1))
    e = tl.arange(0, EP)
    p_sum = tl.zeros([EP], tl.float32)
    hit_sum = tl.zeros([EP], tl.float32)
    size = 0.0
    for i in range(0, CHUNK, ROWS):
        t = first + i + tl.arange(0, ROWS)
        counts = t < end
        if HAS_VALID:
            counts = counts & (tl.load(valid + t, t < end, other=0) != 0)
        inside = counts[:, None] & (e < E)[None, :]
        s = tl.load(scores + t.to(tl.int64)[:, None] * E + e[None, :], inside, other=0.0)
        choice = tl.where(inside, s, -float("inf"))
        hit = tl.zeros([ROWS, EP], tl.float32)
        keys = _order(choice)
        for _ in tl.static_range(K):
            is_best = e[None, :] == _first(keys, tl.max(keys, 1), e, EP)[:, None]
            hit += tl.where(is_best & inside, 1.0, 0.0)
            keys = tl.where(is_best, -0x80000000, keys)
        p_sum += tl.sum(s / (tl.sum(s, 1) + 1e-20)[:, None], 0)
        hit_sum += tl.sum(hit, 0)
        size += tl.sum(tl.where(counts, 1.0, 0.0), 0)
    tl.store(p_sums + chunk * E + e, p_sum, e < E)
    tl.store(hit_sums + chunk * E + e, hit_sum, e < E)
    tl.store(sizes + chunk, size)


@triton.jit
def balance_finish_kernel(
    p_sums, hit_sums, sizes, chunk_starts, factors, losses, E, scale,
    BLOCK: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """One packing row and WIDE experts: their part of the loss, and the gradient factors [rows, E]."""
    row = tl.program_id(0)
    e = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    p = tl.zeros([WIDE], tl.float32)
    hits = tl.zeros([WIDE], tl.float32)
    size = 0.0
    end = tl.load(chunk_starts + row + 1)
    for first in range(tl.load(chunk_starts + row), end, BLOCK):
        c = first + tl.arange(0, BLOCK)
        where = c[:, None] * E + e[None, :]
        mask = (c < end)[:, None] & (e < E)[None, :]
        p += tl.sum(tl.load(p_sums + where, mask, other=0.0), 0)
        hits += tl.sum(tl.load(hit_sums + where, mask, other=0.0), 0)
        size += tl.sum(tl.load(sizes + c, c < end, other=0.0), 0)
    size = tl.maximum(size, 1.0)
    factor = hits * scale / (size * size)
    tl.store(factors + row * E + e, factor, e < E)
    tl.store(losses + row * tl.num_programs(1) + tl.program_id(1), tl.sum(p * factor, 0))


@triton.jit
def balance_backward_kernel(
    scores, valid, chunks, starts, factors, dloss, dscores, E,
    EP: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, HAS_VALID: tl.constexpr
):  # fmt: skip
    """dscores [T, E] of the balance loss; factors [rows, E] is its gradient for a normalised score."""
    chunk = tl.program_id(0)
    row = tl.load(chunks + 2 * chunk)
    first = tl.load(starts + row) + tl.load(chunks + 2 * chunk + 1) * CHUNK
    end = tl.minimum(first + CHUNK, tl.load(starts + row + 1))
    e = tl.arange(0, EP)
    factor = tl.load(factors + row * E + e, e < E, other=0.0) * tl.load(dloss)
    for i in range(0, CHUNK, ROWS):
        t = first + i + tl.arange(0, ROWS)
        counts = t < end
        if HAS_VALID:
            counts = counts & (tl.load(valid + t, t < end, other=0) != 0)
        inside = (t < end)[:, None] & (e < E)[None, :]
        where = t.to(tl.int64)[:, None] * E + e[None, :]
        s = tl.load(scores + where, inside, other=0.0)
        total = tl.sum(s, 1) + 1e-20
        dp = tl.where(counts[:, None], factor[None, :], 0.0)
        mean = tl.sum(dp * s, 1) / total
        tl.store(dscores + where, (dp - mean[:, None]) / total[:, None], inside)
