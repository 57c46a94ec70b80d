"""Experts forced to be uniform, for benchmarks of models with random weights.

Routers of random networks send nearly all tokens to the same experts, so decoding would read far fewer
of them than with trained weights.

Suffixes: T tokens, E experts, K experts a token, L layers with experts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.model.decoder import Decoder

# tokens whose experts are drawn before they repeat
POOL_TOKENS = 16_384


class UniformRoutes:
    """Distinct experts drawn independently and uniformly for every token and layer.

    Raises:
        InputError: The model has no experts, or layers with different numbers of them.
    """

    def __init__(self, model: Decoder, seed: Seed):
        sizes = [
            (layer.config.n_routed_experts, layer.config.num_experts_per_tok)
            for layer in model.moe_layers()
        ]
        if not sizes:
            raise InputError("routing", "uniform", "this model has no experts; leave it out")
        if len(set(sizes)) > 1:
            raise InputError("routing", "uniform", "its layers differ in their experts")
        experts, chosen = sizes[0]
        device = model.device
        generator = torch.Generator(device).manual_seed(seed.child("routes").value)
        self.layers_LTK = torch.empty(
            len(sizes), POOL_TOKENS, chosen, dtype=torch.int16, device=device
        )
        for layer_TK in self.layers_LTK:
            # the largest of independent uniform numbers are a uniform choice without replacement
            scores = torch.rand(POOL_TOKENS, experts, device=device, generator=generator)
            layer_TK.copy_(scores.topk(chosen, sorted=False).indices)
        self.at = 0

    def next(self, tokens: int) -> int:
        """First place in the pool of the experts of so many tokens."""
        at, self.at = self.at, (self.at + tokens) % POOL_TOKENS
        return at

    def take(self, rows_T: Tensor) -> tuple[Tensor, ...]:
        """int16 [T, K] of each layer, for the tokens at these places."""
        return self.layers_LTK.index_select(1, rows_T).unbind(0)

    def run(self, tokens: int) -> tuple[Tensor, ...]:
        """int16 [T, K] of each layer, for the next tokens."""
        at = torch.arange(tokens, device=self.layers_LTK.device)
        return self.take((at + self.next(tokens)) % POOL_TOKENS)

    def distinct_experts(self, tokens: int) -> float:
        """Mean number of different experts that a layer reads for so many tokens."""
        groups = self.layers_LTK[:, : POOL_TOKENS // tokens * tokens]
        groups = groups.reshape(len(groups), -1, tokens * groups.shape[-1])[:, :64].sort(-1).values
        return float((groups.diff(dim=-1) != 0).sum(-1).float().mean()) + 1
