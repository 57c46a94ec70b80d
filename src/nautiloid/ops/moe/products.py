"""Launchers of the grouped matrix products: the Hopper kernels where they fit, else the portable ones.

Suffixes: R rows of the padded layout, N columns out, K inner dim, E experts, P x Q weight gradient.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.moe import kernels_portable as portable
from nautiloid.ops.moe.layout import BLOCK_ROWS, Layout, spread
from nautiloid.ops.tuning import tuned


class _Hopper(NamedTuple):
    """The Hopper kernels and the constants that pick what they do."""

    rows: Any
    weight: Any
    kinds: Any


@functools.cache
def _hopper() -> _Hopper | None:
    """The Hopper kernels, or None where this Triton does not have what they are written with."""
    try:
        from nautiloid.ops.moe import kernels_hopper
        from nautiloid.ops.moe.kernels_hopper_rows import rows_kernel
        from nautiloid.ops.moe.kernels_hopper_weight import weight_kernel
    except (ImportError, AttributeError):
        return None
    return _Hopper(rows_kernel, weight_kernel, kernels_hopper)


@functools.cache
def _processors(device: torch.device) -> int:
    """Multiprocessors of a Hopper GPU, 0 for any other device."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) != (9, 0):
        return 0
    return torch.cuda.get_device_properties(device).multi_processor_count


def fits_hopper(x: Tensor, *weights: Tensor) -> bool:
    """Whether the Hopper kernels serve rows like `x` with these weights [E, .., ..] or their sums."""
    return (
        x.dtype == torch.bfloat16
        and _processors(x.device) > 0
        and all(
            w.dtype in (torch.bfloat16, torch.float32)
            and w.shape[1] % 64 == 0
            and w.shape[2] % 64 == 0
            and w.is_contiguous()
            and w.data_ptr() % 16 == 0
            for w in weights
        )
        and _hopper() is not None
    )


