"""Experts by products of one shape."""

from __future__ import annotations

import pytest
import torch

from nautiloid.ops.moe import fixed, reference

TOKENS, WIDTH, INNER, EXPERTS, TOP_K = 64, 256, 512, 8, 2


def draw(seed: int, rows: int = TOKENS):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, WIDTH, generator=generator)
    chosen = torch.rand(rows, EXPERTS, generator=generator).topk(TOP_K).indices
    return x, chosen, torch.rand(rows, TOP_K, generator=generator)


def weights(seed: int = 0, scale: float = 0.05):
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(EXPERTS, INNER, WIDTH, generator=generator) * scale
    down = torch.randn(EXPERTS, WIDTH, INNER, generator=generator) * scale
    return up, down


@pytest.mark.parametrize("is_gated", [False, True])
def test_values_are_those_of_the_reference(is_gated: bool):
    x, chosen, share = draw(0)
    up, down = weights()
    gate = weights(1)[0] if is_gated else None
    activation = "silu" if is_gated else "relu2"
    found = fixed.experts(x, chosen, share, up, down, gate, activation)
    expected = reference.experts(x, chosen, share, up, down, gate, activation)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_choices_of_other_tokens_do_not_change_a_bit():
    """Rule: the same bits. Here the grouped products of a common CPU differ by 1e-6."""
    first = draw(0)
    second = tuple(torch.cat([a[:32], b[32:]]) for a, b in zip(first, draw(1), strict=True))
    up, down = weights()
    found = [fixed.experts(*rows, up, down)[:32] for rows in (first, second)]
    assert torch.equal(*found)
