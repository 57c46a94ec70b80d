"""The objective of a student with a resident teacher.

Suffixes: T tokens of one micro-batch, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.data.batch import Batch
from nautiloid.model.context import Context, Output
from nautiloid.ops.head import kl
from nautiloid.train.config import DistillationConfig, LossConfig
from nautiloid.train.losses import LanguageModelLoss, Totals

if TYPE_CHECKING:
    from nautiloid.model.decoder import Decoder


class DistillationLoss(LanguageModelLoss):
    """Full-vocabulary KL between the heads of teacher and student, from the hidden states of both.

    MTP and balance terms are those of the language-model loss.

    Raises:
        InputError: Teacher and student have different vocabularies.
    """

    def __init__(
        self,
        config: LossConfig,
        teacher: Decoder,
        student: Decoder,
        distillation: DistillationConfig,
        byte_lengths: Sequence[int] | None = None,
    ):
        super().__init__(config, byte_lengths)
        if teacher.config.vocab_size != student.config.vocab_size:
            raise InputError(
                "teacher",
                f"vocabulary of {teacher.config.vocab_size}",
                f"the student has {student.config.vocab_size}; both need the same tokenizer",
            )
        self.teacher = teacher.requires_grad_(False).eval()
        self.distillation = distillation

    def main(
        self, model: Decoder, batch: Batch, output: Output, weight_T: Tensor, totals: Totals
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of KL and cross-entropy; `loss` is that sum."""
        settings = self.distillation
        with torch.no_grad():
            ctx = Context(lengths=batch.lengths, positions_T=batch.positions_T)
            teacher_TD = self.teacher.hidden(batch.tokens_T, ctx).hidden_TD
        divergence = kl(
            output.hidden_TD,
            model.head_weight,
            teacher_TD,
            self.teacher.head_weight,
            weight_T,
            direction=settings.direction,
            temperature=settings.temperature,
        )
        kl_mean = divergence * settings.temperature**2 / totals.weight
        loss = settings.kl_weight * kl_mean
        figures = {"kl": kl_mean.detach()}
        if settings.ce_weight:
            ce, ce_figures = self.next_token(
                model,
                batch,
                output,
                weight_T,
                totals,
                z_loss=self.config.z_loss,
                factor=settings.ce_weight,
            )
            loss = loss + settings.ce_weight * ce
            figures |= ce_figures
        return loss, figures | {"loss": loss.detach()}
