"""State-space scan by Triton kernels, forward and backward (`kernels`, `kernels_backward`).

`scan_forward` and `scan_backward` take and write strided views, so that a caller may keep x, B, C
as columns of one buffer; `ssd` is the differentiable operator with the reference's contract.

Suffixes: T tokens, S sequences, H heads, P head width, G groups, N state size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton.tools.tensor_descriptor import TensorDescriptor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.packing import chunk_table, cu_seqlens
from nautiloid.ops.ssd import kernels, kernels_backward
from nautiloid.ops.ssd.segments import Segments, chunks_in_all, cut
from nautiloid.ops.tuning import tuned

NO_LIMIT = (0.0, math.inf)
# the states around every chunk, for as many tokens at a time as fit here
MOST_STATE_BYTES = 2 << 30
# second axis of a grid
MOST_PROGRAMS = 65535
# a cut costs about as much as this many chunks
FEWEST_CHUNKS = 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of one scan, as the kernels want them."""

    H: int
    P: int
    N: int
    HEADS: int

    @classmethod
    def of(cls, x_THP: Tensor, B_TGN: Tensor) -> Sizes:
        """Sizes of a scan of these tensors."""
        H, P = x_THP.shape[1:]
        G, N = B_TGN.shape[1:]
        return cls(H, P, N, H // G)

    @property
    def groups(self) -> int:
        """G."""
        return self.H // self.HEADS

    def tile(self, widest: int) -> dict[str, int]:
        """Constants of a kernel whose tiles are at most `widest` columns of a head wide."""
        BN = max(16, power_of_2(self.N))
        BP = min(max(16, power_of_2(self.P)), widest)
        return {"H": self.H, "P": self.P, "N": self.N, "HEADS": self.HEADS, "BP": BP, "BN": BN}

    def columns(self, tile: dict[str, int]) -> int:
        """Programs that walk one segment."""
        return self.H * blocks(self.P, tile["BP"])


@dataclass(frozen=True)
class Steps:
    """How dt and A come in: as such, or before softplus and with A = -exp(rate).

    Args:
        bias_H: Added before softplus; None: dt is a step size already and `rate` is A.
        limit: Clamp of the step sizes after softplus.
    """

    bias_H: Tensor | None = None
    limit: tuple[float, float] = NO_LIMIT

    @property
    def constants(self) -> dict[str, bool]:
        """What the kernels are compiled for."""
        return {"IS_RAW": self.bias_H is not None, "IS_CLAMPED": self.limit != NO_LIMIT}


def _row_strides(*tensors: Tensor) -> list[int]:
    for v in tensors:
        assert v.stride(-1) == 1, v.stride()
        assert v.dim() == 2 or v.stride(1) == v.shape[2], v.stride()
    return [v.stride(0) for v in tensors]


def _tiles(v: Tensor, chunk: int, block: int) -> TensorDescriptor:
    """Tiles of `chunk` rows of one head of [T, heads, width], for `kernels.load_rows`."""
    size = v.element_size()
    if v.data_ptr() % 16 or any(s * size % 16 for s in v.stride()[:-1]):
        v = v.contiguous()
    if v.shape[2] % block == 0:
        shape = [v.shape[0], v.shape[1] * v.shape[2]]
        return TensorDescriptor(v, shape, [v.stride(0), 1], [chunk, block])
    return TensorDescriptor(v, list(v.shape), list(v.stride()), [chunk, 1, block])


def _state_tiles(v: Tensor, block: int, BP: int) -> TensorDescriptor:
    """Tiles of stored states [rows, N, P], for `kernels.load_state`."""
    rows, N, P = v.shape
    if N % block == 0:
        return TensorDescriptor(v, [rows * N, P], [P, 1], [block, BP])
    return TensorDescriptor(v, [rows, N, P], [N * P, P, 1], [1, block, BP])


def _steps(
    dt_TH: Tensor, rate_H: Tensor, steps: Steps, lengths: Sequence[int], chunk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """dt, its decay sums and their difference from log2(dt), float32 [H, chunks * chunk]."""
    H = dt_TH.shape[1]
    n = chunks_in_all(lengths, chunk)
    out = dt_TH.new_empty(3, H, n * chunk, dtype=torch.float32)
    options = tuned("ssd_step_sizes", BH=min(64, power_of_2(H)), num_warps=4)
    launch(
        kernels.step_sizes, (n, blocks(H, options["BH"])),
        dt_TH, steps.bias_H, rate_H, *out, chunk_table(lengths, chunk, dt_TH.device),
        cu_seqlens(lengths, dt_TH.device), *_row_strides(dt_TH), n * chunk, *steps.limit,
        H=H, CHUNK=chunk, **steps.constants, **options,
    )  # fmt: skip
    return out[0], out[1], out[2]


def _segments(
    lengths: Sequence[int], chunk: int, columns: int, programs: int, device: torch.device
) -> Segments:
    """Segments so short that about `programs` run, `columns` being those of one segment."""
    n = chunks_in_all(lengths, chunk)
    count = max(1, round(programs / columns))
    return cut(lengths, chunk, max(-(-n // count), FEWEST_CHUNKS), device)


@dataclass(frozen=True)
class _Direction:
    """What `kernels.carry_states` reads and writes in one direction."""

    rows: TensorDescriptor
    maps: TensorDescriptor
    initial: Tensor | None = None
    final: Tensor | None = None


def _carry(
    sizes: Sizes,
    segments: Segments,
    forward: _Direction,
    backward: _Direction | None,
    decays: tuple[Tensor, Tensor],
    borders: tuple[Tensor, ...] | None,
    span: tuple[int, int],
    states: Sequence[TensorDescriptor] | None,
    options: dict[str, Any],
) -> None:
    """States of the chunks of a span of segments, or without `states` those at borders."""
    acs, source = decays
    tile = sizes.tile(options["widest"])
    grid = (sizes.columns(tile), span[1] - span[0], 1 if backward is None else 2)
    turned = backward or forward
    # what a flag keeps from being touched still needs a pointer
    border, d_border, decay = borders or (acs, acs, acs)
    both = states or (forward.rows, forward.rows)
    launch(
        kernels.carry_states, grid,
        forward.rows, forward.maps, acs, source, forward.initial, both[0], border, decay,
        turned.rows, turned.maps, turned.initial, both[1], turned.final, d_border, segments.table,
        span[0], segments.firsts[span[0]], len(segments), acs.stride(0), **tile,
        HAS_INITIAL=forward.initial is not None, HAS_D_FINAL=turned.initial is not None,
        HAS_BORDERS=segments.is_cut, WANTS_CHUNKS=states is not None,
        WANTS_D_INITIAL=turned.final is not None,
        **{k: v for k, v in options.items() if k not in ("widest", "programs")},
    )  # fmt: skip


def _borders(sizes: Sizes, segments: Segments, like: Tensor, *, both: bool) -> tuple[Tensor, ...]:
    """Room for what each segment adds to the state, in one or both directions, and its decay."""
    shape = (len(segments), sizes.H, sizes.P, sizes.N)
    border = like.new_empty(shape, dtype=torch.float32)
    other = torch.empty_like(border) if both else border
    return border, other, like.new_empty(2, len(segments), sizes.H, dtype=torch.float32)


def _untouched(out: Tensor, lengths: Sequence[int], source: Tensor | None) -> None:
    """No program visits an empty sequence: its state passes through."""
    if 0 in lengths:
        out.copy_(source) if source is not None else out.zero_()


def scan_forward(
    x_THP: Tensor,
    dt_TH: Tensor,
    rate_H: Tensor,
    B_TGN: Tensor,
    C_TGN: Tensor,
    D_H: Tensor,
    lengths: Sequence[int],
    initial_SHPN: Tensor | None = None,
    *,
    steps: Steps = Steps(),
    y_THP: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y_THP (written to `y_THP` where given) and the final states SHPN, float32."""
    sizes = Sizes.of(x_THP, B_TGN)
    options = tuned("ssd_scan", CHUNK=64, widest=64, programs=128, num_warps=4, STAGES=4)
    chunk = options["CHUNK"]
    tile = sizes.tile(options.pop("widest"))
    _, *decays = _steps(dt_TH, rate_H, steps, lengths, chunk)
    segments = _segments(lengths, chunk, sizes.columns(tile), options.pop("programs"), x_THP.device)
    y = torch.empty_like(x_THP, memory_format=torch.contiguous_format) if y_THP is None else y_THP
    final = x_THP.new_empty(len(lengths), sizes.H, sizes.P, sizes.N, dtype=torch.float32)
    _untouched(final, lengths, initial_SHPN)
    x, B = _tiles(x_THP, chunk, tile["BP"]), _tiles(B_TGN, chunk, tile["BN"])
    C = _tiles(C_TGN, chunk, tile["BN"])
    borders = (None, None, None)
    if segments.is_cut:
        borders = _borders(sizes, segments, x_THP, both=False)
        walk = tuned("ssd_borders", CHUNK=chunk, widest=64, num_warps=4, STAGES=4)
        _carry(
            sizes, segments, _Direction(x, B), None, (decays[0], decays[1]), borders,
            (0, len(segments)), None, walk,
        )  # fmt: skip
    launch(
        kernels.scan_outputs, (sizes.columns(tile), len(segments)),
        x, B, C, y, *decays, D_H, initial_SHPN, final, borders[0], borders[2], segments.table,
        *_row_strides(y), decays[0].stride(0), **tile, HAS_INITIAL=initial_SHPN is not None,
        HAS_BORDERS=segments.is_cut, **options,
    )  # fmt: skip
    return y, final


def scan_backward(
    dy_THP: Tensor,
    x_THP: Tensor,
    dt_TH: Tensor,
    rate_H: Tensor,
    B_TGN: Tensor,
    C_TGN: Tensor,
    D_H: Tensor,
    lengths: Sequence[int],
    initial_SHPN: Tensor | None,
    d_final_SHPN: Tensor | None,
    *,
    outputs: tuple[Tensor, Tensor, Tensor, Tensor],
    steps: Steps = Steps(),
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Write the gradients of x, dt, B, C to `outputs`; give those of rate, D, bias, initial.

    Those of the small tensors are float32.
    """
    dx, d_dt, dB, dC = outputs
    sizes, device = Sizes.of(x_THP, B_TGN), x_THP.device
    walk = tuned("ssd_states", CHUNK=64, widest=64, programs=64, num_warps=4, STAGES=3)
    chunk = walk["CHUNK"]
    tile = sizes.tile(walk["widest"])
    dt, *decays = _steps(dt_TH, rate_H, steps, lengths, chunk)
    segments = _segments(lengths, chunk, sizes.columns(tile), walk["programs"], device)
    n = segments.firsts[-1]
    state_bytes = 2 * sizes.H * sizes.P * sizes.N * x_THP.element_size()
    most = min(max(1, MOST_STATE_BYTES // state_bytes), MOST_PROGRAMS)
    if n > most:
        segments = cut(lengths, chunk, max(1, most // 4), device)
    slabs = segments.slabs(most)
    d_initial = None
    if initial_SHPN is not None:
        d_initial = torch.empty_like(initial_SHPN, dtype=torch.float32)
        _untouched(d_initial, lengths, d_final_SHPN)

    x, dy = (_tiles(v, chunk, tile["BP"]) for v in (x_THP, dy_THP))
    B, C = (_tiles(v, chunk, tile["BN"]) for v in (B_TGN, C_TGN))
    ways = _Direction(x, B, initial_SHPN), _Direction(dy, C, d_final_SHPN, d_initial)
    pair = (decays[0], decays[1])
    borders = None
    if segments.is_cut:
        borders = _borders(sizes, segments, x_THP, both=True)
        _carry(sizes, segments, *ways, pair, borders, (0, len(segments)), None, walk)
    # states before each chunk and gradients of those after it
    rows = max(segments.firsts[b] - segments.firsts[a] for a, b in slabs) * sizes.H
    planes = x_THP.new_empty(2, rows, sizes.N, sizes.P)
    written = [_state_tiles(plane, tile["BN"], tile["BP"]) for plane in planes]
    # what tokens receive and give through decays, and sums of each chunk and head
    sums = torch.empty(3, *dt.shape, dtype=torch.float32, device=device)
    scalars, partial = x_THP.new_empty(2, 3, n, sizes.H, dtype=torch.float32)
    where = chunk_table(lengths, chunk, device), cu_seqlens(lengths, device)
    options = tuned("ssd_gradients", num_warps=4, STAGES=2, ROLE=3)
    roles = (0, 1, 2) if options.pop("ROLE") == 0 else (3,)
    BK = tile["BN"] if tile["BN"] < 128 else tile["BN"] // 2
    maps = [_tiles(v, chunk, BK) for v in (B_TGN, C_TGN)]
    read = [_state_tiles(plane, BK, tile["BP"]) for plane in planes]
    for a, b in slabs:
        first, last = segments.firsts[a], segments.firsts[b]
        _carry(sizes, segments, *ways, pair, borders, (a, b), written, walk)
        for role in roles:
            launch(
                kernels_backward.chunk_gradients,
                (sizes.groups * (3 if role == 3 else 1), last - first),
                x, *maps, dy, *read, dt, *decays, D_H, *where, dx, dB, dC, sums, scalars, first,
                n, *_row_strides(dx, dB, dC), dt.stride(0), **tile, BK=BK, CHUNK=chunk, ROLE=role,
                **options,
            )  # fmt: skip
    options = tuned("ssd_step_gradients", BH=min(16, power_of_2(sizes.H)), num_warps=4)
    launch(
        kernels_backward.step_gradients, (n, blocks(sizes.H, options["BH"])),
        sums, scalars, dt, rate_H, *where, d_dt, partial, n, *_row_strides(d_dt), dt.stride(0),
        *steps.limit, H=sizes.H, CHUNK=chunk, **steps.constants, **options,
    )  # fmt: skip
    d_rate, d_D, d_bias = partial.sum(1)
    return d_rate, d_D, d_bias, d_initial


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        initial: Tensor | None,
        lengths: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        ctx.lengths = lengths
        ctx.set_materialize_grads(False)
        x, dt, B, C = (v.contiguous() for v in (x, dt, B, C))
        initial = None if initial is None else initial.contiguous()
        ctx.save_for_backward(x, dt, A, B, C, D, initial)
        return scan_forward(x, dt, A, B, C, D, lengths, initial)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, dt, A, B, C, D, initial = ctx.saved_tensors
        dy = torch.zeros_like(x) if dy is None else dy.contiguous()
        outputs = (
            torch.empty_like(x),
            torch.empty_like(dt),
            torch.empty_like(B),
            torch.empty_like(C),
        )
        d_final = None if d_final is None else d_final.contiguous()
        dA, dD, _, d_initial = scan_backward(
            dy, x, dt, A, B, C, D, ctx.lengths, initial, d_final, outputs=outputs
        )
        dx, d_dt, dB, dC = outputs
        return dx, d_dt, dA.to(A.dtype), dB, dC, dD.to(D.dtype), d_initial, None


def fits(dtype: torch.dtype, head_dim: int, state_size: int) -> bool:
    """Whether the kernels take these sizes: tiles are copied in units of 16 bytes.

    >>> fits(torch.bfloat16, 80, 128), fits(torch.bfloat16, 20, 128), fits(torch.float64, 64, 64)
    (True, False, False)
    """
    is_copied = head_dim * dtype.itemsize % 16 == 0 and state_size * dtype.itemsize % 16 == 0
    return is_copied and state_size <= 256 and dtype != torch.float64


def ssd(
    x_THP: Tensor,
    dt_TH: Tensor,
    A_H: Tensor,
    B_TGN: Tensor,
    C_TGN: Tensor,
    D_H: Tensor,
    lengths: Sequence[int],
    initial_SHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.ssd`; y in the dtype of x, final states float32."""
    return _Scan.apply(x_THP, dt_TH, A_H, B_TGN, C_TGN, D_H, initial_SHPN, tuple(lengths))
