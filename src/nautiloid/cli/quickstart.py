"""`nautiloid quickstart`."""

from __future__ import annotations

from collections.abc import Sequence

from nautiloid.cli.recipe_verb import RecipeVerb

TEXT = """
The main job on this machine, at most 10 minutes on 2 cores: HTML pages made of the docstrings of the
installed Python packages and curated to text, a tokenizer, a small hybrid model, supervised tuning on two
environments with thinking on and off, held-out accuracy, sample chats and report.html. Each stage goes on
where it was interrupted.

examples:
  nautiloid quickstart
  nautiloid quickstart --preset debug --out runs/tiny
"""

VERB = RecipeVerb("quickstart", None, TEXT, default="quickstart")


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    return VERB.main(argv, verbose=verbose)
