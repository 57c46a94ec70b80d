"""Triton kernels of the state-space scan: step sizes, states, outputs.

No chunk state reaches memory in the forward pass. One program walks the chunks of a segment (a
sequence, or a part of one when there are too few sequences to fill the GPU) with the state of one
head, or of `BP` of its columns, in registers. `carry_states` does the same without outputs: it
gives the states at segment borders, and in the backward pass those before every chunk and, walking
backwards, the gradients of those after every chunk.

Decay lives in powers of two: `acs` is the sum of dt A log2(e) from the start of its chunk. A step
size joins the exponent of what its token gives: `source` is acs - log2(dt), huge where dt = 0, which
makes padding inert. All of these are stored head-major in whole chunks, [H, chunks * c].

Suffixes: c chunk length, H heads, P head width, G groups, N state size, S sequences. Segment table
rows (int32): first chunk, chunks, first token, end of its sequence, sequence, place within the
sequence, segments of the sequence.
"""
# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

from __future__ import annotations

import triton
import triton.language as tl
from triton import knobs

LOG2E = tl.constexpr(1.4426950408889634)
INTERPRETED = tl.constexpr(knobs.runtime.interpret)


@triton.jit
def power(x):
    """2^x; results below 2^-126 are zero, which saves two instructions of three."""
    if INTERPRETED:
        return tl.exp2(x)
    else:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def step_sizes(
    raw,
    bias,
    rate,
    dt,
    acs,
    source,
    chunks,
    starts,
    raw_stride,
    padded,
    low,
    high,
    H: tl.constexpr,
    CHUNK: tl.constexpr,
    BH: tl.constexpr,
    IS_RAW: tl.constexpr,
    IS_CLAMPED: tl.constexpr,
):
    """dt = clamp(softplus(raw + bias)) and its decay sums; A = -exp(rate), or rate if not IS_RAW."""
    n = tl.program_id(0)
    s = tl.load(chunks + 2 * n)
    z = tl.load(chunks + 2 * n + 1)
    token = tl.load(starts + s) + z * CHUNK
    rows = tl.arange(0, CHUNK)
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    is_real = token + rows < tl.load(starts + s + 1)
    offsets = (token + rows).to(tl.int64)[:, None] * raw_stride + h[None, :]
    mask = is_real[:, None] & (h < H)[None, :]
    v = tl.load(raw + offsets, mask=mask, other=0.0).to(tl.float32)
    A = tl.load(rate + h, mask=h < H, other=0.0).to(tl.float32)
    if IS_RAW:
        v += tl.load(bias + h, mask=h < H, other=0.0).to(tl.float32)[None, :]
        e = tl.exp(-tl.abs(v))
        # log1p(e) for small e, where 1 + e has lost its digits
        tail = tl.where(e < 1e-3, e * (1.0 - e * (0.5 - e * (1.0 / 3))), tl.log(1.0 + e))
        v = tl.maximum(v, 0.0) + tail
        if IS_CLAMPED:
            v = tl.minimum(tl.maximum(v, low), high)
        A = -tl.exp(A)
    v = tl.where(mask, v, 0.0)
    sums = tl.cumsum(v * (A * LOG2E)[None, :], axis=0)
    out = h.to(tl.int64)[None, :] * padded + (n.to(tl.int64) * CHUNK + rows)[:, None]
    tl.store(dt + out, v, mask=(h < H)[None, :])
    tl.store(acs + out, sums, mask=(h < H)[None, :])
    giving = sums - tl.log2(tl.maximum(v, 1e-37))
    tl.store(source + out, giving, mask=(h < H)[None, :])


@triton.jit
def row_mask(rows, left, cols, LIMIT: tl.constexpr, WIDTH: tl.constexpr):
    """Which entries of a tile lie within the sequence and the width."""
    mask = (rows < left)[:, None]
    if LIMIT != WIDTH:
        mask = mask & (cols < LIMIT)[None, :]
    return mask


@triton.jit
def load_rows(
    source, token, head, column, CHUNK: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr
):
    """Rows [CHUNK, BLOCK] of one head or group of `WIDTH` columns.

    The descriptor has two axes where blocks fill the width exactly (products then read their left
    operand from shared memory); else three, so that a block ends with its head.
    """
    if WIDTH % BLOCK == 0:
        return source.load([token, head * WIDTH + column])
    else:
        return source.load([token, head, column]).reshape(CHUNK, BLOCK)


@triton.jit
def load_state(source, row, part, column, N: tl.constexpr, BLOCK: tl.constexpr, BP: tl.constexpr):
    """Block `part` [BLOCK, BP] of a stored state [N, P]; the axes as in `load_rows`."""
    if N % BLOCK == 0:
        return source.load([row * N + part * BLOCK, column])
    else:
        return source.load([row, part * BLOCK, column]).reshape(BLOCK, BP)


