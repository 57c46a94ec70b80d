"""Recipe type of off-policy distillation from a resident teacher. Torch-free until it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.run import Run
from nautiloid.train.config import DistillationConfig
from nautiloid.train.pretrain import PretrainRecipe
from nautiloid.train.recipe import TrainRecipe, is_finished, model_folder


@Recipe.registry("train.distill")
@dataclass(frozen=True, kw_only=True)
class DistillRecipe(TrainRecipe):
    """The student follows the teacher's distribution over the whole vocabulary.

    Args:
        teacher: Folder of the teacher (or of a finished run); its tokenizer must be the student's,
            and is taken when nothing else names one.
        teacher_recipe: Trains the teacher into `teacher/` of the run folder where `teacher` is None.
    """

    teacher: str | None = None
    teacher_recipe: PretrainRecipe | None = None
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher is None and self.teacher_recipe is None:
            raise InputError(
                "teacher", None, "name the folder of the teacher, or give teacher_recipe"
            )

    def _knows_tokenizer(self) -> bool:
        return True

    def run(self, run: Run) -> None:
        """Train the teacher if there is none, train the student, write the model folder."""
        if is_finished(run):
            return
        teacher_folder = self._teacher_folder(run)
        if teacher_folder is None:
            return

        from nautiloid.model.weights import load
        from nautiloid.train.distillation import DistillationLoss
        from nautiloid.train.session import Session

        recipe = self
        if self.tokenizer is None and self.init is None:
            recipe = replace(self, tokenizer=teacher_folder)
        session = Session(run, recipe)
        session.check_same_tokenizer(teacher_folder, "teacher")
        teacher = load(teacher_folder, device=self.trainer.device, dtype="float32", ops=self.ops)
        session.train(
            DistillationLoss(
                self.trainer.loss, teacher, session.model, self.distillation, session.byte_lengths
            )
        )

    def _teacher_folder(self, run: Run) -> str | None:
        """The teacher; None when its training was interrupted."""
        if self.teacher is not None:
            return model_folder(self.teacher, "teacher")
        assert self.teacher_recipe is not None
        inner = run.nested("teacher", self.teacher_recipe)
        return str(inner.model) if inner.is_done else None
