"""The model card of a final folder, written from the record of its run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from nautiloid.data.source import Source
from nautiloid.train.recipe import TrainRecipe

_LICENCE_SAMPLES = 100


def data_facts(recipe: TrainRecipe) -> list[dict[str, Any]]:
    """Name, kind, weight, licences and fingerprint of every part of the data."""
    facts: list[dict[str, Any]] = []
    for number, phase in enumerate(recipe.data.phases, 1):
        for part in phase.parts:
            facts.append(
                {
                    "phase": number,
                    "name": part.label,
                    "kind": part.source.kind,
                    "weight": part.weight,
                    "licences": _licences(part.source),
                    "fingerprint": part.source.fingerprint(),
                }
            )
    return facts


def _licences(source: Source) -> list[str]:
    """Licences of the first samples, which stand for the rest."""
    samples = islice(source.read(), _LICENCE_SAMPLES)
    return sorted({sample.licence or source.licence or "not stated" for sample in samples})


def model_card(recipe: TrainRecipe, provenance: Mapping[str, Any]) -> str:
    """Markdown with the front matter of the Hugging Face hub."""
    figures: Mapping[str, Any] = provenance["figures"]
    trainer = recipe.trainer
    rows = "\n".join(
        f"| {d['phase']} | {d['name']} | {d['kind']} | {d['weight']:g} | {', '.join(d['licences'])} | "
        f"`{d['fingerprint'][:12]}` |"
        for d in provenance["data"]
    )
    results = "\n".join(f"| {name} | {value:.5g} |" for name, value in figures.items())
    return f"""---
library_name: nautiloid
pipeline_tag: text-generation
tags: [nautiloid, {provenance["model"]["family"]}]
---

# {recipe.name}

A model of {provenance["parameters"]:,} parameters (layer pattern `{provenance["model"]["pattern"]}`), made by
the Nautiloid recipe `{provenance["kind"]}`{f" from `{recipe.init}`" if recipe.init else " from random weights"}.

## Data

{provenance["tokens"]:,} tokens of training data.

| phase | part | source | weight | licences | fingerprint |
|---|---|---|---|---|---|
{rows}

## Settings

| setting | value |
|---|---|
| steps | {trainer.num_steps:,} of {recipe.tokens_per_step:,} tokens |
| optimizer | AdamW, peak rate {trainer.optim.lr:g}, betas {trainer.optim.betas}, decay {trainer.optim.weight_decay:g} |
| schedule | {trainer.schedule.kind}, {trainer.schedule.warmup_steps} warm-up steps |
| gradient norm limit | {trainer.clip_norm:g} |
| seed | {recipe.seed} |

All settings are in `provenance.json`.

## Results

| figure | value |
|---|---|
{results}

## Use

```python
import nautiloid

engine = nautiloid.Engine("path/to/this/folder")
print(engine.generate(["Once"], nautiloid.SamplingParams(max_tokens=32))[0].text)
```

The folder also loads in transformers, vLLM and SGLang where they know the family.
It is as good, and as safe, as its data: nothing beyond the figures above was measured.
"""
