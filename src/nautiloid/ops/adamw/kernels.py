"""Kernels of AdamW over flat memory."""

# pyright: basic, reportUnboundVariable=false, reportOperatorIssue=false
import triton
import triton.language as tl


@triton.jit
def _scramble(x):
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    x *= 0x846CA68B
    x ^= x >> 16
    return x


@triton.jit
def _round_random(x, bits):
    raw = x.to(tl.uint32, bitcast=True) + bits
    return (raw >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit(do_not_specialize=["key"])
def update_kernel(
    param, grad, exp_avg, exp_avg_sq, copy, device_scalars,
    lr, beta1, beta2, eps, decay, key, count,
    HAS_COPY: tl.constexpr, ROUND_PARAM: tl.constexpr, ROUND_MOMENTS: tl.constexpr,
    LANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One element a lane; every array is read and written once."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = i < count
    scale = tl.load(device_scalars)
    is_taken = tl.load(device_scalars + 1) != 0
    correction1 = tl.load(device_scalars + 2)
    correction2 = tl.load(device_scalars + 3)
    if is_taken:
        g = tl.load(grad + i, mask=mask, other=0.0) * scale
        p = tl.load(param + i, mask=mask, other=0.0).to(tl.float32)
        m = tl.load(exp_avg + i, mask=mask, other=0.0).to(tl.float32)
        v = tl.load(exp_avg_sq + i, mask=mask, other=0.0).to(tl.float32)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        step = m * correction1 / (tl.sqrt(v) * correction2 + eps)
        p = p * (1 - lr * decay) - lr * step
        if ROUND_PARAM or ROUND_MOMENTS:
            name = key.to(tl.uint32)
            high = _scramble((i // LANES).to(tl.uint32) ^ name)
            bits = _scramble((i % LANES).to(tl.uint32) * 0x9E3779B1 + high)
        if ROUND_MOMENTS:
            tl.store(exp_avg + i, _round_random(m, bits & 0xFFFF), mask=mask)
            tl.store(exp_avg_sq + i, _round_random(v, bits >> 16), mask=mask)
        else:
            tl.store(exp_avg + i, m, mask=mask)
            tl.store(exp_avg_sq + i, v, mask=mask)
        if ROUND_PARAM:
            tl.store(param + i, _round_random(p, _scramble(bits ^ name) & 0xFFFF), mask=mask)
        else:
            tl.store(param + i, p, mask=mask)
        if HAS_COPY:
            tl.store(copy + i, p.to(tl.bfloat16), mask=mask)
    tl.store(grad + i, tl.zeros([BLOCK], tl.float32), mask=mask)


@triton.jit
def square_sum_kernel(grad, partial, count, BLOCK: tl.constexpr):
    """Program j sums blocks j, j + programs, ..: the order does not depend on scheduling."""
    total = tl.zeros([BLOCK], tl.float32)
    lane = tl.arange(0, BLOCK)
    stride = tl.num_programs(0).to(tl.int64) * BLOCK
    start = tl.program_id(0).to(tl.int64) * BLOCK
    while start < count:
        i = start + lane
        g = tl.load(grad + i, mask=i < count, other=0.0)
        total += g * g
        start += stride
    tl.store(partial + tl.program_id(0), tl.sum(total, 0))
