"""Decoding of states: the mixer's step and attention over pages, against the bytes they move.

Every figure is the time of one layer inside a CUDA graph of many layers, so that nothing is cached
and launches cost what they cost in a step. Shares are of the bandwidth measured in the same run.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable

import torch
from benchmarks.gpu_rows.timing import relative_error
from benchmarks.results_file import Row
from torch import Tensor

from nautiloid.ops.attention import paged
from nautiloid.ops.attention.paged import HeadInputs, Pages
from nautiloid.ops.mamba import decode, reference
from nautiloid.ops.mamba.reference import MixerSizes

# Nemotron-3-Nano-30B-A3B
HEADS, WIDTH, GROUPS, STATE, TAPS = 64, 64, 8, 128, 4
INNER = HEADS * WIDTH
CHANNELS = INNER + 2 * GROUPS * STATE
SIZES = MixerSizes(WIDTH, GROUPS, 1e-5)
PAGE = 64
# work, sequences, cached tokens, query heads, key/value heads, whether queries and keys are normed
ATTENTION = [
    ("1x1024", 1, 1024, 32, 2, False),
    ("8x1024", 8, 1024, 32, 2, False),
    ("32x1024", 32, 1024, 32, 2, False),
    ("128x1024", 128, 1024, 32, 2, False),
    ("256x1024", 256, 1024, 32, 2, False),
    ("128x8192", 128, 8192, 32, 2, False),
    ("1x262144", 1, 262144, 32, 2, False),
    ("qwen_64x8192", 64, 8192, 32, 4, True),
    ("qwen_1x1024", 1, 1024, 32, 4, True),
]


def rows() -> list[Row]:
    """The mixer for five batch sizes and three state types, then attention."""
    found: list[Row] = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for batch in (1, 8, 32, 128, 256):
            found.append(mamba_row(batch, dtype))
    return found + [attention_row(*case) for case in ATTENTION]


def mamba_row(batch: int, dtype: torch.dtype) -> Row:
    """One step of one mixer."""
    layers = max(4, 64 // batch)
    call, moved = mamba_case(batch, dtype, layers)
    name = str(dtype).removeprefix("torch.")
    return _row(f"mamba_step_{name}_{batch}", call, layers, moved, copy_bytes_s(), mamba_error())


def mamba_case(batch: int, dtype: torch.dtype, layers: int) -> tuple[Callable[[], object], int]:
    """A step of several layers, and the bytes of one."""
    projected, weights = _mixer_inputs(batch)
    conv = torch.randn(layers, batch + 1, TAPS - 1, CHANNELS, device="cuda").bfloat16()
    ssm = torch.zeros(layers, batch + 1, HEADS, WIDTH, STATE, device="cuda", dtype=dtype)
    slots = torch.randperm(batch, device="cuda").int()
    seed = torch.tensor([7], device="cuda") if dtype.itemsize == 2 else None

    def call() -> None:
        for i in range(layers):
            _run(decode.step, projected, (conv[i], ssm[i]), slots, weights, seed=seed, salt=i)

    moved = 2 * (ssm[0, 0].nbytes + conv[0, 0].nbytes) * batch
    return call, moved + projected.nbytes + 2 * batch * INNER


def _run(
    step: Callable[..., Tensor],
    projected: Tensor,
    states: tuple[Tensor, Tensor],
    slots: Tensor,
    weights: list[Tensor],
    **options: object,
) -> Tensor:
    return step(projected, *states, slots, *weights, SIZES, **options)


def _mixer_inputs(batch: int) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator(device="cuda").manual_seed(batch)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda", generator=generator).bfloat16()

    weights = [
        normal(CHANNELS, TAPS), normal(CHANNELS), normal(HEADS), normal(HEADS), normal(HEADS),
        normal(INNER),
    ]  # fmt: skip
    return normal(batch, INNER + CHANNELS + HEADS), weights


@functools.cache
def mamba_error() -> float:
    """Relative error of a step and its state against float64."""
    projected, weights = _mixer_inputs(5)
    conv = torch.randn(6, TAPS - 1, CHANNELS, device="cuda").bfloat16()
    ssm = torch.randn(6, HEADS, WIDTH, STATE, device="cuda")
    slots = torch.tensor([3, 0, 4, 1, 2], device="cuda", dtype=torch.int32)
    exact = conv.double(), ssm.double()
    expected = _run(reference.step, projected.double(), exact, slots, [w.double() for w in weights])
    found = _run(decode.step, projected, (conv, ssm), slots, weights)
    return max(relative_error(found, expected), relative_error(ssm, exact[1]))


def attention_row(work: str, batch: int, cached: int, queries: int, groups: int, normed: bool):
    """One step of one attention layer."""
    layers = max(2, min(32, (1 << 28) // (batch * cached * groups * 512)))
    call, moved = attention_case(batch, cached, queries, groups, normed, layers)
    error = attention_error(queries, groups, normed)
    return _row(f"paged_decode_{work}", call, layers, moved, read_bytes_s(), error)


def attention_case(
    batch: int, cached: int, queries: int, groups: int, normed: bool, layers: int
) -> tuple[Callable[[], object], int]:
    """A step of several layers over pages in random order, and the bytes of one."""
    caches = [_pages(batch, cached, groups) for _ in range(layers)]
    q, k, v = _projected(batch, queries, groups)
    slots = torch.randperm(batch, device="cuda").int()
    past = torch.full((batch,), cached, device="cuda", dtype=torch.int32)
    heads = _heads(normed)

    def call() -> None:
        for pages in caches:
            paged.decode(q, k, v, pages, slots, past, scale=128**-0.5, heads=heads)

    return call, batch * cached * groups * 128 * 2 * 2


def _pages(batch: int, cached: int, groups: int) -> Pages:
    each = cached // PAGE + 1
    table = torch.randperm(batch * each, device="cuda").view(batch, each).int()
    keys, values = (
        torch.randn(batch * each * PAGE, groups, 128, device="cuda", dtype=torch.bfloat16)
        for _ in range(2)
    )
    return Pages(keys, values, table, PAGE)


def _projected(batch: int, queries: int, groups: int) -> list[Tensor]:
    width = [queries * 128, groups * 128, groups * 128]
    qkv = torch.randn(batch, sum(width), device="cuda").bfloat16()
    return [x.unflatten(1, (-1, 128)) for x in qkv.split(width, 1)]


def _heads(normed: bool) -> HeadInputs:
    if not normed:
        return HeadInputs()
    weights = [torch.ones(128, device="cuda").bfloat16() for _ in range(2)]
    return HeadInputs(weights[0], weights[1], 1e-6, 1e6, 128)


@functools.cache
def attention_error(queries: int, groups: int, normed: bool) -> float:
    """Relative error of sequences of several lengths against float64; without norm and rotation."""
    from nautiloid.ops.attention.reference import attend

    batch, most = 5, 4096
    pages = _pages(batch, most, groups)
    q, k, v = _projected(batch, queries, groups)
    slots = torch.tensor([3, 0, 4, 1, 2], device="cuda", dtype=torch.int32)
    lengths = [1, 64, 1000, 2048, 4096]
    past = torch.tensor(lengths, device="cuda", dtype=torch.int32)
    found = paged.decode(q, k, v, pages, slots, past, scale=0.1)
    worst = 0.0
    for b, length in enumerate(lengths):
        at = torch.arange(length, device="cuda")
        lines = pages.table[slots[b]].long()[at // PAGE] * PAGE + at % PAGE
        keys = torch.cat([pages.keys[lines], k[b : b + 1]]).double()
        values = torch.cat([pages.values[lines], v[b : b + 1]]).double()
        expected = attend(q[b : b + 1].double(), keys, values, scale=0.1)
        worst = max(worst, relative_error(found[b : b + 1], expected))
    return worst


def graph_us(call: Callable[[], object], layers: int, reps: int = 15) -> list[float]:
    """Microseconds a layer of each replay of a CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    graph.replay()
    times: list[float] = []
    for _ in range(reps):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) * 1e3 / layers)
    return times


@functools.cache
def copy_bytes_s() -> float:
    """Bytes read and written a second by a device copy."""
    a = torch.empty(1 << 31, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.nbytes / min(graph_us(lambda: b.copy_(a), 1)) * 1e6


@functools.cache
def read_bytes_s() -> float:
    """Bytes read a second by a sum, or by the copy if that moves more."""
    a = torch.zeros(1 << 29, dtype=torch.float32, device="cuda")
    return max(copy_bytes_s(), a.nbytes / min(graph_us(lambda: a.sum(), 1)) * 1e6)


def _row(
    work: str, call: Callable[[], object], layers: int, moved: int, peak: float, error: float
) -> Row:
    times = graph_us(call, layers)
    median = statistics.median(times)
    limit = moved / peak * 1e6
    return Row(
        work=work,
        value=median,
        unit="us",
        better="lower",
        ours=median,
        limit=f"bytes {limit:.1f} us ({limit / median:.0%} of {peak / 1e12:.2f} TB/s); error {error:.1e}",
        reps=len(times),
        spread=(min(times), max(times)),
    )
