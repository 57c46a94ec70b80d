"""The optimization of one model: accumulate, guard, clip, update, balance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.data.batch import Batch
from nautiloid.train.balance import max_vio, update_biases
from nautiloid.train.config import LossConfig, TrainerConfig
from nautiloid.train.flat import FlatAdamW
from nautiloid.train.guard import Guard
from nautiloid.train.losses import LanguageModelLoss, Objective
from nautiloid.train.offload import OffloadedAdamW
from nautiloid.train.optim import AdamW
from nautiloid.train.readback import Readback
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
        step_s: Seconds by the device's clock since the end of the step before, or since the start after
            a pause; None where the host's clock will do.
    """

    figures: dict[str, Any]
    counts: tuple[Tensor, ...]
    is_skipped: bool
    is_spike: bool
    step_s: float | None = None


class Launched:
    """A step that the device may still be working on.

    Args:
        finish: Makes the result; called once, in the order of the steps.
        readback: What it waits for; None when the result is at hand.
    """

    def __init__(self, finish: Callable[[], StepResult], readback: Readback | None = None):
        self.finish = finish
        self.readback = readback

    @property
    def is_ready(self) -> bool:
        """Whether `result` would return at once."""
        return self.readback is None or self.readback.is_ready

    def result(self) -> StepResult:
        """Wait for the step and judge it.

        Raises:
            InputError: Too many steps in a row were not finite.
        """
        return self.finish()


class Trainer:
    """Model, optimizer, schedule and step count.

    Args:
        model: float32 or bfloat16 parameters on the device of `config`; `config.mode` says what they
            become.
        config: Settings.
        objective: What is minimised; next-token loss when None.
        seed: Names the random bits of rounding.

    Attributes:
        steps_done: Optimizer steps launched so far, skipped ones included.
        tokens_done: Tokens seen so far, padding left out.
    """

    def __init__(
        self,
        model: Decoder,
        config: TrainerConfig,
        objective: Objective | None = None,
        *,
        seed: int = 0,
    ):
        self.model = model
        self.config = config
        self.objective = objective or LanguageModelLoss(config.loss)
        self.optimizer = build_optimizer(model, config, seed)
        self.guard = Guard(config.max_bad_steps)
        self.steps_done = 0
        self.tokens_done = 0
        self.ended: torch.cuda.Event | None = None
        model.set_memory(config.memory)

    @property
    def is_done(self) -> bool:
        """Whether all steps of the schedule are taken."""
        return self.steps_done >= self.config.num_steps

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """One optimizer step over the micro-batches `batches`, to its end.

        Raises:
            InputError: Too many steps in a row were not finite.
        """
        return self.launch(batches).result()

    def pause(self) -> None:
        """Something else ran on the device: the time of the next step begins with its launch."""
        self.ended = None

    def launch(self, batches: Sequence[Batch]) -> Launched:
        """Start one optimizer step; on a GPU the host goes on before the device is done.

        There a step with a loss or gradient that is not finite is left out by the device itself, and
        the host learns of it with the result.
        """
        config, model = self.config, self.model
        model.train()
        if config.device == "cuda" and self.ended is None:
            self.ended = torch.cuda.Event(enable_timing=True)
            self.ended.record()
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
        grad_norm = self.optimizer.clip(config.clip_norm)
        self.steps_done += 1
        self.tokens_done += sum(int((batch.sample_T >= 0).sum()) for batch in batches)
        scalars = {**sums, "": loss, "grad_norm": grad_norm}
        known = {"lr": lr, "tokens": self.tokens_done}
        if config.device == "cpu":
            return self._finish_here(Readback(scalars, counts), known, lr)
        is_finite = torch.isfinite(loss) & torch.isfinite(grad_norm)
        self.optimizer.step(lr, is_finite)
        self._balance(counts, is_finite.double())
        self.optimizer.zero_grad()
        return self._finish_later(Readback(scalars, counts), known)

    def _finish_here(self, readback: Readback, known: dict[str, Any], lr: float) -> Launched:
        """The host sees loss and norm first and decides."""
        values, counts = readback.wait()
        loss, grad_norm = values.pop(""), values["grad_norm"]
        is_admitted = self.guard.admits(self.steps_done, loss, grad_norm)
        is_spike = is_admitted and self.guard.is_spike(values.get("loss", loss))
        if is_admitted:
            self.optimizer.step(lr)
            self._balance(counts)
        self.optimizer.zero_grad()
        result = StepResult(_figures(values, known, counts), counts, not is_admitted, is_spike)
        return Launched(lambda: result)

    def _finish_later(self, readback: Readback, known: dict[str, Any]) -> Launched:
        """The device has decided; the host catches up when it asks."""
        number, before, self.ended = self.steps_done, self.ended, readback.event

        def finish() -> StepResult:
            values, counts = readback.wait()
            loss, grad_norm = values.pop(""), values["grad_norm"]
            is_admitted = self.guard.admits(number, loss, grad_norm)
            is_spike = is_admitted and self.guard.is_spike(values.get("loss", loss))
            assert before is not None
            assert readback.event is not None
            step_s = before.elapsed_time(readback.event) / 1e3
            figures = _figures(values, known, counts)
            return StepResult(figures, counts, not is_admitted, is_spike, step_s)

        return Launched(finish, readback)

    def _balance(self, counts: Sequence[Tensor], share: Tensor | float = 1.0) -> None:
        """Move the correction biases by the counts of the step, or by `share` 0 not at all."""
        if self.config.bias_rate and counts:
            biases = [layer.router.e_score_correction_bias for layer in self.model.moe_layers()]
            update_biases(biases, counts, self.config.bias_rate * share)

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

    def weights(self) -> dict[str, Tensor]:
        """The model's tensors by name, masters in place of their copies."""
        return {**self.model.state_dict(), **self.optimizer.masters()}

    def state_dict(self, **more: Any) -> TrainingState:
        """References to all tensors, and the counters; `more` joins the counters."""
        counters = {
            "steps_done": self.steps_done,
            "tokens_done": self.tokens_done,
            "guard": self.guard.state_dict(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        tensors = {"model": self.weights(), "optimizer": self.optimizer.tensors()}
        return TrainingState(tensors, counters | more)

    def load_state_dict(self, state: TrainingState) -> None:
        """Take up what `state_dict` returned; the continuation is bit-equal on as many threads.

        Raises:
            InputError: The tensors are not those of this model.
        """
        _check_names(state.tensors["model"], self.model.state_dict())
        self.model.load_state_dict(dict(state.tensors["model"]))
        self.optimizer.load_masters(state.tensors["model"])
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


def build_optimizer(model: Decoder, config: TrainerConfig, seed: int) -> AdamW | FlatAdamW:
    """The optimizer of a parameter mode."""
    mode = config.mode
    if mode == "float32":
        return AdamW(model, config.optim)
    if config.memory.offload_optimizer and config.device == "cuda":
        return OffloadedAdamW(model, config.optim, mode, seed)
    return FlatAdamW(model, config.optim, mode, seed)


def _figures(
    values: Mapping[str, float], known: Mapping[str, Any], counts: Sequence[Tensor]
) -> dict[str, Any]:
    figures: dict[str, Any] = {k: v for k, v in values.items() if k != "grad_norm"}
    figures |= {"lr": known["lr"], "grad_norm": values["grad_norm"], "tokens": known["tokens"]}
    if counts:
        figures["max_vio"] = [round(max_vio(c), 4) for c in counts]
    return figures


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
