"""Recipe type of curation: pages in, shards of clean documents out.

The run folder holds, beside what every run has:

    input.json              the units, and the state of the input files
    units/<index>/          documents, rejects, sketches and counts of a unit
    dedup/<index>/          which documents go as duplicates
    final/<index>/          a unit after deduplication and the last stages, as rows of the shards
    shards/<format>/<band>/ the data set; shards/README.md is its card
    manifest.json           counts by stage and reason, licences, lineage, checksums
    mixture.json            what `nautiloid pretrain RECIPE --data` takes
    samples/                some documents kept and dropped, for each stage and reason
    timing.json             what depends on the machine: seconds by stage and by phase, memory
    report.html             all of it for people

`manifest.json`: `input` {units, bytes, pages, fingerprint}, `faults` {reason: {count, lost}}, `stages` in
order [{name, kind (read, extract, stage, dedup, finish), documents_in, documents_out, changed, chars_in,
chars_out, dropped {reason: count}}], `subsets` {name: {documents, chars, bytes, tokens, share}}, `licences`
and `languages` {name: documents}, `notes` {what a stage noted in `meta["reasons"]`: documents}, `tokens`, `files` {path: {bytes, sha256, documents, tokens}}.
`samples/kept.jsonl` and `samples/dropped.jsonl`: {stage, reason, detail, id, url, title, text}, for
duplicates also `keeper` {id, url, text, similarity}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal

from nautiloid.core.config import Recipe, from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.run import Run
from nautiloid.curate.dedup.dedup import Dedup
from nautiloid.curate.executor import Executor
from nautiloid.curate.executors.local import Local
from nautiloid.curate.flow import kind_of, step_names
from nautiloid.curate.reader import Limits, Reader
from nautiloid.curate.shards import ShardConfig
from nautiloid.curate.stage import Extractor, Stage


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The documents from a score on.

    Args:
        name: Of the data set configuration, such as `3plus`.
        min_int_score: Lowest `int_score` in it.
    """

    name: str
    min_int_score: int

    def __post_init__(self) -> None:
        if not self.name.isidentifier() and not self.name.replace("-", "").isalnum():
            raise InputError("subsets.name", self.name, "use letters, digits and hyphens")


@Recipe.registry("curate.recipe")
@dataclass(frozen=True, kw_only=True)
class CurateRecipe(Recipe):
    """Read, extract, filter, deduplicate, write.

    Args:
        source: Where pages come from.
        extractor: Makes text of them.
        stages: Filters and edits of single documents, in order.
        dedup: Deduplications, each over all documents that the former ones left.
        finish: Stages for what is left after them, such as scores by a costly model.
        subsets: Named parts by score; documents are stored once and subsets overlap.
        shards: Formats and sizes of what is written.
        limits: Bounds of a page and of a worker process.
        executor: Where the work is done; may change when a run is taken up again.
        rejects: What is kept of the text of dropped documents: nothing, its beginning, or all.
        dedup_memory_bytes: Working memory of a deduplication.
    """

    free_fields: ClassVar[tuple[str, ...]] = ("executor",)

    source: Reader
    extractor: Extractor
    stages: tuple[Stage, ...] = ()
    dedup: tuple[Dedup, ...] = ()
    finish: tuple[Stage, ...] = ()
    subsets: tuple[Subset, ...] = ()
    shards: ShardConfig = field(default_factory=ShardConfig)
    limits: Limits = field(default_factory=Limits)
    executor: Executor = field(default_factory=Local)
    rejects: Literal["none", "head", "full"] = "head"
    dedup_memory_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        names = [subset.name for subset in self.subsets]
        scores = [subset.min_int_score for subset in self.subsets]
        if len(set(names)) < len(names) or len(set(scores)) < len(scores):
            raise InputError("subsets", names, "give each another name and another score")
        if not self.limits.page_s > 0:
            raise InputError("limits.page_s", self.limits.page_s, "use a number above 0")

    @cached_property
    def bands(self) -> list[str]:
        """Folders of the shards: each document is in one, and a subset is one or several."""
        scores = sorted(subset.min_int_score for subset in self.subsets)
        if not scores:
            return ["all"]
        names = [f"below{scores[0]}"]
        for low, high in pairwise(scores):
            names.append(str(low) if high == low + 1 else f"{low}to{high - 1}")
        return [*names, f"{scores[-1]}plus"]

    def band_of(self, int_score: int | None) -> int:
        """Index of the band of a document; one without a score is in the first."""
        if int_score is None:
            return 0
        return sum(int_score >= subset.min_int_score for subset in self.subsets)

    def bands_of(self, subset: Subset) -> list[int]:
        """Indices of the bands that make up a subset."""
        scores = sorted(s.min_int_score for s in self.subsets)
        return list(range(scores.index(subset.min_int_score) + 1, len(self.bands)))

    def names(self, kind: Literal["stage", "dedup", "finish"] | str) -> list[str]:
        """Names of the steps of a kind, unique within the recipe."""
        parts = {"stage": self.stages, "dedup": self.dedup, "finish": self.finish}
        taken = ["read", kind_of(self.extractor)]
        for name, members in parts.items():
            found = step_names(members, taken)
            if name == kind:
                return found
            taken += [kind_of(member) for member in members]
        raise AssertionError(kind)

    def summary(self) -> dict[str, str]:
        """Units, sizes and stages, for `--dry-run`."""
        units = self.source.units() if self.source.paths else ()
        size = sum(unit.size_bytes for unit in units)
        largest = max((unit.size_bytes for unit in units), default=0)
        steps = [kind_of(self.extractor), *self.names("stage"), *self.names("dedup")]
        settings = [f"{k} {v}" for k, v in vars(self.executor).items() if v is not None]
        return {
            "units": f"{len(units):,} of {size / 1e6:,.1f} MB (the largest {largest / 1e6:,.1f} MB)"
            if self.source.paths
            else "none: name the pages with --input",
            "stages": " -> ".join([*steps, *self.names("finish")]),
            "shards": f"{', '.join(self.shards.formats)} of {self.shards.shard_bytes / 1e6:,.0f} MB of text",
            "subsets": ", ".join(s.name for s in self.subsets) or "none",
            "executor": ", ".join([kind_of(self.executor), *settings]),
        }

    def run(self, run: Run) -> None:
        """Do all phases, each from where a former call left it."""
        from nautiloid.curate.phases import curate

        self._check_workers_find_it()

        curate(self, run)

    def _check_workers_find_it(self) -> None:
        """Workers read the recorded recipe, so they must be able to import each class in it."""
        parts = (self.source, self.extractor, *self.stages, *self.dedup, *self.finish)
        for part in parts:
            module = type(part).__module__
            if module == "__main__" or module.startswith("nautiloid_recipe_"):
                remedy = "workers cannot import it from a recipe: move it to a package of yours"
                raise InputError("recipe", type(part).__name__, remedy)
        if from_json(Recipe, to_json(self)) != self:
            raise InputError("recipe", self.name, "changes when it is written and read again")
