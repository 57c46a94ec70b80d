"""Attention of one new token a sequence over its cached keys, on a CPU.

The keys and values of the new tokens are stored on the way. Pages are read where they lie; the
softmax is taken page by page, so that no score outlives its page.

Import this only where `ops.compiled.is_available`.

Suffixes: S sequences, Q query heads, V key/value heads, H head width, P pages of a sequence.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba import carray
from torch import Tensor

from nautiloid.ops.compiled import FAST, Kernel, bits
from nautiloid.ops.intrinsics import exp32, floats, integers, real, share, team, thread
from nautiloid.ops.jit_target import njit


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _dot(x, y):
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _softmax(scores, top):
    """exp(score - top) in place; gives the sum."""
    total = np.float32(0)
    for j in range(len(scores)):
        scores[j] = exp32(scores[j] - top)
    for j in range(len(scores)):
        total += scores[j]
    return total


@Kernel
def _decode(p):
    a = carray(p, 18)
    sequences, queries, heads, width = a[8], a[9], a[10], a[11]
    q_stride, k_stride, v_stride = a[12], a[13], a[14]
    page, rows, columns = a[15], a[16], a[17]
    scale = np.float32(real(a[7]))
    each = queries // heads
    keys = carray(floats(a[3]), (rows, heads, width))
    values = carray(floats(a[4]), (rows, heads, width))
    table = carray(integers(a[5]), (sequences, columns))
    out = carray(floats(a[6]), (sequences, queries, width))
    first, last = share(sequences * heads, thread(), team())
    if first == last:
        return
    scratch = np.empty(page, np.float32)
    for unit in range(first, last):
        s, h = unit // heads, unit % heads
        past = table[s, 0]
        row = table[s, 1 + past // page] * page + past % page
        k = carray(floats(a[1] + 4 * (s * k_stride + h * width)), width)
        v = carray(floats(a[2] + 4 * (s * v_stride + h * width)), width)
        keys[row, h, :] = k
        values[row, h, :] = v
        for r in range(each):
            q = carray(floats(a[0] + 4 * (s * q_stride + (h * each + r) * width)), width)
            y = out[s, h * each + r]
            y[:] = 0
            top, total = np.float32(-np.inf), np.float32(0)
            for start in range(0, past + 1, page):
                count = min(page, past + 1 - start)
                base = table[s, 1 + start // page] * page
                scores = scratch[:count]
                highest = top
                for j in range(count):
                    scores[j] = scale * _dot(q, keys[base + j, h])
                    # a NaN is kept
                    if scores[j] > highest or scores[j] != scores[j]:
                        highest = scores[j]
                old = exp32(top - highest) if start > 0 else np.float32(0)
                total = total * old + _softmax(scores, highest)
                top = highest
                for i in range(width):
                    y[i] *= old
                for j in range(count):
                    weight, value = scores[j], values[base + j, h]
                    for i in range(width):
                        y[i] += weight * value[i]
            for i in range(width):
                y[i] /= total


def decode(
    q_SQH: Tensor,
    k_SVH: Tensor,
    v_SVH: Tensor,
    keys_RVH: Tensor,
    values_RVH: Tensor,
    table_SP: Tensor,
    page_tokens: int,
    *,
    scale: float,
) -> Tensor:
    """One new token of each sequence against all its tokens, which it joins.

    Args:
        q_SQH: Queries; rows may be strided, like those of k and v.
        k_SVH: New keys, stored into `keys_RVH`.
        v_SVH: New values.
        keys_RVH: Rows of all pages.
        values_RVH: Rows of all pages.
        table_SP: int64 [S, 1 + pages]: tokens cached before this one, then the pages in order.
        page_tokens: Rows a page.
        scale: Factor on the scores.

    Returns:
        SQH.
    """
    S, Q, H = q_SQH.shape
    rows, heads, _ = keys_RVH.shape
    out = keys_RVH.new_empty(S, Q, H)
    _decode(
        q_SQH.data_ptr(), k_SVH.data_ptr(), v_SVH.data_ptr(), keys_RVH.data_ptr(),
        values_RVH.data_ptr(), table_SP.data_ptr(), out.data_ptr(), bits(scale),
        S, Q, heads, H, q_SQH.stride(0), k_SVH.stride(0), v_SVH.stride(0),
        page_tokens, rows, table_SP.shape[1],
    )  # fmt: skip
    return out
