"""Recipe type of the extraction experiment: one corpus, many trainings, one comparison. Torch-free until it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.core.run import Run
from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import Mixture, Part, mix
from nautiloid.data.sources.jsonl import Jsonl
from nautiloid.model.config import ModelConfig
from nautiloid.recipes.repro import _arms, _corpus, _jobs, _pages, _tiny, _verdict
from nautiloid.recipes.repro._pages import PageSample, PageSet
from nautiloid.recipes.repro._score import ScoreHook
from nautiloid.recipes.repro._texts import SUBJECTS, TextConfig
from nautiloid.train.config import TrainerConfig
from nautiloid.train.pretrain import PretrainRecipe

log = logging.getLogger("nautiloid.repro")

DECIDES = "mixed"


@Recipe.registry("recipes.repro._cc_math")
@dataclass(frozen=True, kw_only=True)
class CcMathRecipe(Recipe):
    """Extract, train, score, compare.

    Args:
        cache: Folder of unpacked documentation packages; what is missing is fetched with apt-get. None
            takes a few tiny pages that are made on the spot, to try the program.
        corpus: A corpus that a former run made; None makes it in this run.
        texts: Where the text beside the pages comes from.
        sets: Pages by name; `mixed` decides.
        arms: Extractors; the first one is ours.
        skips_missing: Leave out an arm whose tool is not installed, and say so; an error otherwise.
        seeds: Trainings an arm and a set; 0 stops after the corpus.
        share: Part of the pages that a seed draws.
        weights: Shares of pages, text and code among the tokens.
        model: Shape of all models.
        loader: Packing.
        trainer: Budget, the same for all.
        jobs: Trainings at the same time, each a process of its own when more than one.
        workers: Processes that extract.
        margin: Bits per byte by which code and text may be worse.
    """

    verb: ClassVar[str] = "pretrain"

    cache: str | None = "cache/debian-doc"
    corpus: str | None = None
    texts: TextConfig
    sets: dict[str, PageSet]
    arms: tuple[str, ...] = tuple(_arms.ARMS)
    skips_missing: bool = False
    seeds: int = 5
    share: float = 0.8
    weights: dict[str, float]
    model: ModelConfig
    loader: LoaderConfig
    trainer: TrainerConfig
    jobs: int = 1
    workers: int = 2
    margin: float = 0.02

    def __post_init__(self) -> None:
        if DECIDES not in self.sets:
            raise InputError("sets", ", ".join(self.sets), f"one of them is {DECIDES}")
        if set(self.weights) != {"pages", "text", "code"}:
            raise InputError("weights", self.weights, "name pages, text and code")
        if self.seeds < 0 or self.seeds == 1:
            raise InputError("seeds", self.seeds, "use at least 2 for an interval, or 0 for none")
        for name in ("jobs", "workers"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "use at least 1")

    def run(self, run: Run) -> None:
        """Corpus, trainings with their scores, comparison."""
        arms = self.present_arms()
        corpus = self.write_corpus(run, arms)
        if run.should_stop.is_set():
            return
        trainings = dict(self.trainings(corpus, arms))
        _jobs.run_all(run, trainings, self.jobs)
        if run.should_stop.is_set():
            return
        if not trainings:
            run.finish(corpus=str(corpus))
            return
        results = self.compare(run, corpus, arms)
        write_json(run.path / "results.json", results)
        from nautiloid.recipes.repro._report import read_curves, write_report

        folders = {
            name: {arm: [folder_of(name, s, arm) for s in range(self.seeds)] for arm in arms}
            for name in self.sets
        }
        step_tokens = self.tokens // self.trainer.num_steps
        write_report(run.path, results, read_curves(run.path, folders, step_tokens))
        run.finish(verdict=results["verdict"], **_verdict.headline(results["sets"]))

    def summary(self) -> dict[str, str]:
        """Sizes and budgets."""
        from nautiloid.model.costs import parameters

        count = len(self.sets) * len(self.arms) * self.seeds
        return {
            "parameters": f"{parameters(self.model).total:,}",
            "pattern": self.model.pattern,
            "trainings": f"{count} of {self.tokens:,} tokens",
        }

    def present_arms(self) -> tuple[str, ...]:
        """The arms whose tools are installed, or whose text a given corpus holds.

        Raises:
            InputError: One is missing and must not be left out.
        """
        if self.corpus is not None:
            return _corpus.arms_of(Path(self.corpus), self.arms)
        missing = {arm: why for arm in self.arms if (why := _arms.missing(arm)) is not None}
        for arm, why in missing.items():
            if not self.skips_missing or arm == self.arms[0]:
                raise InputError("arms", arm, why)
            log.warning("arm %s is left out: %s", arm, why)
        return tuple(arm for arm in self.arms if arm not in missing)

    def write_corpus(self, run: Run, arms: tuple[str, ...]) -> Path:
        """Fetch pages, extract them by every arm, write neutral and held-out text and the tokenizer."""
        if self.corpus is not None:
            return Path(self.corpus)
        cache, folder = Path(self.cache or run.path / "cache"), run.path / "corpus"
        if self.cache is None:
            _tiny.write_tiny(cache)
        elif not (folder / "manifest.json").is_file():
            packages = [name for pages in self.sets.values() for name in pages.packages]
            _pages.fetch([*dict.fromkeys(packages), *self.texts.held_out, self.texts.text], cache)
        _corpus.write_corpus(
            folder, self.texts, self.sets, arms, cache, self.workers, run.should_stop
        )
        return folder

    def trainings(
        self, corpus: Path, arms: tuple[str, ...]
    ) -> Iterator[tuple[str, PretrainRecipe]]:
        """Every model by the name of its folder, whole seeds one after another."""
        held_out = {s: str(corpus / "held_out" / f"{s}.jsonl.zst") for s in SUBJECTS}
        for seed in range(self.seeds):
            for name, pages in self.sets.items():
                for arm in arms:
                    yield (
                        folder_of(name, seed, arm),
                        PretrainRecipe(
                            name=folder_of(name, seed, arm),
                            seed=self.seed + seed,
                            model=self.model,
                            tokenizer=str(corpus / "tokenizer"),
                            data=self.blend(corpus, pages, arm, seed),
                            eval_data=Jsonl(paths=(held_out["math"],)),
                            loader=self.loader,
                            trainer=self.trainer,
                            hooks=(
                                ScoreHook(held_out=held_out, window_tokens=self.loader.row_tokens),
                            ),
                        ),
                    )

    def blend(self, corpus: Path, pages: PageSet, arm: str, seed: int) -> Mixture:
        """What one model is trained on."""
        drawn = PageSample(
            path=str(corpus / "pages" / f"{arm}.jsonl.zst"),
            pages=pages,
            share=self.share,
            draw=seed,
        )
        neutral = {
            name: Jsonl(paths=(str(corpus / "neutral" / f"{name}.jsonl.zst"),))
            for name in ("text", "code")
        }
        sources = {"pages": drawn, **neutral}
        return mix(*(Part(sources[name], weight, name) for name, weight in self.weights.items()))

    def compare(self, run: Run, corpus: Path, arms: tuple[str, ...]) -> dict[str, Any]:
        """All figures of `results.json`."""
        held_out = Jsonl(paths=(str(corpus / "held_out" / "math.jsonl.zst"),)).read()
        inline = {sample.id for sample in held_out if "$$" not in (sample.text or "")}
        sets: dict[str, Any] = {}
        inline_only: dict[str, Any] = {}
        for name in self.sets:
            scores = {
                arm: [
                    read_json(run.path / folder_of(name, seed, arm) / "scores.json")
                    for seed in range(self.seeds)
                ]
                for arm in arms
            }
            sets[name] = _verdict.compare(scores, self.margin)
            if inline:
                inline_only[name] = _verdict.compare(_verdict.only(scores, inline), self.margin)
        return {
            "verdict": sets[DECIDES]["rule_says"],
            "sets": sets,
            "inline_only": inline_only,
            "rendered_minus_control": (
                _verdict.contrast(sets["rendered"], sets["control"])
                if {"rendered", "control"} <= sets.keys()
                else None
            ),
            "tokens": self.tokens,
            "seeds": self.seeds,
            "margin": self.margin,
            "share": self.share,
            "weights": self.weights,
            "corpus": read_json(corpus / "manifest.json") | {"files": {}},
            "environment": read_json(run.path / "env.json"),
        }

    @property
    def tokens(self) -> int:
        """Tokens of one training."""
        steps = self.trainer.num_steps * self.trainer.batches_per_step
        return steps * self.loader.batch_tokens


def folder_of(pages: str, seed: int, arm: str) -> str:
    """Name of the run of one model."""
    return f"{pages}-{seed}-{arm}"
