"""Weight gradients of the experts on Hopper (see `kernels_hopper`).

Suffixes: R rows, P x Q shape of one expert's gradient.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportAssignmentType=false

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

from nautiloid.ops.moe.kernels_hopper import (
    PLAIN,
    add,
    buffers,
    expect_stage,
    multiply,
    put,
    skip,
)


@gluon.jit
def _weight_tile(
    a,
    b,
    out,
    full,
    empty,
    c_desc,
    row,
    col,
    it,
    steps,
    PART: gl.constexpr,
    BN: gl.constexpr,
    KIND: gl.constexpr,
    STAGES: gl.constexpr,
):
    acc, it = multiply(
        a, b, out, full, empty, full, c_desc, 0, 0, it, steps, PART, BN, False, True, False, False,
        STAGES
    )  # fmt: skip
    if (KIND == PLAIN) | (steps > 0):
        if KIND == PLAIN:
            put(out, c_desc, acc.to(out.dtype), row, col, PART, BN)
        else:
            add(out, c_desc, acc, row, col, PART, BN)
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
    starts,
    P,
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
            it = skip(full, empty, it, steps, STAGES)
        else:
            if TAIL == 256:
                it = _weight_tile(
                    a, b, out, full, empty, c_desc, row, n * 256, it, steps, PART, 256,
                    KIND, STAGES
                )  # fmt: skip
            else:
                if n == n_tiles - 1:
                    it = _weight_tile(
                        a, b, out, full, empty, c_desc, row, n * 256, it, steps, PART,
                        TAIL, KIND, STAGES
                    )  # fmt: skip
                else:
                    it = _weight_tile(
                        a, b, out, full, empty, c_desc, row, n * 256, it, steps, PART,
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
            expect_stage(bar, is_half, is_tail, TAIL)
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
    starts,
    P,
    p_tiles,
    n_tiles,
    tiles,
    TAIL: gl.constexpr,
    KIND: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Each expert's a^T b over its rows, [R, P] and [R, Q] to [E, P, Q].

    PLAIN stores (zeros for an expert without rows); SUM adds to c_desc's float32.

    Args:
        starts: int32 [E + 1] first padded row of each expert, and the end.
        tiles: E p_tiles n_tiles.
    """
    a, b, out, full, empty, _h = buffers(a_desc.dtype, False, STAGES)
    gl.warp_specialize(
        [
            (
                _compute_weight,
                (
                    a, b, out, full, empty, c_desc, starts, P, p_tiles, n_tiles, tiles, 0,
                    TAIL, KIND, STAGES
                ),
            ),
            (
                _compute_weight,
                (
                    a, b, out, full, empty, c_desc, starts, P, p_tiles, n_tiles, tiles, 1,
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
