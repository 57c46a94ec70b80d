"""Thin matrix products inside compiled kernels: 4 weight rows against 1 to 4 input rows at a time.

Every weight is read once from memory. Import this only where numba is installed.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba import carray, njit

from nautiloid.ops.compiled import FAST
from nautiloid.ops.intrinsics import LANES, dot_block, floats

FLOAT = 4  # bytes


@njit(error_model="numpy", forceinline=True)
def _block(weight, x0, x1, x2, x3, inner, out, across, inputs):
    """4 weight rows with up to 4 inputs."""
    if inputs == 4:
        dot_block(weight, inner, x0, x1, x2, x3, inner, out, across, 4, 4)
    elif inputs == 3:
        dot_block(weight, inner, x0, x1, x2, x2, inner, out, across, 4, 3)
    elif inputs == 2:
        dot_block(weight, inner, x0, x1, x1, x1, inner, out, across, 4, 2)
    else:
        dot_block(weight, inner, x0, x0, x0, x0, inner, out, across, 4, 1)


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _dot(weight, x):
    total = np.float32(0)
    for j in range(len(x)):
        total += weight[j] * x[j]
    return total


@njit(error_model="numpy", forceinline=True)
def rows_product(weight, inner, first, last, x, index, start, stop, out, across):
    """`out[i, r] = weight[r] . x[index[i]]` for r in first..last and i in start..stop.

    Args:
        weight: Address of a matrix with rows of `inner` numbers.
        inner: Numbers of a weight row and of an input.
        first: First weight row; `last` is one past the end.
        x: Address of the inputs.
        index: Input row of each i.
        start: First i; `stop` is one past the end.
        out: Address of the results, rows of `across` numbers.
    """
    row = first
    whole = inner % LANES == 0
    while whole and row + 4 <= last:
        line = weight + FLOAT * inner * row
        i = start
        while i < stop:
            n = min(4, stop - i)
            _block(
                line,
                x + FLOAT * inner * index[i],
                x + FLOAT * inner * index[min(i + 1, stop - 1)],
                x + FLOAT * inner * index[min(i + 2, stop - 1)],
                x + FLOAT * inner * index[min(i + 3, stop - 1)],
                inner,
                out + FLOAT * (across * i + row),
                across,
                n,
            )
            i += n
        row += 4
    while row < last:
        w = carray(floats(weight + FLOAT * inner * row), inner)
        for i in range(start, stop):
            y = carray(floats(out + FLOAT * (across * i + row)), 1)
            y[0] = _dot(w, carray(floats(x + FLOAT * inner * index[i]), inner))
        row += 1
