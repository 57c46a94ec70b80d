"""A linear model on hashed n-grams: the scorer that is trained and run without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path, read_json, write_json

FORMAT = "nautiloid-linear-scorer-1"
MAX_SCORE = 5.0


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How a text becomes vectors.

    Args:
        bits: There are 2 to this power columns.
        ngrams: Longest n-gram of words.
        window_words: Words of a window.
        max_windows: Most windows of a document, spread evenly from its start to its end.
        pool: The score of a document is the mean or the largest score of its windows.
    """

    bits: int = 18
    ngrams: int = 2
    window_words: int = 512
    max_windows: int = 8
    pool: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("bits", 8, 26),
            ("ngrams", 1, 5),
            ("window_words", 16, 1 << 20),
            ("max_windows", 1, 10_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"features.{name}", value, f"use {low} to {high}")


@dataclass(frozen=True)
class LinearModel:
    """Weights and calibration.

    Args:
        features: How texts become vectors.
        weights: Float32, one a column.
        bias: Score of an empty vector before calibration.
        knots: Raw scores, rising, and the label each stands for; between them is a straight line.
        facts: How it was trained and what it reached; kept beside the weights, used by nobody.
    """

    features: FeatureConfig
    weights: NDArray[np.float32]
    bias: float
    knots: tuple[tuple[float, float], ...] = ()
    facts: dict[str, Any] | None = None

    def raw_score(self, text: str) -> float:
        """The pooled score before calibration."""
        from nautiloid.curate.quality.features import (
            times,
            window_bounds,
            window_rows,
            word_hashes,
        )

        hashes = word_hashes(text)
        if not len(hashes):
            return self.bias
        config = self.features
        bounds = window_bounds(len(hashes), config.window_words, config.max_windows)
        rows = window_rows(hashes, bounds, config.window_words, config.ngrams, config.bits)
        scores = times(rows, self.weights).astype(np.float64)
        return float(scores.mean() if config.pool == "mean" else scores.max()) + self.bias

    def score(self, texts: Sequence[str]) -> list[float]:
        """Scores from 0 to 5, one a text, whatever their length."""
        raw = np.array([self.raw_score(text) for text in texts])
        if self.knots:
            x, y = zip(*self.knots, strict=True)
            raw = np.interp(raw, x, y)
        return [round(value, 4) for value in np.clip(raw, 0.0, MAX_SCORE).tolist()]

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`."""
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            save_file({"weights": self.weights}, temporary / "model.safetensors")
            config = {
                "format": FORMAT,
                "features": to_json(self.features),
                "bias": self.bias,
                "knots": [list(knot) for knot in self.knots],
                "facts": self.facts or {},
            }
            write_json(temporary / "config.json", config)


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """What `config.json` holds."""

    format: str
    features: FeatureConfig
    bias: float
    knots: tuple[tuple[float, float], ...]
    facts: dict[str, Any]


def load_linear(folder: str | Path) -> LinearModel:
    """Read a model that `nautiloid curate curate/quality` wrote.

    Raises:
        InputError: The folder is no such model, or damaged.
    """
    folder = Path(folder)
    if (folder / "model" / "config.json").is_file():
        folder = folder / "model"  # the folder of a run
    data = read_json(folder / "config.json")
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        remedy = "use a folder that `nautiloid curate curate/quality` wrote"
        raise InputError(str(folder), "not a linear scorer", remedy)
    saved = from_json(_Saved, data, str(folder / "config.json"))
    path = folder / "model.safetensors"
    try:
        weights = load_file(path)["weights"]
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(str(path), None, f"cannot be read ({error}); train it again") from None
    width = 1 << saved.features.bits
    is_sound = weights.dtype == np.float32 and weights.shape == (width,)
    numbers = (saved.bias, *(value for knot in saved.knots for value in knot))
    rising = [raw for raw, _ in saved.knots]
    if not is_sound or not np.isfinite(weights).all() or not all(map(math.isfinite, numbers)):
        remedy = f"expected {width} finite float32 weights; train it again"
        raise InputError(str(path), f"{weights.dtype} {weights.shape}", remedy)
    if rising != sorted(rising):
        raise InputError(str(folder / "config.json"), "knots", "not rising; train it again")
    return LinearModel(saved.features, weights, saved.bias, saved.knots, saved.facts)
