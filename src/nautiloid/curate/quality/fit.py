"""Ridge regression by conjugate gradients, and calibration; deterministic, on one core."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nautiloid.curate.quality.features import (
    Rows,
    times,
    transposed_times,
    window_bounds,
    window_rows,
    word_hashes,
)
from nautiloid.curate.quality.labels import Labelled
from nautiloid.curate.quality.linear import FeatureConfig, LinearModel

log = logging.getLogger("nautiloid.curate")

_MAX_KNOTS = 64


@dataclass(frozen=True, slots=True)
class Quality:
    """What a scorer reaches on labelled texts.

    Args:
        count: Texts.
        mae: Mean distance of score and label.
        mae_constant: The same for the best constant score, to compare.
        f1: Of `score >= 3` after rounding against `label >= 3`, by precision and recall.
        accuracy: Fraction of texts whose rounded score is the rounded label.
    """

    count: int
    mae: float
    mae_constant: float
    precision: float
    recall: float
    f1: float
    accuracy: float


def fit(items: Sequence[Labelled], features: FeatureConfig, l2: Sequence[float]) -> LinearModel:
    """Train on the train part, choose the penalty and calibrate on the tune part.

    Every window of a document is an example with the document's label; the windows of a document
    weigh one together. About 6 kB a window are held in memory.

    Args:
        items: Checked by `check_labels`.
        features: How texts become vectors.
        l2: Penalties to try, as a fraction of the number of documents.
    """
    train = [item for item in items if item.split == "train"]
    tune = [item for item in items if item.split == "tune"]
    rows, labels, shares = _examples(train, features)
    mean = float(np.average(labels, weights=shares))
    tune_labels = np.array([item.label for item in tune])
    weights = np.zeros(1 << features.bits)
    best: tuple[float, LinearModel] | None = None
    for penalty in sorted(l2, reverse=True):  # from stiff to loose: each starts at the former
        weights = _ridge(rows, labels - mean, shares, penalty * shares.sum(), weights)
        model = LinearModel(features, weights.astype(np.float32), mean)
        raw = np.array([model.raw_score(item.text) for item in tune])
        error = float(np.mean((raw - tune_labels) ** 2))
        log.info("penalty %g: mean squared error %.4f on the tune part", penalty, error)
        if best is None or error < best[0]:
            best = error, replace(model, knots=isotonic(raw, tune_labels))
    assert best is not None
    return best[1]


def measure(scores: Sequence[float], labels: Sequence[float]) -> Quality:
    """Compare scores with labels.

    >>> measure([1, 2, 4, 3.4], [1, 3, 4, 5]).f1
    0.8
    """
    got, wanted = np.array(scores, np.float64), np.array(labels, np.float64)
    is_good, is_kept = wanted >= 3, np.round(got) >= 3
    both = int((is_good & is_kept).sum())
    precision = both / max(int(is_kept.sum()), 1)
    recall = both / max(int(is_good.sum()), 1)
    return Quality(
        count=len(wanted),
        mae=float(np.abs(got - wanted).mean()),
        mae_constant=float(np.abs(wanted - np.median(wanted)).mean()),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if both else 0.0,
        accuracy=float((np.round(got) == np.round(wanted)).mean()),
    )


def isotonic(
    raw: NDArray[np.float64], labels: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """The rising step function nearest to the labels, as the middle of each step.

    Pool adjacent violators: neighbours that fall are merged into their mean.

    >>> isotonic(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.0, 5.0]))
    ((0.5, 0.5), (2.0, 5.0))
    """
    order = np.argsort(raw, kind="stable")
    blocks: list[list[float]] = []  # sum of raw, sum of labels, count
    for x, y in zip(raw[order].tolist(), labels[order].tolist(), strict=True):
        blocks.append([x, y, 1])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    while len(blocks) > _MAX_KNOTS:  # smallest steps first
        place = min(range(len(blocks) - 1), key=lambda i: blocks[i][2] + blocks[i + 1][2])
        last = blocks.pop(place + 1)
        blocks[place] = [a + b for a, b in zip(blocks[place], last, strict=True)]
    return tuple((x / n, y / n) for x, y, n in blocks)


def _examples(
    items: Sequence[Labelled], features: FeatureConfig
) -> tuple[Rows, NDArray[np.float64], NDArray[np.float64]]:
    parts: list[Rows] = []
    labels: list[float] = []
    shares: list[float] = []
    for item in items:
        hashes = word_hashes(item.text)
        bounds = window_bounds(len(hashes), features.window_words, features.max_windows)
        parts.append(
            window_rows(hashes, bounds, features.window_words, features.ngrams, features.bits)
        )
        labels += [item.label] * len(bounds)
        shares += [1 / len(bounds)] * len(bounds)
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    columns = np.concatenate([part.columns for part in parts])
    values = np.concatenate([part.values for part in parts])
    return Rows(starts, columns, values), np.array(labels), np.array(shares)


def _ridge(
    rows: Rows,
    labels: NDArray[np.float64],
    shares: NDArray[np.float64],
    penalty: float,
    start: NDArray[np.float64],
    *,
    max_steps: int = 200,
    tolerance: float = 1e-4,
) -> NDArray[np.float64]:
    """Minimise the weighted squared error plus `penalty * |w|^2`."""
    width = len(start)

    def apply(w: NDArray[np.float64]) -> NDArray[np.float64]:
        products = times(rows, w.astype(np.float32)).astype(np.float64)
        return transposed_times(rows, shares * products, width) + penalty * w

    target = transposed_times(rows, shares * labels, width)
    weights = start.copy()
    residual = target - apply(weights)
    direction = residual.copy()
    square = float(residual @ residual)
    stop = tolerance**2 * float(target @ target)
    for _ in range(max_steps):
        if square <= stop:
            break
        image = apply(direction)
        step = square / float(direction @ image)
        weights += step * direction
        residual -= step * image
        former, square = square, float(residual @ residual)
        direction = residual + (square / former) * direction
    return weights
