# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportMissingImports=false
"""Kernels that start while the kernel before them still runs (programmatic dependent launch).

A chained kernel must `wait` in every program, also in those with nothing to do, before it stores
anything or reads what another kernel wrote; weights may be loaded before. `follow` lets the next kernel
start as soon as there is room; its place is before `wait`, except where the next kernel reads, before
its own wait, what was written two kernels before it. `launch(..., is_chained=True)` gives CHAINED, which
is False in Triton's interpreter and on a GPU that knows no such thing.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import cuda


@triton.jit
def wait(CHAINED: tl.constexpr):
    """Block until all kernels before this one are done and what they wrote is visible."""
    if CHAINED:
        cuda.gdc_wait()


@triton.jit
def follow(CHAINED: tl.constexpr):
    """Let the next kernel start once every program of this one came here or ended.

    That one waits for the end of this one all the same before it reads what was written.
    """
    if CHAINED:
        cuda.gdc_launch_dependents()
