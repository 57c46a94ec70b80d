"""Triton kernels of the scan's backward pass: gradients within chunks, then those of dt.

A program handles one chunk and group, all its heads in turn: they share B and C, so C B^T is formed
once and the gradient of B or C is summed in registers. Three programs share a chunk, side by side,
so that the later ones find their tiles in the L2 cache: for dC, dB and dx; a single one for all
would not fit in registers. The states before each chunk (`states`) and the gradients of those
after it (`d_states`) come from `kernels.carry_states`.

The gradient of the decay of token t is what crosses t: the influence of j < t on i >= t, summed over
pairs inside the chunk, the state before it and the gradient of the one after it. From one token to
the next it changes by what t gives less what t receives, so that the chunk programs need to leave
only these two sums; `step_gradients` adds them up. A token's effect on itself takes no part. Where a
chunk begins, what crosses is `<state, d_state>` of that border, formed anew for every chunk: carried
on from chunk to chunk, rounding piles up, and the gradients of A and of the bias, long sums of both
signs, suffer first (2 to 9 % over 16 chunks).

Suffixes and storage as in `kernels`; i is the token that receives, j the one that gives.
"""
# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.ssd.kernels import load_rows, load_state, power, row_mask

# an exponent of two that no step size reaches
FINITE = tl.constexpr(64.0)


@triton.jit
def _store_sums(
    target,
    stride,
    total,
    token,
    left,
    g,
    part,
    N: tl.constexpr,
    CHUNK: tl.constexpr,
    BK: tl.constexpr,
):
    rows = tl.arange(0, CHUNK)
    k = part * BK + tl.arange(0, BK)
    tl.store(
        target + token.to(tl.int64) * stride + rows[:, None] * stride + g * N + k[None, :],
        total.to(target.dtype.element_ty),
        mask=(rows < left)[:, None] & (k < N)[None, :],
    )


