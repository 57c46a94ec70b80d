"""One residual step: add, normalise, mix; with what the memory settings drop on the way.

Suffixes: T tokens, D hidden size.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from nautiloid.model.context import Context
from nautiloid.model.linear import ResidualNorm
from nautiloid.model.memory import Memory


def residual(
    norm: ResidualNorm,
    mixer: nn.Module,
    x_TD: Tensor,
    delta_TD: Tensor | None,
    ctx: Context,
    memory: Memory | None,
    index: int | None,
) -> tuple[Tensor, Tensor]:
    """`x + delta` and `mixer(norm(x + delta))`.

    Args:
        norm: Norm of the block.
        mixer: The block.
        x_TD: Residual stream without the output of the block before.
        delta_TD: That output; None at the start.
        ctx: Packing of the forward.
        memory: What is dropped or offloaded; None keeps everything.
        index: Trunk layer, None elsewhere.
    """
    if memory is None:
        x_TD, h_TD = norm(x_TD, delta_TD)
        return x_TD, mixer(h_TD, ctx)
    with memory.layer(index):
        x_TD, h_TD = norm(x_TD, delta_TD)
        kept_TD = x_TD.detach()
        is_whole = memory.drops("block")
        with memory.discard("block" if is_whole else "norm", h_TD, lambda: norm(kept_TD)[1]):
            return x_TD, _whole_block(mixer, h_TD, ctx, memory) if is_whole else mixer(h_TD, ctx)


def _whole_block(mixer: nn.Module, h_TD: Tensor, ctx: Context, memory: Memory) -> Tensor:
    """The mixer as one unit that keeps its input alone, of which the caller keeps a recipe."""
    start = ctx.moe_index
    runs: list[Context] = []

    def run(h_TD: Tensor) -> tuple[Tensor, ...]:
        inner = replace(ctx, moe_index=start, routes=[], balance=[], counts=[])
        runs.append(inner)
        y_TD = mixer(h_TD, inner)
        # the balance loss has a gradient: it must be an output
        return y_TD, *inner.balance

    y_TD, *balance = memory.checkpoint("block", run, h_TD)
    first = runs[0]
    ctx.moe_index = first.moe_index
    ctx.routes += first.routes
    ctx.counts += first.counts
    ctx.balance += balance
    return y_TD
