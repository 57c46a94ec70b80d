"""Cross-entropy of the output head at Nano dims, forward and backward, without [T, V]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.gpu_rows.timing import best_peer, limits, relative_error, timed
from benchmarks.results_file import Row
from torch.nn import functional as F

from nautiloid.ops.head import cuda, reference

TOKENS, WIDTH, VOCABULARY = 16384, 2688, 131072
MOST_BYTES = 1e9


def rows() -> list[Row]:
    """The row of the head."""
    error = _error()
    generator = torch.Generator(device="cuda").manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, device="cuda", generator=generator).bfloat16()
    hidden.requires_grad_()
    head = torch.nn.Parameter(
        (torch.randn(VOCABULARY, WIDTH, device="cuda", generator=generator) * 0.02).bfloat16()
    )
    head.main_grad = torch.zeros(VOCABULARY, WIDTH, device="cuda")  # type: ignore[attr-defined]
    targets = torch.randint(0, VOCABULARY, (TOKENS,), device="cuda", generator=generator)
    weight = torch.ones(TOKENS, device="cuda")

    def run() -> None:
        hidden.grad = None
        cuda.cross_entropy(hidden, head, targets, weight, grad_scale=1 / TOKENS).total.div(
            TOKENS
        ).backward()

    run()
    hidden.grad = None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    assert hidden.grad is not None
    extra = torch.cuda.max_memory_allocated() - before - hidden.grad.nbytes
    taken = timed(run, reps=6, warm=1)
    flops = 6 * TOKENS * WIDTH * VOCABULARY
    logits = 2 * TOKENS * VOCABULARY
    # written by the product, read and rewritten by the kernel, read by two products
    count = 5 * logits + 3 * (hidden.nbytes + head.nbytes) + 2 * 4 * head.numel()
    peer, peers = best_peer(
        {
            "torch in chunks of 2048": _torch(hidden, head, targets),
            "fla": _fla(hidden, head, targets),
        },
        reps=2,
    )
    rate = flops / taken.ms / 1e9
    return [
        Row(
            work="head_ce_fwdbwd_16384",
            value=rate if extra < MOST_BYTES else None,
            unit="TFLOP/s",
            goal=600,
            ours=rate,
            peer=None if peer is None else flops / peer / 1e9,
            limit=f"{limits(ms=taken.ms, count_bytes=count, flops=flops)}; error {error:.1e}; "
            f"{extra / 1e9:.2f} GB beyond gradients; peers: {peers}",
            reps=taken.reps,
            spread=(flops / taken.spread[1] / 1e9, flops / taken.spread[0] / 1e9),
            reason=None if extra < MOST_BYTES else f"{extra / 1e9:.2f} GB beyond gradients",
        )
    ]


def _error() -> float:
    """Largest relative error of loss and gradients at a size that float64 can hold."""
    generator = torch.Generator(device="cuda").manual_seed(1)
    hidden = torch.randn(1000, 256, device="cuda", generator=generator).bfloat16()
    head = (torch.randn(20_000, 256, device="cuda", generator=generator) * 0.1).bfloat16()
    targets = torch.randint(0, 20_000, (1000,), device="cuda", generator=generator)
    weight = torch.rand(1000, device="cuda", generator=generator)
    exact = [t.double().requires_grad_() for t in (hidden, head)]
    expected, _ = reference.cross_entropy(exact[0], exact[1], targets, weight.double())
    seen = [t.clone().requires_grad_() for t in (hidden, head)]
    found = cuda.cross_entropy(seen[0], seen[1], targets, weight, chunk_tokens=256).total
    pairs = zip(
        (found, *torch.autograd.grad(found, seen)),
        (expected, *torch.autograd.grad(expected, exact)),
        strict=True,
    )
    return max(relative_error(a, b) for a, b in pairs)


def _torch(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> Callable[[], object]:
    """Library products and `F.cross_entropy` in chunks, gradients by autograd."""
    weight = head.detach().requires_grad_()

    def run() -> None:
        for rows in range(0, TOKENS, 2048):
            part = hidden.detach()[rows : rows + 2048].requires_grad_()
            logits = (part @ weight.t()).float()
            F.cross_entropy(logits, targets[rows : rows + 2048], reduction="sum").backward()
        weight.grad = None

    return run


def _fla(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> Callable[[], object]:
    """fla's fused linear cross-entropy, where the package can be imported."""
    inputs = [hidden.detach().requires_grad_(), head.detach().requires_grad_()]

    def run() -> None:
        from fla.modules.fused_linear_cross_entropy.ops import (  # pyright: ignore[reportMissingImports]
            fused_linear_cross_entropy_loss,
        )

        fused_linear_cross_entropy_loss(inputs[0], targets, inputs[1]).backward()
        for tensor in inputs:
            tensor.grad = None

    return run
