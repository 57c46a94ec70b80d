"""The checkpoint folder: a Hugging Face folder with tokenizer, provenance, model card and manifest."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nautiloid.core.errors import InputError
from nautiloid.core.files import (
    MANIFEST,
    read_json,
    verify_manifest,
    write_json,
    write_manifest,
    write_text,
)
from nautiloid.model.config import ModelConfig
from nautiloid.model.family import require_same
from nautiloid.model.folder import PathLike, read_config

if TYPE_CHECKING:
    from torch import Tensor

    from nautiloid.model.decoder import Decoder

PROVENANCE = "provenance.json"
CARD = "README.md"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "grammar.json", "added_tokens.json", "vocab.json", "merges.txt",
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """What a folder says about itself, without its weights.

    Args:
        path: The folder.
        config: The model.
        provenance: How it was made; empty for folders of others.
    """

    path: Path
    config: ModelConfig
    provenance: dict[str, Any]

    @classmethod
    def open(cls, path: PathLike, *, verify: bool = False) -> Checkpoint:
        """Read a folder; `verify` checks every file against the manifest when there is one.

        Raises:
            InputError: The folder is incomplete, or a file has another checksum.
        """
        folder = Path(path)
        config = read_config(folder)
        if verify and (folder / MANIFEST).is_file():
            verify_manifest(folder)
        has_provenance = (folder / PROVENANCE).is_file()
        provenance = read_json(folder / PROVENANCE) if has_provenance else {}
        return cls(folder, config, provenance)


def tokenizer_size(folder: PathLike) -> int | None:
    """One more than the largest id of a folder's tokenizer.json; None when there is none."""
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        return None
    data = read_json(file)
    vocab = data.get("model", {}).get("vocab", {})
    ids = list(vocab.values()) if isinstance(vocab, dict) else list(range(len(vocab)))
    ids += [token["id"] for token in data.get("added_tokens", [])]
    return max(cast(list[int], ids), default=-1) + 1


def check_tokenizer(folder: PathLike, config: ModelConfig) -> None:
    """Refuse a tokenizer that produces ids the model has no row for.

    Raises:
        InputError: Names the tokenizer file and both sizes.
    """
    size = tokenizer_size(folder)
    if size is not None and size > config.vocab_size:
        raise InputError(
            str(Path(folder) / "tokenizer.json"),
            f"{size} ids",
            f"the model has vocab_size {config.vocab_size}; use the tokenizer it was trained with",
        )


def write_checkpoint(
    path: PathLike,
    model: Decoder,
    *,
    tokenizer_folder: PathLike | None,
    provenance: dict[str, Any],
    card: str,
    dtype: str | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the whole folder or nothing.

    Args:
        path: Folder to make or replace.
        model: The decoder.
        tokenizer_folder: Folder whose tokenizer files are copied.
        provenance: How the model was made, as JSON values.
        card: Text of the model card.
        dtype: Of the stored weights; the model's when None.
        tensors: Values by name instead of the model's own, such as float32 masters.

    Raises:
        InputError: The tokenizer does not fit the model, or the place cannot be written.
    """
    from nautiloid.model.weights import atomic_folder, write_model

    if tokenizer_folder is not None:
        check_tokenizer(tokenizer_folder, model.config)
    with atomic_folder(path) as folder:
        write_model(folder, model, dtype=cast(Any, dtype), tensors=tensors)
        _finish(folder, tokenizer_folder, provenance, card)
    return Path(path)


def _finish(
    folder: Path, tokenizer_folder: PathLike | None, provenance: dict[str, Any], card: str
) -> None:
    if tokenizer_folder is not None:
        for name in TOKENIZER_FILES:
            source = Path(tokenizer_folder) / name
            if source.is_file():
                shutil.copyfile(source, folder / name)
    write_json(folder / PROVENANCE, provenance)
    write_text(folder / CARD, card)
    write_manifest(folder)


def merge(
    paths: Sequence[PathLike],
    out: PathLike,
    *,
    weights: Sequence[float] | None = None,
    provenance: dict[str, Any] | None = None,
    card: str = "",
) -> Path:
    """Average checkpoints of one model in float32, tensor by tensor.

    Args:
        paths: Folders; config, dtype and tokenizer of the last one are kept.
        out: Folder to make or replace.
        weights: Shares of the folders, normalised to sum 1; equal when None.
        provenance: How they came about; the folders and their shares are added.
        card: Text of the model card.

    Raises:
        InputError: Fewer than two folders, models that differ, or shares that do not fit.
    """
    import torch

    from nautiloid.model.weights import WeightStream, atomic_folder, write_folder

    if len(paths) < 2:
        raise InputError("paths", [str(p) for p in paths], "name at least two checkpoints")
    shares = list(weights) if weights is not None else [1.0] * len(paths)
    if len(shares) != len(paths) or min(shares) < 0 or sum(shares) <= 0:
        raise InputError("weights", shares, f"give {len(paths)} numbers, none negative, not all 0")
    total = sum(shares)
    shares = [share / total for share in shares]
    streams = [WeightStream(path) for path in paths]
    config = streams[-1].config
    for stream in streams[:-1]:
        same = replace(stream.config, dtype=config.dtype, eos_token_id=config.eos_token_id)
        try:
            require_same(same, config, "the other checkpoint")
        except InputError as error:
            raise InputError(
                f"{stream.path}: {error.field}", error.value, f"{paths[-1]} has another"
            ) from None

    def read(name: str, index: int | None) -> Tensor:
        value = torch.zeros(())
        for stream, share in zip(streams, shares, strict=True):
            value = value + stream.read(name, index).float() * share
        return value

    with atomic_folder(out) as folder:
        write_folder(folder, config, read)
        parts = [{"path": str(p), "share": s} for p, s in zip(paths, shares, strict=True)]
        _finish(folder, paths[-1], {**(provenance or {}), "merge": parts}, card)
    return Path(out)
