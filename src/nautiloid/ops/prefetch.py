# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""Asking for memory before it is needed, inside GPU kernels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def prefetch(pointers, size: tl.constexpr):
    """Bring `size` bytes from each pointer on, both multiples of 16, into L2; needs Hopper or later."""
    tl.inline_asm_elementwise(
        f"cp.async.bulk.prefetch.L2.global [$1], {size}; // $0",
        "=r,l",
        [pointers.to(tl.int64)],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )
