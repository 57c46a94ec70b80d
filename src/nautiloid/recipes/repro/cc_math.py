"""Does text that keeps its formulas make a better model? Three extractors, the same pages. (claim `cm-gains`)

    nautiloid pretrain repro/cc_math                    # `mixed` alone, CPU, 2 cores: over an hour
    nautiloid pretrain repro/cc_math --preset prepare   # the corpus of all pages alone
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
`control`: at most 300 pages of those Sphinx packages whose formulas are TeX in the text, which every tool keeps;
what differs there is layout and menus. `rendered`: the same pages, their formulas written anew by KaTeX and
MathJax in eight encodings, one a page, equally frequent: text, KaTeX, MathJax 3, `script`, MathML, MathML with
annotation, Wikipedia's, WordPress images. Every seed draws 80 % of the pages, the same for all arms.

**Blend.** 60 % pages, 20 % prose and 20 % code that came from no web page, as such corpora are used in a blend.

**Held out.** `math`: sections dense in formulas from the reStructuredText sources of other projects, no page of
which is trained on, formulas as `$TeX$`, no other markup; sections that share more than 5 % of their runs of 13
words with any arm's text are out. `code`: modules of Python's standard library. `text`: Python's own documentation.
Neither comes from HTML, so no extractor made it. The bias that remains: TeX is the reference notation, so an arm
that leaves a formula in another notation (MathML, Unicode) is charged for it. That is the claim under test.

**Expected.** Bits per byte on `math`: ours below lynx and ours below trafilatura, on `mixed` and on `rendered`. On
`control` the differences are smaller than on `rendered`, where nothing but the encoding is another.

**Rule.** Fixed steps, 5 seeds, last weights, no selection. The two-sided 95 % t interval over seeds of the paired
difference (ours minus peer) on `mixed`:
  shape reproduced: both intervals on `math` lie below 0, and those on `code` and `text` below +0.02;
  not reproduced: an interval on `math` lies above 0, or one on `code` or `text` above +0.02;
  inconclusive: anything else.
The preset `gpu` decides: 11.5 million tokens a model. The default has 0.5. `results.json` holds all figures; those
of the run that decided are in `results/cc_math.json`, read in docs/reports/cc_math.md: shape reproduced.
"""

from __future__ import annotations

from dataclasses import replace

from nautiloid.data.loader import LoaderConfig
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.config import ModelConfig
from nautiloid.recipes.repro._cc_math import CcMathRecipe
from nautiloid.recipes.repro._pages import PageSet
from nautiloid.recipes.repro._texts import TextConfig
from nautiloid.train.config import AdamWConfig, LossConfig, TrainerConfig
from nautiloid.train.schedule import ScheduleConfig

SPHINX = (
    "sagemath-doc", "libflint-doc", "python-mpmath-doc", "python-scipy-doc", "python-statsmodels-doc",
)  # fmt: skip
IN_TEXT = (*SPHINX, "gap-doc", "libeigen3-doc", "geographiclib-doc")
ENCODED = (
    "python-sympy-doc", "python-cvxopt-doc", "libitpp-doc", "libdune-istl-doc", "singular-doc",
    "axiom-doc", "giac-doc",
)  # fmt: skip
HELD_OUT = (
    "python-sklearn-doc", "ceres-solver-doc", "python-qutip-doc", "python-astropy-doc",
    "petsc3.18-doc", "yade-doc",
)  # fmt: skip


def recipe() -> CcMathRecipe:
    vocab_size = 4096
    return CcMathRecipe(
        name="repro-cc-math",
        texts=TextConfig(held_out=HELD_OUT, text="python3.11-doc", vocab_size=vocab_size),
        sets={"mixed": PageSet(packages=ENCODED + IN_TEXT, per_package=150)},
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
    return replace(gpu(), name="repro-cc-math-corpus", seeds=0)


def gpu() -> CcMathRecipe:
    base = recipe()
    return replace(
        base,
        name="repro-cc-math-gpu",
        sets={
            **base.sets,
            "control": PageSet(packages=SPHINX, per_package=300),
            "rendered": PageSet(packages=SPHINX, per_package=300, is_rendered=True),
        },
        loader=replace(base.loader, rows_per_batch=32, window_rows=512),
        trainer=replace(
            base.trainer,
            device="cuda",
            num_steps=700,
            schedule=ScheduleConfig(warmup_steps=50, decay_share=0.4),
            eval_every_steps=100,
            eval_batches=4,
            peak_flops=989e12,
        ),
        jobs=15,
    )


def debug() -> CcMathRecipe:
    base = recipe()
    vocab_size = 512
    return replace(
        base,
        name="repro-cc-math-debug",
        cache=None,
        texts=TextConfig(
            held_out=("tiny-held-out",), text="tiny-text", vocab_size=vocab_size,
            neutral_bytes=40_000, held_out_bytes=4_000, module_bytes=4_000,
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
