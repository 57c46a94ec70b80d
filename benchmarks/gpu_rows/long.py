"""One sequence of up to a million tokens, forward, backward and update of a small hybrid on one GPU."""

from __future__ import annotations

import gc
import time
from dataclasses import replace

import torch
from benchmarks.gpu_rows.models import random_batch, trainer_of
from benchmarks.results_file import Row
from torch.nn import functional as F

from nautiloid.core.seed import Seed
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.memory_config import MemoryConfig
from nautiloid.ops.config import OpsConfig
from nautiloid.train.config import TrainerConfig
from nautiloid.train.trainer import Trainer

CONFIG = ModelConfig(
    vocab_size=32768,
    hidden_size=512,
    pattern="MEM*EME",
    blocks={
        "M": MambaConfig(mamba_num_heads=8, mamba_head_dim=64, n_groups=1, ssm_state_size=128),
        "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=64),
        "E": MoEConfig(
            n_routed_experts=16,
            num_experts_per_tok=2,
            moe_intermediate_size=512,
            moe_shared_expert_intermediate_size=512,
        ),
    },
)
LENGTHS = (1 << 18, 1 << 19, 1 << 20)
# only the residual stream is kept of each layer
SETTINGS = TrainerConfig(
    num_steps=100,
    device="cuda",
    weights="masters",
    memory=MemoryConfig(recompute=("block",)),
)


@torch.no_grad()
def check() -> float:
    """Relative difference of the loss from plain formulas in float32, a short sequence."""
    batch = random_batch(replace(CONFIG, pattern="M*"), 1, 256, 1)
    plain = Decoder(CONFIG, ops=OpsConfig.reference(), device="cuda")
    plain.init_weights(Seed(0))
    tokens, targets = batch.tokens_T.cuda(), batch.targets_T.cuda()
    hidden = plain.hidden(tokens, Context.packed(batch.lengths, "cuda")).hidden_TD
    wanted = float(F.cross_entropy(plain.logits(hidden), targets))
    ours = Trainer(_copy(plain), SETTINGS)
    found = ours.evaluate([batch])["loss"]
    error = abs(found - wanted) / wanted
    assert error < 5e-3, (found, wanted)
    return error


def _copy(plain: Decoder) -> Decoder:
    model = Decoder(CONFIG, device="cuda")
    model.load_state_dict(plain.state_dict())
    return model


def rows() -> list[Row]:
    """Bytes a token at each length; they must not grow."""
    error = check()
    found: list[Row] = []
    goal = None
    for length in LENGTHS:
        try:
            found.append(_row(length, goal, error))
        except RuntimeError as failure:
            reason = str(failure).splitlines()[0][:200]
            found.append(Row(work=_name(length), value=None, unit="bytes/token", reason=reason))
        first = found[0].value
        goal = None if first is None else 1.05 * first
        gc.collect()
        torch.cuda.empty_cache()
    return found


def _name(length: int) -> str:
    return f"long_{length >> 10}k_bytes_a_token"


def _row(length: int, goal: float | None, error: float) -> Row:
    """One step on one sequence."""
    trainer = trainer_of(CONFIG, SETTINGS)
    batch = random_batch(replace(CONFIG, pattern="M*"), 1, length, 1)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    figures = trainer.step([batch]).figures
    seconds = time.perf_counter() - start
    assert 9 < figures["loss"] < 13, figures
    assert figures["grad_norm"] > 0, figures
    peak = torch.cuda.max_memory_allocated()
    return Row(
        work=_name(length),
        value=(peak - before) / length,
        unit="bytes/token",
        better="lower",
        goal=goal,
        limit=f"one sequence, {seconds:.1f} s ({length / seconds:,.0f} tokens/s), "
        f"peak {peak / 1e9:.1f} GB, gradient norm {figures['grad_norm']:.3g}, "
        f"loss within {error:.1e} of plain float32 at 256 tokens",
        reps=1,
    )
