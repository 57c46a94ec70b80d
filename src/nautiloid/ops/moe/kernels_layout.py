"""Sorting assignments by expert on the device, moving rows there and back.

Everything has a static size; how much of it is used is known to the device alone. Counts are integers
and sums run in a fixed order, so results do not depend on scheduling.

Suffixes: T tokens, K experts a token, A = T K assignments, E experts, R padded rows, L row width.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl


@triton.jit
def count_kernel(
    experts, valid, counts, A, E,
    K: tl.constexpr, BLOCK: tl.constexpr, EP: tl.constexpr, HAS_VALID: tl.constexpr
):  # fmt: skip
    """counts [blocks, E]: assignments of each expert in each block of BLOCK, by valid tokens alone."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    e = tl.arange(0, EP)
    ids = tl.load(experts + i, i < A, other=0).to(tl.int32)
    mask = i < A
    if HAS_VALID:
        mask = mask & (tl.load(valid + i // K, mask, other=0) != 0)
    found = tl.histogram(ids, EP, mask=mask)
    tl.store(counts + tl.program_id(0) * E + e, found, e < E)


@triton.jit
def scan_kernel(counts, totals, blocks, E, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """In place: counts of all blocks before each block; totals [E] over all blocks."""
    e = tl.program_id(0) * WIDE + tl.arange(0, WIDE)
    carry = tl.zeros([WIDE], tl.int32)
    for first in range(0, blocks, BLOCK):
        b = first + tl.arange(0, BLOCK)
        mask = (b < blocks)[:, None] & (e < E)[None, :]
        where = counts + b[:, None] * E + e[None, :]
        x = tl.load(where, mask, other=0)
        tl.store(where, tl.cumsum(x, 0) - x + carry[None, :], mask)
        carry += tl.sum(x, 0)
    tl.store(totals + e, carry, e < E)


@triton.jit
def table_kernel(
    totals, starts, table, used, E, ALIGN: tl.constexpr, ROWS: tl.constexpr, EP: tl.constexpr
):
    """Where each expert starts when every expert is padded to ALIGN rows, and its row blocks.

    starts [E + 1]; table [blocks, 3] first row, expert, rows; used [1] the number of blocks.
    """
    e = tl.arange(0, EP)
    n = tl.load(totals + e, e < E, other=0)
    padded = (n + ALIGN - 1) // ALIGN * ALIGN
    start = tl.cumsum(padded, 0) - padded
    tl.store(starts + e, start, e < E)
    tl.store(starts + E, tl.sum(padded, 0))
    mine = (padded + ROWS - 1) // ROWS
    first = tl.cumsum(mine, 0) - mine
    tl.store(used, tl.sum(mine, 0))
    for i in range(tl.max(mine, 0)):
        where = table + 3 * (first + i)
        has = i < mine
        tl.store(where, start + ROWS * i, has)
        tl.store(where + 1, e, has)
        tl.store(where + 2, tl.minimum(padded - ROWS * i, ROWS), has)


@triton.jit
def place_kernel(
    experts, weights, before, starts, place, sorted_weights, sorted_tokens, A, E,
    K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """place [A]: the padded row of each assignment, in stable order; that row gets weight and token."""
    b = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    a = b * BLOCK + i
    ids = tl.load(experts + a, a < A, other=-1).to(tl.int32)
    # few at a time: registers decide how many programs run at once
    STEP: tl.constexpr = 16  # pyright: ignore[reportAssignmentType]
    earlier = tl.zeros([BLOCK, STEP], tl.int32)
    for first in range(0, BLOCK, STEP):
        j = (first + tl.arange(0, STEP))[None, :]
        other = tl.load(experts + b * BLOCK + j, b * BLOCK + j < A, other=-1).to(tl.int32)
        earlier += ((ids[:, None] == other) & (j < i[:, None])).to(tl.int32)
    rank = tl.sum(earlier, 1)
    row = rank + tl.load(starts + ids, a < A, other=0)
    row += tl.load(before + b * E + ids, a < A, other=0)
    tl.store(place + a, row, a < A)
    tl.store(sorted_weights + row, tl.load(weights + a, a < A).to(tl.float32), a < A)
    tl.store(sorted_tokens + row, a // K, a < A)


@triton.jit
def spread_kernel(
    x, place, totals, starts, out, T, L, x_stride, K: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Row of each token to its K padded rows; programs T and above zero the padding of one expert."""
    t = tl.program_id(0)
    if t < T:
        for col in range(0, L, BLOCK):
            c = col + tl.arange(0, BLOCK)
            value = tl.load(x + t.to(tl.int64) * x_stride + c, c < L)
            for k in tl.static_range(K):
                row = tl.load(place + t * K + k).to(tl.int64)
                tl.store(out + row * L + c, value, c < L)
    else:
        e = t - T
        first = tl.load(starts + e) + tl.load(totals + e)
        end = tl.load(starts + e + 1)
        zero = tl.zeros([8, BLOCK], out.dtype.element_ty)
        for start in range(first, end, 8):
            row = (start + tl.arange(0, 8))[:, None]
            for col in range(0, L, BLOCK):
                c = col + tl.arange(0, BLOCK)[None, :]
                tl.store(out + row.to(tl.int64) * L + c, zero, (row < end) & (c < L))


@triton.jit
def combine_kernel(
    y, y2, place, out, L, K: tl.constexpr, BLOCK: tl.constexpr, HAS_SECOND: tl.constexpr
):
    """Sum of each token's K rows of y (and y2), in float32, in the order of its choices."""
    t = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for k in tl.static_range(K):
        row = tl.load(place + t * K + k).to(tl.int64)
        total += tl.load(y + row * L + c, c < L, other=0.0).to(tl.float32)
        if HAS_SECOND:
            total += tl.load(y2 + row * L + c, c < L, other=0.0).to(tl.float32)
    tl.store(out + t * L + c, total.to(out.dtype.element_ty), c < L)


@triton.jit
def collect_kernel(parts, place, out, A, rows, N: tl.constexpr, BLOCK: tl.constexpr):
    """out [A]: sum over the N column tiles of parts [N, R] at the row of each assignment."""
    a = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(place + a, a < A, other=0)
    total = tl.zeros([BLOCK], tl.float32)
    for n in tl.static_range(N):
        total += tl.load(parts + n * rows + row, a < A, other=0.0)
    tl.store(out + a, total.to(out.dtype.element_ty), a < A)
