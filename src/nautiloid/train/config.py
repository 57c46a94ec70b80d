"""Settings of the trainer, torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nautiloid.core.errors import InputError
from nautiloid.model.memory_config import MemoryConfig
from nautiloid.train.schedule import ScheduleConfig


def _require(holds: bool, field: str, value: object, remedy: str) -> None:
    if not holds:
        raise InputError(f"trainer.{field}", value, remedy)


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """Parameters that are trained with other settings than the rest.

    Args:
        match: Glob over parameter names, for example `layers.*.mixer.router.*`.
        lr_ratio: Factor on the learning rate.
        weight_decay: Replaces the decay of the optimizer; None keeps it.
    """

    match: str
    lr_ratio: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        _require(
            self.lr_ratio >= 0, "optim.groups.lr_ratio", self.lr_ratio, "use a number of at least 0"
        )


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """AdamW as the Nemotron 3 models use it (specs/architecture 7.1, 7.2).

    Args:
        lr: Peak learning rate.
        betas: Decay of the first and second moment.
        weight_decay: Decoupled decay of matrices; tensors of one dimension have none.
        groups: Exceptions; the first glob that matches a parameter holds.
        trainable: Globs of the parameters that are trained; all others are frozen.
        moments: Dtype of both moments; bfloat16 ones are rounded at random, so that slow averages
            move, and need `weights` masters or stochastic.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    groups: tuple[GroupConfig, ...] = ()
    trainable: tuple[str, ...] = ("*",)
    moments: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _require(self.lr > 0, "optim.lr", self.lr, "use a number above 0")
        _require(
            all(0 <= b < 1 for b in self.betas),
            "optim.betas",
            self.betas,
            "use numbers from 0 to below 1",
        )
        _require(self.eps > 0, "optim.eps", self.eps, "use a number above 0")
        _require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "use 0 or more")
        _require(
            len(self.trainable) > 0, "optim.trainable", None, "name at least one glob, '*' is all"
        )


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Terms of the language-model loss and how they are averaged.

    Args:
        mean_over: `tokens` averages over all weighted tokens of the step; `samples` first inside
            each sample, then over samples (specs/post_training 1.3).
        mtp_weight: Lambda of specs/architecture 4.2; no effect without an MTP head.
        balance_weight: Coefficient of the sequence balance loss (specs/architecture 6).
        z_loss: Coefficient of `logsumexp(logits)^2`.
    """

    mean_over: Literal["tokens", "samples"] = "tokens"
    mtp_weight: float = 0.3
    balance_weight: float = 1e-4
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mtp_weight", "balance_weight", "z_loss"):
            _require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "use 0 or more")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student follows a resident teacher.

    Args:
        direction: `forward` is KL(teacher || student), `reverse` is KL(student || teacher).
        temperature: Both distributions are taken at it; the KL is multiplied by its square.
        kl_weight: Factor on the KL.
        ce_weight: Factor on the cross-entropy of the data.
    """

    direction: Literal["forward", "reverse"] = "forward"
    temperature: float = 1.0
    kl_weight: float = 1.0
    ce_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise InputError("distillation.temperature", self.temperature, "use a number above 0")
        if min(self.kl_weight, self.ce_weight) < 0 or self.kl_weight + self.ce_weight == 0:
            raise InputError(
                "distillation.kl_weight",
                self.kl_weight,
                "use weights of at least 0, one of them above 0",
            )


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Everything about the optimization that is not model, data or objective.

    Args:
        num_steps: Optimizer steps of the whole run.
        batches_per_step: Micro-batches whose gradients are accumulated for one step.
        clip_norm: Upper limit of the global gradient norm; 0 does not clip.
        weights: How parameters are kept. `float32` computes in float32; `masters` computes in bfloat16
            copies of float32 masters; `stochastic` has bfloat16 matrices alone, rounded at random in
            the update; `auto` is float32 on a CPU and masters on a GPU. Gradients add up in float32.
        memory: What is recomputed or kept on the host.
        bias_rate: Step of the router's correction bias after each optimizer step; 0 leaves it.
        max_bad_steps: Consecutive steps with a non-finite loss or gradient before the run gives up.
        save_every_steps: Distance of training-state checkpoints.
        keep_last: How many of them stay.
        eval_every_steps: Distance of held-out evaluations; 0 evaluates at the end only.
        eval_batches: Micro-batches of one evaluation.
        expert_load_every_steps: How often the share of every expert is recorded.
        profile_steps: Record this many steps with the profiler into the run folder; 0 is off.
        peak_flops: FLOP/s that MFU is a share of; None measures a matrix product at the start.
    """

    num_steps: int
    batches_per_step: int = 1
    optim: AdamWConfig = field(default_factory=AdamWConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    clip_norm: float = 1.0
    weights: Literal["auto", "float32", "masters", "stochastic"] = "auto"
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    bias_rate: float = 1e-3
    max_bad_steps: int = 5
    device: Literal["cpu", "cuda"] = "cpu"
    save_every_steps: int = 200
    keep_last: int = 2
    eval_every_steps: int = 0
    eval_batches: int = 8
    expert_load_every_steps: int = 20
    profile_steps: int = 0
    peak_flops: float | None = None

    @property
    def mode(self) -> Literal["float32", "masters", "stochastic"]:
        """How parameters are kept, `auto` resolved.

        >>> TrainerConfig(num_steps=1).mode
        'float32'
        """
        if self.weights == "auto":
            return "masters" if self.device == "cuda" else "float32"
        return self.weights

    def __post_init__(self) -> None:
        if self.mode == "float32":
            _require(
                self.optim.moments == "float32",
                "optim.moments",
                self.optim.moments,
                "use float32, or set trainer.weights to masters",
            )
            _require(
                not self.memory.offload_optimizer,
                "memory.offload_optimizer",
                True,
                "set trainer.weights to masters or stochastic",
            )
        at_least = (
            ("num_steps", 1),
            ("batches_per_step", 1),
            ("max_bad_steps", 1),
            ("save_every_steps", 1),
            ("keep_last", 1),
            ("eval_every_steps", 0),
            ("eval_batches", 1),
            ("expert_load_every_steps", 1),
            ("profile_steps", 0),
            ("clip_norm", 0),
            ("bias_rate", 0),
        )
        for name, least in at_least:
            _require(
                getattr(self, name) >= least, name, getattr(self, name), f"use at least {least}"
            )
        _require(
            self.peak_flops is None or self.peak_flops > 0,
            "peak_flops",
            self.peak_flops,
            "use FLOP/s or None",
        )
        _require(
            self.schedule.warmup_steps <= self.num_steps,
            "schedule.warmup_steps",
            self.schedule.warmup_steps,
            f"at most num_steps ({self.num_steps})",
        )
