"""Cases of the decoding kernels of the mixer, against the plain formulas in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.suites.kernels import DEVICE, normal, relative_error
from tests.suites.ops import poisoned_memory
from torch import Tensor

from nautiloid.ops.mamba import decode, reference
from nautiloid.ops.mamba.reference import MixerSizes

SLOTS = 7


@dataclass(frozen=True)
class Case:
    """Sizes of a mixer."""

    heads: int = 4
    width: int = 16
    groups: int = 2
    state: int = 16
    taps: int = 4
    has_bias: bool = True
    limit: tuple[float, float] = reference.NO_LIMIT

    @property
    def sizes(self) -> MixerSizes:
        """What the operators are told."""
        return MixerSizes(self.width, self.groups, 1e-5, self.limit)

    @property
    def inner(self) -> int:
        """I."""
        return self.heads * self.width

    @property
    def channels(self) -> int:
        """C."""
        return self.inner + 2 * self.groups * self.state

    def weights(self) -> list[Tensor | None]:
        """Convolution, step sizes, decay, skip, norm; float64."""
        return [
            normal(self.channels, self.taps, scale=0.5),
            normal(self.channels, scale=0.3) if self.has_bias else None,
            normal(self.heads, seed=1),
            normal(self.heads, seed=2),
            normal(self.heads, seed=3),
            1 + normal(self.inner, scale=0.2),
        ]

    def states(self, waiting: int = 1) -> list[Tensor]:
        """Convolution, scan, pending tokens of all slots."""
        return [
            normal(SLOTS, self.taps - 1, self.channels),
            normal(SLOTS, self.heads, self.width, self.state),
            normal(SLOTS, waiting, self.channels + self.heads),
        ]

    def projected(self, rows: int, seed: int = 0) -> Tensor:
        """z | x B C | dt."""
        return normal(rows, self.inner + self.channels + self.heads, seed=seed)


def _seen(values: list[Tensor | None], dtype: torch.dtype) -> list[Tensor | None]:
    return [None if v is None else v.to(DEVICE, dtype) for v in values]


def _exact(values: list[Tensor | None]) -> list[Tensor | None]:
    return [None if v is None else v.double() for v in values]


def check_step(case: Case, slots: list[int], dtype: torch.dtype, bound: float) -> None:
    """Output and states of two steps; other slots keep every bit."""
    weights = _seen(case.weights(), dtype)
    conv, ssm, _ = case.states()
    conv, ssm = conv.to(DEVICE, dtype), ssm.to(DEVICE, torch.float32)
    exact_conv, exact_ssm, before = conv.double(), ssm.double(), ssm.clone()
    where = torch.tensor(slots, device=DEVICE, dtype=torch.int32)
    for seed in range(2):
        projected = case.projected(len(slots), seed).to(DEVICE, dtype)
        expected = reference.step(
            projected.double(), exact_conv, exact_ssm, where, *_exact(weights), case.sizes
        )
        with poisoned_memory():
            found = decode.step(projected, conv, ssm, where, *weights, case.sizes)
        assert relative_error(found, expected) <= bound
        assert relative_error(ssm[slots], exact_ssm[slots]) <= bound
        assert relative_error(conv[slots], exact_conv[slots]) == 0
    others = [s for s in range(SLOTS) if s not in slots]
    assert torch.equal(ssm[others], before[others])


def check_neighbours(dtype: torch.dtype) -> None:
    """A sequence whose numbers are not finite spoils no other; nor do several rows of the null slot."""
    case = Case()
    weights = _seen(case.weights(), dtype)
    slots = torch.tensor([2, 0, 6, 6, 6, 3], device=DEVICE, dtype=torch.int32)
    results: list[list[Tensor]] = []
    for is_bad in (False, True):
        conv, ssm, _ = (v.to(DEVICE, dtype) for v in case.states())
        projected = case.projected(6).to(DEVICE, dtype)
        if is_bad:
            projected[1] = float("nan")
            ssm[0] = float("nan")
        out = decode.step(projected, conv, ssm, slots, *weights, case.sizes)
        results.append([out[[0, 5]], conv[[2, 3]], ssm[[2, 3]]])
    for clean, beside in zip(*results, strict=True):
        assert torch.equal(clean, beside)


def check_random_rounding(dtype: torch.dtype, half: torch.dtype) -> None:
    """16-bit states keep the mean over seeds, take only the two neighbours, and repeat with a seed."""
    case = Case(heads=2)
    weights = _seen(case.weights(), dtype)
    slots = torch.tensor([1, 4], device=DEVICE, dtype=torch.int32)
    projected = case.projected(2).to(DEVICE, dtype)

    def run(kind: torch.dtype, seed: int | None) -> Tensor:
        conv, ssm, _ = case.states()
        conv = conv.to(DEVICE, dtype)
        ssm = (ssm * 10.0 ** torch.arange(-7, 3)[:SLOTS, None, None, None]).to(DEVICE, half)
        word = None if seed is None else torch.tensor([seed], device=DEVICE)
        ssm = ssm.to(kind)
        decode.step(projected, conv, ssm, slots, *weights, case.sizes, seed=word)
        return ssm[[1, 4]].double()

    exact = run(torch.float32, None)
    rounded = torch.stack([run(half, seed) for seed in range(6)])
    assert torch.equal(rounded[3], run(half, 3))
    nearest = run(half, None)
    spacing = torch.maximum(exact.abs() * torch.finfo(half).eps, torch.tensor(2.0**-24))
    assert bool(((rounded - exact).abs() <= spacing * 1.001).all())
    off = ((rounded.mean(0) - exact) / spacing).mean().abs()
    assert float(off) < 0.02, float(off)
    assert bool(((nearest - exact).abs() <= spacing * 1.001).all())
    assert not torch.equal(rounded[0], rounded[1])


def check_verify(case: Case, dtype: torch.dtype, bound: float, *, new: int = 3) -> None:
    """Two checks of drafts and a commit: outputs, states and pending tokens, also as plain steps."""
    weights = _seen(case.weights(), dtype)
    conv, ssm, pending = case.states(waiting=new)
    conv, pending = conv.to(DEVICE, dtype), pending.to(DEVICE, dtype)
    ssm = ssm.to(DEVICE, torch.float32)
    exact = [conv.double(), ssm.double(), pending.double()]
    plain = [conv.double(), ssm.double()]
    before = ssm.clone()
    slots = [4, 0, 5]
    where = torch.tensor(slots, device=DEVICE, dtype=torch.int32)
    # a fresh start, then all, some or none of the drafts count
    accepted = [[0, 0, 0], [1, new, 0], [new, 1, 2]]
    last: Tensor | None = None
    for turn, counts in enumerate(accepted):
        count = torch.tensor(counts, device=DEVICE, dtype=torch.int32)
        if last is not None:  # one by one, the tokens that count
            for b, slot in enumerate(slots):
                one = torch.tensor([slot], device=DEVICE)
                for t in range(counts[b]):
                    row = last[b * new + t, None].double()
                    reference.step(row, *plain, one, *_exact(weights), case.sizes)
        if turn == len(accepted) - 1:
            reference.commit(count, *exact, where, *_exact(weights)[:5], case.sizes)
            decode.commit(count, conv, ssm, pending, where, *weights[:5], case.sizes)
        else:
            last = case.projected(len(slots) * new, turn).to(DEVICE, dtype)
            args = last.double(), count, *exact, where, *_exact(weights)
            expected = reference.verify(*args, case.sizes)
            with poisoned_memory():
                found = decode.verify(last, count, conv, ssm, pending, where, *weights, case.sizes)
            assert relative_error(found, expected) <= bound
            assert relative_error(pending[slots], exact[2][slots]) == 0
        assert relative_error(ssm[slots], exact[1][slots]) <= bound
        assert relative_error(conv[slots], exact[0][slots]) == 0
        assert relative_error(exact[1][slots], plain[1][slots]) <= bound
        assert relative_error(exact[0][slots], plain[0][slots]) == 0
    others = [s for s in range(SLOTS) if s not in slots]
    assert torch.equal(ssm[others], before[others])
