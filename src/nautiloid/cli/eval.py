"""`nautiloid eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nautiloid.cli.recipe_verb import RecipeVerb
from nautiloid.core.config import Recipe

TEXT = """
Score a model on benchmarks: problems it never saw, thinking on and off, with confidence intervals
and every answer in results.json. A model or run folder is scored by the recipe eval/default.

examples:
  nautiloid eval runs/sft-debug
  nautiloid eval eval/default --model runs/sft-debug/model --count 100
  nautiloid eval runs/sft-debug/model --count 50 --modes on
"""
KIND = "eval.recipe"


def load(subject: str) -> Recipe | None:
    """The default evaluation of a model or training run; None for everything else."""
    folder = Path(subject)
    if not folder.is_dir():
        return None
    from nautiloid.core.recipes import load_recipe
    from nautiloid.core.report.run_record import is_run, read_record
    from nautiloid.eval.recipe import EvalRecipe
    from nautiloid.train.recipe import model_folder

    if is_run(folder) and read_record(folder).kind == KIND:
        return None  # itself an evaluation, which goes on
    recipe = load_recipe("eval/default")
    assert isinstance(recipe, EvalRecipe)
    model = model_folder(subject, "model")
    name = folder.parent.name if folder.name == "model" else folder.name
    return replace(recipe, name=f"eval-{name}", model=model)


VERB = RecipeVerb("eval", KIND, TEXT, load=load)


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    return VERB.main(argv, verbose=verbose)
