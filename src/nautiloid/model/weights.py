"""Weights between safetensors folders and modules, one tensor at a time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path, read_json, write_json
from nautiloid.model.config import Dtype, ModelConfig
from nautiloid.model.family import Family, InexpressibleError, Stored, family, write_tokens
from nautiloid.model.folder import (
    FLOATS,
    INDEX,
    SINGLE,
    Entry,
    PathLike,
    match,
    read_family,
    scan,
)
from nautiloid.model.quantize import check_wide
from nautiloid.model.transfer import copy_moves, moves

if TYPE_CHECKING:
    from nautiloid.model.decoder import Decoder
    from nautiloid.ops.config import OpsConfig

logger = logging.getLogger(__name__)

# A tensor of the module tree, or one entry of its first axis (an expert).
Reader = Callable[[str, int | None], Tensor]


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of a config's `dtype`."""
    if name not in FLOATS.values():
        raise InputError("dtype", name, f"use one of {', '.join(FLOATS.values())}")
    return cast(torch.dtype, getattr(torch, name))


def dtype_name(dtype: torch.dtype) -> Dtype:
    """The config's spelling of a torch dtype."""
    return cast(Dtype, str(dtype).removeprefix("torch."))


class WeightStream:
    """Weights of a folder under the names of the module tree, memory-mapped.

    Everything is checked from the headers when the stream is made, so that a bad folder fails
    before anything is allocated. At most one shard is mapped at a time.

    Args:
        path: Folder with config.json and safetensors.
        dtype: Of the tensors given out; the config's when None. Tensors that stay float32 are
            not affected.

    Raises:
        InputError: A tensor is missing, unknown, misshapen or torn; names it and its file.
    """

    def __init__(self, path: PathLike, *, dtype: torch.dtype | None = None):
        self.path = Path(path)
        self.family, self.config = read_family(path)
        self.dtype = dtype or dtype_of(self.config.dtype)
        entries = scan(path)
        self._pairs = match(self.family, self.config, self.path, entries.values())
        self._specs = self.config.tensors()
        self._sources: dict[str, list[tuple[Entry, Stored]]] = {}
        for entry, stored in self._pairs:
            for name in dict.fromkeys(part.name for part in stored.parts):
                self._sources.setdefault(name, []).append((entry, stored))
        self._file: Path | None = None
        self._handle: Any = None

    def _load(self, entry: Entry) -> Tensor:
        if entry.file != self._file:
            self._handle, self._file = (
                safe_open(entry.file, framework="pt", device="cpu"),
                entry.file,
            )
        return self._handle.get_tensor(entry.name)

    def copy_into(self, targets: Mapping[str, Tensor]) -> None:
        """Fill the given tensors (parameters and buffers by name), on a CPU or a GPU."""
        with torch.no_grad():
            copy_moves(moves(self._pairs, targets, FLOATS))

    def read(self, name: str, index: int | None = None) -> Tensor:
        """One tensor, or one entry of its first axis, in the dtype it is stored in."""
        shape = self._specs[name].shape
        entries: dict[int | None, Tensor] = {}
        for entry, stored in self._sources[name]:
            at = stored.parts[0].index
            if at in entries or (index is not None and at not in (None, index)):
                continue
            for found, _, piece in _pieces(stored, self._load(entry)):
                if found == name:
                    entries[at] = piece
        if None in entries:
            value = entries[None].reshape(shape)
            return value if index is None else value[index]
        if index is not None:
            return entries[index].reshape(shape[1:])
        return torch.stack([entries[j] for j in range(shape[0])]).reshape(shape)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, spec in self._specs.items():
            is_wide = spec.is_fp32 or spec.is_island
            wide = torch.promote_types(self.dtype, torch.float32)
            yield name, self.read(name).to(wide if is_wide else self.dtype)


def _pieces(stored: Stored, value: Tensor) -> Iterator[tuple[str, int | None, Tensor]]:
    for part in stored.parts:
        piece = value
        if part.stop is not None:
            piece = value.narrow(part.axis, part.start, part.stop - part.start)
        yield part.name, part.index, piece


def module_reader(tensors: Mapping[str, Tensor]) -> Reader:
    """A reader over parameters and buffers."""

    def read(name: str, index: int | None) -> Tensor:
        value = tensors[name].detach()
        return value if index is None else value[index]

    return read


def load(
    path: PathLike,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Dtype | None = None,
    ops: OpsConfig | None = None,
) -> Decoder:
    """Load a folder of any supported `model_type`.

    Args:
        path: Folder with config.json and one or many safetensors files.
        device: Where the weights go.
        dtype: Of the weights; the config's when None.
        ops: Which operator variants run.

    Raises:
        InputError: The folder is incomplete or damaged, its tokenizer knows more ids than the model,
            or there is no such device.
    """
    from nautiloid.model.checkpoint import check_tokenizer
    from nautiloid.model.decoder import Decoder

    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise InputError("device", str(device), "torch sees no GPU; use cpu")
    wanted = dtype_of(dtype) if isinstance(dtype, str) else dtype
    stream = WeightStream(path, dtype=wanted)
    check_tokenizer(path, stream.config)
    config = replace(stream.config, dtype=dtype_name(stream.dtype))
    model = Decoder(config, ops=ops, device=torch.device(device), dtype=stream.dtype)
    stream.copy_into(model.state_dict())
    return model


