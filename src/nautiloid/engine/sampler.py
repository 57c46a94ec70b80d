"""From logits to tokens: every request has its own settings and its own random numbers.

Structures, biases and penalties change the logits first (`engine/shaping.py`), then come temperature and
filters (`ops/sampling`).

Suffixes: B rows of the batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nautiloid.core.types import SamplingParams
from nautiloid.engine.request import Request
from nautiloid.engine.shaping import Shaper
from nautiloid.ops.sampling import filter_logits, greedy, sample

MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Pick:
    """The next token of one request; `logprob` is NaN when its logits were not finite."""

    id: int
    logprob: float
    top: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Settings:
    """Sampling settings of a batch, kept while the batch stays the same.

    Args:
        tensors: Temperature, top-k, top-p and min-p, each [B].
    """

    request_ids: tuple[int, ...]
    tensors: tuple[Tensor, Tensor, Tensor, Tensor]
    is_greedy: bool

    @classmethod
    def of(
        cls,
        params: Sequence[SamplingParams],
        device: torch.device,
        request_ids: tuple[int, ...] = (),
    ) -> Settings:
        """Collect the settings in order."""
        return cls(
            request_ids,
            (
                torch.tensor([float(p.temperature) for p in params], device=device),
                torch.tensor([p.top_k for p in params], device=device),
                torch.tensor([float(p.top_p) for p in params], device=device),
                torch.tensor([float(p.min_p) for p in params], device=device),
            ),
            all(p.temperature == 0 for p in params),
        )


class Sampler:
    """Picks the next token of every row.

    Attributes:
        shaper: Changes the logits of requests whose settings ask for it.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.shaper = Shaper(device)
        self.settings: Settings | None = None

    def pick(self, logits_BV: Tensor, requests: Sequence[Request]) -> list[Pick]:
        """Sample, or take the token that a thinking budget forces; may change the logits."""
        request_ids = tuple(request.id for request in requests)
        settings = self.settings
        if settings is None or settings.request_ids != request_ids:
            settings = self.settings = Settings.of(
                [r.params for r in requests], self.device, request_ids
            )
        raw = {
            row: logits_BV[row].log_softmax(-1)
            for row, request in enumerate(requests)
            if request.params.raw_logprobs
        }
        if any(request.is_shaped for request in requests):
            self.shaper.apply(logits_BV, requests)
        if settings.is_greedy:
            # what `sample` returns for such rows, without sorting and cumulating
            ids_B, logprob_B = greedy(logits_BV)
        else:
            draws = [uniform(request.seed, len(request.ids)) for request in requests]
            uniforms_B = torch.tensor(draws, dtype=torch.float64, device=self.device)
            ids_B, logprob_B = sample(logits_BV, *settings.tensors, uniforms_B)
        ids, logprobs = ids_B.tolist(), logprob_B.tolist()
        picks = list[Pick]()
        for row, request in enumerate(requests):
            pick = Pick(ids[row], logprobs[row])
            if not math.isfinite(pick.logprob):
                picks.append(pick)
                continue
            if request.span is not None and request.span.forced:
                token_id = request.span.forced[0]
                plain_V = torch.log_softmax(logits_BV[row].float(), -1)
                pick = Pick(token_id, float(plain_V[token_id]))
            if row in raw:
                pick = Pick(pick.id, float(raw[row][pick.id]))
            if request.params.logprobs:
                top = (
                    _best(raw[row], request.params.logprobs)
                    if row in raw
                    else top_logprobs(logits_BV[row], request.params)
                )
                pick = Pick(pick.id, pick.logprob, top)
            picks.append(pick)
        return picks

    def forget(self, request: Request) -> None:
        """Drop what is kept for a request that has ended."""
        self.shaper.forget(request)


def top_logprobs(logits_V: Tensor, params: SamplingParams) -> dict[int, float]:
    """The most likely ids and their log probabilities in the distribution that is sampled from.

    Like the sampled token's, those of a greedy request come from the plain softmax; tokens that
    the filters exclude are left out.
    """
    logits_BV = logits_V[None]
    if params.temperature > 0:
        logits_BV = filter_logits(logits_BV, *Settings.of([params], logits_V.device).tensors)
    return _best(logits_BV[0].log_softmax(-1), params.logprobs)


def _best(logprobs_V: Tensor, count: int) -> dict[int, float]:
    values, ids = logprobs_V.topk(count)
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return {token_id: value for token_id, value in pairs if value > -math.inf}


def uniform(seed: int, position: int) -> float:
    """The number in [0, 1) that a request draws at a position (SplitMix64, 53 bits).

    >>> uniform(1, 0) == uniform(1, 0) != uniform(1, 1)
    True
    """
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53