@triton.jit
def _map_gradient(
    own,
    other,
    u,
    w,
    states,
    acs,
    source,
    target,
    target_stride,
    sums,
    state_sums,
    token,
    left,
    g,
    slot,
    head_base,
    padded,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNK: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GIVES: tl.constexpr,
    STAGES: tl.constexpr,
):
    """dC: rows i, `own` C, `u` dy, `w` x, states before. With GIVES, dB: rows j, all swapped.

    `sums` gets each row's share in the flow through decays, `state_sums` (dC only) the part of it
    that comes from the state before the chunk, over all rows.
    """
    PB: tl.constexpr = (P + BP - 1) // BP
    HALVES: tl.constexpr = BN // BK == 2
    rows = tl.arange(0, CHUNK)
    is_real = rows < left
    own0 = load_rows(own, token, g, 0, CHUNK, BK, N)
    other0 = load_rows(other, token, g, 0, CHUNK, BK, N)
    scores = tl.dot(own0, tl.trans(other0), input_precision="ieee")
    own1, other1 = own0, other0
    if HALVES:
        own1 = load_rows(own, token, g, BK, CHUNK, BK, N)
        other1 = load_rows(other, token, g, BK, CHUNK, BK, N)
        scores = tl.dot(own1, tl.trans(other1), scores, input_precision="ieee")
    if GIVES:
        is_causal = rows[:, None] <= rows[None, :]
    else:
        is_causal = rows[:, None] >= rows[None, :]
    # a token's effect on itself does not decay
    is_apart = is_causal & (rows[:, None] != rows[None, :])
    scores = tl.where(is_apart, scores, 0.0).to(own0.dtype)
    d_scores = tl.zeros([CHUNK, CHUNK], tl.float32)
    total0 = tl.zeros([CHUNK, BK], tl.float32)
    total1 = tl.zeros([CHUNK, BK], tl.float32)
    flow_sums = tl.zeros([CHUNK], tl.float32)
    state_sum = 0.0
    for r in tl.range(0, HEADS * PB, num_stages=STAGES):
        head = r // PB
        h = g * HEADS + head
        p0 = (r % PB) * BP
        at = head_base + head * padded
        a = tl.load(acs + at + rows)
        giving = tl.load(source + at + rows)
        ut = load_rows(u, token, h, p0, CHUNK, BP, P)
        wt = load_rows(w, token, h, p0, CHUNK, BP, P)
        pairs = tl.dot(ut, tl.trans(wt), input_precision="ieee")
        # entries above the diagonal come to nothing later; until then they have to stay finite
        if GIVES:
            # rows past the end belong to the next sequence
            receiver = tl.where(is_real, a, float("-inf"))
            exponent = receiver[None, :] - giving[:, None]
            weight = power(tl.load(acs + at + CHUNK - 1) - giving)
        else:
            exponent = a[:, None] - giving[None, :]
            weight = power(a)
        pairs *= power(tl.minimum(exponent, FINITE))
        d_scores += pairs
        flows = tl.sum(pairs * scores.to(tl.float32), axis=1)
        state0 = load_state(states, slot + head, 0, p0, N, BK, BP)
        part = tl.dot(ut, tl.trans(state0), input_precision="ieee")
        total0 += part * weight[:, None]
        carried = tl.sum(part * own0.to(tl.float32), axis=1)
        if HALVES:
            state1 = load_state(states, slot + head, 1, p0, N, BK, BP)
            part = tl.dot(ut, tl.trans(state1), input_precision="ieee")
            total1 += part * weight[:, None]
            carried += tl.sum(part * own1.to(tl.float32), axis=1)
        carried *= weight
        carried = tl.where(is_real, carried, 0.0)
        if PB > 1:
            keep = tl.where(r % PB == 0, 0.0, 1.0)
            flow_sums = flow_sums * keep + flows + carried
            state_sum = state_sum * keep + tl.sum(carried)
        else:
            flow_sums = flows + carried
            state_sum = tl.sum(carried)
        if r % PB == PB - 1:
            tl.store(sums + at + rows, flow_sums)
            if not GIVES:
                tl.store(state_sums + h, state_sum)
    # loaded again rather than held in shared memory, which the loop needs
    other0 = load_rows(other, token, g, 0, CHUNK, BK, N)
    small = tl.where(is_causal, d_scores, 0.0).to(own0.dtype)
    total0 = tl.dot(small, other0, total0, input_precision="ieee")
    _store_sums(target, target_stride, total0, token, left, g, 0, N, CHUNK, BK)
    if HALVES:
        other1 = load_rows(other, token, g, BK, CHUNK, BK, N)
        total1 = tl.dot(small, other1, total1, input_precision="ieee")
        _store_sums(target, target_stride, total1, token, left, g, 1, N, CHUNK, BK)