@triton.jit
def store_state(target, row, column, tile, N: tl.constexpr, BN: tl.constexpr, BP: tl.constexpr):
    """The whole state of `row`."""
    if N % BN == 0:
        target.store([row * N, column], tile)
    else:
        target.store([row, 0, column], tile.reshape(1, BN, BP))


@triton.jit
def _state_offsets(p, k, P: tl.constexpr, N: tl.constexpr, BP: tl.constexpr, BN: tl.constexpr):
    """Offsets and mask of a [N, P] register tile in a [P, N] matrix."""
    return p[None, :] * N + k[:, None], (p < P)[None, :] & (k < N)[:, None]


@triton.jit
def _state_before(
    initial,
    border,
    border_decay,
    has_initial: tl.constexpr,
    has_borders: tl.constexpr,
    sequence,
    segment,
    steps,
    step,
    h,
    p,
    k,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
):
    """State at the start of a segment: the initial one and `steps` segments before it."""
    offsets, mask = _state_offsets(p, k, P, N, BP, BN)
    state = tl.zeros([BN, BP], tl.float32)
    if has_initial:
        base = (sequence.to(tl.int64) * H + h) * (P * N)
        state = tl.load(initial + base + offsets, mask=mask, other=0.0).to(tl.float32)
    if has_borders:
        for i in range(steps):
            at = (segment + (i - steps) * step).to(tl.int64) * H + h
            own = tl.load(border + at * (P * N) + offsets, mask=mask, other=0.0)
            state = state * power(tl.load(border_decay + at)) + own
    return state


