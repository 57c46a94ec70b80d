"""From a recipe to a trained model folder: the steps all training recipes share."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from nautiloid.core.config import to_json
from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path, sha256
from nautiloid.core.metrics import read_metrics
from nautiloid.core.run import Run
from nautiloid.core.seed import Seed
from nautiloid.core.types import Sample
from nautiloid.data.loader import Loader
from nautiloid.data.mixing import Mixture, mix
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.model.checkpoint import write_checkpoint
from nautiloid.model.costs import parameters, train_flops_per_token
from nautiloid.model.decoder import Decoder
from nautiloid.model.weights import load
from nautiloid.train.card import data_facts, model_card
from nautiloid.train.hook import HookState
from nautiloid.train.loop import Loop
from nautiloid.train.losses import Objective
from nautiloid.train.recipe import (
    TokenizerConfig,
    TrainRecipe,
    check_process,
    model_folder,
    starting_config,
)
from nautiloid.train.trainer import Trainer

log = logging.getLogger("nautiloid.train")


class Session:
    """Tokenizer and model of one run, opened; `train` does the rest.

    Args:
        run: The run folder.
        recipe: Its settings, with the data as it is to be read.

    Raises:
        InputError: Tokenizer, model and data do not fit together, or a file is missing.
    """

    def __init__(self, run: Run, recipe: TrainRecipe):
        check_process()
        if recipe.trainer.device == "cuda" and not torch.cuda.is_available():
            raise InputError("trainer.device", "cuda", "torch sees no GPU; use cpu")
        self.run = run
        self.recipe = recipe
        self.tokenizer_folder = _tokenizer_folder(run, recipe)
        self.tokenizer = Tokenizer.load(self.tokenizer_folder)
        self.byte_lengths = self.tokenizer.byte_lengths()
        self.model = starting_model(recipe, self.tokenizer, run.seed)

    def check_same_tokenizer(self, folder: str, field: str) -> None:
        """Refuse a model folder with another tokenizer.

        Raises:
            InputError: The files differ.
        """
        other = Path(folder) / "tokenizer.json"
        if not other.is_file() or sha256(other) != sha256(self.tokenizer_folder / "tokenizer.json"):
            raise InputError(
                field, folder, "its tokenizer is not that of this run; set tokenizer to this folder"
            )

    def train(self, objective: Objective) -> None:
        """Train from wherever the run stands, write the model folder, then call the hooks' end."""
        run, recipe = self.run, self.recipe
        trainer = Trainer(
            self.model, recipe.trainer, objective, seed=run.seed.child("rounding").value
        )
        loader = Loader(
            recipe.loader,
            recipe.data,
            self.tokenizer,
            run.seed.child("loader"),
            total_tokens=recipe.tokens_per_step * recipe.trainer.num_steps,
        )
        loop = Loop(
            run,
            trainer,
            loader,
            held_out=self._held_out(),
            byte_lengths=self.byte_lengths,
            flops_per_token=train_flops_per_token(self.model.config, recipe.loader.row_tokens),
            hooks=recipe.hooks,
            hook_state=self._hook_state,
        )
        try:
            is_done = loop.fit()
        finally:
            loader.close()
        if not is_done:
            return
        figures = self._write_model(trainer)
        for hook in recipe.hooks:
            hook.on_end(self._hook_state(trainer.steps_done, figures))
        run.finish(steps=trainer.steps_done, tokens=trainer.tokens_done, **figures)

    def _held_out(self) -> list[Any]:
        recipe = self.recipe
        if recipe.eval_data is None:
            return []
        loader = Loader(
            replace(recipe.loader, workers=0),
            mix(recipe.eval_data, epochs=1),
            self.tokenizer,
            self.run.seed.child("held-out"),
        )
        return list(islice(loader, recipe.trainer.eval_batches))

    def _hook_state(self, step: int, figures: Mapping[str, Any]) -> HookState:
        return HookState(
            run=self.run,
            model=self.model,
            tokenizer=self.tokenizer,
            tokenizer_folder=self.tokenizer_folder,
            step=step,
            num_steps=self.recipe.trainer.num_steps,
            figures=figures,
        )

    def _write_model(self, trainer: Trainer) -> dict[str, float]:
        figures = _final_figures(self.run)
        recorded = to_json(self.run.recipe)
        assert isinstance(self.run.recipe, TrainRecipe)
        provenance = {
            "run": self.recipe.name,
            "kind": recorded.get("kind"),
            "recipe": recorded,
            "model": {"family": self.model.config.family, "pattern": self.model.config.pattern},
            "parameters": parameters(self.model.config).total,
            "steps": trainer.steps_done,
            "skipped_steps": trainer.guard.skipped,
            "tokens": trainer.tokens_done,
            "data": data_facts(self.run.recipe),
            "figures": figures,
        }
        write_checkpoint(
            self.run.model,
            self.model,
            tokenizer_folder=self.tokenizer_folder,
            provenance=provenance,
            card=model_card(self.recipe, provenance),
            dtype=starting_config(self.recipe).dtype,
            tensors=trainer.weights(),
        )
        log.info("model written to %s", self.run.model)
        return figures


