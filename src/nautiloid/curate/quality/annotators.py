"""Settings of Hugging Face models that score and embed texts, each in a child process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nautiloid.core.errors import InputError
from nautiloid.core.types import Embedder, Scorer
from nautiloid.curate.quality.child import Child, Command


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """What both kinds of model need. A worker process has a child of its own.

    Args:
        model: Folder with `config.json`, safetensors weights and a tokenizer.
        device: `cpu`, `cuda` or `cuda:1`.
        dtype: Of the weights.
        batch_size: Documents a request.
        max_tokens: Tokens of a window; None is the most that the model takes.
        max_windows: Most windows of a document, spread evenly.
        threads: Of torch on a CPU; None is its default.
        start_s: Seconds until the model must be loaded.
        answer_s: Seconds for a batch.
        restarts: How often a child that died or hung is replaced.
    """

    model: str = ""
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: int = 64
    max_tokens: int | None = None
    max_windows: int = 8
    threads: int | None = None
    start_s: float = 300.0
    answer_s: float = 600.0
    restarts: int = 2

    def __post_init__(self) -> None:
        kind = type(self).__name__.lower()
        if not self.model:
            raise InputError(f"{kind}.model", None, "name the folder of a Hugging Face model")
        for name in ("batch_size", "max_windows", "max_tokens", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{kind}.{name}", value, "use at least 1")
        for name in ("start_s", "answer_s"):
            if not getattr(self, name) > 0:
                raise InputError(f"{kind}.{name}", getattr(self, name), "use a number above 0")

    def command(self, task: str, *extra: str) -> Command:
        """How the child is started."""
        folder = Path(self.model)
        if not (folder / "config.json").is_file():
            raise InputError(self.model, None, "no config.json there; name a model folder")
        arguments = [task, "--model", str(folder.resolve()), "--device", self.device, *extra]
        arguments += ["--dtype", self.dtype, "--max-windows", str(self.max_windows)]
        if self.max_tokens is not None:
            arguments += ["--max-tokens", str(self.max_tokens)]
        if self.threads is not None:
            arguments += ["--threads", str(self.threads)]
        return Command(
            f"{task} by {self.model}", tuple(arguments), self.start_s, self.answer_s, self.restarts
        )


@dataclass(frozen=True, kw_only=True)
class Classifier(Annotator):
    """A sequence classifier with one output, as HuggingFaceTB/finemath-classifier.

    Args:
        pool: The score of a document is the mean or the largest score of its windows.
    """

    kind: Literal["classifier"] = "classifier"
    pool: Literal["mean", "max"] = "mean"

    @contextmanager
    def open(self) -> Iterator[Scorer]:
        """Start the child and wait until it has loaded the model."""
        with Child(self.command("score", "--pool", self.pool)) as child:
            yield ChildScorer(child)


@dataclass(frozen=True, kw_only=True)
class Embeddings(Annotator):
    """An encoder whose last hidden states are averaged over the tokens.

    Args:
        prefix: Put before every text, as some models want (`query: `).
    """

    kind: Literal["embeddings"] = "embeddings"
    prefix: str = ""

    @contextmanager
    def open(self) -> Iterator[Embedder]:
        """Start the child and wait until it has loaded the model."""
        with Child(self.command("embed")) as child:
            yield ChildEmbedder(child, self.prefix)


@dataclass(frozen=True, slots=True)
class ChildScorer:
    """Scores of a running child."""

    child: Child

    def score(self, texts: Sequence[str]) -> list[float]:
        """One finite number a text."""
        results = self.child.ask(texts)
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in results):
            raise InputError(
                self.child.command.name, "a score that is no number", "check the model"
            )
        return [round(float(value), 4) for value in results]


@dataclass(frozen=True, slots=True)
class ChildEmbedder:
    """Vectors of a running child."""

    child: Child
    prefix: str

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text, of length 1."""
        results: list[Any] = self.child.ask([self.prefix + text for text in texts])
        for vector in results:
            if not isinstance(vector, list) or not all(
                isinstance(value, int | float) and math.isfinite(value) for value in vector
            ):
                name = self.child.command.name
                raise InputError(name, "a vector that is not finite", "check the model")
        return results
