"""Rows of the padded layout times the weight of their expert, on Hopper (see `kernels_hopper`).

Suffixes: R rows, N columns out, K inner dim.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportAssignmentType=false

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    async_copy,
    fence_async_shared,
    mbarrier,
    tma,
)

from nautiloid.ops.moe.kernels_hopper import (
    PLAIN,
    RELU2_BACKWARD,
    RELU2_SAVE,
    buffers,
    expect_stage,
    multiply,
    piece,
    put,
    skip,
)


@gluon.jit
def _tile(t, table, blocks, n_tiles, GROUP: gl.constexpr):
    """First row, expert, whether only 64 rows, and column tile of a tile.

    GROUP row blocks and all their column tiles run close in time, so that both operands stay in L2.
    """
    first = t // (GROUP * n_tiles) * GROUP
    size = gl.minimum(blocks - first, GROUP)
    inside = t - first * n_tiles
    entry = table + 3 * (first + inside % size)
    return gl.load(entry), gl.load(entry + 1), gl.load(entry + 2) <= 64, inside // size


@gluon.jit
def _finish_backward(
    acc, out, c_desc, d_desc, w, dp_ptr, row, col, PART: gl.constexpr, BN: gl.constexpr
):
    """RELU2_BACKWARD of one tile, 64 columns at a time; h waits in the output buffer."""
    layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, 64, 16]
    )
    w = gl.convert_layout(w, gl.SliceLayout(1, layout))
    dp = gl.zeros([64], gl.float32, gl.SliceLayout(1, layout))
    acts = ()
    for j in gl.static_range(BN // 64):
        box = out.index(PART * 4 + j)
        p = gl.maximum(box.load(layout).to(gl.float32), 0.0)
        da = piece(acc, j, BN // 64)
        dp += gl.sum(da * p * p, 1)
        acts = acts + ((p * p * w[:, None]).to(out.dtype),)  # noqa: RUF005 - no starred tuples
        box.store((da * p * (2.0 * w)[:, None]).to(out.dtype))
    gl.store(dp_ptr, gl.convert_layout(dp, dp_ptr.type.layout))
    fence_async_shared()
    gl.thread_barrier()
    for j in gl.static_range(BN // 64):
        tma.async_copy_shared_to_global(c_desc, [row, col + j * 64], out.index(PART * 4 + j))
    tma.store_wait(0)
    for j in gl.static_range(BN // 64):
        out.index(PART * 4 + j).store(acts[j])
    fence_async_shared()
    gl.thread_barrier()
    for j in gl.static_range(BN // 64):
        tma.async_copy_shared_to_global(d_desc, [row, col + j * 64], out.index(PART * 4 + j))


@gluon.jit
def _rows_tile(
    a,
    b,
    out,
    full,
    empty,
    h_bar,
    c_desc,
    d_desc,
    h_desc,
    w_ptr,
    dp_ptr,
    row,
    n,
    rows,
    it,
    done,
    steps,
    PART: gl.constexpr,
    BN: gl.constexpr,
    IS_NT: gl.constexpr,
    KIND: gl.constexpr,
    IS_GATHER: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Product, activation, routing weight and stores of one tile."""
    col = n * 256
    layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BN, 16]
    )
    r = row + gl.arange(0, 64, gl.SliceLayout(1, layout))
    w = gl.zeros([64], gl.float32, gl.SliceLayout(1, layout))
    if KIND != PLAIN:
        w = gl.load(w_ptr + r)
    acc, it = multiply(
        a, b, out, full, empty, h_bar, h_desc, row, col, it, steps, PART, BN, IS_NT, False,
        KIND == RELU2_BACKWARD, IS_GATHER, STAGES
    )  # fmt: skip
    if KIND == PLAIN:
        put(out, c_desc, acc.to(out.dtype), row, col, PART, BN)
    elif KIND == RELU2_BACKWARD:
        mbarrier.wait(h_bar, done & 1)
        _finish_backward(acc, out, c_desc, d_desc, w, dp_ptr + n * rows + r, row, col, PART, BN)
    else:
        # the backward pass sees the rounded h, so the forward pass uses it too
        h = acc.to(out.dtype)
        if KIND == RELU2_SAVE:
            put(out, d_desc, h, row, col, PART, BN)
        p = gl.maximum(h.to(gl.float32), 0.0)
        put(out, c_desc, (p * p * w[:, None]).to(out.dtype), row, col, PART, BN)
    return it, done + 1


@gluon.jit
def _compute_rows(
    a,
    b,
    out,
    full,
    empty,
    h_bars,
    c_desc,
    d_desc,
    h_desc,
    w_ptr,
    dp_ptr,
    table,
    count,
    K,
    n_tiles,
    rows,
    PART: gl.constexpr,
    IS_NT: gl.constexpr,
    TAIL: gl.constexpr,
    KIND: gl.constexpr,
    IS_GATHER: gl.constexpr,
    STAGES: gl.constexpr,
    GROUP: gl.constexpr,
):
    blocks = gl.load(count)
    tiles = blocks * n_tiles
    steps = gl.cdiv(K, 64)
    h_bar = h_bars.index(PART)
    it = 0
    done = 0
    row, _e, is_half, n = _tile(
        gl.minimum(gl.program_id(0), tiles - 1), table, blocks, n_tiles, GROUP
    )
    for t in range(gl.program_id(0), tiles, gl.num_programs(0)):
        # the next tile's place is read while this one multiplies
        later = gl.minimum(t + gl.num_programs(0), tiles - 1)
        next_row, _e, next_half, next_n = _tile(later, table, blocks, n_tiles, GROUP)
        row += PART * 64
        if (PART == 1) & is_half:
            it = skip(full, empty, it, steps, STAGES)
        else:
            if TAIL == 256:
                it, done = _rows_tile(
                    a, b, out, full, empty, h_bar, c_desc, d_desc, h_desc, w_ptr, dp_ptr, row, n,
                    rows, it, done, steps, PART, 256, IS_NT, KIND, IS_GATHER, STAGES
                )  # fmt: skip
            else:
                if n == n_tiles - 1:
                    it, done = _rows_tile(
                        a, b, out, full, empty, h_bar, c_desc, d_desc, h_desc, w_ptr, dp_ptr, row,
                        n, rows, it, done, steps, PART, TAIL, IS_NT, KIND, IS_GATHER, STAGES
                    )  # fmt: skip
                else:
                    it, done = _rows_tile(
                        a, b, out, full, empty, h_bar, c_desc, d_desc, h_desc, w_ptr, dp_ptr, row,
                        n, rows, it, done, steps, PART, 256, IS_NT, KIND, IS_GATHER, STAGES
                    )  # fmt: skip
        row = next_row
        is_half = next_half
        n = next_n
    tma.store_wait(0)