def _tokenizer_folder(run: Run, recipe: TrainRecipe) -> Path:
    chosen = recipe.tokenizer
    if chosen is None:
        assert recipe.init is not None
        return Path(model_folder(recipe.init, "init"))
    if isinstance(chosen, str):
        return Path(chosen)
    folder = run.path / "tokenizer"
    train_tokenizer(folder, recipe.data, chosen)
    return folder


def train_tokenizer(folder: Path, data: Mixture, config: TokenizerConfig) -> None:
    """Train a tokenizer on the first documents of `data`; does nothing when the folder is there."""
    if folder.exists():
        return
    log.info("training a tokenizer of %d ids", config.vocab_size)
    tokenizer = Tokenizer.train(_texts(data, config), config.vocab_size, config.grammar)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        tokenizer.save(temporary)


def write_untrained(folder: Path, recipe: TrainRecipe) -> None:
    """Write the model that the recipe starts from; does nothing when the folder is there."""
    if folder.exists():
        return
    assert isinstance(recipe.tokenizer, str)
    tokenizer = Tokenizer.load(recipe.tokenizer)
    model = starting_model(recipe, tokenizer, Seed(recipe.seed))
    provenance = {"run": recipe.name, "steps": 0, "recipe": to_json(recipe)}
    card = f"# {recipe.name}, untrained\n\nThe model of this recipe before its first step.\n"
    write_checkpoint(
        folder,
        model,
        tokenizer_folder=Path(recipe.tokenizer),
        provenance=provenance,
        card=card,
        dtype=starting_config(recipe).dtype,
    )


def _texts(data: Mixture, config: TokenizerConfig) -> Iterator[str]:
    parts = data.parts.values()
    share = -(-config.num_documents // len(parts))
    for part in parts:
        for sample in islice(part.source.read(), share):
            yield from _texts_of(sample)


def _texts_of(sample: Sample) -> Iterator[str]:
    if sample.text is not None:
        yield sample.text
    for message in sample.messages or ():
        if message.reasoning:
            yield message.reasoning
        yield message.text


def starting_model(recipe: TrainRecipe, tokenizer: Tokenizer, seed: Seed) -> Decoder:
    """The model the recipe starts from: loaded from `init`, or fresh with the tokenizer's special ids.

    Raises:
        InputError: The tokenizer has more ids than the model.
    """
    if recipe.init is not None:
        model = load(
            model_folder(recipe.init, "init"),
            device=recipe.trainer.device,
            dtype="float32",
            ops=recipe.ops,
        )
    else:
        assert recipe.model is not None
        config = replace(
            recipe.model,
            pad_token_id=tokenizer.pad_id,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tuple(tokenizer.eos_ids),
        )
        model = Decoder(config, ops=recipe.ops, device=recipe.trainer.device)
        model.init_weights(seed.child("init"))
    if tokenizer.vocab_size > model.config.vocab_size:
        raise InputError(
            "tokenizer",
            f"{tokenizer.vocab_size} ids",
            f"the model has {model.config.vocab_size}; use its own tokenizer or a larger model.vocab_size",
        )
    return model


def _final_figures(run: Run) -> dict[str, float]:
    figures: dict[str, float] = {}
    for line in read_metrics(run.path / "metrics.jsonl"):
        if line["kind"] in ("train", "eval"):
            prefix = "held_out_" if line["kind"] == "eval" else ""
            for name in ("loss", "mtp_loss", "bits_per_byte"):
                if isinstance(line.get(name), float):
                    figures[prefix + name] = line[name]
    return figures
