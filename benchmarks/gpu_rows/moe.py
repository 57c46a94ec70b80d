"""Mixture of experts at Nano and Super dims: router, sort, experts, combine; forward and backward.

Uniform routing: the hidden states are made so that the router itself gives every expert the same
number of tokens, which is how the grouped-product figures that we compare with were taken. The rows
named `random` draw the hidden states at random, so that the load is multinomial.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from benchmarks.gpu_rows.timing import Timed, limits, peer_ms, relative_error, timed
from benchmarks.results_file import Row
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops.moe import cuda

SCALING = 2.5
# strength of the chosen experts' directions in a hidden state; noise has deviation 1
PULL = 14.0


@dataclass
class Layer:
    """Tensors of one layer; `hidden` feeds the router, `x` the experts (the same without a latent)."""

    hidden: Tensor
    x: Tensor
    router: Tensor
    bias: Tensor
    up: Tensor
    down: Tensor
    top_k: int

    @property
    def flops(self) -> float:
        """Of the routed experts, forward."""
        return 4.0 * self.x.shape[0] * self.top_k * self.up[0].numel()

    @property
    def weight_bytes(self) -> int:
        """Of the routed experts."""
        return self.up.nbytes + self.down.nbytes

    def forward(self) -> Tensor:
        """Router to combined output."""
        routing = cuda.route(self.hidden, self.router, self.bias, self.top_k, scaling=SCALING)
        return cuda.experts(self.x, routing.experts_TK, routing.weights_TK, self.up, self.down)

    def plain(self) -> Tensor:
        """The same of plain torch operations and `torch._grouped_mm`."""
        logits = F.linear(self.hidden.float(), self.router.float())
        scores = logits.sigmoid()
        experts = (scores.detach() + self.bias).topk(self.top_k).indices
        weights = scores.gather(1, experts)
        weights = weights / weights.sum(-1, keepdim=True) * SCALING
        flat = experts.flatten()
        order = flat.argsort(stable=True)
        ends = torch.bincount(flat, minlength=self.up.shape[0]).cumsum(0).int()
        rows = self.x[order // self.top_k]
        h = torch._grouped_mm(rows, self.up.transpose(1, 2), offs=ends)
        act = F.relu(h).square() * weights.flatten()[order][:, None].to(h.dtype)
        y = torch._grouped_mm(act, self.down.transpose(1, 2), offs=ends)
        return torch.zeros_like(self.x).index_add(0, order // self.top_k, y)


def rows() -> list[Row]:
    """Forward, forward and backward, Super's latent layer; each with its random twin."""
    found: list[Row] = []
    nano = partial(_layer, tokens=16384, width=2688, latent=None, experts=128, top_k=6, inner=1856)
    for name, is_uniform in (("", True), ("_random", False)):
        layer = nano(is_uniform=is_uniform)
        error = _forward_error(layer)
        found.append(
            _forward_row(f"moe_fwd_16384{name}", layer, 540 if is_uniform else None, error)
        )
        found.append(_both_row(f"moe_fwdbwd_16384{name}", layer, 460 if is_uniform else None))
        if is_uniform:
            for weight in (layer.up, layer.down, layer.router):
                weight.main_grad = torch.zeros(weight.shape, device="cuda")  # type: ignore[attr-defined]
            found.append(_both_row("moe_fwdbwd_16384_main_grad", layer, None))
        del layer
    latent = partial(
        _layer, tokens=8192, width=4096, latent=1024, experts=512, top_k=22, inner=2688
    )
    for name, is_uniform in (("", True), ("_random", False)):
        layer = latent(is_uniform=is_uniform)
        error = _forward_error(layer)
        goal = 420 if is_uniform else None
        found.append(_forward_row(f"moe_fwd_super_8192{name}", layer, goal, error))
        del layer
    return found


def _layer(
    *,
    tokens: int,
    width: int,
    latent: int | None,
    experts: int,
    top_k: int,
    inner: int,
    is_uniform: bool,
) -> Layer:
    generator = torch.Generator(device="cuda").manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        x = torch.empty(shape, device="cuda", dtype=torch.bfloat16)
        return x.normal_(0, scale, generator=generator)

    wide = latent or width
    router = normal(experts, width, scale=0.02)
    hidden = normal(tokens, width)
    if is_uniform:
        # expert numbers in turn, with the tokens shuffled: every expert is chosen equally often
        chosen = torch.arange(tokens * top_k, device="cuda").view(tokens, top_k) % experts
        chosen = chosen[torch.randperm(tokens, device="cuda", generator=generator)]
        directions = F.normalize(router.float(), dim=1)
        hidden = (hidden + PULL * F.embedding_bag(chosen, directions, mode="sum")).bfloat16()
    return Layer(
        hidden=hidden,
        x=normal(tokens, wide) if latent else hidden,
        router=router,
        bias=torch.zeros(experts, device="cuda"),
        up=normal(experts, inner, wide, scale=wide**-0.5),
        down=normal(experts, wide, inner, scale=inner**-0.5),
        top_k=top_k,
    )


