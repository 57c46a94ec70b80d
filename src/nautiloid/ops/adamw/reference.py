"""AdamW on one flat span by its formula (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).

The step is taken or left out by a number on the device, so that the host never waits to know.

Suffix N: elements of the span.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# elements whose wide copies exist at a time
SPAN = 1 << 22
# elements that share the high part of the counter of the random bits
LANES = 1 << 12
_MASK = 0xFFFFFFFF


class Scalars(NamedTuple):
    """Host numbers of one update.

    Attributes:
        lr: Learning rate.
        weight_decay: Decoupled decay.
        key: 32 bits that name step and span; the random bits of element i depend on (key, i) alone.
    """

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    key: int = 0


def scramble(x: Tensor) -> Tensor:
    """A bijection of 32-bit numbers held in int64 that spreads every input bit (lowbias32).

    >>> scramble(torch.tensor([1])).item() == scramble(torch.tensor([2])).item()
    False
    """
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def random_bits(start: int, count: int, key: int, device: torch.device) -> Tensor:
    """32 random bits of elements start .. start + count of a span, as int64."""
    i = torch.arange(start, start + count, device=device)
    return scramble((i % LANES) * 0x9E3779B1 + scramble((i // LANES) ^ key) & _MASK)


def round_random(x_N: Tensor, bits_N: Tensor) -> Tensor:
    """float32 to bfloat16, up with the probability of the distance: right on average.

    Args:
        x_N: float32 values.
        bits_N: int64 numbers below 2^16.

    >>> round_random(torch.tensor([1.00390625]), torch.tensor([0])).item()
    1.0
    """
    raw = x_N.view(torch.int32) + bits_N.to(torch.int32)
    return (raw & -65536).view(torch.float32).to(torch.bfloat16)


def update(
    param_N: Tensor,
    grad_N: Tensor,
    exp_avg_N: Tensor,
    exp_avg_sq_N: Tensor,
    device_scalars: Tensor,
    scalars: Scalars,
    copy_N: Tensor | None = None,
) -> None:
    """One AdamW step in place; afterwards the gradient is zero whether the step was taken or not.

    bfloat16 parameters and moments are rounded at random, float32 ones are exact.

    Args:
        param_N: float32 or bfloat16.
        grad_N: float32.
        exp_avg_N: First moment, float32 or bfloat16.
        exp_avg_sq_N: Second moment, of the same dtype.
        device_scalars: float32 [4] on the device: factor on the gradient, 1 to take the step or 0 to
            leave it out, `1 / (1 - beta1^t)`, `1 / sqrt(1 - beta2^t)`.
        scalars: Numbers that the host knows.
        copy_N: bfloat16 copy of float32 parameters, rounded to nearest.

    >>> p, g, m, v = torch.ones(1), torch.ones(1), torch.zeros(1), torch.zeros(1)
    >>> update(p, g, m, v, torch.tensor([1.0, 1.0, 10.0, 10.0]), Scalars(0.1, 0.9, 0.99, 0.0, 0.0))
    >>> round(p.item(), 6), g.item()
    (0.9, 0.0)
    """
    scale, taken, correction1, correction2 = device_scalars.unbind()
    is_taken = taken != 0
    for start in range(0, param_N.numel(), SPAN):
        part = slice(start, start + SPAN)
        p, m, v = param_N[part], exp_avg_N[part], exp_avg_sq_N[part]
        # a poisoned gradient must not reach the moments through 0 * NaN
        g = torch.where(is_taken, grad_N[part] * scale, 0.0)
        new_m = scalars.beta1 * m.float() + (1 - scalars.beta1) * g
        new_v = scalars.beta2 * v.float() + (1 - scalars.beta2) * g.square()
        step = new_m * correction1 / (new_v.sqrt() * correction2 + scalars.eps)
        new_p = p.float() * (1 - scalars.lr * scalars.weight_decay) - scalars.lr * step
        if torch.bfloat16 in (p.dtype, m.dtype):
            bits = random_bits(start, p.numel(), scalars.key, p.device)
            if m.dtype == torch.bfloat16:
                new_m = round_random(new_m, bits & 0xFFFF)
                new_v = round_random(new_v, bits >> 16)
            if p.dtype == torch.bfloat16:
                new_p = round_random(new_p, scramble(bits ^ scalars.key) & 0xFFFF)
        p.copy_(torch.where(is_taken, new_p, p))
        m.copy_(torch.where(is_taken, new_m, m))
        v.copy_(torch.where(is_taken, new_v, v))
        if copy_N is not None:
            copy_N[part].copy_(p)
    grad_N.zero_()


def square_sum(grad_N: Tensor) -> Tensor:
    """Sum of squares as a float64 scalar on the device.

    >>> square_sum(torch.tensor([3.0, 4.0])).item()
    25.0
    """
    total = grad_N.new_zeros((), dtype=torch.float64)
    for part in grad_N.split(SPAN):
        total += part.double().square().sum()
    return total
