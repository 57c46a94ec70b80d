"""Models, batches and trainers at full size for the rows of whole training steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from nautiloid.data.batch import Batch
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset
from nautiloid.train.config import TrainerConfig
from nautiloid.train.trainer import Trainer


def slice_config(pattern: str = "MEMEM*EME") -> ModelConfig:
    """Layers of Nemotron-3-Nano-30B-A3B at full width, all 128 experts, whole vocabulary."""
    whole = preset("nemotron-3-nano-30b-a3b")
    return replace(whole, pattern=pattern, overrides={}, mtp=None)


@torch.no_grad()
def fill(model: Decoder, seed: int = 0) -> None:
    """Random weights made on the GPU; a CPU would need minutes for billions of them."""
    torch.manual_seed(seed)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, spec in model.config.tensors().items():
        fill_tensor(tensors[name], spec.init)


def fill_tensor(tensor: torch.Tensor, init: str) -> None:
    """Random numbers of the usual sizes in place, by the kind of initialisation."""
    if init in ("normal", "residual"):
        tensor.normal_(0, 0.02 if init == "normal" else 0.006)
    elif init in ("ones", "zeros"):
        tensor.fill_(float(init == "ones"))
    elif init == "a_log":
        tensor.uniform_(1, 16).log_()
    elif init == "dt_bias":
        dt = torch.empty_like(tensor).uniform_(math.log(1e-3), math.log(0.1)).exp_()
        tensor.copy_(dt + torch.log(-torch.expm1(-dt)))
    else:
        tensor.uniform_(-0.5, 0.5)


def random_batch(config: ModelConfig, rows: int, length: int, seed: int) -> Batch:
    """Random tokens; every MoE layer gets its experts drawn uniformly, `num_experts_per_tok` a token.

    Forced uniform routing is what published throughput figures use (Megatron's forced balance): a
    random router would measure its own imbalance. The router still runs, forward and backward.
    """
    generator = torch.Generator().manual_seed(seed)
    total = rows * length
    tokens = torch.randint(3, config.vocab_size, (total + 1,), generator=generator)
    routes: list[torch.Tensor] = []
    for block in config.layers():
        if isinstance(block, MoEConfig):
            draw = torch.rand(total, block.n_routed_experts, generator=generator)
            routes.append(draw.topk(block.num_experts_per_tok, dim=1).indices.to(torch.int16))
    return Batch(
        tokens_T=tokens[:-1],
        targets_T=tokens[1:].clone(),
        weight_T=torch.ones(total),
        positions_T=torch.arange(length).repeat(rows),
        lengths=(length,) * rows,
        row_lengths=(length,) * rows,
        sample_T=torch.arange(rows, dtype=torch.int32).repeat_interleave(length),
        routes=tuple(routes) or None,
    )


def trainer_of(config: ModelConfig, settings: TrainerConfig) -> Trainer:
    """A trainer with random weights on the GPU."""
    model = Decoder(config, device="cuda", dtype=torch.bfloat16)
    fill(model)
    return Trainer(model, settings)


def timed_steps(
    trainer: Trainer, batches: list[Batch], *, warm: int, reps: int
) -> tuple[list[float], int, list[dict[str, Any]]]:
    """Seconds of each step by the device's clock, peak bytes allocated, figures of all steps."""
    figures = [trainer.launch(batches).result().figures for _ in range(warm)]
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    launched = [trainer.launch(batches) for _ in range(reps)]
    results = [item.result() for item in launched]
    times = [r.step_s for r in results if r.step_s is not None]
    return times, torch.cuda.max_memory_allocated(), figures + [r.figures for r in results]