@triton.jit
def _input_gradient(
    x,
    B,
    C,
    dy,
    states,
    d_states,
    dt,
    acs,
    D,
    dx,
    dx_stride,
    direct_steps,
    through_sums,
    skip_sums,
    token,
    left,
    g,
    slot,
    head_base,
    padded,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNK: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """dx, what dt and D have of it directly, and what passes through the whole chunk."""
    PB: tl.constexpr = (P + BP - 1) // BP
    HALVES: tl.constexpr = BN // BK == 2
    rows = tl.arange(0, CHUNK)
    is_real = rows < left
    b0 = load_rows(B, token, g, 0, CHUNK, BK, N)
    c0 = load_rows(C, token, g, 0, CHUNK, BK, N)
    scores = tl.dot(b0, tl.trans(c0), input_precision="ieee")
    b1 = b0
    if HALVES:
        b1 = load_rows(B, token, g, BK, CHUNK, BK, N)
        c1 = load_rows(C, token, g, BK, CHUNK, BK, N)
        scores = tl.dot(b1, tl.trans(c1), scores, input_precision="ieee")
    scores = tl.where(rows[:, None] <= rows[None, :], scores, 0.0).to(b0.dtype)
    dx += token.to(tl.int64) * dx_stride
    direct = tl.zeros([CHUNK], tl.float32)
    skip_sum = 0.0
    through = 0.0
    for r in tl.range(0, HEADS * PB, num_stages=STAGES):
        head = r // PB
        h = g * HEADS + head
        p0 = (r % PB) * BP
        p = p0 + tl.arange(0, BP)
        at = head_base + head * padded
        a = tl.load(acs + at + rows)
        steps = tl.load(dt + at + rows)
        last = tl.load(acs + at + CHUNK - 1)
        state0 = load_state(states, slot + head, 0, p0, N, BK, BP)
        d_state0 = load_state(d_states, slot + head, 0, p0, N, BK, BP)
        du = tl.dot(b0, d_state0, input_precision="ieee")
        passed = tl.sum(tl.sum(state0.to(tl.float32) * d_state0.to(tl.float32), axis=1))
        if HALVES:
            state1 = load_state(states, slot + head, 1, p0, N, BK, BP)
            d_state1 = load_state(d_states, slot + head, 1, p0, N, BK, BP)
            du = tl.dot(b1, d_state1, du, input_precision="ieee")
            passed += tl.sum(tl.sum(state1.to(tl.float32) * d_state1.to(tl.float32), axis=1))
        du *= power(last - a)[:, None]
        # rows past the end belong to the next sequence
        receiver = tl.where(is_real, a, float("-inf"))
        within = power(tl.minimum(receiver[None, :] - a[:, None], FINITE))
        mixed = scores.to(tl.float32) * within
        dv = load_rows(dy, token, h, p0, CHUNK, BP, P)
        v = load_rows(x, token, h, p0, CHUNK, BP, P)
        du = tl.dot(mixed.to(dv.dtype), dv, du, input_precision="ieee")
        wide = v.to(tl.float32)
        d_wide = dv.to(tl.float32)
        skip = tl.load(D + h).to(tl.float32)
        tl.store(
            dx + rows[:, None] * dx_stride + h * P + p[None, :],
            (du * steps[:, None] + d_wide * skip).to(dx.dtype.element_ty),
            mask=row_mask(rows, left, p, P, BP),
        )
        skipped = tl.sum(tl.where(is_real, tl.sum(wide * d_wide, axis=1), 0.0))
        if PB > 1:
            keep = tl.where(r % PB == 0, 0.0, 1.0)
            direct = direct * keep + tl.sum(wide * du, axis=1)
            skip_sum = skip_sum * keep + skipped
            through = through * keep + passed
        else:
            direct = tl.sum(wide * du, axis=1)
            skip_sum = skipped
            through = passed
        if r % PB == PB - 1:
            tl.store(direct_steps + at + rows, direct)
            tl.store(skip_sums + h, skip_sum)
            tl.store(through_sums + h, power(last) * through)


# a count of 1 would become a constant, which has no type to widen
@triton.jit(do_not_specialize=["num_chunks"])
def chunk_gradients(
    x,
    B,
    C,
    dy,
    states,
    d_states,
    dt,
    acs,
    source,
    D,
    chunks,
    starts,
    dx,
    dB,
    dC,
    sums,
    scalars,
    first_chunk,
    num_chunks,
    dx_stride,
    dB_stride,
    dC_stride,
    padded,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    HEADS: tl.constexpr,
    CHUNK: tl.constexpr,
    BP: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    STAGES: tl.constexpr,
    ROLE: tl.constexpr,
):
    """dx, dB, dC and the sums for `step_gradients`: [3, H, padded] and [3, chunks, H].

    The state dimension is taken in one or two parts of BK, so that products with it stay small.
    ROLE 3 runs all three roles in one launch.
    """
    role = ROLE
    g = tl.program_id(0)
    if ROLE == 3:
        role = g % 3
        g = g // 3
    n = first_chunk + tl.program_id(1)
    s = tl.load(chunks + 2 * n)
    token = tl.load(starts + s) + tl.load(chunks + 2 * n + 1) * CHUNK
    left = tl.load(starts + s + 1) - token
    slot = tl.program_id(1) * H + g * HEADS
    head_base = g.to(tl.int64) * HEADS * padded + n.to(tl.int64) * CHUNK
    plane = padded.to(tl.int64) * H
    out = scalars + n.to(tl.int64) * H
    out_plane = num_chunks.to(tl.int64) * H
    if role == 0:
        _map_gradient(
            C, B, dy, x, states, acs, source, dC, dC_stride, sums, out, token, left, g, slot,
            head_base, padded, H, P, N, HEADS, CHUNK, BP, BN, BK, False, STAGES,
        )  # fmt: skip
    elif role == 1:
        _map_gradient(
            B, C, x, dy, d_states, acs, source, dB, dB_stride, sums + plane, out, token, left, g,
            slot, head_base, padded, H, P, N, HEADS, CHUNK, BP, BN, BK, True, STAGES,
        )  # fmt: skip
    else:
        _input_gradient(
            x, B, C, dy, states, d_states, dt, acs, D, dx, dx_stride, sums + 2 * plane,
            out + out_plane, out + 2 * out_plane, token, left, g, slot, head_base, padded, H, P, N,
            HEADS, CHUNK, BP, BN, BK, STAGES,
        )  # fmt: skip


# a count of 1 would become a constant, which has no type to widen
@triton.jit(do_not_specialize=["num_chunks"])
def step_gradients(
    sums,
    scalars,
    dt,
    rate,
    chunks,
    starts,
    d_dt,
    partial,
    num_chunks,
    d_dt_stride,
    padded,
    low,
    high,
    H: tl.constexpr,
    CHUNK: tl.constexpr,
    BH: tl.constexpr,
    IS_RAW: tl.constexpr,
    IS_CLAMPED: tl.constexpr,
):
    """d(dt), and each chunk's share of the gradients of A, D and the bias ([3, chunks, H])."""
    n = tl.program_id(0)
    s = tl.load(chunks + 2 * n)
    token = tl.load(starts + s) + tl.load(chunks + 2 * n + 1) * CHUNK
    left = tl.load(starts + s + 1) - token
    rows = tl.arange(0, CHUNK)
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    is_head = h < H
    at = h.to(tl.int64)[None, :] * padded + (n.to(tl.int64) * CHUNK + rows)[:, None]
    mask = is_head[None, :]
    heads_plane = padded.to(tl.int64) * H
    arrived = tl.load(sums + at, mask=mask, other=0.0)
    crossing = tl.load(sums + heads_plane + at, mask=mask, other=0.0) - arrived
    direct = tl.load(sums + 2 * heads_plane + at, mask=mask, other=0.0)
    steps = tl.load(dt + at, mask=mask, other=0.0)
    one = n.to(tl.int64) * H + h
    plane = num_chunks.to(tl.int64) * H
    # what crosses into the chunk: what its tokens take from the state and what passes through
    base = tl.load(scalars + one, mask=is_head, other=0.0)
    base += tl.load(scalars + plane + one, mask=is_head, other=0.0)
    d_decay = tl.cumsum(crossing, axis=0) - crossing + base[None, :]
    A = tl.load(rate + h, mask=is_head, other=0.0).to(tl.float32)
    if IS_RAW:
        A = -tl.exp(A)
    d_steps = d_decay * A[None, :] + direct
    d_rate = tl.sum(d_decay * steps, axis=0)
    if IS_RAW:
        d_rate *= A
        # softplus' = 1 - exp(-dt), by its series where that would cancel
        small = steps * (1.0 - steps * (0.5 - steps * (1.0 / 6)))
        slope = tl.where(steps < 0.03, small, 1.0 - tl.exp(-steps))
        if IS_CLAMPED:
            slope = tl.where((steps > low) & (steps < high), slope, 0.0)
        d_steps *= slope
    is_real = (rows < left)[:, None] & mask
    d_steps = tl.where(is_real, d_steps, 0.0)
    out = (token + rows).to(tl.int64)[:, None] * d_dt_stride + h[None, :]
    tl.store(d_dt + out, d_steps.to(d_dt.dtype.element_ty), mask=is_real)
    tl.store(partial + one, d_rate, mask=is_head)
    skip = tl.load(scalars + 2 * plane + one, mask=is_head, other=0.0)
    tl.store(partial + plane + one, skip, mask=is_head)
    tl.store(partial + 2 * plane + one, tl.sum(d_steps, axis=0), mask=is_head)