@torch.no_grad()
def _forward_error(layer: Layer, tokens: int = 256) -> float:
    """Against float32 products of the same routes, for some tokens."""
    routing = cuda.route(layer.hidden, layer.router, layer.bias, layer.top_k, scaling=SCALING)
    found = layer.forward()[:tokens]
    expected = torch.zeros(tokens, layer.x.shape[1], device="cuda")
    chosen, x = routing.experts_TK[:tokens], layer.x[:tokens].float()
    for e in range(layer.up.shape[0]):
        weight = (routing.weights_TK[:tokens] * (chosen == e)).sum(1, keepdim=True)
        act = F.relu(x @ layer.up[e].float().t()).square() * weight
        expected += act @ layer.down[e].float().t()
    return relative_error(found, expected)


def _row(
    work: str,
    layer: Layer,
    taken: Timed,
    flops: float,
    count: float,
    goal: float | None,
    peer: float | None,
    note: str,
) -> Row:
    return Row(
        work=work,
        value=flops / taken.ms / 1e9,
        unit="TFLOP/s",
        goal=goal,
        ours=taken.ms,
        peer=peer,
        limit=f"{limits(ms=taken.ms, count_bytes=count, flops=flops)}; {note}",
        reps=taken.reps,
        spread=(flops / taken.spread[1] / 1e9, flops / taken.spread[0] / 1e9),
    )


def _forward_row(work: str, layer: Layer, goal: float | None, error: float) -> Row:
    with torch.no_grad():
        taken = timed(layer.forward)
        peer = peer_ms(layer.plain)
        chosen = cuda.route(layer.hidden, layer.router, layer.bias, layer.top_k).experts_TK
        # the very rows that the layer multiplies: equal neighbours would save power and flatter it
        rows = layer.x[chosen.flatten().argsort(stable=True) // layer.top_k]
        load = torch.bincount(chosen.flatten(), minlength=layer.up.shape[0])
        ends = load.cumsum(0).int()
        alone = peer_ms(lambda: torch._grouped_mm(rows, layer.up.transpose(1, 2), offs=ends))
    # every weight and hidden state read once, every output written once
    count = layer.weight_bytes + layer.hidden.nbytes + 2 * layer.x.nbytes
    floor = (
        "" if alone is None else f", torch._grouped_mm alone {layer.flops / 2 / alone / 1e9:.0f}"
    )
    note = f"error {error:.1e}, load {int(load.min())} to {int(load.max())}{floor} TFLOP/s"
    return _row(work, layer, taken, layer.flops, count, goal, peer, note)


def _both_row(work: str, layer: Layer, goal: float | None) -> Row:
    weights = [layer.router, layer.up, layer.down]
    for tensor in (layer.hidden, *weights):
        tensor.requires_grad_()
    if layer.x.data_ptr() != layer.hidden.data_ptr():
        layer.x.requires_grad_()
    dy = torch.randn_like(layer.x)
    sums = hasattr(layer.up, "main_grad")

    def run(forward: object) -> None:
        forward().backward(dy)  # type: ignore[operator]
        for tensor in (layer.hidden, layer.x, *weights):
            tensor.grad = None

    taken = timed(lambda: run(layer.forward), reps=10)
    peer = None if sums else peer_ms(lambda: run(layer.plain))
    # weights read twice; gradients written, or read and written in float32; h written and read
    gradient = 4 * layer.weight_bytes if sums else layer.weight_bytes
    h = 2 * layer.x.shape[0] * layer.top_k * layer.up.shape[1]
    count = 2 * layer.weight_bytes + gradient + 2 * h + 6 * layer.x.nbytes
    note = "float32 gradient sums" if sums else "bfloat16 gradients"
    row = _row(work, layer, taken, 3 * layer.flops, count, goal, peer, note)
    for tensor in (layer.hidden, layer.x, *weights):
        tensor.requires_grad_(False)
    return row


def candidates() -> dict[str, Any]:
    """Launch parameters to try, by kernel (`tune.py`)."""
    layer = _layer(
        tokens=16384, width=2688, latent=None, experts=128, top_k=6, inner=1856, is_uniform=False
    )
    with torch.no_grad():
        expected = layer.plain()

    def forward() -> Tensor:
        with torch.no_grad():
            return layer.forward()

    def is_right(found: Tensor) -> bool:
        return relative_error(found, expected) < 1e-2

    groups = [{"GROUP": n} for n in (4, 2, 3, 6, 8)]
    columns = [{"BLOCK": 1024, "num_warps": 4}, {"BLOCK": 512, "num_warps": 2}]
    return {
        "moe_rows_relu2": (groups, forward, is_right),
        "moe_rows_plain": (groups, forward, is_right),
        "moe_gather": ([{"IS_GATHER": True}, {"IS_GATHER": False}], forward, is_right),
        "moe_combine": (columns, forward, is_right),
    }
