"""Kernels of the squared ReLU."""

# pyright: basic
import triton
import triton.language as tl


@triton.jit
def relu2_kernel(x, out, count, BLOCK: tl.constexpr):
    """`relu(x)^2`."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    positive = tl.maximum(tl.load(x + i, mask=i < count, other=0.0).to(tl.float32), 0.0)
    tl.store(out + i, (positive * positive).to(out.dtype.element_ty), mask=i < count)


@triton.jit
def relu2_backward_kernel(x, dy, dx, count, BLOCK: tl.constexpr):
    """`2 relu(x) dy`."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    positive = tl.maximum(tl.load(x + i, mask=i < count, other=0.0).to(tl.float32), 0.0)
    d = tl.load(dy + i, mask=i < count, other=0.0).to(tl.float32)
    tl.store(dx + i, (2 * positive * d).to(dx.dtype.element_ty), mask=i < count)
