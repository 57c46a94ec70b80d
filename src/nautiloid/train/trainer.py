"""The optimization of one model: accumulate, guard, clip, update, balance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.data.batch import Batch
from nautiloid.train.balance import max_vio, update_biases
from nautiloid.train.config import LossConfig, TrainerConfig
from nautiloid.train.guard import Guard
from nautiloid.train.losses import LanguageModelLoss, Objective
from nautiloid.train.optim import AdamW
from nautiloid.train.schedule import lr_ratio
from nautiloid.train.state import TrainingState

if TYPE_CHECKING:
    from nautiloid.model.decoder import Decoder

log = logging.getLogger("nautiloid.train")


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did.

    Attributes:
        figures: loss, mtp_loss, balance_loss, z_loss, bits_per_byte, lr, grad_norm, tokens, max_vio,
            those that apply.
        counts: int64 [E] choices of each expert in this step, per MoE layer.
        is_skipped: Loss or gradient were not finite; the weights did not change.
        is_spike: The loss lies far above those of the steps before.
    """

    figures: dict[str, Any]
    counts: tuple[Tensor, ...]
    is_skipped: bool
    is_spike: bool


class Trainer:
    """Model, optimizer, schedule and step count.

    Args:
        model: float32 parameters on the device of `config`.
        config: Settings.
        objective: What is minimised; next-token loss when None.

    Attributes:
        steps_done: Optimizer steps so far, skipped ones included.
        tokens_done: Tokens seen so far, padding left out.
    """

    def __init__(self, model: Decoder, config: TrainerConfig, objective: Objective | None = None):
        self.model = model
        self.config = config
        self.objective = objective or LanguageModelLoss(config.loss)
        self.optimizer = AdamW(model, config.optim)
        self.guard = Guard(config.max_bad_steps)
        self.steps_done = 0
        self.tokens_done = 0

    @property
    def is_done(self) -> bool:
        """Whether all steps of the schedule are taken."""
        return self.steps_done >= self.config.num_steps

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """One optimizer step over the micro-batches `batches`.

        Raises:
            InputError: Too many steps in a row were not finite.
        """
        config, model = self.config, self.model
        model.train()
        lr = config.optim.lr * lr_ratio(config.schedule, self.steps_done, config.num_steps)
        totals = self.objective.totals(model, batches)
        sums: dict[str, Tensor] = {}
        counts: tuple[Tensor, ...] = ()
        loss = torch.zeros((), device=config.device)
        for batch in batches:
            terms = self.objective(model, batch.to(config.device), totals)
            terms.loss.backward()
            loss = loss + terms.loss.detach()
            for name, value in terms.figures.items():
                sums[name] = sums[name] + value if name in sums else value
            counts = (
                tuple(a + b for a, b in zip(counts, terms.counts, strict=True))
                if counts
                else terms.counts
            )
        grad_norm = self._clip()
        figures: dict[str, Any] = {name: float(value) for name, value in sums.items()}
        self.steps_done += 1
        self.tokens_done += sum(int((batch.sample_T >= 0).sum()) for batch in batches)
        is_admitted = self.guard.admits(self.steps_done, float(loss), grad_norm)
        is_spike = is_admitted and self.guard.is_spike(figures.get("loss", float(loss)))
        if is_admitted:
            self.optimizer.step(lr)
            if config.bias_rate and counts:
                biases = [layer.router.e_score_correction_bias for layer in model.moe_layers()]
                update_biases(biases, counts, config.bias_rate)
        self.optimizer.zero_grad()
        figures |= {"lr": lr, "grad_norm": grad_norm, "tokens": self.tokens_done}
        if counts:
            figures["max_vio"] = [round(max_vio(c), 4) for c in counts]
        return StepResult(figures, counts, not is_admitted, is_spike)

    @torch.no_grad()
    def evaluate(
        self, batches: Sequence[Batch], byte_lengths: Sequence[int] | None = None
    ) -> dict[str, float]:
        """Next-token loss and bits per byte over held-out micro-batches."""
        self.model.eval()
        # Only the trunk's cross-entropy, whatever the run minimises.
        measure = LanguageModelLoss(LossConfig(mtp_weight=0.0, balance_weight=0.0), byte_lengths)
        totals = measure.totals(self.model, batches)
        sums: dict[str, float] = {}
        for batch in batches:
            terms = measure(self.model, batch.to(self.config.device), totals)
            for name in ("loss", "bits_per_byte"):
                if name in terms.figures:
                    sums[name] = sums.get(name, 0.0) + float(terms.figures[name])
        self.model.train()
        return sums

    def state_dict(self, **more: Any) -> TrainingState:
        """References to all tensors, and the counters; `more` joins the counters."""
        counters = {
            "steps_done": self.steps_done,
            "tokens_done": self.tokens_done,
            "guard": self.guard.state_dict(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        tensors = {"model": dict(self.model.state_dict()), "optimizer": self.optimizer.tensors()}
        return TrainingState(tensors, counters | more)

    def load_state_dict(self, state: TrainingState) -> None:
        """Take up what `state_dict` returned; the continuation is bit-equal on as many threads.

        Raises:
            InputError: The tensors are not those of this model.
        """
        _check_names(state.tensors["model"], self.model.state_dict())
        self.model.load_state_dict(dict(state.tensors["model"]))
        self.optimizer.load_tensors(state.tensors["optimizer"])
        counters = state.counters
        self.steps_done, self.tokens_done = counters["steps_done"], counters["tokens_done"]
        self.guard.load_state_dict(counters["guard"])
        for name, now in (("threads", torch.get_num_threads()), ("torch", torch.__version__)):
            if counters[name] != now:
                log.warning(
                    "resumed with %s %s instead of %s: results may differ in the last bits",
                    name, now, counters[name],
                )  # fmt: skip

    def _clip(self) -> float:
        parameters = self.optimizer.parameters.values()
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
        return float(norm)


def _check_names(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    for name, tensor in own.items():
        if name not in saved:
            raise InputError(f"checkpoint tensor {name}", "missing", "it belongs to another model")
        if saved[name].shape != tensor.shape:
            raise InputError(
                f"checkpoint tensor {name}",
                str(tuple(saved[name].shape)),
                f"expected {tuple(tensor.shape)}",
            )
