"""Training runs that are interrupted and compared with one that is not."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace

import torch
from safetensors.numpy import load_file

from nautiloid.core.config import to_json
from nautiloid.core.metrics import read_metrics
from nautiloid.core.run import Run
from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import mix
from nautiloid.data.sources.text import Text
from nautiloid.model.presets import preset
from nautiloid.train.config import AdamWConfig, TrainerConfig
from nautiloid.train.pretrain import PretrainRecipe
from nautiloid.train.recipe import TokenizerConfig
from nautiloid.train.schedule import ScheduleConfig

TIMELESS = ("time", "tokens_per_s", "mfu", "step_s")


def tiny_pretraining(folder, num_steps, save_every_steps=2):
    """A recipe on generated text in `folder`; a step takes a few hundredths of a second."""
    words = [
        "reef",
        "shell",
        "spiral",
        "chamber",
        "deep",
        "slow",
        "drifts",
        "a",
        "the",
        "in",
        "nautilus",
    ]
    draw = random.Random(0)
    documents = [" ".join(draw.choices(words, k=draw.randint(5, 60))) + "." for _ in range(120)]
    (folder / "corpus.txt").write_text("\n\n".join(documents))
    source = Text(paths=(str(folder / "corpus.txt"),), separator="\n\n", licence="CC0-1.0")
    small = preset("debug")
    moe = replace(
        small.blocks["E"], moe_intermediate_size=16, moe_shared_expert_intermediate_size=16
    )
    return PretrainRecipe(
        name="resume",
        seed=3,
        model=replace(
            small, vocab_size=400, hidden_size=32, pattern="ME*-", blocks={**small.blocks, "E": moe}
        ),
        tokenizer=TokenizerConfig(vocab_size=400, num_documents=50),
        data=mix(source),
        eval_data=source,
        loader=LoaderConfig(row_tokens=32, rows_per_batch=2, window_rows=8),
        trainer=TrainerConfig(
            num_steps=num_steps,
            batches_per_step=2,
            optim=AdamWConfig(lr=5e-3),
            schedule=ScheduleConfig(warmup_steps=2),
            save_every_steps=save_every_steps,
            eval_every_steps=3,
            eval_batches=2,
            peak_flops=1e12,
        ),
    )


def train(path, recipe):
    """Take the run in `path` up, to its end."""
    run = Run.open(path, recipe)
    with run.active():
        recipe.run(run)
    return run


def start_process(recipe, recorded, out):
    """The same in a process of its own, on as many threads."""
    recorded.write_text(json.dumps({"schema": 1, "recipe": to_json(recipe)}))
    command = [sys.executable, "-m", "nautiloid", "pretrain", str(recorded), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def lines(run):
    """The metrics without what depends on the clock."""
    return [
        {k: v for k, v in line.items() if k not in TIMELESS}
        for line in read_metrics(run.path / "metrics.jsonl")
    ]


def assert_same(run, reference):
    """Final weights are equal bit for bit, and the record of every step is the same."""
    ours, theirs = (load_file(r.model / "model.safetensors") for r in (run, reference))
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].tobytes() == theirs[name].tobytes(), name
    assert lines(run) == lines(reference)
