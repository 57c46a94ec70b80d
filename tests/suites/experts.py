"""Cases of the GPU router and experts, against the plain references in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nautiloid.ops.moe import reference

# tokens, experts, experts a token, input width, expert width, gated, activation
SHAPES = {
    "odd": (11, 4, 2, 33, 21, False, "relu2"),
    "gated": (5, 3, 2, 24, 20, True, "silu"),
    "gated relu2": (5, 3, 1, 20, 12, True, "relu2"),
    "one token": (1, 4, 2, 16, 24, False, "silu"),
}

# tokens, experts, experts a token, input width, expert width, gated, activation, shared experts' widths
FEW = {
    "one token": (1, 8, 3, 48, 32, False, "relu2", 2),
    "one token, gated": (1, 4, 2, 24, 40, True, "silu", 1),
    "odd": (11, 4, 2, 33, 21, False, "relu2", 0),
    "gated": (5, 8, 3, 40, 32, True, "silu", 1),
    "gated relu2": (5, 3, 1, 20, 12, True, "relu2", 0),
    "several blocks an expert": (40, 2, 2, 16, 24, False, "relu2", 2),
    "many experts": (2, 24, 9, 16, 24, False, "relu2", 0),
}

# tokens, experts, experts a token, groups, groups kept, score, bias, normalised
ROUTES = {
    "plain": (5, 8, 2, 1, 1, "sigmoid", True, True),
    "groups": (33, 12, 4, 4, 2, "sigmoid", True, True),
    "softmax": (9, 40, 6, 1, 1, "softmax", False, True),
    "unnormalised": (9, 16, 3, 1, 1, "softmax", True, False),
    "many experts": (2, 512, 22, 1, 1, "sigmoid", True, True),
}

# experts, experts a token, packing rows, whether some tokens are padding
BALANCES = {
    "uneven": (12, 3, (5, 20, 33), False),
    "padding": (16, 2, (24, 24), True),
    "one row": (4, 1, (3,), False),
}


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected; NaN never passes for small."""
    there, right = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((there - right).norm() / right.norm().clamp(min=1e-9))


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Normal float64 numbers."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64) * scale


def poison(device: str) -> None:
    """Leave NaN in the memory that a GPU's allocator hands out next, large pieces and small."""
    if device == "cuda":
        pieces = [torch.full((64 << 20,), torch.nan, device=device)]
        pieces += [torch.full((64 << 10,), torch.nan, device=device) for _ in range(64)]
        del pieces


def choices(tokens: int, experts: int, top_k: int) -> Tensor:
    """Random routes; the last expert gets none where there are enough others."""
    generator = torch.Generator().manual_seed(tokens)
    open_to = experts - 1 if experts > top_k else experts
    return torch.rand(tokens, open_to, generator=generator).topk(top_k).indices


def check_experts(
    variant: Any,
    shape: tuple[Any, ...],
    *,
    device: str,
    dtype: torch.dtype,
    tolerance: float,
    routes: Tensor | None = None,
    has_main_grad: bool = False,
) -> None:
    """Output and all gradients of `variant` against token by token in float64."""
    tokens, experts, top_k, width, inner, is_gated, activation = shape
    index = choices(tokens, experts, top_k) if routes is None else routes
    inputs = [
        random(tokens, width),
        random(tokens, top_k, seed=1).abs(),
        random(experts, inner, width, seed=2, scale=width**-0.5),
        random(experts, width, inner, seed=3, scale=inner**-0.5),
    ]
    if is_gated:
        inputs.append(random(experts, inner, width, seed=4, scale=width**-0.5))
    # both sides see the same rounded inputs
    short = [x.to(torch.float32 if i == 1 else dtype) for i, x in enumerate(inputs)]
    exact = [x.double().requires_grad_() for x in short]
    mine = [x.to(device) for x in short]
    for i, x in enumerate(mine):
        x.requires_grad_()
        if has_main_grad and i >= 2:
            x.main_grad = torch.ones(x.shape, device=device)
    dy = random(tokens, width, seed=5).to(dtype)

    def run(fn: Any, args: list[Tensor], at: Tensor) -> Tensor:
        gate = args[4] if is_gated else None
        return fn(args[0], at, args[1], args[2], args[3], gate, activation)

    expected = run(reference.experts, exact, index)
    expected.backward(dy.double())
    poison(device)
    found = run(variant, mine, index.to(device))
    poison(device)
    found.backward(dy.to(device))
    assert relative(found, expected) <= tolerance, ("output", relative(found, expected))
    for i, (x, y) in enumerate(zip(mine, exact, strict=True)):
        assert y.grad is not None
        gradient = x.grad
        if has_main_grad and i >= 2:
            assert gradient is None
            gradient = x.main_grad - 1
        assert gradient is not None
        assert relative(gradient, y.grad) <= tolerance, (i, relative(gradient, y.grad))
    with torch.no_grad():
        again = run(variant, mine, index.to(device))
    assert torch.equal(again, found)


