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
from nautiloid.ops.sampling.counters import seed_tensor, uniforms
from nautiloid.ops.sampling.draw import Filters, Target, draw


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
        raw = [row for row, r in enumerate(requests) if r.params.raw_logprobs]
        raw_RV = logits_BV[raw].log_softmax(-1) if raw else None
        if any(request.is_shaped for request in requests):
            self.shaper.apply(logits_BV, requests)
        ids, logprobs = self._draw(logits_BV, requests)
        fine = [math.isfinite(value) for value in logprobs]
        forced = [
            row
            for row, r in enumerate(requests)
            if r.span is not None and r.span.forced and fine[row]
        ]
        if forced:
            for row in forced:
                span = requests[row].span
                assert span is not None
                ids[row] = span.forced[0]
            plain_RV = logits_BV[forced].log_softmax(-1)
            _put(logprobs, forced, _at(plain_RV, [ids[row] for row in forced]))
        tops: dict[int, Mapping[int, float]] = {}
        if raw_RV is not None:
            values = _at(raw_RV, [ids[row] for row in raw])
            # what was not finite after shaping stays so
            _put(
                logprobs,
                raw,
                [v if fine[row] else logprobs[row] for v, row in zip(values, raw, strict=True)],
            )
            counts = [requests[row].params.logprobs for row in raw]
            if any(counts):
                tops = dict(zip(raw, _best(raw_RV, counts), strict=True))
        listed = [row for row, r in enumerate(requests) if r.params.logprobs and row not in tops]
        if listed:
            params = [requests[row].params for row in listed]
            tops |= zip(listed, best_logprobs(logits_BV[listed], params), strict=True)
        return [
            Pick(
                ids[row], logprobs[row], tops.get(row) if r.params.logprobs and fine[row] else None
            )
            for row, r in enumerate(requests)
        ]

    def _draw(
        self, logits_BV: Tensor, requests: Sequence[Request]
    ) -> tuple[list[int], list[float]]:
        request_ids = tuple(request.id for request in requests)
        settings = self.settings
        if settings is None or settings.request_ids != request_ids:
            settings = self.settings = Settings.of(
                [r.params for r in requests], self.device, request_ids
            )
        if settings.is_greedy:
            # what `sample` returns for such rows, without sorting and cumulating
            ids_B, logprob_B = greedy(logits_BV)
        else:
            positions_B = torch.tensor([len(r.ids) for r in requests], device=self.device)
            seeds_B = seed_tensor([r.seed for r in requests], self.device)
            ids_B, logprob_B = self._sample(logits_BV, settings.tensors, seeds_B, positions_B)
        return ids_B.tolist(), logprob_B.tolist()

    def _sample(
        self,
        logits_BV: Tensor,
        tensors: tuple[Tensor, Tensor, Tensor, Tensor],
        seeds_B: Tensor,
        positions_B: Tensor,
    ) -> tuple[Tensor, Tensor]:
        if self.device.type != "cuda":
            return sample(logits_BV, *tensors, uniforms(seeds_B, positions_B))
        temperature_B, top_k_B, top_p_B, min_p_B = tensors
        target = Target.empty(len(positions_B), self.device)
        rows_B = torch.arange(len(positions_B), dtype=torch.int32, device=self.device)
        filters = Filters(min_p_B, top_k_B.int(), top_p_B)
        newest = torch.empty_like(target.ids_B)  # the loop tells the device what was taken
        draw(logits_BV, temperature_B, seeds_B, positions_B.int(), target, newest, rows_B, filters)
        return target.ids_B, target.logprobs_B

    def forget(self, request: Request) -> None:
        """Drop what is kept for a request that has ended."""
        self.shaper.forget(request)


def top_logprobs(logits_V: Tensor, params: SamplingParams) -> dict[int, float]:
    """`best_logprobs` of one row."""
    return best_logprobs(logits_V[None], [params])[0]


def best_logprobs(logits_BV: Tensor, params: Sequence[SamplingParams]) -> list[dict[int, float]]:
    """The most likely ids and their log probabilities in the distributions that are sampled from.

    Like the sampled token's, those of a greedy request come from the plain softmax; tokens that
    the filters exclude are left out.
    """
    settings = Settings.of(params, logits_BV.device)
    if not settings.is_greedy:
        temperature_B = settings.tensors[0]
        filtered = filter_logits(logits_BV, *settings.tensors)
        logits_BV = torch.where((temperature_B == 0)[:, None], logits_BV, filtered)
    return _best(logits_BV.log_softmax(-1), [p.logprobs for p in params])


def _best(logprobs_BV: Tensor, counts: Sequence[int]) -> list[dict[int, float]]:
    values, ids = logprobs_BV.topk(max(counts))
    rows = zip(ids.tolist(), values.tolist(), counts, strict=True)
    return [
        {i: v for i, v in zip(row[:n], value[:n], strict=True) if v > -math.inf}
        for row, value, n in rows
    ]


def _at(logprobs_RV: Tensor, ids: Sequence[int]) -> list[float]:
    index = torch.tensor(ids, device=logprobs_RV.device)
    return logprobs_RV.gather(1, index[:, None])[:, 0].tolist()


def _put(values: list[float], rows: Sequence[int], new: Sequence[float]) -> None:
    for row, value in zip(rows, new, strict=True):
        values[row] = value
