"""Thin matrix products inside compiled kernels: 4 weight rows against 1 to 4 input rows at a time.

Every weight is read once from memory; 8-bit ones are widened 4 rows at a time, in the nearest cache. Import this only where numba is installed.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba import carray

from nautiloid.ops.compiled import FAST
from nautiloid.ops.intrinsics import LANES, bfloat, dot_block, floats, small_integers
from nautiloid.ops.jit_target import njit

FLOAT = 4  # bytes
GROUP = 64  # columns that share a scale


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


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _scaled(data, factor, out):
    for j in range(len(out)):
        out[j] = np.float32(data[j]) * factor


@njit(error_model="numpy", forceinline=True)
def widen_rows(data, scale, inner, first, last, out):
    """Rows first..last of an 8-bit weight (`quant.int8`) as float32 numbers.

    Args:
        data: Address of int8 rows of `inner` numbers.
        scale: Address of their bfloat16 scales, one for 64 numbers.
        inner: Numbers of a row.
        first: First row; `last` is one past the end.
        out: Address of the results, from the first row on.
    """
    groups = (inner + GROUP - 1) // GROUP
    for row in range(first, last):
        line = carray(small_integers(data + inner * row), inner)
        target = carray(floats(out + FLOAT * inner * (row - first)), inner)
        for g in range(groups):
            factor = bfloat(scale + 2 * (groups * row + g))
            begin, end = GROUP * g, min(GROUP * (g + 1), inner)
            _scaled(line[begin:end], factor, target[begin:end])


@njit(error_model="numpy", forceinline=True)
def packed_product(data, scale, inner, first, last, x, index, start, stop, out, across, scratch):
    """`rows_product` of an 8-bit weight; `scratch` is the address of 4 float32 rows."""
    for row in range(first, last, 4):
        end = min(row + 4, last)
        widen_rows(data, scale, inner, row, end, scratch)
        rows_product(scratch, inner, 0, end - row, x, index, start, stop, out + FLOAT * row, across)