def save(
    model: Decoder,
    path: PathLike,
    *,
    dtype: torch.dtype | Dtype | None = None,
    per_expert: bool = True,
    max_shard_bytes: float = 5e9,
) -> None:
    """Write a folder that transformers and vLLM load, whole or not at all.

    Args:
        model: Any decoder.
        path: Folder to make or replace.
        dtype: Of the stored weights; the model's when None.
        per_expert: Store experts one by one, as the published checkpoints do, or stacked.
        max_shard_bytes: Largest file.

    Raises:
        InputError: The weights are packed in 8 bits.
    """
    check_wide(model, "save")
    with atomic_folder(path) as folder:
        write_model(
            folder, model, dtype=dtype, per_expert=per_expert, max_shard_bytes=max_shard_bytes
        )


def atomic_folder(path: PathLike) -> AbstractContextManager[Path]:
    """A temporary folder that replaces `path` at the end; refuses to replace what is no checkpoint."""
    final = Path(path)
    if final.exists() and not (final.is_dir() and (not any(final.iterdir()) or _is_model(final))):
        raise InputError(str(final), "exists and is not a model folder", "choose another place")
    return atomic_path(path)


def _is_model(folder: Path) -> bool:
    file = folder / "config.json"  # that of a run, which must never be replaced, has no model_type
    return file.is_file() and "model_type" in read_json(file)


def write_model(
    folder: Path,
    model: Decoder,
    *,
    dtype: torch.dtype | Dtype | None = None,
    per_expert: bool = True,
    max_shard_bytes: float = 5e9,
    tensors: Mapping[str, Tensor] | None = None,
) -> ModelConfig:
    """Write config, generation config and weights into a folder; returns the config as written.

    Args:
        folder: Existing or new folder.
        model: Any decoder.
        dtype: Of the stored weights; the model's when None.
        per_expert: Store experts one by one.
        max_shard_bytes: Largest file.
        tensors: Values by name instead of the model's own, such as float32 masters.
    """
    tensors = model.state_dict() if tensors is None else tensors
    own = next(p.dtype for p in model.parameters())
    wanted = dtype_of(dtype) if isinstance(dtype, str) else dtype or own
    return write_folder(
        folder,
        replace(model.config, dtype=dtype_name(wanted)),
        module_reader(tensors),
        per_expert=per_expert,
        max_shard_bytes=max_shard_bytes,
    )


def writable_family(config: ModelConfig) -> tuple[Family, dict[str, Any]]:
    """The model's family and its config.json, or our own when the family cannot say it."""
    try:
        own = family(config.family)
        return own, own.write_config(config)
    except InexpressibleError as error:
        logger.warning("saved with model_type nautiloid, which only Nautiloid loads: %s", error)
        own = family("nautiloid")
        return own, own.write_config(config)


def write_folder(
    folder: Path,
    config: ModelConfig,
    read: Reader,
    *,
    per_expert: bool = True,
    max_shard_bytes: float = 5e9,
) -> ModelConfig:
    """Write config, generation config and the weights that `read` gives, in the config's dtype."""
    own, data = writable_family(config)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", data)
    write_json(folder / "generation_config.json", write_tokens(config))
    dtype = dtype_of(config.dtype)
    shards: list[list[Stored]] = [[]]
    sizes = [0]
    layout = own.layout(config, per_expert=per_expert)
    for stored in layout:
        size = _bytes(stored, dtype)
        if shards[-1] and sizes[-1] + size > max_shard_bytes:
            shards.append([])
            sizes.append(0)
        shards[-1].append(stored)
        sizes[-1] += size
    weight_map: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        name = SINGLE if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        tensors = {stored.name: _assemble(stored, read, dtype) for stored in shard}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    if len(shards) > 1:
        facts = {
            "total_size": sum(sizes),
            "total_parameters": sum(math.prod(s.shape) for s in layout),
        }
        write_json(folder / INDEX, {"metadata": facts, "weight_map": weight_map})
    return config


def _bytes(stored: Stored, dtype: torch.dtype) -> int:
    size = max(4, dtype.itemsize) if stored.is_fp32 else dtype.itemsize
    return math.prod(stored.shape) * size


def _assemble(stored: Stored, read: Reader, dtype: torch.dtype) -> Tensor:
    pieces: list[Tensor] = []
    for part in stored.parts:
        value = read(part.name, part.index)
        shape = list(stored.shape)
        if part.stop is not None:
            shape[part.axis] = part.stop - part.start
        pieces.append(value.reshape(shape))
    value = pieces[0] if len(pieces) == 1 else torch.cat(pieces, stored.parts[0].axis)
    wanted = torch.promote_types(dtype, torch.float32) if stored.is_fp32 else dtype
    value = value.to("cpu", wanted)
    # A tied head is stored twice, and safetensors refuses two names for one piece of memory.
    return value.clone() if stored.name == "lm_head.weight" else value.contiguous()
