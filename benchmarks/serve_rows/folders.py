"""A model folder of random weights, written at the speed of memory: the published layout at full size."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import torch
from benchmarks.gpu_rows.models import fill_tensor
from torch import Tensor

from nautiloid.core.files import write_json
from nautiloid.model.config import ModelConfig
from nautiloid.model.family import Stored, family
from nautiloid.model.folder import FLOATS, INDEX
from nautiloid.model.weights import dtype_of

SHARD_BYTES = 5e9
# long tensors are cut from one stretch of random numbers, each at its own place
RANDOM = 1 << 24
THREADS = 16
NAMES = {name: code for code, name in FLOATS.items()}


def write_random(folder: Path, config: ModelConfig) -> int:
    """Write a folder; returns the bytes of its weights."""
    own = family(config.family)
    layout = own.layout(config)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", own.write_config(config))
    shards: list[list[Stored]] = [[]]
    size = 0
    for stored in layout:
        if size + _bytes(config, stored) > SHARD_BYTES and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append(stored)
        size += _bytes(config, stored)
    generator = torch.Generator().manual_seed(0)
    random = {
        kind: torch.empty(RANDOM).normal_(0, std, generator=generator).to(dtype_of(config.dtype))
        for kind, std in (("normal", 0.02), ("residual", 0.006))
    }
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    with ThreadPoolExecutor(THREADS) as pool:  # writers of one file would wait for each other
        sizes = pool.map(
            lambda item: _write_shard(folder / item[0], config, item[1], random),
            zip(names, shards, strict=True),
        )
        total = sum(sizes)
    weight_map = {s.name: name for name, shard in zip(names, shards, strict=True) for s in shard}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return total


def _dtype(config: ModelConfig, stored: Stored) -> torch.dtype:
    return torch.float32 if stored.is_fp32 else dtype_of(config.dtype)


def _bytes(config: ModelConfig, stored: Stored) -> int:
    return math.prod(stored.shape) * _dtype(config, stored).itemsize


def _write_shard(
    file: Path, config: ModelConfig, shard: list[Stored], random: dict[str, Tensor]
) -> int:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for stored in shard:
        stop = start + _bytes(config, stored)
        dtype = str(_dtype(config, stored)).removeprefix("torch.")
        header[stored.name] = {
            "dtype": NAMES[dtype],
            "shape": stored.shape,
            "data_offsets": (start, stop),
        }
        start = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    specs = config.tensors()
    with file.open("wb", buffering=0) as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for place, stored in enumerate(shard):
            init = specs[stored.parts[0].name].init
            count = math.prod(stored.shape)
            if init not in random:
                tensor = torch.empty(count)
                fill_tensor(tensor, init)
                _write(handle, tensor.to(_dtype(config, stored)))
                continue
            first = (place * 7919 * 4096) % (RANDOM // 2)
            for done in range(0, count, RANDOM // 2):
                part = min(RANDOM // 2, count - done)
                _write(handle, random[init][first : first + part])
    return start


def _write(handle: FileIO, values: Tensor) -> None:
    data = values.contiguous().view(torch.uint8).numpy().data
    done = 0
    while done < len(data):
        done += handle.write(data[done:])
