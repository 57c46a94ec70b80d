"""What the verbs that run a recipe share: load it, override its fields, run it in its folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.recipes import load_recipe, recipe_names

OPTIONS = """\
options:
  --preset NAME   call this function of the recipe file (recipe, debug, ...)
  --out DIR       folder of the run, runs/<name> when not given; a run there goes on
  --dry-run       print settings, sizes and budgets, and stop
  --profile N     profile N steps of the training into the run folder
  --verbose       debug messages and tracebacks
  --help          this text; after a recipe, every field of it
"""

INTERRUPTED = 130
RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every verb that runs a recipe; the text above explains them."""

    preset: str | None = None
    out: Path | None = None
    dry_run: bool = False
    profile: int | None = None


@dataclass(frozen=True)
class RecipeVerb:
    """One verb and the recipes it accepts.

    Args:
        name: The verb.
        kind: `kind` of its recipe type in a run's config.json; None accepts any.
        text: What it does, with examples.
        default: Subject when none is given.
        load: Makes a recipe of a subject that is not one, such as a checkpoint folder.
        own_options: Takes the options of this verb alone out of the flags and puts them into the recipe.
    """

    name: str
    kind: str | None
    text: str
    default: str | None = None
    load: Callable[[str], Recipe | None] = lambda subject: None
    own_options: Callable[[Recipe, Sequence[str]], tuple[Recipe, list[str]]] = lambda recipe, rest: (
        recipe,
        list(rest),
    )

    def main(self, argv: Sequence[str], *, verbose: bool) -> int:
        """Run the verb."""
        subject, rest = split_subject(argv)
        wants_help = any(arg in ("-h", "--help") for arg in rest)
        if wants_help and subject is None:
            print(self.help())
            return 0
        subject = subject or self.default
        if subject is None:
            names = ", ".join(recipe_names(self.name)) or "a .py file"
            raise InputError(f"nautiloid {self.name}", None, f"name a recipe: {names}")
        return self._run(subject, rest, verbose=verbose)

    def help(self) -> str:
        """Usage, text, options and the shipped recipes."""
        subject = "[RECIPE]" if self.default else "RECIPE"
        usage = f"usage: nautiloid {self.name} {subject} [--dotted.field value] [--preset NAME] [--out DIR] [--dry-run]"
        recipes = "".join(f"  {name}\n" for name in recipe_names(self.name))
        return f"{usage}\n\n{self.text.strip()}\n\n{OPTIONS}\nrecipes:\n{recipes}"

    def recipe(self, subject: str, rest: Sequence[str], options: RunOptions) -> tuple[Recipe, Path]:
        """The recipe of `subject` with the fields in `rest` replaced, and the folder of its run."""
        from nautiloid.cli import flags

        made = None if options.preset else self.load(subject)
        loaded = made or load_recipe(subject, options.preset)
        kind = getattr(type(loaded), "__kind__", None)
        if self.kind is not None and kind != self.kind and loaded.verb != self.name:
            verb = loaded.verb or str(kind).removesuffix(".recipe").rpartition(".")[2]
            remedy = f"run it with: nautiloid {verb} {subject}"
            raise InputError(subject, f"a recipe of kind {kind}", remedy)
        if options.profile is not None:
            rest = [*rest, "--trainer.profile-steps", str(options.profile)]
        loaded, rest = self.own_options(loaded, rest)
        prog = f"nautiloid {self.name} {subject}"
        text = f"{self.text.strip()}\n\n{OPTIONS}"
        recipe = flags.override(loaded, rest, prog=prog, description=text)
        is_run = made is None and (Path(subject) / "env.json").is_file()
        folder = Path(subject) if is_run else RUNS / recipe.name
        return recipe, options.out or folder

    def _run(self, subject: str, rest: Sequence[str], *, verbose: bool) -> int:
        from nautiloid.cli import flags, show
        from nautiloid.core.config import to_json
        from nautiloid.core.log import setup_logging
        from nautiloid.core.run import Run

        options, overrides = flags.parse_known(RunOptions, rest, prog=f"nautiloid {self.name}")
        recipe, out = self.recipe(subject, overrides, options)
        console = show.console()
        if options.dry_run:
            console.print(show.settings_tree(f"{recipe.name} -> {out}", to_json(recipe)))
            console.print(show.facts_table("", recipe.summary()))
            return 0
        setup_logging(verbose=verbose)
        run = Run.open(out, recipe)
        if run.is_done:
            console.print(f"finished before: {out} (another --out runs it again)")
        else:
            try:
                with run.active():
                    recipe.run(run)
            except InputError:
                if not run.resumed:
                    _forget(run.path)
                raise
        if not run.is_done:
            console.print(f"stopped early: {out}; the same command goes on where it stopped")
            return INTERRUPTED
        console.print(show.facts_table(f"[bold]{out}[/]", run.facts()))
        return 0


def _forget(folder: Path) -> None:
    """Remove the folder of a run that could not start, so that the corrected command can use it."""
    if {path.name for path in folder.iterdir()} <= {"config.json", "env.json", "log.txt"}:
        shutil.rmtree(folder)
        if folder.parent == RUNS and not any(RUNS.iterdir()):
            RUNS.rmdir()


def split_subject(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The subject, which comes right after the verb, and the flags."""
    if argv and not argv[0].startswith("-"):
        return argv[0], list(argv[1:])
    return None, list(argv)