def _boxes(x: Tensor) -> Any:
    """TMA descriptor of boxes of 64 x 128 bytes over the last dim and all others flattened."""
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    flat, size = x.view(-1, x.shape[-1]), x.element_size()
    return TensorDescriptor.from_tensor(flat, [64, 128 // size], _box_layout(8 * size))


@functools.cache
def _box_layout(bits: int) -> Any:
    from triton.experimental.gluon import language as gl

    return gl.NVMMASharedLayout(128, bits, 2)


def _tail(columns: int) -> int:
    """Width of the last column tile: 64, 128 or 256."""
    rest = columns % 256
    return 256 if rest in (0, 192) else rest


_LAUNCH: dict[str, Any] = {"num_warps": 4, "maxnreg": 168}


def _rows_hopper(
    a: Tensor,
    w: Tensor,
    layout: Layout,
    is_nt: bool,
    kind: str,
    c: Tensor,
    d: Tensor | None = None,
    h: Tensor | None = None,
    dp: Tensor | None = None,
    *,
    is_gather: bool = False,
) -> None:
    hopper = _hopper()
    assert hopper is not None
    columns = c.shape[1]
    tiles = blocks(columns, 256)
    boxes = _boxes(c)
    meta = tuned(f"moe_rows_{kind.lower()}", STAGES=3, GROUP=4)
    launch(
        hopper.rows,
        (_processors(a.device),),
        boxes if is_gather else _boxes(a),
        _boxes(w),
        boxes,
        boxes if d is None else _boxes(d),
        boxes if h is None else _boxes(h),
        layout.weights_R,
        layout.weights_R if dp is None else dp,
        a,
        layout.tokens_R,
        layout.table,
        layout.used,
        a.shape[1],
        a.stride(0),
        tiles,
        w.shape[1],
        layout.rows,
        IS_NT=is_nt,
        TAIL=_tail(columns),
        KIND=getattr(hopper.kinds, kind).value,
        IS_GATHER=is_gather,
        **meta,
        **_LAUNCH,
    )


def precision(x: Tensor) -> str:
    """Input precision of portable products."""
    return "ieee" if x.dtype == torch.float32 else "tf32"


def rows_product(
    a_RK: Tensor, w: Tensor, layout: Layout, *, is_nt: bool, out: Tensor | None = None
) -> Tensor:
    """Rows times the weight of their expert: `a W^T` of [E, N, K] (is_nt) or `a W` of [E, K, N]."""
    columns = w.shape[1] if is_nt else w.shape[2]
    inner = a_RK.shape[1]
    if out is None:
        out = a_RK.new_empty(a_RK.shape[0], columns)
    if w.dtype == a_RK.dtype and fits_hopper(a_RK, w):
        _rows_hopper(a_RK, w, layout, is_nt, "PLAIN", out)
        return out
    meta = tuned("moe_rows_portable", BN=128, BK=32, num_warps=8, num_stages=3)
    tiles = blocks(columns, meta["BN"])
    launch(
        portable.rows_kernel,
        (layout.table.shape[0] * tiles,),
        a_RK,
        w,
        out,
        layout.table,
        layout.used,
        columns,
        inner,
        w.stride(0),
        w.stride(1) if is_nt else w.stride(2),
        w.stride(2) if is_nt else w.stride(1),
        tiles,
        ROWS=BLOCK_ROWS,
        PRECISION=precision(a_RK),
        **meta,
    )
    return out


def up_relu2(x_TL: Tensor, up: Tensor, layout: Layout, *, keep: bool) -> tuple[Tensor, Tensor]:
    """`w relu(h)^2` and, with `keep`, `h = x W^T` (else the first again) by rows, in one Hopper kernel.

    The kernel reads the rows of the tokens where they lie.
    """
    a = x_TL.new_empty(layout.rows, up.shape[1])
    h = torch.empty_like(a) if keep else a
    kind = "RELU2_SAVE" if keep else "RELU2"
    is_aligned = x_TL.stride() == (x_TL.stride(0) // 8 * 8, 1) and x_TL.data_ptr() % 16 == 0
    if is_aligned and tuned("moe_gather", IS_GATHER=True)["IS_GATHER"]:
        _rows_hopper(x_TL, up, layout, True, kind, a, h, is_gather=True)
    else:
        _rows_hopper(spread(x_TL, layout), up, layout, True, kind, a, h)
    return a, h


def down_relu2_backward(
    dy_RL: Tensor, down: Tensor, h_RM: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """dh, `w relu(h)^2` and the parts [tiles, R] of `<relu(h)^2, dy W>`, in one Hopper kernel."""
    dh, act = torch.empty_like(h_RM), torch.empty_like(h_RM)
    tiles = blocks(h_RM.shape[1], 256)
    dp = torch.empty(tiles, layout.rows, dtype=torch.float32, device=dh.device)
    _rows_hopper(dy_RL, down, layout, False, "RELU2_BACKWARD", dh, act, h_RM, dp)
    return dh, act, dp


def weight_product(
    a_RP: Tensor, b_RQ: Tensor, layout: Layout, weight: Tensor, into: Tensor | None = None
) -> Tensor | None:
    """`a^T b` over each expert's rows [E, P, Q], as the gradient of `weight`.

    With `into` (float32) the product is added there and the result is None.
    """
    experts, p, q = weight.shape
    out = torch.empty_like(weight) if into is None else into
    if out.dtype == (a_RP.dtype if into is None else torch.float32) and fits_hopper(a_RP, out):
        hopper = _hopper()
        assert hopper is not None
        p_tiles, q_tiles = blocks(p, 128), blocks(q, 256)
        launch(
            hopper.weight,
            (_processors(a_RP.device),),
            _boxes(a_RP),
            _boxes(b_RQ),
            _boxes(out),
            layout.starts,
            p,
            p_tiles,
            q_tiles,
            experts * p_tiles * q_tiles,
            TAIL=_tail(q),
            KIND=(hopper.kinds.PLAIN if into is None else hopper.kinds.SUM).value,
            **tuned("moe_weight", STAGES=3),
            **_LAUNCH,
        )
    else:
        meta = tuned("moe_weight_portable", BP=128, BQ=128, BK=32, num_warps=8, num_stages=3)
        grid = (experts, blocks(p, meta["BP"]), blocks(q, meta["BQ"]))
        launch(
            portable.weight_kernel,
            grid,
            a_RP,
            b_RQ,
            out,
            layout.starts,
            layout.totals_E,
            p,
            q,
            PRECISION=precision(a_RP),
            IS_SUM=into is not None,
            **meta,
        )
    return out if into is None else None


def _grid(h_RM: Tensor) -> tuple[tuple[int, int], dict[str, Any]]:
    block = min(1024, power_of_2(h_RM.shape[1]))
    rows = max(1, 4096 // block)
    grid = (blocks(h_RM.shape[0], rows), blocks(h_RM.shape[1], block))
    return grid, {"ROWS": rows, "BLOCK": block, "num_warps": 4}


def activate(h_RM: Tensor, g_RM: Tensor | None, layout: Layout, *, is_relu2: bool) -> Tensor:
    """`w act(h, g)` of the rows in use."""
    out = torch.empty_like(h_RM)
    grid, meta = _grid(h_RM)
    launch(
        portable.activate_kernel,
        grid,
        h_RM,
        h_RM if g_RM is None else g_RM,
        layout.weights_R,
        out,
        layout.starts,
        layout.totals_E.shape[0],
        h_RM.shape[1],
        IS_RELU2=is_relu2,
        HAS_GATE=g_RM is not None,
        **meta,
    )
    return out


def activate_backward(
    da_RM: Tensor, h_RM: Tensor, g_RM: Tensor | None, layout: Layout, *, is_relu2: bool
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """dh, dg, `w act` and the parts [tiles, R] of `<act, da>`."""
    dh, act = torch.empty_like(h_RM), torch.empty_like(h_RM)
    dg = None if g_RM is None else torch.empty_like(h_RM)
    grid, meta = _grid(h_RM)
    dp = torch.empty(grid[1], layout.rows, dtype=torch.float32, device=h_RM.device)
    launch(
        portable.activate_backward_kernel,
        grid,
        da_RM,
        h_RM,
        h_RM if g_RM is None else g_RM,
        layout.weights_R,
        dh,
        dh if dg is None else dg,
        act,
        dp,
        layout.starts,
        layout.totals_E.shape[0],
        h_RM.shape[1],
        layout.rows,
        IS_RELU2=is_relu2,
        HAS_GATE=g_RM is not None,
        **meta,
    )
    return dh, dg, act, dp
