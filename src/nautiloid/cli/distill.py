"""`nautiloid distill`."""

from __future__ import annotations

from collections.abc import Sequence

from nautiloid.cli.recipe_verb import RecipeVerb

TEXT = """
Train a small model on the distributions of a large one: the teacher stays in memory and the loss is
the divergence over the whole vocabulary, formed in chunks.

examples:
  nautiloid distill distill/debug
  nautiloid distill distill/debug --teacher runs/pretrain-debug/model
"""

VERB = RecipeVerb("distill", "train.distill", TEXT)


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    return VERB.main(argv, verbose=verbose)
