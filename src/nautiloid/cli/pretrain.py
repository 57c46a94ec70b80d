"""`nautiloid pretrain`."""

from __future__ import annotations

from collections.abc import Sequence

from nautiloid.cli.recipe_verb import RecipeVerb

TEXT = """
Train a model on text: sources are mixed, tokenized, packed and fed to the trainer. The run folder
holds settings, metrics, checkpoints and at the end the model; the same command resumes it.

examples:
  nautiloid pretrain pretrain/debug
  nautiloid pretrain pretrain/debug --trainer.num-steps 20 --out runs/try
  nautiloid pretrain my_recipe.py --preset debug --dry-run
"""

VERB = RecipeVerb("pretrain", "train.pretrain", TEXT)


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    return VERB.main(argv, verbose=verbose)
