"""Recipe type of off-policy distillation from a resident teacher. Torch-free until it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from nautiloid.core.config import Recipe
from nautiloid.core.run import Run
from nautiloid.train.config import DistillationConfig
from nautiloid.train.recipe import TrainRecipe, is_finished, model_folder


@Recipe.registry("train.distill")
@dataclass(frozen=True, kw_only=True)
class DistillRecipe(TrainRecipe):
    """The student follows the teacher's distribution over the whole vocabulary.

    Args:
        teacher: Folder of the teacher (or of a finished run); its tokenizer must be the student's.
    """

    teacher: str
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def run(self, run: Run) -> None:
        """Train, then write the model folder."""
        if is_finished(run):
            return
        from nautiloid.model.checkpoint import load
        from nautiloid.train.distillation import DistillationLoss
        from nautiloid.train.session import Session

        teacher_folder = model_folder(self.teacher, "teacher")
        session = Session(run, self)
        session.check_same_tokenizer(teacher_folder, "teacher")
        teacher = load(teacher_folder, device=self.trainer.device, ops=self.ops)
        session.train(
            DistillationLoss(
                self.trainer.loss, teacher, session.model, self.distillation, session.byte_lengths
            )
        )
