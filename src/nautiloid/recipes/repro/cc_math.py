"""Does text that keeps its formulas make a better model? Three extractors, the same pages. (claim `cm-gains`)

    nautiloid pretrain repro/cc_math                    # CPU, 2 cores: pages N min, then 30 trainings of N min
    nautiloid pretrain repro/cc_math --preset prepare   # the corpus alone
    nautiloid pretrain repro/cc_math --preset gpu --corpus FOLDER   # the run that decides; minutes on one GPU
    nautiloid pretrain repro/cc_math --preset debug     # tiny pages, seconds

Nemotron-CC-Math claims that extraction destroys formulas and that a corpus which keeps them makes better
models (arXiv 2508.15096: MATH +4.8 to +12.6 over other corpora, code no worse). Scores of 8B models are out
of reach; the shape is not. What follows was fixed before the first run.

**Arms.** The same HTML pages extracted by `dom` (ours), `lynx` (the paper's first stage, without its language
model) and `trafilatura`. Delimiters of formulas are made the same for all arms. Model, tokenizer, seed, order,
number of steps and of tokens are the same; so an extractor that wastes tokens on markup or menus pays for it,
and one that keeps little sees its text more often.

**Pages.** `mixed`: Debian documentation, at most 150 pages a package, chosen by a count of formula marks in the
bytes and by the hash of the path, knowing no extractor. Formulas come as MathJax text, images with TeX in
their alt text (Sphinx, Doxygen), presentation MathML, MathML with annotation, `sup` and `sub`.
`control`: at most 300 pages of those packages alone whose formulas are TeX in the text, which every tool keeps;
what is left there is layout and menus. Every seed draws 80 % of the pages, the same for all arms.

**Blend.** 60 % pages, 20 % prose and 20 % code that came from no web page, as such corpora are used in a blend.

**Held out.** `math`: sections dense in formulas from the reStructuredText sources of other projects, no page of
which is trained on, formulas as `$TeX$`; sections that share more than 5 % of their runs of 13 words with
any arm's text are out. `code`: modules of Python's standard library. `text`: Python's own documentation.
Neither comes from HTML, so no extractor made it. The bias that remains: TeX is the reference notation, so an arm
that leaves a formula in another notation (MathML, Unicode) is charged for it. That is the claim under test.

**Expected.** Bits per byte on `math`: ours below lynx and ours below trafilatura. On `control` the
differences are smaller.

**Rule.** Fixed steps, 5 seeds, last weights, no selection. The two-sided 95 % t interval over seeds of the paired
difference (ours minus peer) on `mixed`:
  shape reproduced: both intervals on `math` lie below 0, and those on `code` and `text` below +0.02;
  not reproduced: an interval on `math` lies above 0, or one on `code` or `text` above +0.02;
  inconclusive: anything else.
The preset `gpu` decides; `recipe` is the same at a thirtieth of its tokens. `results.json` holds all figures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from nautiloid.core.config import Recipe
from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json
from nautiloid.core.run import Run
from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import Mixture, Part, mix
from nautiloid.data.sources.jsonl import Jsonl
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.config import ModelConfig
from nautiloid.recipes.repro import _arms, _corpus, _jobs, _pages, _tiny, _verdict
from nautiloid.recipes.repro._corpus import CorpusConfig
from nautiloid.recipes.repro._pages import PageSample, PageSet
from nautiloid.recipes.repro._score import ScoreHook
from nautiloid.train.config import AdamWConfig, LossConfig, TrainerConfig
from nautiloid.train.pretrain import PretrainRecipe
from nautiloid.train.schedule import ScheduleConfig

log = logging.getLogger("nautiloid.repro")

DECIDES = "mixed"
IN_TEXT = (
    "sagemath-doc", "libflint-doc", "python-mpmath-doc", "gap-doc", "python-scipy-doc",
    "python-statsmodels-doc", "libeigen3-doc", "geographiclib-doc",
)  # fmt: skip
ENCODED = (
    "python-sympy-doc", "python-cvxopt-doc", "libitpp-doc", "libdune-istl-doc", "singular-doc",
    "axiom-doc", "giac-doc",
)  # fmt: skip
HELD_OUT = (
    "python-sklearn-doc", "ceres-solver-doc", "python-qutip-doc", "python-astropy-doc",
    "petsc3.18-doc", "yade-doc",
)  # fmt: skip


@Recipe.registry("recipes.repro.cc_math")
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
    texts: CorpusConfig
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
        if self.seeds < 0 or self.jobs < 1 or self.workers < 1:
            raise InputError(
                "seeds", self.seeds, "use at least 0, and at least 1 for jobs and workers"
            )

    def run(self, run: Run) -> None:
        """Corpus, trainings with their scores, comparison."""
        arms = self.present_arms()
        corpus = self.write_corpus(run, arms)
        trainings = dict(self.trainings(corpus, arms))
        _jobs.run_all(run, trainings, self.jobs)
        if run.should_stop.is_set():
            return
        if not trainings:
            run.finish(corpus=str(corpus))
            return
        results = self.compare(run, corpus, arms)
        write_json(run.path / "results.json", results)
        from nautiloid.recipes.repro._report import write_report

        write_report(run.path, results)
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
            folder, self.texts, list(self.sets.values()), arms, cache, self.workers
        )
        return folder

    def trainings(
        self, corpus: Path, arms: tuple[str, ...]
    ) -> Iterator[tuple[str, PretrainRecipe]]:
        """Every model by the name of its folder, whole seeds one after another."""
        held_out = {s: str(corpus / "held_out" / f"{s}.jsonl.zst") for s in _corpus.SUBJECTS}
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
        sets = {
            name: _verdict.compare(
                {
                    arm: [
                        read_json(run.path / folder_of(name, seed, arm) / "scores.json")
                        for seed in range(self.seeds)
                    ]
                    for arm in arms
                },
                self.margin,
            )
            for name in self.sets
        }
        return {
            "verdict": sets[DECIDES]["rule_says"],
            "sets": sets,
            "tokens": self.tokens,
            "seeds": self.seeds,
            "margin": self.margin,
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


def recipe() -> CcMathRecipe:
    vocab_size = 4096
    return CcMathRecipe(
        name="repro-cc-math",
        texts=CorpusConfig(held_out=HELD_OUT, text="python3.11-doc", vocab_size=vocab_size),
        sets={
            "mixed": PageSet(packages=ENCODED + IN_TEXT, per_package=150),
            "control": PageSet(packages=IN_TEXT, per_package=300),
        },
        weights={"pages": 0.6, "text": 0.2, "code": 0.2},
        model=ModelConfig(
            vocab_size=vocab_size,
            hidden_size=192,
            pattern="M-M-*-M-M-*-",
            blocks={
                "M": MambaConfig(
                    mamba_num_heads=12, mamba_head_dim=32, n_groups=2, ssm_state_size=64
                ),
                "*": AttentionConfig(num_attention_heads=6, num_key_value_heads=2, head_dim=32),
                "-": MLPConfig(intermediate_size=576),
            },
            initializer_range=0.05,
            dtype="float32",
        ),
        loader=LoaderConfig(row_tokens=512, rows_per_batch=4, window_rows=128),
        trainer=TrainerConfig(
            num_steps=240,
            optim=AdamWConfig(lr=3e-3),
            schedule=ScheduleConfig(warmup_steps=20, decay_share=0.4),
            loss=LossConfig(mtp_weight=0.0),
            save_every_steps=10_000,
            keep_last=1,
            eval_every_steps=60,
            eval_batches=8,
        ),
    )


def prepare() -> CcMathRecipe:
    return replace(recipe(), name="repro-cc-math-corpus", seeds=0)


def gpu() -> CcMathRecipe:
    base = recipe()
    return replace(
        base,
        name="repro-cc-math-gpu",
        loader=replace(base.loader, rows_per_batch=32, window_rows=512),
        trainer=replace(
            base.trainer,
            device="cuda",
            num_steps=900,
            schedule=ScheduleConfig(warmup_steps=50, decay_share=0.4),
            eval_every_steps=100,
            eval_batches=4,
        ),
        jobs=8,
    )


def debug() -> CcMathRecipe:
    base = recipe()
    vocab_size = 512
    return replace(
        base,
        name="repro-cc-math-debug",
        cache=None,
        texts=CorpusConfig(
            held_out=("tiny-held-out",), text="tiny-text", vocab_size=vocab_size,
            neutral_bytes=40_000, held_out_bytes=4_000,
        ),
        sets={"mixed": PageSet(packages=("tiny-pages",), per_package=8)},
        skips_missing=True,
        seeds=2,
        model=replace(base.model, vocab_size=vocab_size, hidden_size=32, pattern="M*-"),
        loader=LoaderConfig(row_tokens=64, rows_per_batch=2, window_rows=8),
        trainer=replace(
            base.trainer, num_steps=2, schedule=ScheduleConfig(warmup_steps=1),
            eval_every_steps=0, eval_batches=1, peak_flops=1e11,
        ),
        workers=1,
    )  # fmt: skip
