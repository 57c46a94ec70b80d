"""UTF-8 that was read as Windows-1252 or Latin-1, undone where the bytes prove it."""

from __future__ import annotations

import re

# Windows-1252 shows these for the bytes 0x80 to 0x9f; five are undefined and pass as controls.
_BYTE = {bytes([b]).decode("cp1252", "replace"): b for b in range(0x80, 0xA0)}
_BYTE.pop("\ufffd", None)
_BYTE.update({chr(b): b for b in range(0x80, 0x100)})
_TAIL = "".join(re.escape(char) for char, b in _BYTE.items() if 0x80 <= b < 0xC0)
_SEQUENCE = re.compile(
    f"[\u00c2-\u00df][{_TAIL}]|[\u00e0-\u00ef][{_TAIL}]{{2}}|[\u00f0-\u00f4][{_TAIL}]{{3}}"
)


def repair(text: str) -> str:
    """Decode the sequences of characters whose bytes are one UTF-8 character.

    One pair such as `\u00c2\u00b0` may be meant; three characters in a row that fit, or two pairs
    in a text, are not an accident.

    >>> repair("it\u00e2\u20ac\u2122s"), repair("\u00c3\u00a9t\u00c3\u00a9"), repair("\u00c2\u00b0")
    ('it\u2019s', '\xe9t\xe9', '\xc2\xb0')
    """
    found = [match for match in _SEQUENCE.finditer(text) if _decode(match.group()) is not None]
    if not found or (len(found) == 1 and len(found[0].group()) == 2):
        return text
    return _SEQUENCE.sub(lambda match: _decode(match.group()) or match.group(), text)


def _decode(chars: str) -> str | None:
    try:
        char = bytes(_BYTE[c] for c in chars).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return char if char.isprintable() or char == "\u00a0" else None
