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
SUM = gl.constexpr(4)


@builtin
def _add_box(desc, coord, source, _semantic=None):
    """Add a box in shared memory to the tensor behind a TMA descriptor, asynchronously."""
    coord = _semantic._convert_to_ir_values(coord, require_i64=False)
    add = ir.DESCRIPTOR_REDUCE_KIND.ADD
    _semantic.builder.create_async_tma_reduce(add, desc.handle, coord, source.handle)


@gluon.jit
def expect_stage(bar, is_half, is_tail, TAIL: gl.constexpr):
    """Announce the bytes of one stage."""
    mbarrier.expect(bar, 6 * 8192, pred=(is_half == 0) & (is_tail == 0))
    mbarrier.expect(bar, 5 * 8192, pred=(is_half == 1) & (is_tail == 0))
    if TAIL < 256:
        mbarrier.expect(bar, (2 + TAIL // 64) * 8192, pred=(is_half == 0) & (is_tail == 1))
        mbarrier.expect(bar, (1 + TAIL // 64) * 8192, pred=(is_half == 1) & (is_tail == 1))


@gluon.jit
def multiply(
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
def skip(full, empty, it, steps, STAGES: gl.constexpr):
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
def piece(x, I: gl.constexpr, N: gl.constexpr):
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
def put(out, desc, value, row, col, PART: gl.constexpr, BN: gl.constexpr):
    """Store a [64, BN] tile through this warpgroup's half of the output buffer."""
    whole = out._reinterpret(out.dtype, [512 // BN, 64, BN], out.layout).index(PART * (256 // BN))
    tma.store_wait(0)
    whole.store(value)
    fence_async_shared()
    gl.thread_barrier()
    for j in gl.static_range(BN // 64):
        tma.async_copy_shared_to_global(desc, [row, col + j * 64], out.index(PART * 4 + j))


@gluon.jit
def add(out, desc, value, row, col, PART: gl.constexpr, BN: gl.constexpr):
    """Add a [64, BN] tile of float32 to the output, at most 128 columns of it at a time.

    Each element gets one addend a launch, so the sum does not depend on the order.
    """
    WIDE: gl.constexpr = 128 if BN == 256 else BN
    box: gl.constexpr = gl.NVMMASharedLayout(128, 32, 2)
    whole = out._reinterpret(gl.float32, [256 // WIDE, 64, WIDE], box).index(PART * (128 // WIDE))
    boxes = out._reinterpret(gl.float32, [8, 64, 32], box)
    for i in gl.static_range(BN // WIDE):
        tma.store_wait(0)
        whole.store(piece(value, i, BN // WIDE))
        fence_async_shared()
        gl.thread_barrier()
        for j in gl.static_range(WIDE // 32):
            _add_box(desc, [row, col + i * WIDE + j * 32], boxes.index(PART * 4 + j))


@gluon.jit
def buffers(dtype: gl.constexpr, IS_GATHER: gl.constexpr, STAGES: gl.constexpr):
    """Boxes of both operands and of the output, the barriers of the stages, those of h."""
    box: gl.constexpr = gl.NVMMASharedLayout(128, 16, 2)
    a = gl.allocate_shared_memory(dtype, [STAGES * 2, 64, 64], box)
    b = gl.allocate_shared_memory(dtype, [STAGES * 4, 64, 64], box)
    out = gl.allocate_shared_memory(dtype, [8, 64, 64], box)
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
