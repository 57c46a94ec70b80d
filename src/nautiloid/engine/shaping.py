"""What changes logits before tokens are drawn: structures, least lengths, biases, penalties.

The order is vLLM's. A batch in which no request asks for any of it never comes here.

Suffixes: B rows of the batch, R some of them, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from nautiloid.engine.penalties import Penalties
from nautiloid.engine.request import Request

log = logging.getLogger("nautiloid.engine")


class Shaper:
    """Applies the settings of each request to its row of the logits."""

    def __init__(self, device: torch.device):
        self.device = device
        self.penalties = Penalties(device)
        # rows, ids and values of the last batch with biases, kept while it stays the same
        self.biases: tuple[tuple[tuple[int, int], ...], Tensor, Tensor, Tensor] | None = None

    def apply(self, logits_BV: Tensor, requests: Sequence[Request]) -> None:
        """Change float32 logits in place; rows whose next id is forced stay as they are."""
        assert logits_BV.dtype == torch.float32
        rows = [
            (row, request)
            for row, request in enumerate(requests)
            if request.is_shaped and not (request.span and request.span.forced)
        ]
        self._mask(logits_BV, [(row, r) for row, r in rows if r.follows_grammar])
        self._bias(logits_BV, rows)
        penalized = [(row, r) for row, r in rows if r.params.has_penalties]
        if penalized:
            self.penalties.apply(logits_BV, penalized)

    def forget(self, request: Request) -> None:
        """Drop what is kept for a request that has ended."""
        if request.is_shaped:
            self.penalties.forget(request.id)

    def _mask(self, logits_BV: Tensor, rows: Sequence[tuple[int, Request]]) -> None:
        if not rows:
            return
        states = [request.grammar for _, request in rows if request.grammar is not None]
        allowed_RV = states[0].grammars.masks(states, self.device)
        for (_, request), state in zip(rows, states, strict=True):
            if state.error:  # nothing is allowed, so the row is not finite and the request fails
                log.error("request %d: structured output: %s", request.id, state.error)
        rows_R = torch.tensor([row for row, _ in rows], device=self.device)
        logits_BV[rows_R] = logits_BV[rows_R].masked_fill(~allowed_RV, -torch.inf)

    def _bias(self, logits_BV: Tensor, rows: Sequence[tuple[int, Request]]) -> None:
        held = [
            (row, token_id)
            for row, request in rows
            if len(request.ids) < request.params.min_tokens
            for token_id in request.stop_ids
        ]
        if held:
            row, token_id = torch.tensor(held, device=self.device).unbind(1)
            logits_BV[row, token_id] = -torch.inf
        biased = [(row, request) for row, request in rows if request.params.logit_bias]
        if not biased:
            return
        key = tuple((row, request.id) for row, request in biased)
        if self.biases is None or self.biases[0] != key:
            entries = [(row, *entry) for row, r in biased for entry in r.params.logit_bias.items()]
            row, token_id, bias = zip(*entries, strict=True)
            at = torch.tensor([row, token_id], device=self.device)
            value = torch.tensor(bias, dtype=torch.float32, device=self.device)
            self.biases = (key, at[0], at[1], value)
        _, row, token_id, value = self.biases
        logits_BV[row, token_id] += value  # an id stands once in a row
