"""AdamW over flat memory with the Triton kernels; contracts of `reference`.

Suffix N: elements of the span.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nautiloid.ops.adamw.kernels import square_sum_kernel, update_kernel
from nautiloid.ops.adamw.reference import LANES, Scalars
from nautiloid.ops.tuning import tuned

# fixed, so that the order of the sum is the same on every GPU
NORM_PROGRAMS = 1024


def update(
    param_N: Tensor,
    grad_N: Tensor,
    exp_avg_N: Tensor,
    exp_avg_sq_N: Tensor,
    device_scalars: Tensor,
    scalars: Scalars,
    copy_N: Tensor | None = None,
) -> None:
    """Same contract as `reference.update`."""
    count = param_N.numel()
    launch: dict[str, Any] = tuned("adamw_update", BLOCK=1024, num_warps=8)
    launch |= {
        "HAS_COPY": copy_N is not None,
        "ROUND_PARAM": param_N.dtype == torch.bfloat16,
        "ROUND_MOMENTS": exp_avg_N.dtype == torch.bfloat16,
        "LANES": LANES,
    }
    grid = (-(-count // launch["BLOCK"]),)
    update_kernel[grid](
        param_N,
        grad_N,
        exp_avg_N,
        exp_avg_sq_N,
        param_N if copy_N is None else copy_N,
        device_scalars,
        scalars.lr,
        scalars.beta1,
        scalars.beta2,
        scalars.eps,
        scalars.weight_decay,
        scalars.key,
        count,
        **launch,
    )


def square_sum(grad_N: Tensor) -> Tensor:
    """Same contract as `reference.square_sum`; a lane sums in float32, lanes are added in float64."""
    partial = torch.empty(NORM_PROGRAMS, dtype=torch.float32, device=grad_N.device)
    launch = tuned("adamw_square_sum", BLOCK=4096, num_warps=8)
    square_sum_kernel[(NORM_PROGRAMS,)](grad_N, partial, grad_N.numel(), **launch)
    return partial.sum(dtype=torch.float64)
