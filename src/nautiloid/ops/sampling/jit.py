"""The most likely token of each row and its log probability, in one pass on a CPU.

Import this only where `ops.compiled.is_available`.

Suffixes: B rows, V vocabulary.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import math

import numpy as np
import torch
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import FAST, Kernel
from nautiloid.ops.intrinsics import barrier, exp32, floats, integers, share, team, thread
from nautiloid.ops.jit_target import njit

# parts of a row, so that one row keeps all threads busy
PARTS = 8


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _highest(x):
    top = x[0]
    for i in range(len(x)):
        top = max(top, x[i])
    return top


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _sum_exp(x, top):
    total = np.float32(0)
    if top == -np.inf:  # nothing allowed here, unless a NaN hides
        for i in range(len(x)):
            total += x[i] if x[i] != x[i] else np.float32(0)
        return total
    for i in range(len(x)):
        total += exp32(x[i] - top)
    return total


@Kernel
def _greedy(p):
    a = carray(p, 6)
    rows, width = a[4], a[5]
    logits = carray(floats(a[0]), (rows, width))
    ids = carray(integers(a[1]), rows)
    logprobs = carray(floats(a[2]), rows)
    tops = carray(floats(a[3]), (2, rows, PARTS))
    first, last = share(rows * PARTS, thread(), team())
    for unit in range(first, last):
        b, part = unit // PARTS, unit % PARTS
        begin, end = share(width, part, PARTS)
        tops[0, b, part] = -np.inf
        tops[1, b, part] = 0
        if begin < end:
            tops[0, b, part] = _highest(logits[b, begin:end])
            tops[1, b, part] = _sum_exp(logits[b, begin:end], tops[0, b, part])
    barrier()
    first, last = share(rows, thread(), team())
    for b in range(first, last):
        best = _highest(tops[0, b])
        total = 0.0
        for part in range(PARTS):
            if tops[1, b, part] != 0:
                total += tops[1, b, part] * math.exp(tops[0, b, part] - best)
        # NaN where the row is not finite: the sum is NaN then
        logprobs[b] = -math.log(total)
        ids[b] = 0
        for part in range(PARTS):
            if tops[0, b, part] == best:
                begin, end = share(width, part, PARTS)
                for i in range(begin, end):
                    if logits[b, i] == best:
                        ids[b] = i
                        break
                break


def greedy(logits_BV: Tensor) -> tuple[Tensor, Tensor]:
    """Ids of the highest logits (the first of equals) and their log probabilities.

    >>> ids, logprobs = greedy(torch.tensor([[0.0, 1.0, 1.0]]))
    >>> ids.item(), round(logprobs.item(), 4)
    (1, -0.862)
    """
    rows, width = logits_BV.shape
    ids = torch.empty(rows, dtype=torch.long)
    logprobs = logits_BV.new_empty(rows)
    tops = logits_BV.new_empty(2, rows, PARTS)
    _greedy(logits_BV.data_ptr(), ids.data_ptr(), logprobs.data_ptr(), tops.data_ptr(), rows, width)
    return ids, logprobs
