"""A model folder rewritten: other dtype, other shards, as plain Hugging Face files or as a `Checkpoint`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nautiloid.core.files import sha256, write_json, write_manifest, write_text
from nautiloid.model.checkpoint import CARD, PROVENANCE, TOKENIZER_FILES, Checkpoint
from nautiloid.model.config import Dtype
from nautiloid.model.folder import PathLike, scan

Target = Literal["hf", "nautiloid"]


def convert(
    path: PathLike,
    out: PathLike,
    *,
    to: Target = "hf",
    dtype: Dtype | None = None,
    per_expert: bool = True,
    max_shard_bytes: float = 5e9,
) -> Path:
    """Rewrite a folder tensor by tensor; memory is one shard.

    Args:
        path: Any folder that `load` takes; its manifest is verified when it has one.
        out: Folder to make or replace.
        to: `hf` writes config, weights and tokenizer; `nautiloid` adds model card, provenance
            (checksums of the source files) and manifest.
        dtype: Of the weights; the folder's when None.
        per_expert: Experts one by one, as published checkpoints have them, or stacked.
        max_shard_bytes: Largest file.

    Raises:
        InputError: The folder is damaged or incomplete, or the place cannot be written.
    """
    from nautiloid.model.weights import (
        WeightStream,
        atomic_folder,
        dtype_name,
        dtype_of,
        write_folder,
    )

    source = Checkpoint.open(path, verify=True)
    stream = WeightStream(path, dtype=dtype_of(dtype) if dtype else None)
    config = replace(stream.config, dtype=dtype_name(stream.dtype))
    with atomic_folder(out) as folder:
        write_folder(
            folder, config, stream.read, per_expert=per_expert, max_shard_bytes=max_shard_bytes
        )
        for name in TOKENIZER_FILES:
            if (source.path / name).is_file():
                shutil.copyfile(source.path / name, folder / name)
        if to == "nautiloid":
            files = sorted({entry.file for entry in scan(path).values()})
            record = {"path": str(path), "files": {file.name: sha256(file) for file in files}}
            write_json(folder / PROVENANCE, {**source.provenance, "converted_from": record})
            card = source.path / CARD
            text = card.read_text("utf-8") if card.is_file() else f"# {source.path.name}\n"
            write_text(folder / CARD, text)
            write_manifest(folder)
    return Path(out)
