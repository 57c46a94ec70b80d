"""Triton kernels of the scan's backward pass: gradients within chunks, then those of dt.

A program handles one chunk and group, all its heads in turn: they share B and C, so C B^T is formed
once and the gradient of B or C is summed in registers. Two programs share a chunk, side by side, so
that the second finds its tiles in the L2 cache: one forms dC, the other dB and dx; a single one for
all would not fit in registers. The states before each chunk (`states`) and the gradients of those
after it (`d_states`) come from `kernels.carry_states`.

The gradient of the decay of token t inside a chunk is the sum of what crosses t: pairs j < t <= i,
what the earlier state gives to i >= t, what j < t gives to the later state, and what passes through
the whole chunk. A token's effect on itself does not decay and takes no part. The chunk programs
leave row and column sums; `step_gradients` adds them up.

Suffixes and storage as in `kernels`; i is the token that receives, j the one that gives.
"""
# pyright: basic

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.ssd.kernels import row_mask


@triton.jit
def _load_state(source, at, k, p, P: tl.constexpr, N: tl.constexpr, BP: tl.constexpr, BN: tl.constexpr):
    offsets = k[:, None] * P + p[None, :]
    if (N == BN) & (P % BP == 0):
        return tl.load(source + at + offsets)
    else:
        return tl.load(source + at + offsets, mask=(k < N)[:, None] & (p < P)[None, :], other=0.0)


