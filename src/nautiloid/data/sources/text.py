"""Plain text files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nautiloid.core.errors import InputError
from nautiloid.core.types import Sample
from nautiloid.data.files import decode, find, pieces, reading
from nautiloid.data.source import Source, source


@source("text")
@dataclass(frozen=True, kw_only=True)
class Text(Source):
    r"""Documents from plain text files, plain or compressed (`.zst`, `.gz`).

    Args:
        paths: Files, folders (every `.txt` and `.md` below) or globs.
        separator: What stands between documents in a file, such as "\n\n" for blank lines; None
            makes one document of each file.
        max_document_bytes: Longest accepted document.
    """

    paths: tuple[str, ...]
    separator: str | None = None
    max_document_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        if self.separator == "":
            raise InputError(
                "source.separator", "", 'use None (one document a file) or text such as "\\n\\n"'
            )

    def files(self) -> Sequence[Path]:
        """The matching files."""
        return find(self.paths, (".txt", ".md", ".txt.zst", ".txt.gz"))

    def read(self, start: int = 0) -> Iterator[Sample]:
        """One sample a file, or one a part between separators that holds more than white space."""
        index = 0
        for path in self.files():
            if self.separator is None:
                index += 1
                if index > start:
                    yield self._sample(path.name, decode(self._whole(path), str(path)))
                continue
            parts = pieces(path, self.separator.encode(), self.max_document_bytes)
            for number, part in enumerate(parts, 1):
                if not part.strip():
                    continue
                index += 1
                if index > start:
                    text = decode(part, f"{path}: document {number}").strip("\r\n")
                    yield self._sample(f"{path.name}:{number}", text)

    def _whole(self, path: Path) -> bytes:
        with reading(path) as stream:
            data = stream.read(self.max_document_bytes + 1)
        if len(data) > self.max_document_bytes:
            raise InputError(
                str(path),
                f"over {self.max_document_bytes} bytes",
                "set source.separator or raise source.max_document_bytes",
            )
        return data

    def _sample(self, id: str, text: str) -> Sample:
        return Sample(id=id, source=self.kind, text=text, licence=self.licence)
