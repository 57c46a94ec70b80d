# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""Elementwise functions shared by the GPU kernels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sigmoid(x, FAST: tl.constexpr):
    """1 / (1 + exp(-x)) of float32.

    FAST takes the two approximate instructions (2 ulp) without the code for subnormal numbers that
    the plain expression brings; the interpreter has only the plain one.
    """
    if FAST:
        return tl.inline_asm_elementwise(
            "{ .reg .f32 t; mul.f32 t, $1, 0fBFB8AA3B; ex2.approx.ftz.f32 t, t;"
            " add.f32 t, t, 0f3F800000; rcp.approx.ftz.f32 $0, t; }",
            "=f,f",
            [x],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
    return 1 / (1 + tl.exp(-x))


@triton.jit
def exp(x, FAST: tl.constexpr):
    """exp(x) of float32; FAST as in `sigmoid`."""
    if FAST:
        return tl.inline_asm_elementwise(
            "{ .reg .f32 t; mul.f32 t, $1, 0f3FB8AA3B; ex2.approx.ftz.f32 $0, t; }",
            "=f,f",
            [x],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
    return tl.exp(x)
