"""Grouped matrix products for Hopper in Gluon: one loading warp, two warpgroups that multiply.

A tile is 128 rows by 256 columns; each warpgroup owns 64 of the rows. The loading warp keeps STAGES
slices of 64 along the inner dim in flight through TMA. The two warpgroups share nothing but those
slices, so one may store its tile while the other still multiplies.

Everything is cut into boxes of 64 x 64 bf16 (8 KB, the widest box of the 128-byte swizzle). A box row
is never shared by two experts: the layout pads every expert to 64 rows, and all dims are multiples
of 64, so no tile needs a mask. Columns beyond the last full 256 form a narrower tile of TAIL.

Suffixes: R rows of the padded layout, N columns out, K inner dim, P x Q shape of a weight gradient.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportAssignmentType=false

from triton._C.libtriton import ir
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language._core import builtin
from triton.experimental.gluon.language.nvidia.hopper import (
    async_copy,
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

PLAIN = gl.constexpr(0)
RELU2_SAVE = gl.constexpr(1)
RELU2 = gl.constexpr(2)
RELU2_BACKWARD = gl.constexpr(3)
ACCUMULATE = gl.constexpr(4)
REDUCE = gl.constexpr(5)
TMA_REDUCE = gl.constexpr(6)


@builtin
def _add_box(desc, coord, source, _semantic=None):
    """Add a box in shared memory to the tensor behind a TMA descriptor, asynchronously."""
    coord = _semantic._convert_to_ir_values(coord, require_i64=False)
    add = ir.DESCRIPTOR_REDUCE_KIND.ADD
    _semantic.builder.create_async_tma_reduce(add, desc.handle, coord, source.handle)


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
def _expect(bar, is_half, is_tail, TAIL: gl.constexpr):
    """Announce the bytes of one stage."""
    mbarrier.expect(bar, 6 * 8192, pred=(is_half == 0) & (is_tail == 0))
    mbarrier.expect(bar, 5 * 8192, pred=(is_half == 1) & (is_tail == 0))
    if TAIL < 256:
        mbarrier.expect(bar, (2 + TAIL // 64) * 8192, pred=(is_half == 0) & (is_tail == 1))
        mbarrier.expect(bar, (1 + TAIL // 64) * 8192, pred=(is_half == 1) & (is_tail == 1))


@gluon.jit
def _multiply(
    a,
    b,
    out,
    full,
    empty,
    h_bar,
    h_desc,
    h_row,
    h_col,
    it,
    steps,
    PART: gl.constexpr,
    BN: gl.constexpr,
    IS_NT: gl.constexpr,
    IS_TA: gl.constexpr,
    HAS_H: gl.constexpr,
    IS_GATHER: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Sum of [64, 64] x [64, BN] products over `steps` stages; one product stays in flight.

    With HAS_H the output buffer is filled with h meanwhile, once its last stores have left it.
    """
    layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BN, 16]
    )
    if IS_NT:
        b_box = b._reinterpret(b.dtype, [STAGES * 256 // BN, BN, 64], b.layout)
    else:
        b_box = b._reinterpret(b.dtype, [STAGES * 256 // BN, 64, BN], b.layout)
    acc = gl.zeros([64, BN], gl.float32, layout)
    for k in range(steps):
        s = it % STAGES
        mbarrier.wait(full.index(s), (it // STAGES) & 1)
        if IS_GATHER:
            fence_async_shared()
        x = a.index(s * 2 + PART)
        if IS_TA:
            x = x.permute([1, 0])
        y = b_box.index(s * (256 // BN))
        if IS_NT:
            y = y.permute([1, 0])
        acc = warpgroup_mma(x, y, acc, is_async=True)
        acc = warpgroup_mma_wait(1, deps=[acc])
        mbarrier.arrive(empty.index((it + STAGES - 1) % STAGES), pred=k > 0)
        if HAS_H:  # noqa: SIM102 - known when compiling, unlike what follows
            if k == gl.minimum(steps - 1, 3):
                tma.store_wait(0)
                mbarrier.expect(h_bar, BN * 128)
                for j in gl.static_range(BN // 64):
                    tma.async_copy_global_to_shared(
                        h_desc, [h_row, h_col + j * 64], h_bar, out.index(PART * 4 + j)
                    )
        it += 1
    acc = warpgroup_mma_wait(0, deps=[acc])
    mbarrier.arrive(empty.index((it + STAGES - 1) % STAGES), pred=steps > 0)
    return acc, it


@gluon.jit
def _skip(full, empty, it, steps, STAGES: gl.constexpr):
    """Release the stages of a tile that has no rows for this warpgroup."""
    for _k in range(steps):
        s = it % STAGES
        mbarrier.wait(full.index(s), (it // STAGES) & 1)
        mbarrier.arrive(empty.index(s))
        it += 1
    return it


@gluon.jit
def _halves(x):
    """Left and right half of the columns, by registers alone."""
    wide: gl.constexpr = x.shape[1] // 2
    layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, wide, 16]
    )
    left, right = x.reshape([64, 2, wide]).permute([0, 2, 1]).split()
    left = gl.convert_layout(left, layout, assert_trivial=True)
    return left, gl.convert_layout(right, layout, assert_trivial=True)


@gluon.jit
def _piece(x, I: gl.constexpr, N: gl.constexpr):
    """Piece I of N = 1, 2 or 4 equal pieces of the columns."""
    if N == 4:
        left, right = _halves(x)
        half = left if I < 2 else right
        left, right = _halves(half)
        return left if I % 2 == 0 else right
    elif N == 2:
        left, right = _halves(x)
        return left if I == 0 else right
    else:
        return x


@gluon.jit
def _put(out, desc, value, row, col, PART: gl.constexpr, BN: gl.constexpr):
    """Store a [64, BN] tile through this warpgroup's half of the output buffer."""
    OUT: gl.constexpr = out.shape[0] // 2
    WIDE: gl.constexpr = BN if BN < OUT * 64 else OUT * 64
    whole = out._reinterpret(out.dtype, [OUT * 128 // WIDE, 64, WIDE], out.layout)
    for i in gl.static_range(BN // WIDE):
        tma.store_wait(0)
        whole.index(PART * (OUT * 64 // WIDE)).store(_piece(value, i, BN // WIDE))
        fence_async_shared()
        gl.thread_barrier()
        for j in gl.static_range(WIDE // 64):
            at = [row, col + i * WIDE + j * 64]
            tma.async_copy_shared_to_global(desc, at, out.index(PART * OUT + j))


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
        da = _piece(acc, j, BN // 64)
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
    acc, it = _multiply(
        a, b, out, full, empty, h_bar, h_desc, row, col, it, steps, PART, BN, IS_NT, False,
        KIND == RELU2_BACKWARD, IS_GATHER, STAGES
    )  # fmt: skip
    if KIND == PLAIN:
        _put(out, c_desc, acc.to(out.dtype), row, col, PART, BN)
    elif KIND == RELU2_BACKWARD:
        mbarrier.wait(h_bar, done & 1)
        _finish_backward(acc, out, c_desc, d_desc, w, dp_ptr + n * rows + r, row, col, PART, BN)
    else:
        # the backward pass sees the rounded h, so the forward pass uses it too
        h = acc.to(out.dtype)
        if KIND == RELU2_SAVE:
            _put(out, d_desc, h, row, col, PART, BN)
        p = gl.maximum(h.to(gl.float32), 0.0)
        _put(out, c_desc, (p * p * w[:, None]).to(out.dtype), row, col, PART, BN)
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
            it = _skip(full, empty, it, steps, STAGES)
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
            _expect(bar, is_half, is_tail, TAIL)
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


@gluon.jit
def _buffers(dtype: gl.constexpr, IS_GATHER: gl.constexpr, STAGES: gl.constexpr, OUT: gl.constexpr):
    """Boxes of both operands and of the output, the barriers of the stages, those of h."""
    box: gl.constexpr = gl.NVMMASharedLayout(128, 16, 2)
    a = gl.allocate_shared_memory(dtype, [STAGES * 2, 64, 64], box)
    b = gl.allocate_shared_memory(dtype, [STAGES * 4, 64, 64], box)
    out = gl.allocate_shared_memory(dtype, [2 * OUT, 64, 64], box)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    h_bars = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        # a gathering warpgroup arrives with each of its threads
        mbarrier.init(full.index(i), count=129 if IS_GATHER else 1)
        mbarrier.init(empty.index(i), count=2)
    for i in gl.static_range(2):
        mbarrier.init(h_bars.index(i), count=1)
    fence_async_shared()
    return a, b, out, full, empty, h_bars


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
    OUT: gl.constexpr,
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
    a, b, out, full, empty, h_bars = _buffers(b_desc.dtype, IS_GATHER, STAGES, OUT)
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


@gluon.jit
def _add(out, desc, value, row, col, PART: gl.constexpr, BN: gl.constexpr):
    """Add a [64, BN] tile of float32 to the output through this warpgroup's half of the buffer."""
    OUT: gl.constexpr = out.shape[0] // 2
    box: gl.constexpr = gl.NVMMASharedLayout(128, 32, 2)
    WIDE: gl.constexpr = BN if BN < OUT * 32 else OUT * 32
    whole = out._reinterpret(gl.float32, [OUT * 64 // WIDE, 64, WIDE], box)
    boxes = out._reinterpret(gl.float32, [OUT * 2, 64, 32], box)
    for i in gl.static_range(BN // WIDE):
        tma.store_wait(0)
        whole.index(PART * (OUT * 32 // WIDE)).store(_piece(value, i, BN // WIDE))
        fence_async_shared()
        gl.thread_barrier()
        for j in gl.static_range(WIDE // 32):
            _add_box(desc, [row, col + i * WIDE + j * 32], boxes.index(PART * OUT + j))


@gluon.jit
def _finish_weight(
    acc, out, c_desc, c_ptr, row, col, Q, PART: gl.constexpr, BN: gl.constexpr, KIND: gl.constexpr
):
    if KIND == PLAIN:
        _put(out, c_desc, acc.to(out.dtype), row, col, PART, BN)
    elif KIND == TMA_REDUCE:
        _add(out, c_desc, acc, row, col, PART, BN)
    else:
        layout: gl.constexpr = acc.type.layout
        r = row + gl.arange(0, 64, gl.SliceLayout(1, layout))
        c = col + gl.arange(0, BN, gl.SliceLayout(0, layout))
        where = c_ptr + r.to(gl.int64)[:, None] * Q + c[None, :]
        inside = (c < Q)[None, :] & (r >= 0)[:, None]
        if KIND == ACCUMULATE:
            gl.store(where, gl.load(where, inside, other=0.0) + acc, inside)
        else:
            # one addend an element a launch, so the result does not depend on the order
            gl.atomic_add(where, acc, mask=inside, sem="relaxed")


@gluon.jit
def _weight_tile(
    a,
    b,
    out,
    full,
    empty,
    c_desc,
    c_ptr,
    row,
    col,
    Q,
    it,
    steps,
    PART: gl.constexpr,
    BN: gl.constexpr,
    KIND: gl.constexpr,
    STAGES: gl.constexpr,
):
    acc, it = _multiply(
        a, b, out, full, empty, full, c_desc, 0, 0, it, steps, PART, BN, False, True, False, False,
        STAGES
    )  # fmt: skip
    if (KIND == PLAIN) | (steps > 0):
        _finish_weight(acc, out, c_desc, c_ptr, row, col, Q, PART, BN, KIND)
    return it


@gluon.jit
def _weight_place(t, starts, p_tiles, n_tiles, P):
    """Expert, row tile, column tile, first row and stages of a tile of a weight gradient."""
    expert = t // (p_tiles * n_tiles)
    inside = t - expert * p_tiles * n_tiles
    p = inside % p_tiles
    start = gl.load(starts + expert)
    steps = (gl.load(starts + expert + 1) - start) // 64
    return expert, p * 128, inside // p_tiles, start, steps, p * 128 + 64 >= P


@gluon.jit
def _compute_weight(
    a,
    b,
    out,
    full,
    empty,
    c_desc,
    c_ptr,
    starts,
    P,
    Q,
    p_tiles,
    n_tiles,
    tiles,
    PART: gl.constexpr,
    TAIL: gl.constexpr,
    KIND: gl.constexpr,
    STAGES: gl.constexpr,
):
    it = 0
    expert, p, n, _s, steps, is_half = _weight_place(
        gl.minimum(gl.program_id(0), tiles - 1), starts, p_tiles, n_tiles, P
    )
    for t in range(gl.program_id(0), tiles, gl.num_programs(0)):
        later = gl.minimum(t + gl.num_programs(0), tiles - 1)
        next_expert, next_p, next_n, _s, next_steps, next_half = _weight_place(
            later, starts, p_tiles, n_tiles, P
        )
        row = expert * P + p + PART * 64
        if (PART == 1) & is_half:
            it = _skip(full, empty, it, steps, STAGES)
        else:
            if TAIL == 256:
                it = _weight_tile(
                    a, b, out, full, empty, c_desc, c_ptr, row, n * 256, Q, it, steps, PART, 256,
                    KIND, STAGES
                )  # fmt: skip
            else:
                if n == n_tiles - 1:
                    it = _weight_tile(
                        a, b, out, full, empty, c_desc, c_ptr, row, n * 256, Q, it, steps, PART,
                        TAIL, KIND, STAGES
                    )  # fmt: skip
                else:
                    it = _weight_tile(
                        a, b, out, full, empty, c_desc, c_ptr, row, n * 256, Q, it, steps, PART,
                        256, KIND, STAGES
                    )  # fmt: skip
        expert = next_expert
        p = next_p
        n = next_n
        steps = next_steps
        is_half = next_half
    tma.store_wait(0)


@gluon.jit
def _load_weight(
    a,
    b,
    full,
    empty,
    a_desc,
    b_desc,
    starts,
    P,
    p_tiles,
    n_tiles,
    tiles,
    TAIL: gl.constexpr,
    STAGES: gl.constexpr,
):
    it = 0
    for t in range(gl.program_id(0), tiles, gl.num_programs(0)):
        _expert, p, n, start, steps, is_half = _weight_place(t, starts, p_tiles, n_tiles, P)
        is_tail = (n == n_tiles - 1) & (TAIL < 256)
        for k in range(steps):
            s = it % STAGES
            mbarrier.wait(empty.index(s), ((it // STAGES) & 1) ^ 1)
            bar = full.index(s)
            row = start + k * 64
            _expect(bar, is_half, is_tail, TAIL)
            tma.async_copy_global_to_shared(a_desc, [row, p], bar, a.index(s * 2))
            tma.async_copy_global_to_shared(
                a_desc, [row, p + 64], bar, a.index(s * 2 + 1), pred=is_half == 0
            )
            for j in gl.static_range(4):
                is_wanted = (is_tail == 0) | (j * 64 < TAIL)
                tma.async_copy_global_to_shared(
                    b_desc, [row, n * 256 + j * 64], bar, b.index(s * 4 + j), pred=is_wanted
                )
            it += 1


@gluon.jit(do_not_specialize=["P", "p_tiles", "n_tiles", "tiles"])
def weight_kernel(
    a_desc,
    b_desc,
    c_desc,
    c_ptr,
    starts,
    P,
    Q,
    p_tiles,
    n_tiles,
    tiles,
    TAIL: gl.constexpr,
    KIND: gl.constexpr,
    STAGES: gl.constexpr,
    OUT: gl.constexpr,
):
    """Each expert's a^T b over its rows, [R, P] and [R, Q] to [E, P, Q].

    PLAIN stores through c_desc (zeros for an expert without rows); ACCUMULATE adds to float32 c_ptr.

    Args:
        starts: int32 [E + 1] first padded row of each expert, and the end.
        tiles: E p_tiles n_tiles.
    """
    a, b, out, full, empty, _h = _buffers(a_desc.dtype, False, STAGES, OUT)
    gl.warp_specialize(
        [
            (
                _compute_weight,
                (
                    a, b, out, full, empty, c_desc, c_ptr, starts, P, Q, p_tiles, n_tiles, tiles, 0,
                    TAIL, KIND, STAGES
                ),
            ),
            (
                _compute_weight,
                (
                    a, b, out, full, empty, c_desc, c_ptr, starts, P, Q, p_tiles, n_tiles, tiles, 1,
                    TAIL, KIND, STAGES
                ),
            ),
            (
                _load_weight,
                (
                    a, b, full, empty, a_desc, b_desc, starts, P, p_tiles, n_tiles, tiles, TAIL,
                    STAGES
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )  # fmt: skip