@triton.jit
def chunk_gradients(
    x,
    B,
    C,
    dy,
    states,
    d_states,
    dt,
    acs,
    D,
    chunks,
    starts,
    dx,
    dB,
    dC,
    received,
    given,
    direct_steps,
    scalars,
    first_chunk,
    num_chunks,
    x_stride,
    B_stride,
    C_stride,
    dy_stride,
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
    STAGES: tl.constexpr,
    ROLE: tl.constexpr,
):
    """dx, dB, dC and the sums for `step_gradients`."""
    PB: tl.constexpr = (P + BP - 1) // BP
    role = ROLE
    g = tl.program_id(0)
    if ROLE == 2:
        role = g % 2
        g = g // 2
    n = first_chunk + tl.program_id(1)
    s = tl.load(chunks + 2 * n)
    token = tl.load(starts + s) + tl.load(chunks + 2 * n + 1) * CHUNK
    left = tl.load(starts + s + 1) - token
    token = token.to(tl.int64)
    rows = tl.arange(0, CHUNK)
    k = tl.arange(0, BN)
    x += token * x_stride
    dy += token * dy_stride
    dx += token * dx_stride
    group_mask = row_mask(rows, left, k, N, BN)
    b = tl.load(
        B + token * B_stride + rows[:, None] * B_stride + g * N + k[None, :],
        mask=group_mask,
        other=0.0,
    )
    c = tl.load(
        C + token * C_stride + rows[:, None] * C_stride + g * N + k[None, :],
        mask=group_mask,
        other=0.0,
    )
    state_base = (tl.program_id(1).to(tl.int64) * H + g * HEADS) * (N * P)
    head_base = g.to(tl.int64) * HEADS * padded + n.to(tl.int64) * CHUNK
    d_scores = tl.zeros([CHUNK, CHUNK], tl.float32)
    total = tl.zeros([CHUNK, BN], tl.float32)
    if role == 0:
        scores = tl.dot(c, tl.trans(b), input_precision="ieee")  # [i, j]
        incoming = tl.zeros([CHUNK], tl.float32)
        for r in tl.range(0, HEADS * PB, num_stages=STAGES):
            head = r // PB
            h = g * HEADS + head
            p = (r % PB) * BP + tl.arange(0, BP)
            mask = row_mask(rows, left, p, P, BP)
            v = tl.load(
                x + rows[:, None] * x_stride + h * P + p[None, :], mask=mask, other=0.0
            )
            dv = tl.load(
                dy + rows[:, None] * dy_stride + h * P + p[None, :], mask=mask, other=0.0
            )
            state = _load_state(states, state_base + head * (N * P), k, p, P, N, BP, BN)
            at = head_base + head * padded
            a = tl.load(acs + at + rows)
            steps = tl.load(dt + at + rows)
            pairs = tl.dot(dv, tl.trans(v), input_precision="ieee")
            within = tl.exp2(a[:, None] - (a - tl.log2(tl.maximum(steps, 1e-37)))[None, :])
            pairs = tl.where(rows[:, None] >= rows[None, :], pairs * within, 0.0)
            d_scores += pairs
            flow = tl.where(rows[:, None] > rows[None, :], pairs * scores, 0.0)
            arrived = tl.sum(flow, axis=1)
            from_state = tl.dot(dv, tl.trans(state), input_precision="ieee") * tl.exp2(a)[:, None]
            total += from_state
            arrived += tl.sum(from_state * c.to(tl.float32), axis=1)
            if PB > 1:
                incoming = incoming * tl.where(r % PB == 0, 0.0, 1.0) + arrived
            else:
                incoming = arrived
            if r % PB == PB - 1:
                tl.store(received + at + rows, incoming)
        total = tl.dot(d_scores.to(b.dtype), b, total, input_precision="ieee")
        tl.store(
            dC + token * dC_stride + rows[:, None] * dC_stride + g * N + k[None, :],
            total.to(dC.dtype.element_ty),
            mask=group_mask,
        )
    else:
        scores = tl.dot(b, tl.trans(c), input_precision="ieee")  # [j, i]
        outgoing = tl.zeros([CHUNK], tl.float32)
        direct = tl.zeros([CHUNK], tl.float32)
        base = 0.0
        skip_sum = 0.0
        for r in tl.range(0, HEADS * PB, num_stages=STAGES):
            head = r // PB
            h = g * HEADS + head
            p = (r % PB) * BP + tl.arange(0, BP)
            mask = row_mask(rows, left, p, P, BP)
            v = tl.load(
                x + rows[:, None] * x_stride + h * P + p[None, :], mask=mask, other=0.0
            )
            dv = tl.load(
                dy + rows[:, None] * dy_stride + h * P + p[None, :], mask=mask, other=0.0
            )
            state = _load_state(states, state_base + head * (N * P), k, p, P, N, BP, BN)
            d_state = _load_state(d_states, state_base + head * (N * P), k, p, P, N, BP, BN)
            at = head_base + head * padded
            a = tl.load(acs + at + rows)
            steps = tl.load(dt + at + rows)
            last = tl.load(acs + at + CHUNK - 1)
            later = tl.exp2(last - a)
            within = tl.where(
                rows[:, None] <= rows[None, :], tl.exp2(a[None, :] - a[:, None]), 0.0
            )
            pairs = tl.dot(v, tl.trans(dv), input_precision="ieee") * within * steps[:, None]
            d_scores += pairs
            flow = tl.where(rows[:, None] < rows[None, :], pairs * scores, 0.0)
            left_for = tl.sum(flow, axis=1)
            mixed = (scores * within).to(dv.dtype)
            to_state = tl.dot(v, tl.trans(d_state), input_precision="ieee")
            total += to_state * (steps * later)[:, None]
            du = tl.dot(b, d_state, input_precision="ieee") * later[:, None]
            wide = v.to(tl.float32)
            onward = steps * tl.sum(wide * du, axis=1)
            du = tl.dot(mixed, dv, du, input_precision="ieee")
            d_wide = dv.to(tl.float32)
            skip = tl.load(D + h).to(tl.float32)
            tl.store(
                dx + rows[:, None] * dx_stride + h * P + p[None, :],
                (du * steps[:, None] + d_wide * skip).to(dx.dtype.element_ty),
                mask=mask,
            )
            through = tl.sum(state.to(tl.float32) * d_state.to(tl.float32))
            if PB > 1:
                keep = tl.where(r % PB == 0, 0.0, 1.0)
                outgoing, direct = outgoing * keep, direct * keep
                base, skip_sum = base * keep, skip_sum * keep
            else:
                outgoing, direct = outgoing * 0.0, direct * 0.0
                base, skip_sum = 0.0, 0.0
            outgoing += onward + left_for
            direct += tl.sum(wide * du, axis=1)
            base += tl.exp2(last) * through - tl.sum(left_for)
            skip_sum += tl.sum(wide * d_wide)
            if r % PB == PB - 1:
                tl.store(given + at + rows, outgoing)
                tl.store(direct_steps + at + rows, direct)
                out = scalars + n.to(tl.int64) * H + h
                tl.store(out, base)
                tl.store(out + num_chunks.to(tl.int64) * H, skip_sum)
        total = tl.dot(d_scores.to(c.dtype), c, total, input_precision="ieee")
        tl.store(
            dB + token * dB_stride + rows[:, None] * dB_stride + g * N + k[None, :],
            total.to(dB.dtype.element_ty),
            mask=group_mask,
        )


@triton.jit
def step_gradients(
    received,
    given,
    direct_steps,
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
    arrived = tl.load(received + at, mask=mask, other=0.0)
    crossing = tl.load(given + at, mask=mask, other=0.0) - arrived
    direct = tl.load(direct_steps + at, mask=mask, other=0.0)
    steps = tl.load(dt + at, mask=mask, other=0.0)
    one = n.to(tl.int64) * H + h
    plane = num_chunks.to(tl.int64) * H
    base = tl.load(scalars + one, mask=is_head, other=0.0) + tl.sum(arrived, axis=0)
    # the sum over i >= t is a total less what comes before t
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
    skip = tl.load(scalars + plane + one, mask=is_head, other=0.0)
    tl.store(partial + plane + one, skip, mask=is_head)
    tl.store(partial + 2 * plane + one, tl.sum(d_steps, axis=0), mask=is_head)
