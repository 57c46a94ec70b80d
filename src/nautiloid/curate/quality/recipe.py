"""Recipe type of a quality scorer: labelled texts in, a linear model out."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.files import sha256, write_json
from nautiloid.core.run import Run
from nautiloid.curate.quality.heuristic import Heuristic
from nautiloid.curate.quality.labels import Labelled, check_labels, read_labels
from nautiloid.curate.quality.linear import FeatureConfig

log = logging.getLogger("nautiloid.curate")


@Recipe.registry("curate.quality.recipe")
@dataclass(frozen=True, kw_only=True)
class QualityRecipe(Recipe):
    """Trains a linear scorer; the folder `model` of the run is what the stage `score` takes.

    Texts are split by their hash: 80 % to train, 10 % to choose the penalty and calibrate, 10 %
    for the figures that are reported (`metrics.json`).

    Args:
        labels: JSONL files of texts with a score from 0 to 5, such as a language model gave them.
        text_field: Field of the text.
        label_field: Field of the score.
        trial_documents: Where `labels` is empty, take this many texts of installed packages and
            label them by the rules of the heuristic scorer: a trial of the machinery, no judgement.
        features: How texts become vectors.
        l2: Penalties to choose from.
    """

    verb: ClassVar[str] = "curate"

    labels: tuple[str, ...] = ()
    text_field: str = "text"
    label_field: str = "label"
    trial_documents: int = 0
    features: FeatureConfig = field(default_factory=FeatureConfig)
    l2: tuple[float, ...] = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4)

    def __post_init__(self) -> None:
        if not self.l2 or not all(value > 0 for value in self.l2):
            raise InputError("l2", self.l2, "use one or more numbers above 0")

    def summary(self) -> dict[str, str]:
        """Where labels come from and how large the model is."""
        source = ", ".join(self.labels) or f"{self.trial_documents} texts labelled by rules"
        return {"labels": source, "model": f"{4 << self.features.bits:,} bytes"}

    def run(self, run: Run) -> None:
        """Read, fit, measure on held-out texts, write."""
        from nautiloid.curate.quality.fit import fit, measure

        items = self._items()
        counts = Counter(round(item.label) for item in items)
        log.info("%d labels: %s", len(items), dict(sorted(counts.items())))
        model = fit(items, self.features, self.l2)
        test = [item for item in items if item.split == "test"]
        quality = measure(model.score([i.text for i in test]), [i.label for i in test])
        figures = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(quality).items()
        }
        facts = {
            "labels": {path: sha256(path) for path in self.labels},
            "labels_by_rules": not self.labels,
            "documents": len(items),
            "labels_by_class": {str(label): n for label, n in sorted(counts.items())},
            "held_out": figures,
        }
        replace(model, facts=facts).save(run.model)
        write_json(run.path / "metrics.json", facts)
        run.finish(model=str(run.model), **{f"held_out_{k}": v for k, v in figures.items()})

    def _items(self) -> list[Labelled]:
        if self.labels or not self.trial_documents:
            return read_labels(self.labels, self.text_field, self.label_field)
        from nautiloid.data.sources.python_install import PythonInstall

        source = PythonInstall(split="all", max_documents=self.trial_documents)
        texts = [sample.text for sample in islice(source.read(), self.trial_documents)]
        scores = Heuristic().score([text or "" for text in texts])
        pairs = zip(texts, scores, strict=True)
        items = [Labelled(text, score) for text, score in pairs if text]
        check_labels(items, f"{len(items)} texts of installed packages")
        return items
