"""Rows of JSON Lines and Parquet to pages and documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Limits


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns; a dot reaches into nested objects.

    A row needs `text`, which becomes a document as it is, or `html`, which becomes a page. Where a
    row has both, `html` counts.

    Args:
        text: Ready text.
        html: A page, as text or as bytes.
        id: A stable name; the file and the row where there is none.
        url: The address.
        licence: The licence.
        charset: Character set of bytes.
        keep: Further columns that stay with the document.
    """

    text: str = "text"
    html: str = "html"
    id: str = "id"
    url: str = "url"
    licence: str = "license"
    charset: str = "charset"
    keep: tuple[str, ...] = ()

    def top(self) -> set[str]:
        """Names of the top-level columns that may be needed."""
        names = (self.text, self.html, self.id, self.url, self.licence, self.charset, *self.keep)
        return {name.split(".")[0] for name in names}

    def check(self, names: list[str], where: str) -> None:
        """Refuse a source that has neither content column.

        Raises:
            InputError: Names the file and the columns that are there.
        """
        if not {self.text.split(".")[0], self.html.split(".")[0]} & set(names):
            raise InputError(
                where,
                f"columns {', '.join(names) or '(none)'}",
                f"has neither {self.text!r} nor {self.html!r}: name its column in reader.columns",
            )

    def item(
        self, row: Any, *, name: str, licence: str | None, limits: Limits
    ) -> Page | Document | Fault | None:
        """The page or document of a row; None where its content is empty.

        Args:
            row: The decoded row.
            name: Id of the row where it names none; the place of a fault.
            licence: Licence of a row that names none.
            limits: Bounds of the content.
        """
        if not isinstance(row, Mapping):
            return Fault(name, "bad_row", f"is {type(row).__name__}, not an object")
        data = cast(Mapping[str, Any], row)
        is_html = (content := _get(data, self.html)) is not None
        column = self.html if is_html else self.text
        if not is_html and (content := _get(data, self.text)) is None:
            found = ", ".join(str(key)[:40] for key in list(data)[:20]) or "(none)"
            which = "is null" if self.text in data or self.html in data else "is missing"
            detail = f"column {self.text!r} or {self.html!r} {which}; the row has {found}"
            return Fault(name, "missing_column", detail)
        if not isinstance(content, str) and not (is_html and isinstance(content, bytes)):
            what = "text or bytes" if is_html else "text"
            detail = f"column {column!r} is {type(content).__name__}, expected {what}"
            return Fault(name, "wrong_type", detail)
        others: dict[str, str | None] = {}
        for key, other in (("id", self.id), ("url", self.url), ("licence", self.licence)):
            value = _get(data, other)
            if value is not None and not isinstance(value, str | int):
                detail = f"column {other!r} is {type(value).__name__}, expected text"
                return Fault(name, "wrong_type", detail)
            others[key] = None if value is None else sound(str(value))
        size = len(content) if isinstance(content, bytes) or content.isascii() else _size(content)
        if size > limits.page_bytes:
            return Fault(name, "too_large", f"column {column!r} has {size} bytes")
        if not content.strip():
            return None
        meta = {key: _plain(value) for key in self.keep if (value := _get(data, key)) is not None}
        id, url = others["id"] or name, others["url"]
        licence = others["licence"] or licence
        if is_html:
            charset = _get(data, self.charset) if isinstance(content, bytes) else "utf-8"
            charset = charset if isinstance(charset, str) else None
            stored = content if isinstance(content, bytes) else sound(content).encode()
            return Page(id, stored, url, "text/html", charset, licence, meta)
        assert isinstance(content, str)
        if url is not None:
            meta["url"] = url
        return Document(id, sound(content), licence=licence, meta=meta)


def sound(text: str) -> str:
    """Text that any file can hold: surrogate pairs are joined, halves of them and NUL go."""
    if "\0" in text:
        text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _get(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    if value is None and "." in name:
        value = row
        for part in name.split("."):
            value = cast(Any, value).get(part) if isinstance(value, Mapping) else None
    return value


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, str):
        return sound(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast(list[Any], value)]
    return sound(str(value))
