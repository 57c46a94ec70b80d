"""A small hybrid with every block kind on the text of this Python installation.

    nautiloid pretrain pretrain/debug
    nautiloid pretrain pretrain/debug --preset debug    # a few steps, seconds

CPU, one core: 1.8 million parameters, 150 steps of 2,048 tokens in about 2 minutes (2,500 tokens a second).
Held-out loss 5.16, that is 2.86 bits per byte; the text, and so the figures, depend on the packages installed.
"""

from __future__ import annotations

from dataclasses import replace

from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import mix
from nautiloid.data.sources.python_install import PythonInstall
from nautiloid.model.presets import preset
from nautiloid.train.config import AdamWConfig, TrainerConfig
from nautiloid.train.pretrain import PretrainRecipe
from nautiloid.train.recipe import TokenizerConfig
from nautiloid.train.schedule import ScheduleConfig


def recipe() -> PretrainRecipe:
    model = preset("debug")
    return PretrainRecipe(
        name="pretrain-debug",
        model=model,
        tokenizer=TokenizerConfig(vocab_size=model.vocab_size, num_documents=300),
        data=replace(
            mix(PythonInstall(which=("docstrings",), max_documents=2000)), shuffle_samples=200
        ),
        eval_data=PythonInstall(which=("docstrings",), split="test", max_documents=50),
        loader=LoaderConfig(row_tokens=256, rows_per_batch=8, window_rows=64),
        trainer=TrainerConfig(
            num_steps=150,
            optim=AdamWConfig(lr=3e-3),
            schedule=ScheduleConfig(warmup_steps=10, decay_share=0.4),
            save_every_steps=50,
            eval_every_steps=50,
            eval_batches=4,
        ),
    )


def debug() -> PretrainRecipe:
    base = recipe()
    assert base.model is not None
    model = replace(base.model, vocab_size=512)
    return replace(
        base,
        name="pretrain-debug-tiny",
        model=model,
        tokenizer=TokenizerConfig(vocab_size=512, num_documents=20),
        data=mix(PythonInstall(which=("docstrings",), max_documents=30)),
        eval_data=PythonInstall(which=("docstrings",), split="test", max_documents=2),
        loader=LoaderConfig(row_tokens=64, rows_per_batch=2, window_rows=16),
        trainer=replace(
            base.trainer,
            num_steps=4,
            schedule=ScheduleConfig(warmup_steps=1),
            save_every_steps=2,
            eval_every_steps=0,
            eval_batches=1,
        ),
    )
