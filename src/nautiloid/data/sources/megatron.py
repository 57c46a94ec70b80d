"""Megatron's indexed dataset: `<prefix>.bin` with tokens, `<prefix>.idx` with their places.

Layout (MMIDIDX version 1, little endian): magic 9 bytes, version u64, dtype code u8, number of
sequences u64, number of document boundaries u64, then i32 sequence lengths in tokens, i64 byte
offsets into the `.bin`, i64 document boundaries (the first 0, the last the number of sequences).
Source: specs/data section 6, after Megatron-LM megatron/core/datasets/indexed_dataset.py.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path
from nautiloid.core.types import Sample
from nautiloid.data.files import find
from nautiloid.data.source import Source, source

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
LARGEST_U16_VOCAB = 65_500


@source("megatron")
@dataclass(frozen=True, kw_only=True)
class Megatron(Source):
    """Tokenized documents of Megatron's preprocessing; end-of-document tokens are in the data.

    Args:
        paths: Prefixes, with or without `.idx`, folders or globs of `.idx` files.
    """

    paths: tuple[str, ...]

    def files(self) -> Sequence[Path]:
        """Index and token files, in order."""
        return [f for prefix in self._prefixes() for f in (_idx(prefix), _bin(prefix))]

    def read(self, start: int = 0) -> Iterator[Sample]:
        """One sample a document; those before `start` are not touched."""
        for prefix in self._prefixes():
            index = Index.load(prefix)
            count = len(index)
            for number in range(min(start, count), count):
                yield Sample(
                    id=f"{Path(prefix).name}:{number}",
                    source=self.kind,
                    tokens=tuple(index.document(number).tolist()),
                    licence=self.licence,
                )
            start = max(0, start - count)

    def _prefixes(self) -> list[Path]:
        patterns = [
            p if _is_idx_pattern(p) else f"{p.removesuffix('.bin')}.idx" for p in self.paths
        ]
        prefixes = [path.with_suffix("") for path in find(patterns, (".idx",))]
        for prefix in prefixes:
            if not _bin(prefix).is_file():
                raise InputError(str(_bin(prefix)), "missing", "it belongs beside the .idx file")
        return prefixes


def _is_idx_pattern(path: str) -> bool:
    return path.endswith((".idx", "*")) or Path(path).expanduser().is_dir()


def _idx(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".idx")


def _bin(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".bin")


@dataclass(frozen=True)
class Index:
    """An opened pair of files; `len` is the number of documents."""

    tokens: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]
    starts: np.ndarray[Any, Any]
    boundaries: np.ndarray[Any, Any]

    @classmethod
    def load(cls, prefix: Path) -> Index:
        """Map the files and check that they fit each other.

        Raises:
            InputError: Not an index, of another version or dtype, or torn.
        """
        path = _idx(prefix)
        data = (
            np.memmap(path, dtype=np.uint8, mode="r")
            if path.stat().st_size
            else np.empty(0, np.uint8)
        )
        if data.size < HEADER.size or bytes(data[:9]) != MAGIC:
            raise InputError(str(path), "not a Megatron index", "expected the magic MMIDIDX")
        _, version, code, sequences, documents = HEADER.unpack(bytes(data[: HEADER.size]))
        if version != 1:
            raise InputError(str(path), f"version {version}", "only version 1 is read")
        if code not in DTYPES:
            raise InputError(str(path), f"dtype code {code}", "expected an integer type (1-5 or 8)")
        expected = HEADER.size + 12 * sequences + 8 * documents
        # multimodal indices end with one mode byte a sequence, which tokens do not need
        if data.size not in (expected, expected + sequences):
            raise InputError(
                str(path), f"{data.size} bytes", f"its header says {expected}; restore the file"
            )
        at = HEADER.size
        lengths = data[at : at + 4 * sequences].view("<i4")
        offsets = data[at + 4 * sequences : at + 12 * sequences].view("<i8")
        boundaries = data[at + 12 * sequences : expected].view("<i8")
        dtype = np.dtype(DTYPES[code])
        size = _bin(prefix).stat().st_size
        tokens = (
            np.memmap(_bin(prefix), dtype=np.uint8, mode="r") if size else np.empty(0, np.uint8)
        )
        fits = (
            size % dtype.itemsize == 0
            and bool(
                (lengths >= 0).all()
                and (offsets >= 0).all()
                and (offsets % dtype.itemsize == 0).all()
            )
            and (
                sequences == 0
                or int((offsets + lengths.astype(np.int64) * dtype.itemsize).max()) <= size
            )
        )
        if not fits:
            raise InputError(
                str(_bin(prefix)), f"{size} bytes", "does not fit its .idx file; restore both files"
            )
        if (
            documents == 0
            or boundaries[0] != 0
            or boundaries[-1] != sequences
            or (np.diff(boundaries) < 0).any()
        ):
            raise InputError(str(path), "bad document boundaries", "restore the file")
        return cls(tokens.view(dtype), lengths, offsets // dtype.itemsize, boundaries)

    def __len__(self) -> int:
        return len(self.boundaries) - 1

    def document(self, number: int) -> np.ndarray[Any, Any]:
        """Token ids of one document, its sequences joined."""
        first, last = self.boundaries[number], self.boundaries[number + 1]
        parts = [
            self.tokens[s : s + n]
            for s, n in zip(self.starts[first:last], self.lengths[first:last], strict=True)
        ]
        return np.concatenate(parts) if parts else self.tokens[:0]


def write_megatron(
    prefix: str | os.PathLike[str], documents: Iterable[Sequence[int]], *, vocab_size: int
) -> int:
    """Write `<prefix>.bin` and `<prefix>.idx`, one sequence a document, atomically.

    Empty documents are left out, as by Megatron's own builder. Ids are stored as uint16 when
    `vocab_size` is below 65,500 and as int32 otherwise.

    Returns:
        The number of documents written.

    Raises:
        InputError: An id is outside the vocabulary, or a document exceeds 2^31 - 1 tokens.
    """
    code = 8 if vocab_size < LARGEST_U16_VOCAB else 4
    dtype = np.dtype(DTYPES[code])
    lengths: list[int] = []
    # the outer file moves into place last: an index never stands beside missing tokens
    with atomic_path(_idx(Path(prefix))) as index, atomic_path(_bin(Path(prefix))) as tokens:
        with tokens.open("wb") as out:
            for document in documents:
                ids = np.asarray(document, dtype=np.int64)
                if not ids.size:
                    continue
                if ids.min() < 0 or ids.max() >= vocab_size:
                    raise InputError(
                        f"document {len(lengths)}",
                        f"ids {ids.min()}..{ids.max()}",
                        f"vocab_size is {vocab_size}",
                    )
                if ids.size > np.iinfo(np.int32).max:
                    raise InputError(
                        f"document {len(lengths)}", ids.size, "split it below 2^31 tokens"
                    )
                out.write(ids.astype(dtype).tobytes())
                lengths.append(ids.size)
        sizes = np.asarray(lengths, dtype="<i4")
        offsets = np.zeros(len(lengths), dtype="<i8")
        np.cumsum(sizes[:-1].astype(np.int64) * dtype.itemsize, out=offsets[1:])
        with index.open("wb") as out:
            out.write(HEADER.pack(MAGIC, 1, code, len(lengths), len(lengths) + 1))
            out.write(sizes.tobytes())
            out.write(offsets.tobytes())
            out.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
    return len(lengths)