@gluon.jit
def _load_rows(
    a,
    b,
    full,
    empty,
    a_desc,
    b_desc,
    table,
    count,
    K,
    n_tiles,
    expert_rows,
    IS_NT: gl.constexpr,
    TAIL: gl.constexpr,
    STAGES: gl.constexpr,
    GROUP: gl.constexpr,
):
    blocks = gl.load(count)
    it = 0
    for t in range(gl.program_id(0), blocks * n_tiles, gl.num_programs(0)):
        row, expert, is_half, n = _tile(t, table, blocks, n_tiles, GROUP)
        is_tail = (n == n_tiles - 1) & (TAIL < 256)
        base = expert * expert_rows
        for k in range(0, K, 64):
            s = it % STAGES
            mbarrier.wait(empty.index(s), ((it // STAGES) & 1) ^ 1)
            bar = full.index(s)
            expect_stage(bar, is_half, is_tail, TAIL)
            tma.async_copy_global_to_shared(a_desc, [row, k], bar, a.index(s * 2))
            tma.async_copy_global_to_shared(
                a_desc, [row + 64, k], bar, a.index(s * 2 + 1), pred=is_half == 0
            )
            for j in gl.static_range(4):
                is_wanted = (is_tail == 0) | (j * 64 < TAIL)
                if IS_NT:
                    tma.async_copy_global_to_shared(
                        b_desc,
                        [base + n * 256 + j * 64, k],
                        bar,
                        b.index(s * 4 + j),
                        pred=is_wanted,
                    )
                else:
                    tma.async_copy_global_to_shared(
                        b_desc,
                        [base + k, n * 256 + j * 64],
                        bar,
                        b.index(s * 4 + j),
                        pred=is_wanted,
                    )
            it += 1


@gluon.jit
def _gather_rows(
    a,
    b,
    full,
    empty,
    x_ptr,
    b_desc,
    token_ptr,
    table,
    count,
    K,
    x_stride,
    n_tiles,
    expert_rows,
    TAIL: gl.constexpr,
    STAGES: gl.constexpr,
    GROUP: gl.constexpr,
):
    """As `_load_rows`, but a row comes from the token that token_ptr names for it."""
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    c = gl.arange(0, 64, gl.SliceLayout(0, layout))
    r = gl.arange(0, 64, gl.SliceLayout(1, layout))
    blocks = gl.load(count)
    it = 0
    for t in range(gl.program_id(0), blocks * n_tiles, gl.num_programs(0)):
        row, expert, is_half, n = _tile(t, table, blocks, n_tiles, GROUP)
        is_tail = (n == n_tiles - 1) & (TAIL < 256)
        base = expert * expert_rows
        top = gl.load(token_ptr + row + r).to(gl.int64)
        low = gl.load(token_ptr + gl.where(is_half, row, row + 64) + r).to(gl.int64)
        top_ptr = x_ptr + top[:, None] * x_stride + c[None, :]
        low_ptr = x_ptr + low[:, None] * x_stride + c[None, :]
        for k in range(0, K, 64):
            s = it % STAGES
            mbarrier.wait(empty.index(s), ((it // STAGES) & 1) ^ 1)
            bar = full.index(s)
            mbarrier.expect(bar, 4 * 8192, pred=is_tail == 0)
            if TAIL < 256:
                mbarrier.expect(bar, TAIL * 128, pred=is_tail == 1)
            for j in gl.static_range(4):
                is_wanted = (is_tail == 0) | (j * 64 < TAIL)
                tma.async_copy_global_to_shared(
                    b_desc, [base + n * 256 + j * 64, k], bar, b.index(s * 4 + j), pred=is_wanted
                )
            async_copy.async_copy_global_to_shared(a.index(s * 2), top_ptr + k)
            async_copy.async_copy_global_to_shared(a.index(s * 2 + 1), low_ptr + k)
            async_copy.mbarrier_arrive(bar, increment_count=False)
            it += 1


# a count that happens to be 1 must not become a constant: that folds branches the lowering needs
@gluon.jit(do_not_specialize=["n_tiles", "expert_rows", "rows"])
def rows_kernel(
    a_desc,
    b_desc,
    c_desc,
    d_desc,
    h_desc,
    w_ptr,
    dp_ptr,
    x_ptr,
    token_ptr,
    table,
    count,
    K,
    x_stride,
    n_tiles,
    expert_rows,
    rows,
    IS_NT: gl.constexpr,
    TAIL: gl.constexpr,
    KIND: gl.constexpr,
    IS_GATHER: gl.constexpr,
    STAGES: gl.constexpr,
    GROUP: gl.constexpr,
):
    """Rows [R, K] times the weight of their expert, [N, K] (IS_NT) or [K, N], to [R, N].

    The rows are those of a_desc or, with IS_GATHER, rows of x picked by token_ptr [R].

    KIND picks what happens to a tile h = a W before it is stored:
    PLAIN: c = h. RELU2: c = w relu(h)^2. RELU2_SAVE: the same and d = h.
    RELU2_BACKWARD, where the tile is da = dy W and h is read: c = dh, d = w relu(h)^2 again, and
    dp[n, row] = sum over the tile's columns of da relu(h)^2.

    Args:
        table: int32 [blocks, 3] first row, expert and rows of each block of up to 128 rows.
        count: int32 [1] blocks in use.
        expert_rows: Rows of one expert in b_desc's two-dimensional view of the weights.
        rows: R, the stride of dp.
    """
    a, b, out, full, empty, h_bars = buffers(b_desc.dtype, IS_GATHER, STAGES)
    if IS_GATHER:
        gl.warp_specialize(
            [
                (
                    _compute_rows,
                    (
                        a, b, out, full, empty, h_bars, c_desc, d_desc, h_desc, w_ptr, dp_ptr,
                        table, count, K, n_tiles, rows, 0, IS_NT, TAIL, KIND, IS_GATHER, STAGES,
                        GROUP
                    ),
                ),
                (
                    _compute_rows,
                    (
                        a, b, out, full, empty, h_bars, c_desc, d_desc, h_desc, w_ptr, dp_ptr,
                        table, count, K, n_tiles, rows, 1, IS_NT, TAIL, KIND, IS_GATHER, STAGES,
                        GROUP
                    ),
                ),
                (
                    _gather_rows,
                    (
                        a, b, full, empty, x_ptr, b_desc, token_ptr, table, count, K, x_stride,
                        n_tiles, expert_rows, TAIL, STAGES, GROUP
                    ),
                ),
            ],
            [4, 4],
            [216, 72],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (
                    _compute_rows,
                    (
                        a, b, out, full, empty, h_bars, c_desc, d_desc, h_desc, w_ptr, dp_ptr,
                        table, count, K, n_tiles, rows, 0, IS_NT, TAIL, KIND, IS_GATHER, STAGES,
                        GROUP
                    ),
                ),
                (
                    _compute_rows,
                    (
                        a, b, out, full, empty, h_bars, c_desc, d_desc, h_desc, w_ptr, dp_ptr,
                        table, count, K, n_tiles, rows, 1, IS_NT, TAIL, KIND, IS_GATHER, STAGES,
                        GROUP
                    ),
                ),
                (
                    _load_rows,
                    (
                        a, b, full, empty, a_desc, b_desc, table, count, K, n_tiles, expert_rows,
                        IS_NT, TAIL, STAGES, GROUP
                    ),
                ),
            ],
            [4, 1],
            [240, 24],
        )  # fmt: skip
