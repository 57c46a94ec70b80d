"""A model folder without the bytes of its weights: config.json, and the headers of its safetensors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json
from nautiloid.model.config import ModelConfig
from nautiloid.model.family import Family, Stored, family

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, by its header; `start` is its first byte in the file."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


def read_family(path: PathLike) -> tuple[Family, ModelConfig]:
    """The family of a folder (or of a config.json) and the model it describes.

    End-of-text ids come from generation_config.json when it names some: that is where the
    published folders list all of them.

    Raises:
        InputError: The file is missing or a key of it is wrong; names file and key.
    """
    file = Path(path)
    if file.is_dir() or file.suffix != ".json":
        file = file / "config.json"
    data = read_json(file)
    if not isinstance(data, dict) or "model_type" not in data:
        inside = file.parent / "model"
        hint = f"; the model is in {inside}" if (inside / "config.json").is_file() else ""
        raise InputError(
            f"{file}: model_type", None, f"missing; this is not the config.json of a model{hint}"
        )
    try:
        found = family(cast(dict[str, Any], data)["model_type"])
        config = found.read_config(cast(dict[str, Any], data))
    except InputError as error:
        raise InputError(f"{file}: {error.field}", error.value, error.remedy) from None
    generation = file.parent / "generation_config.json"
    if generation.is_file():
        eos = read_json(generation).get("eos_token_id")
        if eos is not None:
            config = replace(config, eos_token_id=tuple(eos) if isinstance(eos, list) else eos)
    return found, config


def read_config(path: PathLike) -> ModelConfig:
    """The model that a folder or a config.json describes."""
    return read_family(path)[1]


def read_header(file: Path) -> dict[str, Entry]:
    """Names, dtypes and shapes of a safetensors file, after checking that the file is whole.

    Raises:
        InputError: The file is torn or no safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > size - 8:
            raise InputError(
                str(file), f"{size} bytes", "truncated inside its header; copy the file again"
            )
        try:
            header: dict[str, Any] = json.loads(handle.read(length))
            header.pop("__metadata__", None)
            found: list[tuple[tuple[int, int], Entry]] = []
            for name, fact in header.items():
                start, stop = fact["data_offsets"]
                shape = tuple(fact["shape"])
                entry = Entry(name, file, fact["dtype"], shape, 8 + length + start)
                found.append(((start, stop), entry))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(str(file), None, "not a safetensors file; copy it again") from None
    entries: dict[str, Entry] = {}
    for (start, stop), entry in sorted(found, key=lambda item: item[0]):
        width = _WIDTHS.get(entry.dtype)
        has_size = width is None or stop - start == math.prod(entry.shape) * width
        if start < 0 or not has_size:
            raise InputError(
                f"{file}: {entry.name}",
                f"{stop - start} bytes",
                f"its header says {list(entry.shape)} {entry.dtype}; copy the file again",
            )
        if 8 + length + stop > size:
            raise InputError(
                f"{file}: {entry.name}",
                f"truncated at {size} bytes",
                f"expected {list(entry.shape)} {entry.dtype}; copy the file again",
            )
        entries[entry.name] = entry
    return entries


def scan(folder: PathLike) -> dict[str, Entry]:
    """Every tensor of a folder: `model.safetensors`, or the shards of its index.

    Raises:
        InputError: A file or a tensor of the index is missing, or a file is torn.
    """
    folder = Path(folder)
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if not (folder / INDEX).is_file():
        raise InputError(str(folder), None, f"holds neither {SINGLE} nor {INDEX}")
    index = read_json(folder / INDEX)
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
        raise InputError(f"{folder / INDEX}: weight_map", None, "missing; copy the file again")
    weights = cast(dict[str, str], index["weight_map"])
    entries: dict[str, Entry] = {}
    for name in dict.fromkeys(weights.values()):
        file = folder / name
        if not file.is_file():
            count = sum(shard == name for shard in weights.values())
            raise InputError(
                str(file), "missing shard", f"{INDEX} expects {count} tensors in it; copy it again"
            )
        entries |= read_header(file)
    for name, shard in weights.items():
        if name not in entries:
            raise InputError(
                f"{folder / shard}: {name}", "missing", f"{INDEX} lists it; copy the file again"
            )
    return entries


def match(
    found: Family, config: ModelConfig, folder: PathLike, entries: Iterable[Entry]
) -> list[tuple[Entry, Stored]]:
    """Pair every tensor of a folder with its place in the model, whichever way experts are stored.

    Raises:
        InputError: A tensor is missing, unknown, misshapen or no float; names it, its expected shape
            and its file.
    """
    wanted = {s.name: s for s in found.layout(config)}
    known = {s.name: s for s in found.layout(config, per_expert=False)} | wanted
    pairs: list[tuple[Entry, Stored]] = []
    filled: set[tuple[str, int | None]] = set()
    for entry in entries:
        stored = known.get(found.canonical(entry.name))
        where = f"{entry.file}: {entry.name}"
        if stored is None:
            if config.tie_word_embeddings and entry.name == "lm_head.weight":
                continue
            hint = "the config has no such tensor; check num_hidden_layers and the layer pattern"
            if entry.name.startswith("mtp."):
                hint = "the config has no such MTP tensor; check num_nextn_predict_layers"
            raise InputError(where, "unexpected tensor", hint)
        if entry.shape != stored.shape:
            raise InputError(
                where, f"shape {list(entry.shape)}", f"expected {list(stored.shape)} by config.json"
            )
        if entry.dtype not in FLOATS:
            raise InputError(where, entry.dtype, f"expected one of {', '.join(FLOATS)}")
        pairs.append((entry, stored))
        filled |= {(part.name, part.index) for part in stored.parts}
    for stored in wanted.values():
        for part in stored.parts:
            if (part.name, part.index) not in filled and (part.name, None) not in filled:
                hint = f"expected {list(stored.shape)}; copy the folder again"
                if stored.name.startswith("mtp."):
                    hint = f"expected {list(stored.shape)}; set num_nextn_predict_layers to 0 to do without"
                raise InputError(f"{folder}: {stored.name}", "missing tensor", hint)
    return pairs
