"""MoE layers and thin products of a decoding step, as shares of the read bandwidth of the same run.

A row is one layer of Nano dims (norm, router, experts, shared expert) or of Qwen3 dims, whose routes are
drawn uniformly and given to it, or one linear map. Work is recorded in a CUDA graph over layers with
weights of their own, so that caches hold none of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from benchmarks.gpu_rows.timing import relative_error
from benchmarks.results_file import Row
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops import moe
from nautiloid.ops.activation import activate, add
from nautiloid.ops.launch import launch
from nautiloid.ops.linear import linear
from nautiloid.ops.moe import decode, reference
from nautiloid.ops.norm.cuda import add_rms_norm

TOKENS = (1, 8, 32, 128, 256)
# outputs, inputs of the linear maps of Nano
MAPS = {
    "mamba_in": (10304, 2688),
    "out": (2688, 4096),
    "qkv": (4608, 2688),
    "head": (131072, 2688),
}


@triton.jit
def _read_kernel(x, out, size, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], tl.int32)
    for i in range(tl.program_id(0) * BLOCK, size, tl.num_programs(0) * BLOCK):
        total += tl.load(x + i + tl.arange(0, BLOCK))
    tl.store(out + tl.program_id(0), tl.sum(total))


def recorded_us(run: Callable[[], int], *, reps: int = 10) -> list[float]:
    """Microseconds of one of the calls that `run` makes (it returns how many), from a CUDA graph."""
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        calls = run()
    graph.replay()
    found = []
    for _ in range(reps):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(stop) * 1e3 / calls)
    return found


def read_bytes_s() -> float:
    """Bytes a second that a kernel reads from memory."""
    x = torch.ones(1 << 30, dtype=torch.int32, device="cuda")
    out = torch.empty(132 * 16, dtype=torch.int32, device="cuda")

    def run() -> int:
        launch(_read_kernel, (out.numel(),), x, out, x.numel(), BLOCK=2048, num_warps=4)
        return 1

    return x.nbytes / min(recorded_us(run, reps=5)) * 1e6


@dataclass
class Layer:
    """Weights of one layer."""

    norm: Tensor
    router: Tensor
    bias: Tensor | None
    routed: reference.Weights
    always: reference.Weights | None


def _layer(
    experts: int, width: int, inner: int, *, is_gated: bool, has_shared: bool, scaled: bool
) -> Layer:
    def normal(*shape: int, inputs: int) -> Tensor:
        x = torch.empty(shape, device="cuda", dtype=torch.bfloat16)
        return x.normal_(0, inputs**-0.5)

    def maps(*lead: int, wide: int) -> reference.Weights:
        gate = normal(*lead, wide, width, inputs=width) if is_gated else None
        up, down = (
            normal(*lead, wide, width, inputs=width),
            normal(*lead, width, wide, inputs=inner),
        )
        return up, down, gate

    return Layer(
        norm=torch.ones(width, device="cuda", dtype=torch.bfloat16),
        router=normal(experts, width, inputs=width),
        bias=torch.zeros(experts, device="cuda") if scaled else None,
        routed=maps(experts, wide=inner),
        always=maps(wide=2 * inner) if has_shared else None,
    )


def _run(layer: Layer, x: Tensor, delta: Tensor, routes: Tensor) -> tuple[Tensor, Tensor]:
    """Residual stream and output of one layer that is told where its tokens go, as the block runs it."""
    is_gated = layer.routed[2] is not None
    x, h = add_rms_norm(x, delta, layer.norm, 1e-5)
    routing = decode.route(
        h,
        layer.router,
        layer.bias,
        routes.shape[1],
        scaling=1.0 if is_gated else 2.5,
        score="softmax" if is_gated else "sigmoid",
        replay_TK=routes,
    )
    chosen = routing.experts_TK, routing.weights_TK
    activation = "silu" if is_gated else "relu2"
    if layer.always is None or h.shape[0] <= moe.ALONG_TOKENS:
        return x, decode.experts(h, *chosen, *layer.routed, activation, layer.always)
    y = decode.experts(h, *chosen, *layer.routed, activation)
    up, down, gate = layer.always
    g = None if gate is None else linear(h, gate)
    return x, add(y, linear(activate(linear(h, up), g, activation), down))


def _error(layer: Layer, tokens: int, top_k: int) -> float:
    """Of the experts alone, against float32 products."""
    up, down, gate = layer.routed
    x = torch.randn(tokens, up.shape[2], device="cuda", dtype=torch.bfloat16)
    chosen = _routes(tokens, up.shape[0], top_k)
    weights = torch.rand(tokens, top_k, device="cuda")
    activation = "relu2" if gate is None else "silu"
    found = decode.experts(x, chosen, weights, up, down, gate, activation, layer.always)
    expected = torch.zeros(tokens, x.shape[1], device="cuda")
    for e in chosen.unique().tolist():
        weight = (weights * (chosen == e)).sum(1, keepdim=True)
        g = None if gate is None else x.float() @ gate[e].float().t()
        act = reference.activate(x.float() @ up[e].float().t(), g, activation)
        expected += (act * weight) @ down[e].float().t()
    if layer.always is not None:
        up, down, gate = layer.always
        g = None if gate is None else x.float() @ gate.float().t()
        expected += reference.activate(x.float() @ up.float().t(), g, activation) @ down.float().t()
    return relative_error(found, expected)


def _routes(tokens: int, experts: int, top_k: int) -> Tensor:
    return torch.rand(tokens, experts, device="cuda").topk(top_k).indices


def _row(
    work: str, us: list[float], count: float, rate: float, peer: float | None, note: str
) -> Row:
    median = statistics.median(us)
    limit = count / rate * 1e6
    return Row(
        work=work,
        value=median,
        unit="us",
        better="lower",
        ours=median,
        peer=peer,
        limit=f"bytes {limit:.1f} us at {rate / 1e12:.2f} TB/s ({limit / median:.1%}); {note}",
        reps=len(us),
        spread=(min(us), max(us)),
    )


def _layer_rows(
    name: str, layers: list[Layer], top_k: int, tokens: int, rate: float, turns: int = 3
) -> Row:
    up, down, gate = layers[0].routed
    routes = [_routes(tokens, up.shape[0], top_k) for _ in range(turns * len(layers))]
    touched = sum(r.unique().numel() for r in routes) / len(routes)
    expert = sum(w[0].nbytes for w in (up, down, gate) if w is not None)
    always = sum(w.nbytes for w in layers[0].always or () if w is not None)
    x = torch.randn(tokens, up.shape[2], device="cuda", dtype=torch.bfloat16)

    @torch.no_grad()
    def run() -> int:
        stream, delta = x, x
        for i, r in enumerate(routes):
            stream, delta = _run(layers[i % len(layers)], stream, delta, r)
        return len(routes)

    count = touched * expert + always + layers[0].router.nbytes
    note = f"{touched:.1f} experts, error {_error(layers[0], tokens, top_k):.1e}"
    return _row(f"decode_{name}_{tokens}", recorded_us(run), count, rate, None, note)


def _map_rows(rate: float) -> Iterator[Row]:
    for name, (outputs, inputs) in MAPS.items():
        copies = max(2, min(12, int(500e6 / (2 * outputs * inputs))))
        weights = [
            torch.randn(outputs, inputs, device="cuda", dtype=torch.bfloat16) * inputs**-0.5
            for _ in range(copies)
        ]
        for tokens in TOKENS:
            x = torch.randn(tokens, inputs, device="cuda", dtype=torch.bfloat16)

            def run(product: Callable[..., Tensor], x: Tensor = x) -> int:
                with torch.no_grad():
                    for w in weights:  # noqa: B023 - runs before the next turn
                        product(x, w)
                return len(weights)  # noqa: B023

            with torch.no_grad():
                error = relative_error(linear(x, weights[0]), x.float() @ weights[0].float().t())
            us, peer = recorded_us(lambda: run(linear)), recorded_us(lambda: run(F.linear))
            cublas = statistics.median(peer)
            note = f"cuBLAS {cublas:.1f} us, error {error:.1e}"
            yield _row(f"decode_{name}_{tokens}", us, weights[0].nbytes, rate, cublas, note)


def rows() -> Iterator[Row]:
    """Layers of Nano and Qwen3 dims, then the linear maps."""
    torch.manual_seed(0)
    rate = read_bytes_s()
    dims = {
        "moe_nano": ((128, 2688, 1856), 6, {"is_gated": False, "has_shared": True, "scaled": True}),
        "moe_qwen": ((128, 2048, 768), 8, {"is_gated": True, "has_shared": False, "scaled": False}),
        # the router reads the latent here, which is narrower than the hidden state
        "moe_super": (
            (512, 1024, 2688),
            22,
            {"is_gated": False, "has_shared": False, "scaled": True},
        ),
    }
    for name, (sizes, top_k, options) in dims.items():
        layers = [_layer(*sizes, **options) for _ in range(3)]
        for tokens in TOKENS:
            yield _layer_rows(name, layers, top_k, tokens, rate)
        del layers
    yield from _map_rows(rate)
