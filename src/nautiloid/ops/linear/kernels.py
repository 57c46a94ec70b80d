"""Products of a few rows with a wide weight, bound by reading the weight once.

A tile of BM rows of the weight is the wide operand of the product, up to BT rows of x the narrow one.

Suffixes: T rows of x, N outputs, D inputs.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl

from nautiloid.ops.chain import follow, prefetch, wait


@triton.jit(do_not_specialize=["T"])
def thin_kernel(
    x, weight, bias, out, T, N, x_stride,
    D: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, HAS_BIAS: tl.constexpr,
    AHEAD: tl.constexpr, PRECISION: tl.constexpr, CHAINED: tl.constexpr
):  # fmt: skip
    """out [T, N] = x W^T + b; the first AHEAD bytes of each weight row come before x is there."""
    n = tl.program_id(0) * BM + tl.arange(0, BM)
    t = tl.program_id(1) * BT + tl.arange(0, BT)
    k = tl.arange(0, BK)
    has = t < T
    # rows past the end repeat the last one, so that no load of the weight needs a mask
    rows = tl.minimum(n, N - 1).to(tl.int64) * D
    row: tl.constexpr = D * weight.dtype.element_ty.primitive_bitwidth // 8
    if AHEAD > 0 and row % 16 == 0:
        prefetch(weight + rows, min(AHEAD, row), CHAINED)
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