@triton.jit
def _walk(
    source,
    weights,
    states,
    state,
    exponents,
    acs,
    count,
    token0,
    end,
    head,
    slot,
    h,
    g,
    p0,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    CHUNK: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    WANTS_CHUNKS: tl.constexpr,
    IS_BACKWARD: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The state after `count` chunks and the sum of their decays."""
    rows = tl.arange(0, CHUNK)
    total = 0.0
    for i in tl.range(0, count, num_stages=STAGES):
        z = i
        if IS_BACKWARD:
            z = count - 1 - i
        v = load_rows(source, token0 + z * CHUNK, h, p0, CHUNK, BP, P)
        b = load_rows(weights, token0 + z * CHUNK, g, 0, CHUNK, BN, N)
        at = head + z * CHUNK
        last = tl.load(acs + at + CHUNK - 1)
        e = tl.load(exponents + at + rows)
        if IS_BACKWARD:
            # rows past the end belong to the next sequence
            w = tl.where(rows < end - (token0 + z * CHUNK), power(e), 0.0)
        else:
            w = power(last - e)
        if WANTS_CHUNKS:
            store_state(states, (slot + z) * H + h, p0, state.to(v.dtype), N, BN, BP)
        vw = (v * w[:, None]).to(v.dtype)
        state = tl.dot(tl.trans(b), vw, state * power(last), input_precision="ieee")
        total += last
    return state, total


@triton.jit
def carry_states(
    x,
    B,
    acs,
    source,
    initial,
    states,
    border,
    border_decay,
    dy,
    C,
    d_final,
    d_states,
    d_initial,
    d_border,
    segments,
    first_segment,
    first_chunk,
    num_segments,
    padded,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNK: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
    HAS_D_FINAL: tl.constexpr,
    HAS_BORDERS: tl.constexpr,
    WANTS_CHUNKS: tl.constexpr,
    WANTS_D_INITIAL: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Carry `state = decay state + B^T (w x)` along a segment; the third grid axis turns it round.

    Forward: w = dt exp(sum of what follows in the chunk). Backward: the gradient of the state, from
    C and dy, w = exp(acs), chunks from last to first. With WANTS_CHUNKS it stores the value before
    each step, [chunks * H, N, P]; without, the segment's own contribution at `border`.
    """
    PB: tl.constexpr = (P + BP - 1) // BP
    h = tl.program_id(0) // PB
    p0 = (tl.program_id(0) % PB) * BP
    p = p0 + tl.arange(0, BP)
    segment = first_segment + tl.program_id(1)
    row = segments + segment * 7
    chunk0 = tl.load(row)
    count = tl.load(row + 1)
    token0 = tl.load(row + 2)
    end = tl.load(row + 3)
    sequence = tl.load(row + 4)
    place = tl.load(row + 5)
    places = tl.load(row + 6)
    k = tl.arange(0, BN)
    g = h // HEADS
    tile, tile_mask = _state_offsets(p, k, P, N, BP, BN)
    head = h.to(tl.int64) * padded + chunk0.to(tl.int64) * CHUNK
    slot = chunk0 - first_chunk
    at = segment.to(tl.int64) * H + h
    if tl.program_id(2) == 0:
        state = tl.zeros([BN, BP], tl.float32)
        if WANTS_CHUNKS:
            state = _state_before(
                initial, border, border_decay, HAS_INITIAL, HAS_BORDERS, sequence, segment,
                place, 1, h, p, k, H, P, N, BP, BN,
            )  # fmt: skip
        else:
            # nobody reads what the last segment of its direction adds
            count = tl.where(place == places - 1, 0, count)
        state, total = _walk(
            x, B, states, state, source, acs, count, token0, end, head, slot, h, g, p0, H, P, N, CHUNK,
            BP, BN, WANTS_CHUNKS, False, STAGES,
        )  # fmt: skip
        if not WANTS_CHUNKS:
            tl.store(border + at * (P * N) + tile, state, mask=tile_mask)
            tl.store(border_decay + at, total)
        # without this barrier the compiler gives each branch shared memory of its own
        tl.debug_barrier()
    else:
        # its own sums of decay: in the other order they differ by rounding
        at_back = at + num_segments * H
        state = tl.zeros([BN, BP], tl.float32)
        if WANTS_CHUNKS:
            state = _state_before(
                d_final, d_border, border_decay + num_segments * H, HAS_D_FINAL, HAS_BORDERS,
                sequence, segment, places - 1 - place, -1, h, p, k, H, P, N, BP, BN,
            )  # fmt: skip
        else:
            count = tl.where(place == 0, 0, count)
        state, total = _walk(
            dy, C, d_states, state, acs, acs, count, token0, end, head, slot, h, g, p0, H, P, N,
            CHUNK, BP, BN, WANTS_CHUNKS, True, STAGES,
        )  # fmt: skip
        if not WANTS_CHUNKS:
            tl.store(d_border + at * (P * N) + tile, state, mask=tile_mask)
            tl.store(border_decay + at_back, total)
        elif WANTS_D_INITIAL and place == 0:
            base = (sequence.to(tl.int64) * H + h) * (P * N)
            tl.store(d_initial + base + tile, state, mask=tile_mask)


@triton.jit
def scan_outputs(
    x,
    B,
    C,
    y,
    acs,
    source,
    D,
    initial,
    final,
    border,
    border_decay,
    segments,
    y_stride,
    padded,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNK: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
    HAS_BORDERS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """y and the final states: one program walks one segment of one head (or BP of its columns)."""
    PB: tl.constexpr = (P + BP - 1) // BP
    h = tl.program_id(0) // PB
    p0 = (tl.program_id(0) % PB) * BP
    p = p0 + tl.arange(0, BP)
    segment = tl.program_id(1)
    row = segments + segment * 7
    chunk0 = tl.load(row)
    count = tl.load(row + 1)
    token0 = tl.load(row + 2)
    end = tl.load(row + 3)
    sequence = tl.load(row + 4)
    place = tl.load(row + 5)
    places = tl.load(row + 6)
    k = tl.arange(0, BN)
    rows = tl.arange(0, CHUNK)
    g = h // HEADS
    skip = tl.load(D + h).to(tl.float32)
    state = _state_before(
        initial, border, border_decay, HAS_INITIAL, HAS_BORDERS, sequence, segment,
        place, 1, h, p, k, H, P, N, BP, BN,
    )  # fmt: skip
    head = h.to(tl.int64) * padded + chunk0.to(tl.int64) * CHUNK
    y += token0.to(tl.int64) * y_stride + h * P
    is_causal = rows[:, None] >= rows[None, :]
    for z in tl.range(0, count, num_stages=STAGES):
        token = tl.cast(z * CHUNK, tl.int64)
        left = end - token0 - z * CHUNK
        mask = row_mask(rows, left, p, P, BP)
        v = load_rows(x, token0 + z * CHUNK, h, p0, CHUNK, BP, P)
        b = load_rows(B, token0 + z * CHUNK, g, 0, CHUNK, BN, N)
        c = load_rows(C, token0 + z * CHUNK, g, 0, CHUNK, BN, N)
        at = head + token
        a = tl.load(acs + at + rows)
        giving = tl.load(source + at + rows)
        last = tl.load(acs + at + CHUNK - 1)
        # what needs the state and x goes first, so that few registers are held across the products
        wide = v.to(tl.float32)
        vw = (wide * power(last - giving)[:, None]).to(v.dtype)
        out = tl.dot(c, state.to(c.dtype), input_precision="ieee")
        out = out * power(a)[:, None] + wide * skip
        state = tl.dot(tl.trans(b), vw, state * power(last), input_precision="ieee")
        scores = tl.dot(c, tl.trans(b), input_precision="ieee")
        within = power(a[:, None] - giving[None, :])
        mixed = (scores * tl.where(is_causal, within, 0.0)).to(v.dtype)
        out = tl.dot(mixed, v, out, input_precision="ieee")
        tl.store(
            y + token * y_stride + rows[:, None] * y_stride + p[None, :],
            out.to(y.dtype.element_ty),
            mask=mask,
        )
    if place == places - 1:
        tile, tile_mask = _state_offsets(p, k, P, N, BP, BN)
        base = (sequence.to(tl.int64) * H + h) * (P * N)
        tl.store(final + base + tile, state, mask=tile_mask)
