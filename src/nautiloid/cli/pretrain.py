"""`nautiloid pretrain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nautiloid.cli.recipe_verb import RecipeVerb
from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError

TEXT = """
Train a model on text: sources are mixed, tokenized, packed and fed to the trainer. The run folder
holds settings, metrics, checkpoints and at the end the model; the same command resumes it.

examples:
  nautiloid pretrain pretrain/debug
  nautiloid pretrain pretrain/debug --trainer.num-steps 20 --out runs/try
  nautiloid pretrain pretrain/debug --data runs/curate-cc-math
  nautiloid pretrain my_recipe.py --preset debug --dry-run

data:
  --data FILE     train on this mixture file, or on the one in the folder of a curation run
"""


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Options of this verb beside those of all recipes; the text above explains them."""

    data: Path | None = None


def own_options(recipe: Recipe, rest: Sequence[str]) -> tuple[Recipe, list[str]]:
    """The recipe with the mixture of `--data`, and the other flags."""
    from nautiloid.cli import flags
    from nautiloid.data.mixing import read_mixture_file
    from nautiloid.train.recipe import TrainRecipe

    options, others = flags.parse_known(PretrainOptions, rest, prog="nautiloid pretrain")
    if options.data is None:
        return recipe, others
    if not isinstance(recipe, TrainRecipe):
        raise InputError("--data", str(options.data), f"{recipe.name} makes its data itself")
    return replace(recipe, data=read_mixture_file(options.data)), others


VERB = RecipeVerb("pretrain", "train.pretrain", TEXT, own_options=own_options)


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    return VERB.main(argv, verbose=verbose)
