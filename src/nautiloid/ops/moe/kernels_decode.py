"""Experts for few tokens: every weight that is needed streams through the chip once.

A block is up to BT assignments of one expert; it is the narrow operand of products whose wide operand
is a tile of BM rows of the expert's weight. An expert with more assignments has several blocks, which
run close in time and share its weights in L2. The shared expert is SHARED more experts as wide as a
routed one, which every token takes with weight 1.

Suffixes: T tokens, K experts a token, A = T K assignments, E experts, L expert input width, M expert
width, S rows of the shared expert (SHARED T).
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait


# sizes that change from step to step are not compiled in
@triton.jit(do_not_specialize=["A", "blocks"])
def layout_kernel(
    experts, block_experts, block_rows, A, E, blocks,
    EP: tl.constexpr, BT: tl.constexpr, BLOCK: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """One program an expert: its blocks of up to BT assignments, in the order of the tokens.

    block_experts [blocks], -1 where unused; block_rows [blocks, BT], -1 in the padding.
    """
    follow(CHAINED)
    wait(CHAINED)
    e = tl.program_id(0)
    every = tl.arange(0, EP)
    counts = tl.zeros([EP], tl.int32)
    for first in range(0, A, BLOCK):
        a = first + tl.arange(0, BLOCK)
        ids = tl.load(experts + a, a < A, other=0).to(tl.int32)
        counts += tl.histogram(ids, EP, mask=a < A)
    needed = (counts + BT - 1) // BT
    start = tl.sum(tl.where(every < e, needed, 0), 0)
    mine = tl.sum(tl.where(every == e, needed, 0), 0)
    count = tl.sum(tl.where(every == e, counts, 0), 0)
    rank = 0
    for first in range(0, A, BLOCK):
        a = first + tl.arange(0, BLOCK)
        ids = tl.load(experts + a, a < A, other=-1).to(tl.int32)
        hit = (ids == e).to(tl.int32)
        at = start * BT + rank + tl.cumsum(hit, 0) - 1
        tl.store(block_rows + at, a, hit > 0)
        rank += tl.sum(hit, 0)
    j = tl.arange(0, BT)
    last = (start + mine - 1) * BT + j
    tl.store(
        block_rows + last, tl.full([BT], -1, tl.int32), (mine > 0) & (last >= start * BT + count)
    )
    for i in range(mine):
        tl.store(block_experts + start + i, e)
    for i in range(tl.sum(needed, 0) + e, blocks, E):
        tl.store(block_experts + i, -1)


@triton.jit(do_not_specialize=["T"])
def up_kernel(
    x, up, gate, shared_up, shared_gate, weights, block_experts, block_rows, act, T, x_stride,
    K: tl.constexpr, L: tl.constexpr, M: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr,
    BK: tl.constexpr, SHARED: tl.constexpr, IS_RELU2: tl.constexpr, HAS_GATE: tl.constexpr,
    PRECISION: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """act [A + S, M]: `w act(x W_up^T, x W_gate^T)` of every assignment, then of the shared expert."""
    TILES: tl.constexpr = (M + BM - 1) // BM  # pyright: ignore[reportAssignmentType]
    block = tl.program_id(0) // TILES
    m = tl.program_id(0) % TILES * BM + tl.arange(0, BM)
    j = tl.arange(0, BT)
    chunks = (T + BT - 1) // BT
    is_shared = block < SHARED * chunks
    expert = 0
    # rows past the end repeat the first, so that no load of a weight needs a mask
    rows = tl.where(m < M, m, 0)
    follow(CHAINED)
    wait(CHAINED)
    if is_shared:
        half = block // chunks
        t = block % chunks * BT + j
        has = t < T
        row = T * K + half * T + t
        w = tl.full([BT], 1.0, tl.float32)
        up_e = shared_up + half * M * L
        gate_e = shared_gate + half * M * L
    else:
        b = block - SHARED * chunks
        expert = tl.load(block_experts + b)
        row = tl.load(block_rows + b * BT + j, (expert >= 0) & (j < BT), other=-1)
        has = row >= 0
        t = row // K
        w = tl.load(weights + row, has, other=0.0).to(tl.float32)
        up_e = up + expert.to(tl.int64) * (M * L)
        gate_e = gate + expert.to(tl.int64) * (M * L)
    if expert >= 0:
        k = tl.arange(0, BK)
        x_at = x + tl.where(has, t, 0).to(tl.int64)[:, None] * x_stride + k[None, :]
        w_at = rows[:, None] * L + k[None, :]
        h = tl.zeros([BM, BT], tl.float32)
        g = tl.zeros([BM, BT], tl.float32)
        for start in range(0, L, BK):
            if L % BK == 0:
                xt = tl.load(x_at + start, has[:, None], other=0.0)
                h = tl.dot(tl.load(up_e + w_at + start), tl.trans(xt), h, input_precision=PRECISION)
                if HAS_GATE:
                    wg = tl.load(gate_e + w_at + start)
                    g = tl.dot(wg, tl.trans(xt), g, input_precision=PRECISION)
            else:
                inside = (start + k < L)[None, :]
                xt = tl.load(x_at + start, has[:, None] & inside, other=0.0)
                wu = tl.load(up_e + w_at + start, inside, other=0.0)
                h = tl.dot(wu, tl.trans(xt), h, input_precision=PRECISION)
                if HAS_GATE:
                    wg = tl.load(gate_e + w_at + start, inside, other=0.0)
                    g = tl.dot(wg, tl.trans(xt), g, input_precision=PRECISION)
        # rounded as in training
        h = h.to(act.dtype.element_ty).to(tl.float32)
        inner = g.to(act.dtype.element_ty).to(tl.float32) if HAS_GATE else h
        if IS_RELU2:
            inner = tl.maximum(inner, 0.0)
            a = inner * inner
        else:
            a = inner * tl.sigmoid(inner)
        if HAS_GATE:
            a *= h
        a *= w[None, :]
        at = act + row.to(tl.int64)[None, :] * M + m[:, None]
        tl.store(at, a.to(act.dtype.element_ty), has[None, :] & (m < M)[:, None])


@triton.jit(do_not_specialize=["T"])
def down_kernel(
    act, down, shared_down, block_experts, block_rows, parts, T,
    K: tl.constexpr, L: tl.constexpr, M: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr,
    BK: tl.constexpr, SHARED: tl.constexpr, PRECISION: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """parts [A + S, L]: `act W_down^T` of every row of act."""
    TILES: tl.constexpr = (L + BM - 1) // BM  # pyright: ignore[reportAssignmentType]
    block = tl.program_id(0) // TILES
    m = tl.program_id(0) % TILES * BM + tl.arange(0, BM)
    j = tl.arange(0, BT)
    chunks = (T + BT - 1) // BT
    is_shared = block < SHARED * chunks
    expert = 0
    width = M
    rows = tl.where(m < L, m, 0)
    follow(CHAINED)
    wait(CHAINED)
    if is_shared:
        half = block // chunks
        t = block % chunks * BT + j
        has = t < T
        row = T * K + half * T + t
        base = shared_down + half * M
        width = M * SHARED
    else:
        b = block - SHARED * chunks
        expert = tl.load(block_experts + b)
        row = tl.load(block_rows + b * BT + j, (expert >= 0) & (j < BT), other=-1)
        has = row >= 0
        base = down + expert.to(tl.int64) * (M * L)
    if expert >= 0:
        k = tl.arange(0, BK)
        a_at = act + tl.where(has, row, 0).to(tl.int64)[:, None] * M + k[None, :]
        w_at = base + rows[:, None] * width + k[None, :]
        y = tl.zeros([BM, BT], tl.float32)
        for start in range(0, M, BK):
            if M % BK == 0:
                a = tl.load(a_at + start, has[:, None], other=0.0)
                y = tl.dot(tl.load(w_at + start), tl.trans(a), y, input_precision=PRECISION)
            else:
                inside = (start + k < M)[None, :]
                a = tl.load(a_at + start, has[:, None] & inside, other=0.0)
                wd = tl.load(w_at + start, inside, other=0.0)
                y = tl.dot(wd, tl.trans(a), y, input_precision=PRECISION)
        at = parts + row.to(tl.int64)[None, :] * L + m[:, None]
        tl.store(at, y.to(parts.dtype.element_ty), has[None, :] & (m < L)[:, None])


@triton.jit(do_not_specialize=["T"])
def combine_kernel(
    parts, out, T, K: tl.constexpr, L: tl.constexpr, SHARED: tl.constexpr, BLOCK: tl.constexpr,
    CHAINED: tl.constexpr
):  # fmt: skip
    """out [T, L]: each token's sum over its experts and the shared ones, in float32, in order."""
    follow(CHAINED)
    wait(CHAINED)
    t = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(K):
        total += tl.load(parts + (t * K + i) * L + c, c < L, other=0.0).to(tl.float32)
    for i in tl.static_range(SHARED):
        row = T * K + i * T + t
        total += tl.load(parts + row * L + c, c < L, other=0.0).to(tl.float32)
    tl.store(out + t * L + c, total.to(out.dtype.element_ty), c < L)
