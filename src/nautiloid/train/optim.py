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
        _check_globs(config, named)
        self.config = config
        self.parameters: dict[str, nn.Parameter] = {}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in named.items():
            is_trained = any(fnmatchcase(name, glob) for glob in config.trainable)
            parameter.requires_grad_(is_trained)
            if is_trained:
                self.parameters[name] = parameter
                groups.setdefault(_settings(config, name, parameter), []).append(parameter)
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

    def step(self, lr: float) -> None:
        """Update the parameters from their gradients at learning rate `lr`."""
        for group in self.inner.param_groups:
            group["lr"] = lr * group["lr_ratio"]
        self.inner.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self.inner.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Moments and step counts as `<parameter>.<moment>`; absent before the first step."""
        return {
            f"{name}.{moment}": self.inner.state[parameter][moment]
            for name, parameter in self.parameters.items()
            for moment in _MOMENTS
            if parameter in self.inner.state
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` returned."""
        unknown = set(tensors) - {f"{n}.{m}" for n in self.parameters for m in _MOMENTS}
        assert not unknown, f"optimizer state of unknown parameters: {sorted(unknown)[:3]}"
        self.inner.state.clear()
        for name, parameter in self.parameters.items():
            if f"{name}.step" in tensors:
                self.inner.state[parameter] = {
                    moment: tensors[f"{name}.{moment}"].to(parameter.device, copy=True)
                    for moment in _MOMENTS
                }


def _settings(config: AdamWConfig, name: str, parameter: Tensor) -> tuple[float, float]:
    decay = config.weight_decay if parameter.ndim > 1 else 0.0
    for group in config.groups:
        if fnmatchcase(name, group.match):
            return group.lr_ratio, decay if group.weight_decay is None else group.weight_decay
    return 1.0, decay


def _check_globs(config: AdamWConfig, named: Mapping[str, Tensor]) -> None:
    globs = [("trainable", glob) for glob in config.trainable]
    globs += [("groups", group.match) for group in config.groups]
    for field, glob in globs:
        if not any(fnmatchcase(name, glob) for name in named):
            raise InputError(
                f"trainer.optim.{field}",
                glob,
                f"matches no parameter; names look like {next(iter(named))}",
            )
