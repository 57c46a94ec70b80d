"""AdamW over flat memory: bfloat16 compute copies with float32 masters, or bfloat16 rounded at random.

All trained parameters become views of a few long arrays, one a group of equal settings, so that the
update is one pass a group and the gradient norm one pass in all. Gradients of every micro-batch add
up in float32: operators that know `main_grad` add there themselves, the rest through a hook.

Suffix N: elements of one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from nautiloid.core.errors import InputError
from nautiloid.ops import adamw
from nautiloid.ops.adamw import Scalars
from nautiloid.train.config import AdamWConfig
from nautiloid.train.optim import check_globs, settings

# decay rates and state dynamics compute in float32 whatever the mode (architecture 3)
ISLANDS = ("*.A_log", "*.dt_bias", "*.D", "*.sinks")
# every parameter starts at a multiple of this: 128 bytes in bfloat16, as copy engines want it
ALIGNMENT = 64

Kind = Literal["masters", "stochastic", "float32"]


def kind_of(name: str, parameter: Tensor, weights: Literal["masters", "stochastic"]) -> Kind:
    """How one parameter is stored.

    Small tensors (norms, convolutions) keep a master even where matrices are rounded at random: their
    updates are tiny beside their values, and masters of them cost nothing.

    >>> kind_of("layers.0.mixer.A_log", torch.empty(4), "masters")
    'float32'
    >>> kind_of("layers.0.norm.weight", torch.empty(4), "stochastic")
    'masters'
    """
    if any(fnmatchcase(name, glob) for glob in ISLANDS):
        return "float32"
    if weights == "stochastic" and (parameter.ndim == 1 or parameter.shape[-1] < 16):
        return "masters"
    return weights


@dataclass
class Group:
    """Parameters of equal kind and settings in one stretch of memory.

    Attributes:
        kind: Storage.
        lr_ratio: Factor on the learning rate.
        weight_decay: Decoupled decay.
        places: Start of each parameter, and the parameter.
        weights_N: Values that the optimizer owns: masters, or the parameters themselves.
        copy_N: bfloat16 compute copies that the parameters are views of; None without masters.
        grad_N: float32 gradients.
        exp_avg_N: First moment.
        exp_avg_sq_N: Second moment.
    """

    kind: Kind
    lr_ratio: float
    weight_decay: float
    places: dict[str, tuple[int, nn.Parameter]]
    weights_N: Tensor
    copy_N: Tensor | None
    grad_N: Tensor
    exp_avg_N: Tensor
    exp_avg_sq_N: Tensor

    def view(self, flat_N: Tensor, name: str) -> Tensor:
        """The part of a flat array that belongs to a parameter, in its shape."""
        start, parameter = self.places[name]
        return flat_N[start : start + parameter.numel()].view(parameter.shape)


class FlatAdamW:
    """AdamW of Nautiloid's two mixed modes; same interface as `optim.AdamW`.

    The parameters of the model are moved: their dtype changes, their names and shapes do not.

    Args:
        model: float32 or bfloat16 parameters.
        config: Settings.
        weights: `masters` or `stochastic`.
        seed: Names the random bits of the rounding.

    Raises:
        InputError: A glob matches no parameter.
    """

    def __init__(
        self,
        model: nn.Module,
        config: AdamWConfig,
        weights: Literal["masters", "stochastic"],
        seed: int = 0,
    ):
        self.config = config
        self.weights = weights
        self.seed = seed
        self.update, self.square_sum = adamw.pick("auto")
        named = dict(model.named_parameters())
        check_globs(config, named)
        self.parameters: dict[str, nn.Parameter] = {}
        members: dict[tuple[Kind, float, float], dict[str, nn.Parameter]] = {}
        for name, parameter in named.items():
            is_trained = any(fnmatchcase(name, glob) for glob in config.trainable)
            parameter.requires_grad_(is_trained)
            kind = kind_of(name, parameter, weights)
            if is_trained:
                self.parameters[name] = parameter
                key = (kind, *settings(config, name, parameter))
                members.setdefault(key, {})[name] = parameter
            elif kind != "float32":
                parameter.data = parameter.data.to(torch.bfloat16)
        device = next(iter(self.parameters.values())).device
        sizes = {key: _layout(group)[1] for key, group in members.items()}
        self.groups = [
            self._gather(key, group, sizes[key], device) for key, group in members.items()
        ]
        self.grad_N = torch.zeros(sum(sizes.values()), dtype=torch.float32, device=device)
        start = 0
        for group in self.groups:
            group.grad_N = self.grad_N[start : start + group.weights_N.numel()]
            start += group.weights_N.numel()
            for name, (_, parameter) in group.places.items():
                parameter.main_grad = group.view(group.grad_N, name)  # type: ignore[attr-defined]
                parameter.register_post_accumulate_grad_hook(_add_to_main)
        # steps taken, which the bias correction counts; the host counts those launched
        self.steps = torch.zeros((), dtype=torch.float64, device=device)
        self.calls = 0
        self.is_clear = True
        self.scale = torch.ones((), dtype=torch.float64, device=device)

    def _gather(
        self,
        key: tuple[Kind, float, float],
        members: Mapping[str, nn.Parameter],
        size: int,
        device: torch.device,
    ) -> Group:
        kind, lr_ratio, decay = key
        starts, _ = _layout(members)
        own = torch.bfloat16 if kind == "stochastic" else torch.float32
        moments = getattr(torch, self.config.moments)
        weights_N = torch.zeros(size, dtype=own, device=device)
        copy_N = (
            torch.zeros(size, dtype=torch.bfloat16, device=device) if kind == "masters" else None
        )
        group = Group(
            kind=kind,
            lr_ratio=lr_ratio,
            weight_decay=decay,
            places={name: (starts[name], p) for name, p in members.items()},
            weights_N=weights_N,
            copy_N=copy_N,
            grad_N=weights_N,
            exp_avg_N=torch.zeros(size, dtype=moments, device=device),
            exp_avg_sq_N=torch.zeros(size, dtype=moments, device=device),
        )
        for name, parameter in members.items():
            group.view(weights_N, name).copy_(parameter.data)
            if copy_N is not None:
                group.view(copy_N, name).copy_(parameter.data)
            parameter.data = group.view(weights_N if copy_N is None else copy_N, name)
        return self._place(group)

    def _place(self, group: Group) -> Group:
        """Where the optimizer's own arrays of a new group lie."""
        return group

    def clip(self, limit: float) -> Tensor:
        """Gradient norm as a float64 scalar on the device; `step` scales gradients down to `limit`.

        Args:
            limit: Largest norm; 0 does not clip.
        """
        self.is_clear = False
        norm = self.square_sum(self.grad_N).sqrt()
        if limit:
            self.scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        return norm

    def step(self, lr: float, is_taken: Tensor | None = None) -> None:
        """Update the parameters and clear the gradients.

        Args:
            lr: Learning rate.
            is_taken: Scalar on the device; where it is False nothing but the gradients changes.
        """
        beta1, beta2 = self.config.betas
        taken = torch.ones_like(self.steps) if is_taken is None else is_taken.to(self.steps.dtype)
        self.steps += taken
        device_scalars = torch.stack(
            [self.scale, taken, 1 / (1 - beta1**self.steps), (1 - beta2**self.steps).rsqrt()]
        ).float()
        for number, group in enumerate(self.groups):
            scalars = Scalars(
                lr=lr * group.lr_ratio,
                beta1=beta1,
                beta2=beta2,
                eps=self.config.eps,
                weight_decay=group.weight_decay,
                key=self._key(number),
            )
            self._update(group, device_scalars, scalars)
        self.calls += 1
        self.is_clear = True

    def zero_grad(self) -> None:
        """Drop the gradients of a step that was not taken; `step` has cleared its own."""
        if not self.is_clear:
            self.grad_N.zero_()
            self.is_clear = True

    def masters(self) -> dict[str, Tensor]:
        """float32 masters by parameter name, of the parameters that have them."""
        return {
            name: group.view(group.weights_N, name)
            for group in self.groups
            if group.kind == "masters"
            for name in group.places
        }

    def load_masters(self, tensors: Mapping[str, Tensor]) -> None:
        """Take masters from a model's tensors and round the compute copies from them again."""
        for group in self.groups:
            if group.copy_N is not None:
                for name in group.places:
                    group.view(group.weights_N, name).copy_(tensors[name])
                group.copy_N.copy_(group.weights_N)

    def tensors(self) -> dict[str, Tensor]:
        """Moments as `<parameter>.<moment>`, and the counts of steps."""
        moments = {
            f"{name}.{moment}": group.view(flat_N, name)
            for group in self.groups
            for moment, flat_N in _moments(group)
            for name in group.places
        }
        return {**moments, "steps": self.steps, "calls": torch.tensor(self.calls)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` returned.

        Raises:
            InputError: The state is of another parameter mode or another dtype of moments.
        """
        own = self.tensors()
        if set(own) != set(tensors):
            raise InputError(
                "trainer.weights",
                self.weights,
                "the checkpoint was written in another mode; keep it",
            )
        for name, tensor in tensors.items():
            if tensor.dtype != own[name].dtype:
                raise InputError(
                    "trainer.optim.moments",
                    self.config.moments,
                    f"the checkpoint holds {str(tensor.dtype).removeprefix('torch.')}; keep it",
                )
            own[name].copy_(tensor)
        self.calls = int(tensors["calls"])

    def _key(self, number: int) -> int:
        """32 bits of seed, step and group; below 2^31, so that the kernel's argument has one type."""
        mixed = torch.tensor([self.seed & 0xFFFFFFFF, self.calls & 0xFFFFFFFF, number])
        key = torch.zeros((), dtype=torch.int64)
        for part in mixed:
            key = adamw.reference.scramble(key ^ part)
        return int(key) & 0x7FFFFFFF

    def _update(self, group: Group, device_scalars: Tensor, scalars: Scalars) -> None:
        self.update(
            group.weights_N,
            group.grad_N,
            group.exp_avg_N,
            group.exp_avg_sq_N,
            device_scalars,
            scalars,
            group.copy_N,
        )


def _moments(group: Group) -> Iterator[tuple[str, Tensor]]:
    yield "exp_avg", group.exp_avg_N
    yield "exp_avg_sq", group.exp_avg_sq_N


def _layout(members: Mapping[str, nn.Parameter]) -> tuple[dict[str, int], int]:
    """Start of each parameter and the length of the whole."""
    starts: dict[str, int] = {}
    end = 0
    for name, parameter in members.items():
        starts[name] = end
        end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
    return starts, end


def _add_to_main(parameter: Tensor) -> None:
    """After autograd has filled `.grad`: add it in float32 and let it go."""
    if parameter.grad is not None:  # None where the operator has added there itself
        parameter.main_grad.add_(parameter.grad)  # type: ignore[attr-defined]
        parameter.grad = None
