"""Whole training steps at full size: share of the machine's peak, tokens a second, memory against its model."""

from __future__ import annotations

import gc
import statistics
from dataclasses import dataclass, replace

import torch
from benchmarks.gpu_rows.models import random_batch, slice_config, timed_steps, trainer_of
from benchmarks.results_file import Row

from nautiloid.model.config import ModelConfig
from nautiloid.model.costs import train_flops_per_token
from nautiloid.model.memory_costs import step_memory
from nautiloid.model.presets import preset
from nautiloid.train.config import AdamWConfig, TrainerConfig

# bfloat16 products of 8192^3 random numbers on an H200
PEAK_FLOPS = 793e12


@dataclass(frozen=True)
class Setting:
    """One measured step.

    Args:
        config: Model.
        rows: Sequences of one micro-batch.
        length: Their tokens.
        micro_batches: Micro-batches of one step.
        trainer: Parameter mode and memory.
        warm: Steps before the measured ones.
        reps: Measured steps.
    """

    config: ModelConfig
    rows: int
    length: int
    micro_batches: int
    trainer: TrainerConfig
    warm: int = 2
    reps: int = 3

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch."""
        return self.rows * self.length


@dataclass(frozen=True)
class Measured:
    """What came out: seconds a step, tokens a second, share of peak, bytes at the peak and predicted."""

    times: list[float]
    tokens_per_s: float
    mfu: float
    peak_bytes: int
    predicted_bytes: float

    @property
    def memory_error(self) -> float:
        """Relative error of the prediction."""
        return abs(self.predicted_bytes - self.peak_bytes) / self.peak_bytes


def settings(**optim: object) -> TrainerConfig:
    """float32 masters; everything else as the recipes have it."""
    return TrainerConfig(
        num_steps=1000,
        device="cuda",
        weights="masters",
        optim=AdamWConfig(lr=1e-4, **optim),  # type: ignore[arg-type]
    )


def slice_setting(micro_batches: int = 4, moments: str = "float32") -> Setting:
    """Nine layers of Nemotron-3-Nano-30B-A3B."""
    return Setting(slice_config(), 2, 8192, micro_batches, settings(moments=moments))


def nano4b_setting() -> Setting:
    """The whole dense hybrid Nemotron-3-Nano-4B."""
    return Setting(preset("nemotron-3-nano-4b"), 4, 4096, 8, settings(), warm=1, reps=2)


def measure(setting: Setting) -> Measured:
    """Run a few steps on the same batches: the loss starts near a uniform guess and falls."""
    torch.manual_seed(0)
    trainer = trainer_of(setting.config, setting.trainer)
    batches = [
        random_batch(setting.config, setting.rows, setting.length, seed)
        for seed in range(setting.micro_batches)
    ]
    times, peak, figures = timed_steps(trainer, batches, warm=setting.warm, reps=setting.reps)
    losses = [step["loss"] for step in figures]
    assert 11 < losses[0] < 13, losses
    assert losses[-1] < losses[0], losses  # NaN passes neither
    step_s = statistics.median(times)
    tokens = setting.tokens * setting.micro_batches
    flops = train_flops_per_token(setting.config, setting.length) * tokens
    predicted = step_memory(
        setting.config,
        tokens=setting.tokens,
        weights=setting.trainer.mode,
        moments=setting.trainer.optim.moments,
        memory=setting.trainer.memory,
    )
    del trainer
    gc.collect()
    torch.cuda.empty_cache()
    return Measured(times, tokens / step_s, flops / step_s / PEAK_FLOPS, peak, predicted.peak)


def rows() -> list[Row]:
    """All steps."""
    found: list[Row] = []
    four = measure(slice_setting())
    found.append(_mfu_row("step_slice_mfu", four, slice_setting(), 0.55))
    found.append(_memory_row("memory_model_error_slice", four))
    one = measure(slice_setting(1))
    found.append(_mfu_row("step_slice_mfu_1mb", one, slice_setting(1), None))
    short = replace(slice_setting(moments="bfloat16"), warm=1, reps=2)
    found.append(_mfu_row("step_slice_mfu_bf16_moments", measure(short), short, None))
    small = measure(nano4b_setting())
    setting = nano4b_setting()
    found.append(
        Row(
            work="nano4b_tok_s",
            value=small.tokens_per_s,
            unit="tokens/s",
            goal=22_000,
            ours=small.tokens_per_s,
            peer=19_581,
            limit=f"{small.mfu:.1%} of 793 TFLOP/s; {_how(setting)}; peak {small.peak_bytes / 1e9:.1f} GB; "
            "peer: Megatron Bridge, 8 H100, a GPU",
            reps=len(small.times),
            spread=_spread([setting.tokens * setting.micro_batches / t for t in small.times]),
        )
    )
    found.append(_memory_row("memory_model_error_nano4b", small))
    return found


def _mfu_row(work: str, measured: Measured, setting: Setting, goal: float | None) -> Row:
    per_step = measured.mfu * statistics.median(measured.times)
    return Row(
        work=work,
        value=measured.mfu,
        unit="share of 793 TFLOP/s",
        goal=goal,
        ours=measured.tokens_per_s,
        limit=f"{_how(setting)}; experts forced uniform; {measured.tokens_per_s:,.0f} tokens/s; "
        f"peak {measured.peak_bytes / 1e9:.1f} GB; {measured.mfu * 793 / 989:.1%} of 989",
        reps=len(measured.times),
        spread=_spread([per_step / t for t in measured.times]),
    )


def _memory_row(work: str, measured: Measured) -> Row:
    return Row(
        work=work,
        value=measured.memory_error,
        unit="share",
        better="lower",
        goal=0.05,
        ours=measured.predicted_bytes / 1e9,
        peer=measured.peak_bytes / 1e9,
        limit="predicted and measured peak in GB",
        reps=1,
    )


def _how(setting: Setting) -> str:
    trainer = setting.trainer
    return (
        f"{setting.micro_batches} x {setting.rows} x {setting.length} tokens a step, {trainer.mode}, "
        f"{trainer.optim.moments} moments, recompute {','.join(trainer.memory.recompute) or 'nothing'}"
    )


def _spread(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
