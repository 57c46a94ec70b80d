"""Objectives: what a step minimises, as shares that add up over its micro-batches.

Suffixes: T tokens of one micro-batch, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from nautiloid.data.batch import Batch
from nautiloid.model.context import Context, Output
from nautiloid.model.mtp import shift_within
from nautiloid.ops.head import cross_entropy
from nautiloid.train.balance import per_layer
from nautiloid.train.config import LossConfig

if TYPE_CHECKING:
    from nautiloid.model.decoder import Decoder


@dataclass(frozen=True)
class Totals:
    """What the sums of one optimizer step are divided by, known before its first forward.

    Attributes:
        weight: Loss weight of all targets.
        mtp_weights: The same for the targets of each MTP depth.
        text_bytes: UTF-8 bytes of the targets, times their weight.
        num_batches: Micro-batches of the step.
    """

    weight: float
    mtp_weights: tuple[float, ...]
    text_bytes: float
    num_batches: int


@dataclass(frozen=True)
class Terms:
    """One micro-batch's share of a step.

    Attributes:
        loss: Scalar to differentiate; summed over the micro-batches it is the loss of the step.
        figures: Detached scalars that are summed the same way.
        counts: int64 [E] choices of each expert, per MoE layer.
    """

    loss: Tensor
    figures: dict[str, Tensor]
    counts: tuple[Tensor, ...]


class Objective(Protocol):
    """Maps micro-batches to a loss; the trainer knows nothing else about it."""

    def totals(self, model: Decoder, batches: Sequence[Batch]) -> Totals:
        """Normalisers of a step over `batches`."""
        ...

    def __call__(self, model: Decoder, batch: Batch, totals: Totals) -> Terms:
        """Forward one micro-batch."""
        ...


def token_weights(batch: Batch, mean_over: Literal["tokens", "samples"]) -> Tensor:
    """Loss weights [T]: as they are, or divided by the number of trained tokens of their sample.

    Either way the loss is `sum(w * ce) / sum(w)`: L_tok and L_samp of specs/post_training 1.3.
    """
    if mean_over == "tokens":
        return batch.weight_T
    trained_T = ((batch.weight_T != 0) & (batch.sample_T >= 0)).to(torch.float32)
    sample_T = batch.sample_T.clamp(min=0).long()
    # as many counters as tokens: the number of samples is known to the device alone
    count = torch.zeros_like(trained_T).index_add_(0, sample_T, trained_T)
    return batch.weight_T / count.clamp(min=1)[sample_T]


def mtp_targets(batch: Batch, weight_T: Tensor, depth: int) -> list[tuple[Tensor, Tensor]]:
    """Targets and weights of each MTP depth (specs/architecture 4.1, 4.2).

    Depth j at position t predicts the token after `targets_T[t + j - 1]`, which is `targets_T[t + j]`;
    the mask moves with the labels and stops at the end of each packed sequence.
    """
    return [
        (
            shift_within(batch.targets_T, batch.lengths, j, 0),
            shift_within(weight_T, batch.lengths, j, 0.0),
        )
        for j in range(1, depth + 1)
    ]


def mtp_inputs(batch: Batch, depth: int) -> list[Tensor]:
    """Tokens whose embeddings enter each MTP depth: `token[t + j]`, which is `targets_T[t + j - 1]`."""
    return [
        shift_within(batch.targets_T, batch.lengths, j, 0) if j else batch.targets_T
        for j in range(depth)
    ]


def context_of(batch: Batch) -> Context:
    """The training context of a micro-batch; padding stays out of the expert statistics."""
    return Context(
        lengths=batch.lengths,
        positions_T=batch.positions_T,
        row_lengths=batch.row_lengths,
        valid_T=batch.sample_T >= 0 if batch.has_padding else None,
        replay=batch.routes,
        collect_aux=True,
    )


class LanguageModelLoss:
    """Cross-entropy of the next token, MTP, balance and z-loss.

    Args:
        config: Weights of the terms.
        byte_lengths: UTF-8 bytes of each token id; None leaves bits per byte out.
    """

    def __init__(self, config: LossConfig, byte_lengths: Sequence[int] | None = None):
        self.config = config
        self.byte_lengths = (
            None if byte_lengths is None else torch.tensor(byte_lengths, dtype=torch.float64)
        )

    def totals(self, model: Decoder, batches: Sequence[Batch]) -> Totals:
        """Normalisers of a step over `batches`."""
        depth = self._depth(model)
        weight, text_bytes, mtp_weights = 0.0, 0.0, [0.0] * depth
        for batch in batches:
            weight_T = token_weights(batch, self.config.mean_over).double()
            weight += float(weight_T.sum())
            for j, (_, shifted_T) in enumerate(mtp_targets(batch, weight_T, depth)):
                mtp_weights[j] += float(shifted_T.sum())
            if self.byte_lengths is not None:
                lengths_T = self.byte_lengths[batch.targets_T.cpu()]
                text_bytes += float((weight_T.cpu() * lengths_T).sum())
        return Totals(weight or 1.0, tuple(w or 1.0 for w in mtp_weights), text_bytes, len(batches))

    def __call__(self, model: Decoder, batch: Batch, totals: Totals) -> Terms:
        """Forward one micro-batch."""
        depth = self._depth(model)
        weight_T = token_weights(batch, self.config.mean_over)
        output = model.hidden(batch.tokens_T, context_of(batch), mtp_inputs(batch, depth))
        loss, figures = self.main(model, batch, output, weight_T, totals)
        for j, (targets_T, shifted_T) in enumerate(mtp_targets(batch, weight_T, depth)):
            divisor = totals.mtp_weights[j] * depth
            head = cross_entropy(
                output.mtp[j],
                model.head_weight,
                targets_T,
                shifted_T,
                grad_scale=self.config.mtp_weight / divisor,
            )
            share = head.total / divisor
            loss = loss + self.config.mtp_weight * share
            figures["mtp_loss"] = figures.get("mtp_loss", torch.zeros_like(share)) + share.detach()
        counts: tuple[Tensor, ...] = ()
        if output.aux is not None and output.aux.counts:
            counts = per_layer(model.config, output.aux.counts)
            balance = output.aux.balance_loss / totals.num_batches
            if self.config.balance_weight:
                loss = loss + self.config.balance_weight * balance
            figures["balance_loss"] = balance.detach() / len(output.aux.counts)
        return Terms(loss, figures, counts)

    def main(
        self, model: Decoder, batch: Batch, output: Output, weight_T: Tensor, totals: Totals
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The term that the trunk's hidden states enter, and its figures."""
        return self.next_token(model, batch, output, weight_T, totals, z_loss=self.config.z_loss)

    def next_token(
        self,
        model: Decoder,
        batch: Batch,
        output: Output,
        weight_T: Tensor,
        totals: Totals,
        *,
        z_loss: float = 0.0,
        factor: float = 1.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the next token in nats, and bits per byte of text.

        Args:
            model: Gives the head.
            batch: Gives the targets.
            output: Of its forward.
            weight_T: Loss weights.
            totals: Normalisers of the step.
            z_loss: Coefficient of the z-loss, which the loss includes.
            factor: What the caller multiplies the loss by.
        """
        head = cross_entropy(
            output.hidden_TD,
            model.head_weight,
            batch.targets_T,
            weight_T,
            z_loss=z_loss,
            grad_scale=factor / totals.weight,
        )
        loss = head.total / totals.weight
        ce_sum = head.total.detach() - head.z
        figures = {"loss": ce_sum / totals.weight}
        if z_loss:
            figures["z_loss"] = head.z / totals.weight
        if totals.text_bytes:
            figures["bits_per_byte"] = ce_sum / (math.log(2) * totals.text_bytes)
        return loss, figures

    def _depth(self, model: Decoder) -> int:
        mtp = model.config.mtp
        return mtp.depth if mtp is not None and self.config.mtp_weight else 0
