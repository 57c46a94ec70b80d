"""The shared checks of block types, on small float64 decoders of any pattern."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nautiloid.core.seed import Seed
from nautiloid.model.blocks.attention import AttentionConfig
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mamba import MambaConfig
from nautiloid.model.blocks.mlp import MLPConfig
from nautiloid.model.blocks.moe import MoEConfig
from nautiloid.model.config import ModelConfig, MTPConfig
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.states import StateStore
from nautiloid.ops.config import OpsConfig

BLOCKS: dict[str, BlockConfig] = {
    "M": MambaConfig(
        mamba_num_heads=4, mamba_head_dim=6, n_groups=2, ssm_state_size=5, chunk_size=8
    ),
    "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=6),
    "-": MLPConfig(intermediate_size=20),
    "E": MoEConfig(
        n_routed_experts=8,
        num_experts_per_tok=3,
        moe_intermediate_size=6,
        moe_shared_expert_intermediate_size=10,
        routed_scaling_factor=2.5,
    ),
    "L": MoEConfig(
        n_routed_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=6,
        moe_shared_expert_intermediate_size=10,
        moe_latent_size=7,
        n_group=4,
        topk_group=2,
    ),
}


def tiny(pattern: str, *, ops: OpsConfig | None = None, mtp: MTPConfig | None = None) -> Decoder:
    """A float64 decoder with weights large enough to show errors."""
    config = ModelConfig(
        vocab_size=40,
        hidden_size=12,
        pattern=pattern,
        blocks=BLOCKS,
        initializer_range=0.4,
        rescale_prenorm_residual=False,
        mtp=mtp,
    )
    model = Decoder(config, dtype=torch.float64, ops=ops)
    model.init_weights(Seed(len(pattern)))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for layer in model.moe_layers():
            bias = layer.router.e_score_correction_bias
            assert bias is not None
            bias.copy_(torch.randn(bias.shape, generator=generator) * 0.1)
    return model


def tokens(count: int, seed: int = 0) -> Tensor:
    """Random ids of the tiny vocabulary."""
    return torch.randint(0, 40, (count,), generator=torch.Generator().manual_seed(seed))


def run_in_pieces(
    model: Decoder,
    rows: Sequence[Tensor],
    steps: Sequence[Sequence[int]],
    *,
    slots: Sequence[int] | None = None,
    pages: Sequence[Sequence[int]] | None = None,
) -> list[Tensor]:
    """Feed rows through a state, `steps[i][s]` tokens of row s at a time; hidden states by row."""
    count = len(rows)
    longest = max(len(r) for r in rows)
    per_row = -(-longest // 4)
    store = StateStore(
        model.config,
        num_slots=count + 2,
        num_pages=(count + 1) * per_row + 2,
        page_tokens=4,
        dtype=torch.float64,
    )
    for group in store.slots.values():
        for tensor in group.values():
            tensor.fill_(torch.nan)  # what a former owner left must not be read
    slots = slots if slots is not None else range(count)
    pages = pages or [range(s * per_row, (s + 1) * per_row) for s in range(count)]
    past = [0] * count
    out: list[list[Tensor]] = [[] for _ in rows]
    for step in steps:
        active = [s for s in range(count) if step[s]]
        lengths = [step[s] for s in active]
        ids = torch.cat([rows[s][past[s] : past[s] + step[s]] for s in active])
        at = torch.cat([torch.arange(past[s], past[s] + step[s]) for s in active])
        view = store.view(
            [slots[s] for s in active], [pages[s] for s in active], [past[s] for s in active]
        )
        with torch.no_grad():
            hidden = model.hidden(ids, Context(tuple(lengths), at, state=view)).hidden_TD
        for s, part in zip(active, hidden.split(lengths), strict=True):
            out[s].append(part)
            past[s] += step[s]
    return [torch.cat(parts) for parts in out]


def check_block(pattern: str) -> None:
    """Packed = separate, variant = reference, pieces = whole, replay = recording; also gradients."""
    model = tiny(pattern)
    ids, lengths = tokens(31), [5, 1, 17, 8]
    packed = model.hidden(ids, Context.packed(lengths)).hidden_TD
    parts = ids.split(lengths)
    separate = torch.cat([model.hidden(p, Context.packed([len(p)])).hidden_TD for p in parts])
    close(packed, separate)
    parameters = [p for n, p in model.named_parameters() if n != "lm_head.weight"]
    weight = torch.randn(
        packed.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )

    def gradients(hidden: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((hidden * weight).sum(), parameters)

    expected = gradients(packed)
    for a, b in zip(expected, gradients(separate), strict=True):
        close(a, b)

    plain = tiny(pattern, ops=OpsConfig.reference())
    by_formula = plain.hidden(ids, Context.packed(lengths)).hidden_TD
    close(packed, by_formula)
    others = [p for n, p in plain.named_parameters() if n != "lm_head.weight"]
    for a, b in zip(
        expected, torch.autograd.grad((by_formula * weight).sum(), others), strict=True
    ):
        close(a, b)

    rows = list(parts)
    steps = [[3, 1, 6, 0], [1, 0, 1, 7], [1, 0, 1, 1], [0, 0, 9, 0]]
    for options in ({}, {"slots": [4, 0, 2, 1]}, {"pages": scattered(rows)}):
        for hidden, whole in zip(
            run_in_pieces(model, rows, steps, **options), separate.split(lengths), strict=True
        ):
            close(hidden, whole.detach())
    one_by_one = [[int(t < len(r)) for r in rows] for t in range(17)]
    for hidden, whole in zip(
        run_in_pieces(model, rows, one_by_one), separate.split(lengths), strict=True
    ):
        close(hidden, whole.detach())

    if any(letter in "EL" for letter in pattern):
        recorded = model.hidden(ids, Context.packed(lengths, collect_routes=True))
        for layer in model.moe_layers():
            bias = layer.router.e_score_correction_bias
            assert bias is not None
            bias.copy_(-bias * 5)  # another choice, were it not replayed
        replayed = model.hidden(ids, Context.packed(lengths, replay=recorded.routes))
        close(replayed.hidden_TD, packed)
        for a, b in zip(expected, gradients(replayed.hidden_TD), strict=True):
            close(a, b)


def scattered(rows: Sequence[Tensor]) -> list[list[int]]:
    """Pages in no order."""
    free = list(range(len(rows) * 5 + 2))[::-2] + list(range(len(rows) * 5 + 2))[-2::-2]
    pages: list[list[int]] = []
    for row in rows:
        need = -(-len(row) // 4)
        pages.append(free[:need])
        free = free[need:]
    return pages


def close(found: Tensor, expected: Tensor) -> None:
    """Equal to float64 rounding, relative to the largest entry."""
    scale = float(expected.detach().abs().max()) or 1.0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11 * scale)
