"""Thin matrix products inside compiled kernels: 4 weight rows against 1, 2 or 4 input rows at a time.

`weight` is read once from memory: the next block is asked for while this one is multiplied. Import
this only where numba is installed.
"""
# pyright: basic, reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba import njit

from nautiloid.ops.compiled import FAST
from nautiloid.ops.intrinsics import prefetch

LINE = 16  # float32 numbers of a cache line


@njit(fastmath=FAST, error_model="numpy")
def fetch4(weight, row):
    """Ask for 4 rows from `row` on (or the last ones)."""
    rows, columns = weight.shape
    start = min(row, max(rows - 4, 0))
    for r in range(start, min(start + 4, rows)):
        for c in range(0, columns, LINE):
            prefetch(weight, r, c)


@njit(fastmath=FAST, error_model="numpy")
def dot1(weight, row, x, c):
    """One weight row with one input row."""
    total = np.float32(0)
    for j in range(weight.shape[1]):
        total += weight[row, j] * x[c, j]
    return total


@njit(fastmath=FAST, error_model="numpy")
def block4x1(weight, row, x, c):
    """4 weight rows with one input row."""
    zero = np.float32(0)
    a0, a1, a2, a3 = zero, zero, zero, zero
    for j in range(weight.shape[1]):
        v = x[c, j]
        a0 += weight[row, j] * v
        a1 += weight[row + 1, j] * v
        a2 += weight[row + 2, j] * v
        a3 += weight[row + 3, j] * v
    return a0, a1, a2, a3


@njit(fastmath=FAST, error_model="numpy")
def block4x4(weight, row, x, c0, c1, c2, c3):
    """4 weight rows with 4 input rows: 16 sums, input row by input row."""
    z = np.float32(0)
    a0, a1, a2, a3, b0, b1, b2, b3 = z, z, z, z, z, z, z, z
    d0, d1, d2, d3, e0, e1, e2, e3 = z, z, z, z, z, z, z, z
    for j in range(weight.shape[1]):
        w0, w1, w2, w3 = weight[row, j], weight[row + 1, j], weight[row + 2, j], weight[row + 3, j]
        v = x[c0, j]
        a0 += w0 * v
        a1 += w1 * v
        a2 += w2 * v
        a3 += w3 * v
        v = x[c1, j]
        b0 += w0 * v
        b1 += w1 * v
        b2 += w2 * v
        b3 += w3 * v
        v = x[c2, j]
        d0 += w0 * v
        d1 += w1 * v
        d2 += w2 * v
        d3 += w3 * v
        v = x[c3, j]
        e0 += w0 * v
        e1 += w1 * v
        e2 += w2 * v
        e3 += w3 * v
    return (a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3, e0, e1, e2, e3)


@njit(fastmath=FAST, error_model="numpy")
def rows_product(weight, first, last, x, index, start, stop, out):
    """`out[i, r] = weight[r] . x[index[i]]` for r in first..last and i in start..stop."""
    row = first
    while row + 4 <= last:
        fetch4(weight, row + 8)
        i = start
        while i + 4 <= stop:
            s = block4x4(weight, row, x, index[i], index[i + 1], index[i + 2], index[i + 3])
            for k in range(4):
                for r in range(4):
                    out[i + k, row + r] = s[4 * k + r]
            i += 4
        while i < stop:
            t = block4x1(weight, row, x, index[i])
            for r in range(4):
                out[i, row + r] = t[r]
            i += 1
        row += 4
    while row < last:
        for i in range(start, stop):
            out[i, row] = dot1(weight, row, x, index[i])
        row += 1
