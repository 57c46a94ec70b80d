"""Kernel of the embedding's gradient."""

# pyright: basic
import triton
import triton.language as tl


@triton.jit
def add_rows_kernel(
    dy, ids, order, out, T, D, stride_dy,
    BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The first of equal sorted ids adds up all rows of its id, in the order of the tokens."""
    r = tl.program_id(0)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = d < D
    row = tl.load(ids + r)
    before = tl.load(ids + r - 1, mask=r > 0, other=-1)
    if row != before:
        total = tl.zeros([BLOCK_D], tl.float32)
        j = r
        # ids of the last of the next rows: equal means that all between are
        ahead = tl.load(ids + j + BLOCK_T - 1, mask=j + BLOCK_T <= T, other=-1)
        while ahead == row:
            source = tl.load(order + j + tl.arange(0, BLOCK_T))
            values = tl.load(
                dy + source[:, None] * stride_dy + d[None, :], mask=inside[None, :], other=0.0
            )
            total += tl.sum(values.to(tl.float32), 0)
            j += BLOCK_T
            ahead = tl.load(ids + j + BLOCK_T - 1, mask=j + BLOCK_T <= T, other=-1)
        same = tl.load(ids + j, mask=j < T, other=-1)
        while same == row:
            source = tl.load(order + j)
            total += tl.load(dy + source * stride_dy + d, mask=inside, other=0.0).to(tl.float32)
            j += 1
            same = tl.load(ids + j, mask=j < T, other=-1)
        place = out + row.to(tl.int64) * D + d
        tl.store(place, tl.load(place, mask=inside, other=0.0) + total, mask=inside)
