"""`nautiloid sft`."""

from __future__ import annotations

from collections.abc import Sequence

from nautiloid.cli.recipe_verb import RecipeVerb

TEXT = """
Train a model on conversations: a renderer turns messages into tokens and marks what the assistant
said, in the modes thinking on, off and truncated to a budget.

examples:
  nautiloid sft sft/debug
  nautiloid sft sft/debug --preset tune --init runs/pretrain-debug --trainer.optim.lr 1e-3
  nautiloid sft runs/sft-debug            (goes on with an interrupted run)
"""

VERB = RecipeVerb("sft", "train.sft", TEXT)


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    return VERB.main(argv, verbose=verbose)
