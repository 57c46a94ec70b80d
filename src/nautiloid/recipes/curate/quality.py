"""A scorer of texts from 0 to 5, trained on your labels. CPU; 10,000 documents take about a minute.

    nautiloid curate curate/quality --labels labels.jsonl
    nautiloid curate curate/quality --preset debug      (labels by rules, a few seconds)

Each line of `labels.jsonl` is {"text": "...", "label": 0 to 5}. The model is `runs/curate-quality/model`;
`{"kind": "score", "scorer": {"kind": "linear", "model": ...}}` in a curation recipe uses it.
"""

from nautiloid.curate.quality.linear import FeatureConfig
from nautiloid.curate.quality.recipe import QualityRecipe


def recipe() -> QualityRecipe:
    return QualityRecipe(name="curate-quality")


def debug() -> QualityRecipe:
    features = FeatureConfig(bits=14, max_windows=4)
    return QualityRecipe(
        name="curate-quality-debug", trial_documents=300, features=features, l2=(1e-2, 1e-3)
    )
