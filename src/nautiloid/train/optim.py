"""AdamW over named parameters: groups by glob, fp32 moments, state by name."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from nautiloid.core.errors import InputError
from nautiloid.train.config import AdamWConfig

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class AdamW:
    """`torch.optim.AdamW` (fused) with settings by parameter name.

    Parameters that `trainable` leaves out are frozen (`requires_grad` is cleared).

    Raises:
        InputError: A glob matches no parameter.
    """

    def __init__(self, model: nn.Module, config: AdamWConfig):
        named = dict(model.named_parameters())
        for name, parameter in named.items():
            assert parameter.dtype == torch.float32, (
                f"{name} is {parameter.dtype}: masters are float32"
            )
        check_globs(config, named)
        self.config = config
        self.parameters: dict[str, nn.Parameter] = {}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in named.items():
            is_trained = any(fnmatchcase(name, glob) for glob in config.trainable)
            parameter.requires_grad_(is_trained)
            if is_trained:
                self.parameters[name] = parameter
                groups.setdefault(settings(config, name, parameter), []).append(parameter)
        covered = sum(len(group) for group in groups.values())
        frozen = sum(not parameter.requires_grad for parameter in named.values())
        assert covered + frozen == len(named), "every parameter is in one group or frozen"
        self.inner = torch.optim.AdamW(
            [
                {
                    "params": group,
                    "lr": config.lr * lr_ratio,
                    "lr_ratio": lr_ratio,
                    "weight_decay": decay,
                }
                for (lr_ratio, decay), group in groups.items()
            ],
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            fused=True,
        )

    def clip(self, limit: float) -> Tensor:
        """Scale gradients down to the norm `limit` (0 leaves them); returns the norm before that."""
        parameters = self.parameters.values()
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if limit:
            nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return norm

    def step(self, lr: float, is_taken: Tensor | None = None) -> None:
        """Update the parameters from their gradients.

        Args:
            lr: Learning rate.
            is_taken: Scalar on the GPU; where it is False nothing changes, and the host need not know.
        """
        for group in self.inner.param_groups:
            group["lr"] = lr * group["lr_ratio"]
        if is_taken is not None:
            # the fused kernel leaves the step out where this is not 0, step counts included
            self.inner.found_inf = (~is_taken).float()  # type: ignore[attr-defined]
        self.inner.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self.inner.zero_grad(set_to_none=True)

    def masters(self) -> dict[str, Tensor]:
        """None beside the parameters themselves."""
        return {}

    def load_masters(self, tensors: Mapping[str, Tensor]) -> None:
        """The parameters are the masters."""

    def tensors(self) -> dict[str, Tensor]:
        """Moments and step counts as `<parameter>.<moment>`; absent before the first step."""
        return {
            f"{name}.{moment}": self.inner.state[parameter][moment]
            for name, parameter in self.parameters.items()
            for moment in _MOMENTS
            if parameter in self.inner.state
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` returned.

        Raises:
            InputError: The state is of another parameter mode.
        """
        if "calls" in tensors:
            raise InputError(
                "trainer.weights", "float32", "the checkpoint was written in another mode; keep it"
            )
        unknown = set(tensors) - {f"{n}.{m}" for n in self.parameters for m in _MOMENTS}
        assert not unknown, f"optimizer state of unknown parameters: {sorted(unknown)[:3]}"
        self.inner.state.clear()
        for name, parameter in self.parameters.items():
            if f"{name}.step" in tensors:
                self.inner.state[parameter] = {
                    moment: tensors[f"{name}.{moment}"].to(parameter.device, copy=True)
                    for moment in _MOMENTS
                }


def settings(config: AdamWConfig, name: str, parameter: Tensor) -> tuple[float, float]:
    """Factor on the learning rate and weight decay of one parameter."""
    decay = config.weight_decay if parameter.ndim > 1 else 0.0
    for group in config.groups:
        if fnmatchcase(name, group.match):
            return group.lr_ratio, decay if group.weight_decay is None else group.weight_decay
    return 1.0, decay


def check_globs(config: AdamWConfig, named: Mapping[str, Tensor]) -> None:
    """Refuse globs that match no parameter.

    Raises:
        InputError: Naming the field and the glob.
    """
    globs = [("trainable", glob) for glob in config.trainable]
    globs += [("groups", group.match) for group in config.groups]
    for field, glob in globs:
        if not any(fnmatchcase(name, glob) for name in named):
            raise InputError(
                f"trainer.optim.{field}",
                glob,
                f"matches no parameter; names look like {next(iter(named))}",
            )
