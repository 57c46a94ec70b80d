# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
# ruff: noqa: RUF005 - kernels know no starred tuples
"""GPU kernels over a chunk of logits: one program a token, float32 arithmetic, gradients in place.

The first pass over a row keeps a running maximum and sum in every lane; the second writes the
gradient where the logits were. STEPS blocks share one change of the maximum.

Suffixes: T tokens of the chunk, V vocabulary, K teacher's best tokens.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nautiloid.ops.device_math import exp

# far below every logit, and finite: a lane that has seen nothing must not make NaN
LOWEST = tl.constexpr(-1.0e30)


@triton.jit
def _block(x_TV, start, v, V, scale):
    """Logits of one block times `scale`, very low past the vocabulary."""
    at = start + v
    x = tl.load(x_TV + at, mask=at < V, other=0.0).to(tl.float32) * scale
    return tl.where(at < V, x, LOWEST)


@triton.jit
def _logsumexp(top, total, FAST: tl.constexpr):
    """Of all lanes, from their maxima and sums; also the factor of each lane's sums."""
    highest = tl.max(top, 0)
    factor = exp(top - highest, FAST)
    return highest + tl.log(tl.sum(total * factor, 0)), highest, factor


@triton.jit
def cross_entropy_rows(
    logits_TV,
    targets_T,
    weight_T,
    ce_T,
    z_T,
    row,
    V,
    z_loss,
    grad_scale,
    HAS_Z: tl.constexpr,
    HAS_GRADIENT: tl.constexpr,
    FAST: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Weighted cross-entropy and z-loss of a token; d(ce + z)/dlogits times `grad_scale` in place."""
    t = tl.program_id(0)
    x_V = logits_TV + t.to(tl.int64) * row
    v = tl.arange(0, BLOCK_V)
    top = tl.full([BLOCK_V], LOWEST, tl.float32)
    total = tl.zeros([BLOCK_V], tl.float32)
    start = 0
    while start < V:
        blocks = ()
        higher = top
        for i in tl.static_range(STEPS):
            blocks = blocks + (_block(x_V, start + i * BLOCK_V, v, V, 1.0),)
        for i in tl.static_range(STEPS):
            higher = tl.maximum(higher, blocks[i])
        total = total * exp(top - higher, FAST)
        for i in tl.static_range(STEPS):
            total += exp(blocks[i] - higher, FAST)
        top = higher
        start += STEPS * BLOCK_V
    lse, _, _ = _logsumexp(top, total, FAST)
    target = tl.load(targets_T + t)
    weight = tl.load(weight_T + t).to(tl.float32)
    picked = tl.load(x_V + target).to(tl.float32)
    tl.store(ce_T + t, weight * (lse - picked))
    scale = weight * grad_scale
    onehot = scale
    if HAS_Z:
        tl.store(z_T + t, z_loss * weight * lse * lse)
        scale *= 1 + 2 * z_loss * lse
    if HAS_GRADIENT:
        start = 0
        while start < V:
            for i in tl.static_range(STEPS):
                at = start + i * BLOCK_V + v
                x = tl.load(x_V + at, mask=at < V, other=0.0).to(tl.float32)
                d = exp(x - lse, FAST) * scale
                tl.store(x_V + at, d.to(logits_TV.dtype.element_ty), mask=at < V)
            start += STEPS * BLOCK_V
        d = exp(picked - lse, FAST) * scale - onehot
        tl.debug_barrier()
        tl.store(x_V + target, d.to(logits_TV.dtype.element_ty))


@triton.jit
def logprob_rows(
    logits_TV,
    targets_T,
    logprob_T,
    entropy_T,
    lse_T,
    row,
    V,
    inverse_temperature,
    FAST: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Log probability of the target, entropy and logsumexp of a token at a temperature."""
    t = tl.program_id(0)
    x_V = logits_TV + t.to(tl.int64) * row
    v = tl.arange(0, BLOCK_V)
    top = tl.full([BLOCK_V], LOWEST, tl.float32)
    total = tl.zeros([BLOCK_V], tl.float32)
    dots = tl.zeros([BLOCK_V], tl.float32)
    start = 0
    while start < V:
        blocks = ()
        higher = top
        for i in tl.static_range(STEPS):
            blocks = blocks + (_block(x_V, start + i * BLOCK_V, v, V, inverse_temperature),)
        for i in tl.static_range(STEPS):
            higher = tl.maximum(higher, blocks[i])
        factor = exp(top - higher, FAST)
        total = total * factor
        dots = dots * factor
        for i in tl.static_range(STEPS):
            e = exp(blocks[i] - higher, FAST)
            total += e
            dots += e * blocks[i]
        top = higher
        start += STEPS * BLOCK_V
    lse, highest, factor = _logsumexp(top, total, FAST)
    mean = tl.sum(dots * factor, 0) * exp(highest - lse, FAST)
    picked = tl.load(x_V + tl.load(targets_T + t)).to(tl.float32) * inverse_temperature
    tl.store(logprob_T + t, picked - lse)
    tl.store(entropy_T + t, lse - mean)
    tl.store(lse_T + t, lse)


@triton.jit
def logprob_gradient_rows(
    logits_TV,
    targets_T,
    entropy_T,
    lse_T,
    d_logprob_T,
    d_entropy_T,
    row,
    V,
    inverse_temperature,
    FAST: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Gradient of a token's logits in place: (onehot - p) d_lp - p (log p + H) d_H, over T."""
    t = tl.program_id(0)
    x_V = logits_TV + t.to(tl.int64) * row
    v = tl.arange(0, BLOCK_V)
    lse = tl.load(lse_T + t)
    d_lp = tl.load(d_logprob_T + t) * inverse_temperature
    d_h = tl.load(d_entropy_T + t) * inverse_temperature
    flat = d_lp + d_h * tl.load(entropy_T + t)
    target = tl.load(targets_T + t)
    picked = tl.load(x_V + target).to(tl.float32) * inverse_temperature - lse
    start = 0
    while start < V:
        for i in tl.static_range(STEPS):
            at = start + i * BLOCK_V + v
            x = tl.load(x_V + at, mask=at < V, other=0.0).to(tl.float32)
            logp = x * inverse_temperature - lse
            d = -exp(logp, FAST) * (flat + d_h * logp)
            tl.store(x_V + at, d.to(logits_TV.dtype.element_ty), mask=at < V)
        start += STEPS * BLOCK_V
    d = d_lp - exp(picked, FAST) * (flat + d_h * picked)
    tl.debug_barrier()
    tl.store(x_V + target, d.to(logits_TV.dtype.element_ty))


@triton.jit
def kl_rows(
    student_TV,
    teacher_TV,
    weight_T,
    kl_T,
    student_row,
    teacher_row,
    V,
    inverse_temperature,
    IS_FORWARD: tl.constexpr,
    HAS_GRADIENT: tl.constexpr,
    FAST: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Weighted KL of a token; the gradient of the student's logits in their place."""
    t = tl.program_id(0)
    s_V = student_TV + t.to(tl.int64) * student_row
    t_V = teacher_TV + t.to(tl.int64) * teacher_row
    v = tl.arange(0, BLOCK_V)
    s_top = tl.full([BLOCK_V], LOWEST, tl.float32)
    t_top = tl.full([BLOCK_V], LOWEST, tl.float32)
    s_total = tl.zeros([BLOCK_V], tl.float32)
    t_total = tl.zeros([BLOCK_V], tl.float32)
    dots = tl.zeros([BLOCK_V], tl.float32)
    start = 0
    while start < V:
        s_blocks = ()
        t_blocks = ()
        s_higher = s_top
        t_higher = t_top
        for i in tl.static_range(STEPS):
            s_blocks = s_blocks + (_block(s_V, start + i * BLOCK_V, v, V, inverse_temperature),)
            t_blocks = t_blocks + (_block(t_V, start + i * BLOCK_V, v, V, inverse_temperature),)
        for i in tl.static_range(STEPS):
            s_higher = tl.maximum(s_higher, s_blocks[i])
            t_higher = tl.maximum(t_higher, t_blocks[i])
        s_factor = exp(s_top - s_higher, FAST)
        t_factor = exp(t_top - t_higher, FAST)
        s_total = s_total * s_factor
        t_total = t_total * t_factor
        dots = dots * (t_factor if IS_FORWARD else s_factor)
        for i in tl.static_range(STEPS):
            s_e = exp(s_blocks[i] - s_higher, FAST)
            t_e = exp(t_blocks[i] - t_higher, FAST)
            s_total += s_e
            t_total += t_e
            # sum of p (log p - log q) but for the two constants
            if IS_FORWARD:
                dots += t_e * (t_blocks[i] - s_blocks[i])
            else:
                dots += s_e * (s_blocks[i] - t_blocks[i])
        s_top, t_top = s_higher, t_higher
        start += STEPS * BLOCK_V
    s_lse, s_highest, s_factor = _logsumexp(s_top, s_total, FAST)
    t_lse, t_highest, t_factor = _logsumexp(t_top, t_total, FAST)
    if IS_FORWARD:
        mean = tl.sum(dots * t_factor, 0) * exp(t_highest - t_lse, FAST)
        kl = mean - t_lse + s_lse
    else:
        mean = tl.sum(dots * s_factor, 0) * exp(s_highest - s_lse, FAST)
        kl = mean - s_lse + t_lse
    weight = tl.load(weight_T + t).to(tl.float32)
    tl.store(kl_T + t, weight * kl)
    if HAS_GRADIENT:
        scale = weight * inverse_temperature
        start = 0
        while start < V:
            for i in tl.static_range(STEPS):
                at = start + i * BLOCK_V + v
                s = tl.load(s_V + at, mask=at < V, other=0.0).to(tl.float32)
                u = tl.load(t_V + at, mask=at < V, other=0.0).to(tl.float32)
                s = s * inverse_temperature - s_lse
                u = u * inverse_temperature - t_lse
                p = exp(s, FAST)
                d = (p - exp(u, FAST)) if IS_FORWARD else p * (s - u - kl)
                tl.store(s_V + at, (d * scale).to(student_TV.dtype.element_ty), mask=at < V)
            start += STEPS * BLOCK_V


@triton.jit
def kl_top_rows(
    student_TV,
    ids_TK,
    teacher_TK,
    weight_T,
    kl_T,
    row,
    V,
    inverse_temperature,
    K,
    IS_FORWARD: tl.constexpr,
    HAS_GRADIENT: tl.constexpr,
    FAST: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Weighted KL over the teacher's best tokens and one event for all others; gradient in place."""
    t = tl.program_id(0)
    x_V = student_TV + t.to(tl.int64) * row
    v = tl.arange(0, BLOCK_V)
    k = tl.arange(0, BLOCK_K)
    top = tl.full([BLOCK_V], LOWEST, tl.float32)
    total = tl.zeros([BLOCK_V], tl.float32)
    start = 0
    while start < V:
        blocks = ()
        higher = top
        for i in tl.static_range(STEPS):
            blocks = blocks + (_block(x_V, start + i * BLOCK_V, v, V, inverse_temperature),)
        for i in tl.static_range(STEPS):
            higher = tl.maximum(higher, blocks[i])
        total = total * exp(top - higher, FAST)
        for i in tl.static_range(STEPS):
            total += exp(blocks[i] - higher, FAST)
        top = higher
        start += STEPS * BLOCK_V
    lse, _, _ = _logsumexp(top, total, FAST)
    ids = tl.load(ids_TK + t.to(tl.int64) * K + k, mask=k < K, other=0)
    t_log = tl.load(teacher_TK + t.to(tl.int64) * K + k, mask=k < K, other=LOWEST)
    s_log = tl.load(x_V + ids, mask=k < K, other=0.0).to(tl.float32) * inverse_temperature - lse
    s_log = tl.where(k < K, s_log, LOWEST)
    p, q = exp(t_log, FAST), exp(s_log, FAST)
    # what is left to all other tokens; rounding must not make it negative
    p_rest = tl.maximum(1 - tl.sum(p, 0), 1e-12)
    q_rest = tl.maximum(1 - tl.sum(q, 0), 1e-12)
    rest = tl.log(p_rest) - tl.log(q_rest)
    gap = tl.where(k < K, t_log - s_log, 0.0)
    if IS_FORWARD:
        kl = tl.sum(p * gap, 0) + p_rest * rest
        others = 1 - p_rest / q_rest
        d_best = q - p
    else:
        kl = -tl.sum(q * gap, 0) - q_rest * rest
        others = -rest - kl
        d_best = q * (-gap - kl)
    weight = tl.load(weight_T + t).to(tl.float32)
    tl.store(kl_T + t, weight * kl)
    if HAS_GRADIENT:
        scale = weight * inverse_temperature
        start = 0
        while start < V:
            for i in tl.static_range(STEPS):
                at = start + i * BLOCK_V + v
                x = tl.load(x_V + at, mask=at < V, other=0.0).to(tl.float32)
                d = exp(x * inverse_temperature - lse, FAST) * (others * scale)
                tl.store(x_V + at, d.to(student_TV.dtype.element_ty), mask=at < V)
            start += STEPS * BLOCK_V
        tl.debug_barrier()
        d_best = (d_best * scale).to(student_TV.dtype.element_ty)
        tl.store(x_V + ids, d_best, mask=k < K)
