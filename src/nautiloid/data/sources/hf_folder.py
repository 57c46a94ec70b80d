"""A Hugging Face dataset as a folder on disk: downloaded files or the layout of `save_to_disk`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json
from nautiloid.core.types import Sample, ThinkingMode
from nautiloid.data.files import decode, pieces
from nautiloid.data.records import Fields
from nautiloid.data.source import Source, source
from nautiloid.data.tables import Rows, arrow_rows, count_parquet, parquet_rows, read_from

SUFFIXES = (".parquet", ".jsonl", ".jsonl.zst", ".jsonl.gz", ".arrow")
SPLITS = ("train", "validation", "valid", "dev", "test")


@source("hf_folder")
@dataclass(frozen=True, kw_only=True)
class HfFolder(Source):
    """Rows of one split of a dataset folder (Parquet, JSON lines or Arrow files).

    Args:
        path: The folder, a clone of a dataset repository or written by `Dataset.save_to_disk`.
        split: Name of the split; files belong to it when their path contains the name as a word.
            A folder whose files name no split at all is one `train` split.
        subset: Subfolder of one configuration of the dataset.
        fields: Names of the columns.
        mode: Thinking mode of conversations whose rows name none.
        max_line_bytes: Longest accepted line of JSON files.
    """

    path: str
    split: str = "train"
    subset: str | None = None
    fields: Fields = field(default_factory=Fields)
    mode: ThinkingMode = "on"
    max_line_bytes: int = 64_000_000

    def files(self) -> Sequence[Path]:
        """The data files of the split, in order."""
        root = Path(self.path).expanduser()
        root = root / self.subset if self.subset else root
        if not root.is_dir():
            raise InputError(str(root), "no such folder", "correct source.path and source.subset")
        return _saved_to_disk(root, self.split) or _by_name(root, self.split)

    def read(self, start: int = 0) -> Iterator[Sample]:
        """One sample a row."""
        for path, number, row in read_from(self.files(), self._rows, _count, start):
            yield self.fields.sample(
                row,
                id=f"{path.name}:{number}",
                source=self.kind,
                where=f"{path}: row {number}",
                licence=self.licence,
                mode=self.mode,
            )

    def _rows(self, path: Path, start: int) -> Rows:
        if path.suffix == ".parquet":
            return parquet_rows(path, self.fields.columns(), start)
        if path.suffix == ".arrow":
            return arrow_rows(path, self.fields.columns(), start)
        return self._lines(path)

    def _lines(self, path: Path) -> Rows:
        lines = (line for line in pieces(path, b"\n", self.max_line_bytes) if line.strip())
        for number, line in enumerate(lines):
            where = f"{path}: row {number}"
            try:
                row: Any = json.loads(decode(line, where))
            except (json.JSONDecodeError, RecursionError) as error:
                raise InputError(
                    where, None, f"not valid JSON ({error}); mend or remove it"
                ) from None
            yield number, row


def _count(path: Path) -> int | None:
    return count_parquet(path) if path.suffix == ".parquet" else None


def _saved_to_disk(root: Path, split: str) -> list[Path]:
    """Files listed by `state.json` of `save_to_disk`; none when the folder is of another layout."""
    if (root / "dataset_dict.json").is_file():
        splits = read_json(root / "dataset_dict.json").get("splits", [])
        if split not in splits:
            raise InputError("source.split", split, f"{root} has {', '.join(splits)}")
        root = root / split
    if not (root / "state.json").is_file():
        return []
    state = read_json(root / "state.json")
    if state.get("_indices_data_files"):
        raise InputError(
            str(root), "saved with an index mapping", "call flatten_indices() before saving"
        )
    files = [root / item["filename"] for item in state.get("_data_files", [])]
    for file in files:
        if not file.is_file() or file.parent != root:
            raise InputError(
                str(file), "missing", f"{root / 'state.json'} lists it; restore the folder"
            )
    return files


def _by_name(root: Path, split: str) -> list[Path]:
    found = sorted(
        path
        for path in root.rglob("*")
        if path.name.endswith(SUFFIXES)
        and not any(p.startswith(".") for p in path.relative_to(root).parts)
    )
    if not found:
        raise InputError(
            str(root), "no data files", f"expected files ending in {', '.join(SUFFIXES)}"
        )

    def names(path: Path, word: str) -> bool:
        text = path.relative_to(root).as_posix()
        return re.search(rf"(^|[^a-zA-Z0-9]){re.escape(word)}($|[^a-zA-Z0-9])", text) is not None

    matching = [path for path in found if names(path, split)]
    if matching:
        return matching
    if split == "train" and not any(names(path, word) for path in found for word in SPLITS):
        return found
    examples = ", ".join(path.relative_to(root).as_posix() for path in found[:3])
    raise InputError(
        "source.split", split, f"no file of that name in {root}, which holds {examples}"
    )
