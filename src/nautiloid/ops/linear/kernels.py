"""Products of a few rows with a wide weight, bound by reading the weight once.

A tile of BM rows of the weight is the wide operand of the product, up to BT rows of x the narrow one.

Suffixes: T rows of x, N outputs, D inputs.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, wait


@triton.jit
def load_rows(rows, D: tl.constexpr, BK: tl.constexpr, has=None):
    """Rows of D numbers from their addresses, as a tuple of [rows, BK]; all loads are under way at once."""
    k = tl.arange(0, BK)
    found = ()
    for start in tl.static_range(0, D, BK):
        at = rows[:, None] + start + k[None, :]
        if has is None:
            mask = None if start + BK <= D else (start + k < D)[None, :]
        else:
            mask = has[:, None] & (start + k < D)[None, :]
        found = found + (tl.load(at, mask),)  # noqa: RUF005 - no starred tuples
    return found


@triton.jit
def dot_rows(weights, x, D: tl.constexpr, BK: tl.constexpr, offsets=None):
    """Sum of each row times x, in float32; with offsets each row has its own x there."""
    k = tl.arange(0, BK)
    total = tl.zeros(weights[0].shape, tl.float32)
    # each lane reads the numbers of x that meet its weights: sharing them would cost a barrier
    at = tl.zeros(weights[0].shape, tl.int32) + k[None, :]
    if offsets is not None:
        at += offsets[:, None]
    for i in tl.static_range(len(weights)):
        inside = (i * BK + k < D)[None, :]
        part = tl.load(x + at + i * BK, inside, other=0.0).to(tl.float32)
        # what lies past the end is not a number of anybody's
        total += tl.where(inside, weights[i].to(tl.float32), 0.0) * part
    return tl.sum(total, 1)


@triton.jit(do_not_specialize=["T"])
def vector_kernel(
    x, weight, bias, out, T, N, x_stride,
    D: tl.constexpr, ROWS: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, HAS_BIAS: tl.constexpr,
    CHAINED: tl.constexpr
):  # fmt: skip
    """out [T, N] = x W^T + b of up to ROWS rows; the weights are in registers before x is there."""
    n = tl.program_id(0) * BM + tl.arange(0, BM)
    w = load_rows(weight + tl.where(n < N, n, 0).to(tl.int64) * D, D, BK)
    if HAS_BIAS:
        b = tl.load(bias + n, n < N, other=0.0).to(tl.float32)
    follow(CHAINED)
    wait(CHAINED)
    for t in tl.static_range(ROWS):
        y = dot_rows(w, x + tl.minimum(t, T - 1) * x_stride, D, BK)
        if HAS_BIAS:
            y += b
        tl.store(out + t * N + n, y.to(out.dtype.element_ty), (n < N) & (t < T))


@triton.jit(do_not_specialize=["T"])
def thin_kernel(
    x, weight, bias, out, T, N, x_stride,
    D: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """out [T, N] = x W^T + b."""
    n = tl.program_id(0) * BM + tl.arange(0, BM)
    t = tl.program_id(1) * BT + tl.arange(0, BT)
    k = tl.arange(0, BK)
    has = t < T
    # rows past the end repeat the last one, so that no load of the weight needs a mask
    rows = tl.minimum(n, N - 1).to(tl.int64) * D
    follow(CHAINED)
    wait(CHAINED)
    w_at = weight + rows[:, None] + k[None, :]
    x_at = x + tl.where(has, t, 0).to(tl.int64)[:, None] * x_stride + k[None, :]
    y = tl.zeros([BM, BT], tl.float32)
    for start in range(0, D, BK):
        if D % BK == 0:
            xt = tl.load(x_at + start, has[:, None], other=0.0)
            y = tl.dot(tl.load(w_at + start), tl.trans(xt), y, input_precision=PRECISION)
        else:
            inside = (start + k < D)[None, :]
            xt = tl.load(x_at + start, has[:, None] & inside, other=0.0)
            w = tl.load(w_at + start, inside, other=0.0)
            y = tl.dot(w, tl.trans(xt), y, input_precision=PRECISION)
    if HAS_BIAS:
        y += tl.load(bias + n, n < N, other=0.0).to(tl.float32)[:, None]
    at = out + t.to(tl.int64)[None, :] * N + n[:, None]
    tl.store(at, y.to(out.dtype.element_ty), has[None, :] & (n < N)[:, None])
