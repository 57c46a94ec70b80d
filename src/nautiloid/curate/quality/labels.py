"""Labelled texts: JSON lines with a text and a score from 0 to 5."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, cast

from nautiloid.core.errors import InputError
from nautiloid.curate.quality.linear import MAX_SCORE

Split = Literal["train", "tune", "test"]
MIN_LABELS = 40


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and what an annotator thought of it."""

    text: str
    label: float

    @property
    def split(self) -> Split:
        """80 % train, 10 % tune, 10 % test, by the text alone: equal texts share a split."""
        digest = blake2b(self.text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        part = int.from_bytes(digest, "big") % 10
        return "test" if part == 0 else "tune" if part == 1 else "train"


def read_labels(paths: Sequence[str], text_field: str, label_field: str) -> list[Labelled]:
    """Read label files.

    Raises:
        InputError: A file is missing or empty, a line is no labelled text, all labels are alike,
            or there are too few to train, tune and test on.
    """
    if not paths:
        raise InputError("labels", None, "name a JSONL file of texts and labels: --labels FILE")
    found = [item for path in paths for item in _read(Path(path), text_field, label_field)]
    check_labels(found, ", ".join(paths))
    return found


def check_labels(found: Sequence[Labelled], where: str) -> None:
    """Refuse labels that nothing can be learned from or tested on."""
    if len(found) < MIN_LABELS:
        raise InputError(where, f"{len(found)} labels", f"give at least {MIN_LABELS}")
    if len({item.label for item in found}) == 1:
        remedy = "a scorer needs good and bad examples; give at least two different labels"
        raise InputError(where, f"every label is {found[0].label:g}", remedy)
    for split in ("train", "tune", "test"):
        labels = {item.label for item in found if item.split == split}
        if len(labels) < 2:
            remedy = f"its {split} part (chosen by hash) has {len(labels)} kinds; give more labels"
            raise InputError(where, f"{len(found)} labels", remedy)


def _read(path: Path, text_field: str, label_field: str) -> Iterator[Labelled]:
    count = 0
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    count += 1
                    yield _item(line, f"{path}: line {number}", text_field, label_field)
    except FileNotFoundError:
        raise InputError(str(path), None, "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), None, f"cannot be read: {error}") from None
    if not count:
        raise InputError(str(path), "empty", 'write lines such as {"text": "...", "label": 3}')


def _item(line: str, where: str, text_field: str, label_field: str) -> Labelled:
    try:
        data: Any = json.loads(line)
    except ValueError as error:
        raise InputError(where, None, f"not valid JSON: {error}") from None
    fields = cast(dict[str, Any], data) if isinstance(data, dict) else {}
    for name in (text_field, label_field):
        if name not in fields:
            known = ", ".join(map(str, fields)) or "no fields"
            raise InputError(where, None, f"no field {name!r}; it has {known}")
    text, label = fields[text_field], fields[label_field]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: {text_field}", text or "empty", "expected a text")
    if isinstance(label, bool) or not isinstance(label, int | float) or math.isnan(label):
        raise InputError(f"{where}: {label_field}", str(label), "expected a number from 0 to 5")
    if not 0 <= label <= MAX_SCORE:
        raise InputError(f"{where}: {label_field}", label, "expected a number from 0 to 5")
    return Labelled(text, float(label))
