"""Many kernel calls in one parallel region: the threads meet between calls instead of being started.

Import this only where `ops.compiled.is_available`.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from array import array
from collections.abc import Sequence

from numba import carray

from nautiloid.ops.compiled import Kernel
from nautiloid.ops.intrinsics import barrier, call, integers, thread


@Kernel
def _replay(p):
    a = carray(p, 2)
    rows = carray(integers(a[0]), (a[1], 3))
    for i in range(a[1]):
        # a kernel for one thread runs on the first
        if rows[i, 2] != 1 or thread() == 0:
            call(rows[i, 0], rows[i, 1])
        barrier()


def replay(table: array[int], count: int) -> None:
    """Run `count` calls of a table of (function, arguments, threads)."""
    _replay(table.buffer_info()[0], count)


def table(calls: Sequence[tuple[int, array[int], int]]) -> array[int]:
    """The calls as one array; it holds addresses of the argument arrays, which must stay alive."""
    words = [(function, words.buffer_info()[0], threads) for function, words, threads in calls]
    return array("q", [word for row in words for word in row])
