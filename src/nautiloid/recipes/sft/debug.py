"""Conversations about chained sums, thinking on, off and cut to a budget; a fresh small hybrid.

    nautiloid sft sft/debug
    nautiloid sft sft/debug --preset debug              # a few steps, seconds

CPU, one core: 1.4 million parameters, 150 steps of 2,048 tokens in about 2 minutes (2,500 tokens a second).
Held-out loss 0.59; enough to see the format learned, too short to answer well.

`tune` takes a model that exists, with its tokenizer, instead of a fresh one:

    nautiloid sft sft/debug --preset tune --init runs/pretrain-debug
"""

from __future__ import annotations

from dataclasses import replace

from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import mix
from nautiloid.data.sources.environment import EnvironmentSource
from nautiloid.envs.sums import Sums
from nautiloid.model.presets import preset
from nautiloid.train.config import AdamWConfig, LossConfig, TrainerConfig
from nautiloid.train.recipe import TokenizerConfig
from nautiloid.train.schedule import ScheduleConfig
from nautiloid.train.sft import SFTRecipe


def recipe() -> SFTRecipe:
    model = replace(preset("debug"), vocab_size=512)
    modes = {"on": 0.6, "off": 0.3, "budget": 0.1}
    return SFTRecipe(
        name="sft-debug",
        model=model,
        tokenizer=TokenizerConfig(vocab_size=model.vocab_size, num_documents=500),
        data=mix(EnvironmentSource(environment=Sums(), count=20_000, modes=modes)),
        eval_data=EnvironmentSource(environment=Sums(), count=200, split="test", modes=modes),
        loader=LoaderConfig(row_tokens=256, rows_per_batch=8, window_rows=64, too_long="drop"),
        trainer=TrainerConfig(
            num_steps=150,
            optim=AdamWConfig(lr=3e-3),
            schedule=ScheduleConfig(warmup_steps=10, decay_share=0.4),
            loss=LossConfig(mean_over="samples"),
            save_every_steps=50,
            eval_every_steps=50,
            eval_batches=4,
        ),
    )


def tune() -> SFTRecipe:
    init = "runs/pretrain-debug"
    return replace(recipe(), name="sft-tune", init=init, model=None, tokenizer=None)


def debug() -> SFTRecipe:
    base = recipe()
    return replace(
        base,
        name="sft-debug-tiny",
        data=mix(EnvironmentSource(environment=Sums(), count=100)),
        eval_data=EnvironmentSource(environment=Sums(), count=10, split="test"),
        loader=replace(base.loader, rows_per_batch=2, window_rows=8),
        trainer=replace(
            base.trainer,
            num_steps=4,
            schedule=ScheduleConfig(warmup_steps=1),
            save_every_steps=2,
            eval_every_steps=0,
            eval_batches=1,
        ),
    )