def check_few(
    variant: Any,
    shape: tuple[Any, ...],
    *,
    device: str,
    dtype: torch.dtype,
    tolerance: float,
    routes: Tensor | None = None,
) -> None:
    """Routed experts and the shared one without gradients, against token by token in float64."""
    tokens, experts, top_k, width, inner, is_gated, activation, parts = shape
    index = choices(tokens, experts, top_k) if routes is None else routes
    x, weights = random(tokens, width), random(tokens, top_k, seed=1).abs()

    def maps(*lead: int, wide: int, seed: int) -> list[Tensor | None]:
        up = random(*lead, wide, width, seed=seed, scale=width**-0.5)
        down = random(*lead, width, wide, seed=seed + 1, scale=inner**-0.5)
        gate = random(*lead, wide, width, seed=seed + 2, scale=width**-0.5) if is_gated else None
        return [None if w is None else w.to(dtype) for w in (up, down, gate)]

    routed = maps(experts, wide=inner, seed=2)
    always = maps(wide=parts * inner, seed=7) if parts else None
    x, weights = x.to(dtype), weights.float()
    # on the same device: a CPU would take long over weights of real dims
    wide = x.to(device).double()
    exact = [None if w is None else w.to(device).double() for w in routed]
    chosen = index.to(device), weights.to(device).double()
    expected = reference.experts(wide, *chosen, *exact, activation)
    if always is not None:
        h, g = (None if w is None else wide @ w.to(device).double().t() for w in always[::2])
        assert h is not None
        assert always[1] is not None
        expected += reference.activate(h, g, activation) @ always[1].to(device).double().t()

    def there(tensors: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        return tuple(None if w is None else w.to(device) for w in tensors)

    args = (x.to(device), index.to(device), weights.to(device), *there(routed), activation)
    poison(device)
    with torch.no_grad():
        found = variant(*args, None if always is None else there(always))
        again = variant(*args, None if always is None else there(always))
    assert relative(found, expected) <= tolerance, relative(found, expected)
    assert torch.equal(found, again)


def check_few_routes(
    variant: Any, shape: tuple[Any, ...], *, device: str, dtype: torch.dtype
) -> None:
    """Choice, weights and scores of the router without gradients, by its own and by recorded routes."""
    tokens, experts, top_k, groups, kept, score, has_bias, is_normed = shape
    x = random(tokens, 24).to(dtype)
    weight = random(experts, 24, seed=1, scale=24**-0.5).to(dtype)
    bias = random(experts, seed=2, scale=0.1).float() if has_bias else None
    config = {
        "n_group": groups,
        "topk_group": kept,
        "norm_topk_prob": is_normed,
        "scaling": 2.5,
        "score": score,
    }
    logits, wide = x.double() @ weight.double().t(), None if bias is None else bias.double()
    there = x.to(device), weight.to(device), None if bias is None else bias.to(device)
    for replay in (None, choices(tokens, experts, top_k)):
        expected = reference.route(logits, wide, top_k, replay_TK=replay, **config)
        recorded = None if replay is None else replay.to(device, torch.int16)
        poison(device)
        found = variant(*there, top_k, replay_TK=recorded, **config)
        assert torch.equal(found.experts_TK.cpu(), expected.experts_TK)
        assert relative(found.weights_TK, expected.weights_TK) <= 1e-5
        assert relative(found.scores_TE, expected.scores_TE) <= 1e-5


def check_route(
    variant: Any, shape: tuple[Any, ...], *, device: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Choice, weights, scores and gradients of the router, by its own and by recorded routes."""
    tokens, experts, top_k, groups, kept, score, has_bias, is_normed = shape
    width = 24
    x = random(tokens, width).to(dtype)
    weight = random(experts, width, seed=1, scale=width**-0.5).to(dtype)
    bias = random(experts, seed=2, scale=0.1).float() if has_bias else None
    config = {
        "n_group": groups,
        "topk_group": kept,
        "norm_topk_prob": is_normed,
        "scaling": 2.5,
        "score": score,
    }
    dw, ds = random(tokens, top_k, seed=3), random(tokens, experts, seed=4)
    exact = x.double().requires_grad_(), weight.double().requires_grad_()
    for is_replay in (False, True):
        replay = choices(tokens, experts, top_k) if is_replay else None
        logits = exact[0] @ exact[1].t()
        wide = None if bias is None else bias.double()
        expected = reference.route(logits, wide, top_k, replay_TK=replay, **config)
        mine = x.to(device).requires_grad_(), weight.to(device).requires_grad_()
        poison(device)
        found = variant(
            *mine,
            None if bias is None else bias.to(device),
            top_k,
            replay_TK=None if replay is None else replay.to(device, torch.int16),
            **config,
        )
        assert torch.equal(found.experts_TK.cpu(), expected.experts_TK)
        assert relative(found.weights_TK, expected.weights_TK) <= 1e-5
        assert relative(found.scores_TE, expected.scores_TE) <= 1e-5
        wanted = torch.autograd.grad(
            (expected.weights_TK * dw).sum() + (expected.scores_TE * ds).sum(), exact
        )
        got = torch.autograd.grad(
            (found.weights_TK * dw.float().to(device)).sum()
            + (found.scores_TE * ds.float().to(device)).sum(),
            mine,
        )
        for a, b in zip(got, wanted, strict=True):
            assert relative(a, b) <= tolerance, relative(a, b)


def check_balance(variant: Any, counts: Any, shape: tuple[Any, ...], *, device: str) -> None:
    """Balance loss, its gradient, and the counts of experts."""
    experts, top_k, rows, has_padding = shape
    tokens = sum(rows)
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(tokens, experts, generator=generator).double()
    valid = torch.rand(tokens, generator=generator) > 0.3 if has_padding else None
    exact, mine = scores.clone().requires_grad_(), scores.float().to(device).requires_grad_()
    there = None if valid is None else valid.to(device)
    expected = reference.balance_loss(exact, top_k, rows, valid)
    poison(device)
    found = variant(mine, top_k, rows, there)
    assert relative(found, expected) <= 1e-5
    (wanted,) = torch.autograd.grad(expected * 1.7, exact)
    (got,) = torch.autograd.grad(found * 1.7, mine)
    assert relative(got, wanted) <= 1e-5
    index = choices(tokens, experts, top_k)
    kept = index if valid is None else index[valid]
    number = torch.bincount(kept.flatten(), minlength=experts)
    assert torch.equal(counts(index.to(device), experts, there).cpu(), number)
