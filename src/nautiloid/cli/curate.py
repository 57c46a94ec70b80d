"""`nautiloid curate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nautiloid.cli.recipe_verb import RecipeVerb
from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError

TEXT = """
Web pages to training shards: read, extract with formulas as TeX, filter, deduplicate, write. Pages are
WARC files, folders of HTML, JSON lines, Parquet or notebooks. The run folder holds shards/ with a data
card, manifest.json, mixture.json for pretraining, and report.html; the same command resumes it.

`nautiloid curate view FILE-or-URL` shows one page beside its extraction in the browser.

input and workers:
  --input PATH ...  files, folders or globs to read
  --benchmarks PATH ...
                    drop documents that share 13 words in a row with these files, at the end
  --executor NAME   where the work is done: local or ray; does not change the result
  --processes N     worker processes of the local executor; the cores when not given

examples:
  nautiloid curate curate/cc_math --input pages/
  nautiloid curate curate/cc_math --input "crawl/*.warc.gz" --processes 8 --out runs/math
  nautiloid curate curate/cc_math --input pages/ --benchmarks gsm8k.jsonl math.parquet
  nautiloid curate curate/cc_math --input pages/ --dry-run
  nautiloid curate curate/cc_math --input pages/ --executor ray --executor.address auto
  nautiloid curate view page.html
  nautiloid pretrain pretrain/debug --data runs/math
"""


@dataclass(frozen=True, kw_only=True)
class CurateOptions:
    """Options of this verb beside those of all recipes; the text above explains them."""

    input: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    executor: str | None = None
    processes: int | None = None


def own_options(recipe: Recipe, rest: Sequence[str]) -> tuple[Recipe, list[str]]:
    """The recipe with the options of this verb put into it, and the other flags."""
    from nautiloid.cli import flags
    from nautiloid.curate.executor import Executor
    from nautiloid.curate.executors.local import Local
    from nautiloid.curate.filters.decontaminate_ngram import DecontaminateNgram
    from nautiloid.curate.recipe import CurateRecipe

    if not isinstance(recipe, CurateRecipe):
        return recipe, list(rest)
    options, others = flags.parse_known(CurateOptions, rest, prog="nautiloid curate")
    if options.input:
        paths = tuple(map(os.path.abspath, options.input))
        recipe = replace(recipe, source=replace(recipe.source, paths=paths))
    if options.benchmarks:
        paths = tuple(map(os.path.abspath, options.benchmarks))
        stage = DecontaminateNgram(benchmarks=paths)
        recipe = replace(recipe, finish=(*recipe.finish, stage))
    if options.executor is not None:
        recipe = replace(recipe, executor=Executor.registry.get(options.executor)())
    if options.processes is not None:
        if not isinstance(recipe.executor, Local):
            raise InputError("--processes", options.processes, "only for --executor local")
        recipe = replace(recipe, executor=replace(recipe.executor, processes=options.processes))
    return recipe, others


VERB = RecipeVerb("curate", "curate.recipe", TEXT, own_options=own_options)


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb, or `view`."""
    if argv and argv[0] == "view":
        from nautiloid.cli import curate_view

        return curate_view.main(argv[1:], verbose=verbose)
    return VERB.main(argv, verbose=verbose)
