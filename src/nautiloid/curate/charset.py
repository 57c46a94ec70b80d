"""From the bytes of a page to text, whatever its labels say.

Labels lie: servers send a default, authors copy a header. So valid UTF-8 is UTF-8, a label counts
where the text it gives is possible, and else the detector of Firefox (chardetng) decides.
"""

from __future__ import annotations

import codecs
import re

from nautiloid.curate._guess import guess
from nautiloid.curate._labels import CODECS, LABELS, SCRIPTS

PRESCAN_BYTES = 1024
HEAD_BYTES = 1 << 16  # authors put scripts before the declaration
SAMPLE_CHARS = 1 << 17
SURE_BYTES = 8  # from this many non-ASCII bytes on the detector beats a doubtful label

DEFAULTS = {"windows-1252", "utf-8"}  # what servers and editors write without looking
MULTIBYTE = {"gb18030", "gbk", "big5", "shift_jis", "euc-jp", "euc-kr", "iso-2022-jp"}
_ASCII_BYTES = bytes(range(128))
_XML = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_VALUE = re.compile(rb"""charset\s{0,20}=\s{0,20}["']?\s{0,20}([a-z0-9._:-]{1,40})""")
_NEAR = re.compile("[A-Za-z]?[^\0-\x7f]+[A-Za-z]?")
_LONG_RUN = re.compile(r"[^\W\d_a-zA-Z]{4,}")
_SYMBOL_IN_WORD = re.compile("[A-Za-z][\u0080-\u00bf\u00d7\u00f7\u2020-\u2030\u20ac\u2122]+[a-z]")
_CONTROL = re.compile("[\u0080-\u009f]")
_ACCENTED = re.compile(r"[^\W\d_a-zA-Z]")
_MIXED_SCRIPTS = re.compile(
    "[a-zA-Z][\u0370-\u1dff\u3040-\ud7a3]|[\u0370-\u1dff\u3040-\ud7a3][a-z]"
)
_SWAPPED_CASE = re.compile(r"\b[\u03ac-\u03ce\u0430-\u045f][\u0391-\u03ab\u0401-\u042f]")


def decode(
    content: bytes, declared: str | None = None, mime: str | None = None, url: str | None = None
) -> tuple[str, str]:
    """Text of a page and the name of its character set (of the WHATWG Encoding Standard).

    Never raises on bad content: what no character set explains becomes U+FFFD. NUL characters
    and a byte order mark are left out.

    Args:
        content: The bytes of the page.
        declared: Character set named by the transport.
        mime: Media type without parameters; JSON is UTF-8 whatever is declared.
        url: Its top-level domain helps the detector where all else fails.
    """
    text, name = _decode(content, declared, mime, url)
    if "\0" in text:
        text = text.replace("\0", "")
    return text, name


def label(name: str | None) -> str | None:
    """The standard name for a label such as `latin1` or `x-sjis`; None when it is unknown.

    >>> label("Latin1"), label("utf8"), label("klingon")
    ('windows-1252', 'utf-8', None)
    """
    return None if name is None else LABELS.get(name.strip(" \t\r\n\f\"'").lower())


def declared_inside(content: bytes, mime: str | None = None) -> str | None:
    """Standard name of the character set that a page states in an XML declaration or a meta element."""
    head = content[:HEAD_BYTES]
    if match := _XML.match(head[:PRESCAN_BYTES]):
        found = label(match[1].decode("ascii"))
        if found:
            # a page that can read its own declaration byte by byte is not UTF-16
            return "utf-8" if found.startswith("utf-16") else found
    return _meta(head[:PRESCAN_BYTES]) or _meta(head)


def _meta(head: bytes) -> str | None:
    head = _without_comments(head.lower())
    at = head.find(b"charset")
    while at >= 0:
        start = head.rfind(b"<", max(0, at - 1000), at)
        if start >= 0 and head.startswith(b"<meta", start) and b">" not in head[start:at]:
            match = _VALUE.match(head, at)
            found = label(match[1].decode("ascii")) if match else None
            if found:
                return "utf-8" if found.startswith("utf-16") else found
        at = head.find(b"charset", at + 7)
    return None


def _without_comments(head: bytes) -> bytes:
    start = head.find(b"<!--")
    if start < 0:
        return head
    parts: list[bytes] = []
    end = 0
    while start >= 0:
        parts.append(head[end:start])
        end = head.find(b"-->", start + 4)
        if end < 0:
            return b"".join(parts)
        end += 3
        start = head.find(b"<!--", end)
    return b"".join([*parts, head[end:]])


def _decode(
    content: bytes, declared: str | None, mime: str | None, url: str | None
) -> tuple[str, str]:
    if content[:3] == codecs.BOM_UTF8:
        return _repaired(content[3:])[0], "utf-8"
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in content[:4096]:
        wide = _wide(content)
        if wide:
            return wide
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if content.isascii() and (b"\x1b" in content or b"~" in content):
            return _escaped(content, text, declared, mime)
        if len(text) != len(content) and len(content) - len(text) <= 8:
            return _short(content, text, declared, mime)
        return text, "utf-8"
    if mime is not None and mime.endswith("json"):
        return _repaired(content)[0], "utf-8"
    mixed, share = _repaired(content)
    if share >= 0.5:
        return mixed, "utf-8"
    return _legacy(content, label(declared), declared_inside(content, mime), url)


def _wide(content: bytes) -> tuple[str, str] | None:
    """UTF-32 and UTF-16 with a mark, or without one where every second byte is NUL."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) and len(content) % 4 == 0:
        order = "le" if content.startswith(codecs.BOM_UTF32_LE) else "be"
        return content[4:].decode(f"utf-32-{order}", "replace"), f"utf-32{order}"
    for mark, order in ((codecs.BOM_UTF16_LE, "le"), (codecs.BOM_UTF16_BE, "be")):
        if content.startswith(mark):
            return content[2:].decode(f"utf-16-{order}", "replace"), f"utf-16{order}"
    head = content[:4096]
    start = head.lstrip(b"\0\t\n\r ")[:2]
    for high, low, order in ((1, 0, "le"), (0, 1, "be")):
        # markup is ASCII: many high bytes are zero and few low ones are
        zeros = head[high::2].count(0) / max(1, len(head) // 2)
        is_markup = start in (b"<\0", b"<!", b"<h") and zeros > 0.05
        if (zeros > 0.6 or is_markup) and head[low::2].count(0) < len(head) / 50:
            return content.decode(f"utf-16-{order}", "replace"), f"utf-16{order}"
    return None


def _escaped(content: bytes, text: str, declared: str | None, mime: str | None) -> tuple[str, str]:
    """Seven-bit encodings of Japanese (by their escapes), Chinese and Korean (where declared)."""
    stated = label(declared) or declared_inside(content, mime)
    names = [stated] if stated in ("hz-gb-2312", "iso-2022-kr") else []
    if b"\x1b$" in content:
        names.append("iso-2022-jp")
    for name in names:
        try:
            return content.decode(CODECS[name]), name
        except UnicodeDecodeError:
            continue
    return text, "utf-8"


def _short(content: bytes, text: str, declared: str | None, mime: str | None) -> tuple[str, str]:
    """A few bytes are valid UTF-8 by chance in two-byte encodings; there a label is worth more."""
    stated = label(declared) or declared_inside(content, mime)
    if stated in MULTIBYTE and all(ord(c) < 0x800 for c in text):
        try:
            return content.decode(CODECS[stated]), stated
        except UnicodeDecodeError:
            pass
    return text, "utf-8"


def _repaired(content: bytes) -> tuple[str, float]:
    """UTF-8 with stray bytes read as windows-1252, and the share of good ones among non-ASCII.

    Templates in UTF-8 around old content are common, and so are pages cut inside a character.
    """
    text = content.decode("utf-8", "replace")
    ascii_count = len(content) - len(content.translate(None, _ASCII_BYTES))
    other = len(text) - ascii_count
    stray = text.count("\ufffd") - content.count(b"\xef\xbf\xbd")
    share = 1.0 if other == 0 else 1.0 - stray / other
    if stray == 0 or share < 0.5:
        return text, share
    parts: list[str] = []
    start = 0
    view = memoryview(content)
    for _ in range(2000):
        try:
            parts.append(str(view[start:], "utf-8"))
            return "".join(parts), share
        except UnicodeDecodeError as error:
            parts.append(str(view[start : start + error.start], "utf-8"))
            bad = bytes(view[start + error.start : start + error.end])
            is_cut = start + error.end == len(content) and error.reason.startswith("unexpected end")
            parts.append("" if is_cut else bad.decode("cp1252", "replace"))
            start += error.end
    parts.append(str(view[start:], "utf-8", "replace"))
    return "".join(parts), share


def _legacy(
    content: bytes, declared: str | None, inside: str | None, url: str | None
) -> tuple[str, str]:
    guessed = guess(content, url)
    high_bytes = len(content.translate(None, _ASCII_BYTES))
    is_sure = high_bytes >= SURE_BYTES
    for name in dict.fromkeys((declared, inside)):
        if name is None or name in ("utf-8", "utf-16le", "utf-16be"):
            continue
        text = _try(content, name)
        if text is None or not is_possible(text):
            continue
        is_doubtful = name in DEFAULTS or SCRIPTS.get(name) != SCRIPTS.get(guessed)
        if is_sure and is_doubtful and name != guessed and _try(content, guessed) is not None:
            continue
        return text, name
    return content.decode(CODECS[guessed], "replace"), guessed


def _try(content: bytes, name: str) -> str | None:
    try:
        return content.decode(CODECS[name])
    except UnicodeDecodeError:
        pass
    # a cut page ends inside a character; a few bad bytes do not refute a label that explains the rest
    text = content.decode(CODECS[name], "replace")
    bad = text.count("\ufffd")
    return text if bad <= 1 + len(content.translate(None, _ASCII_BYTES)) // 200 else None


def is_possible(text: str) -> bool:
    """Whether text looks like a language, not like one encoding read as another."""
    sample = " ".join(_NEAR.findall(text[:SAMPLE_CHARS]))
    controls = len(_CONTROL.findall(sample))
    accented = _ACCENTED.findall(sample)
    letters = len(accented)
    if letters == 0:
        return controls == 0
    latin = sum(1 for c in accented if c < "\u0250" or "\u1e00" <= c < "\u1f00")
    if latin * 2 > letters:
        # European words hold single accented letters; long runs are Cyrillic or Greek in disguise
        in_runs = sum(len(run) for run in _LONG_RUN.findall(sample))
        in_words = len(_SYMBOL_IN_WORD.findall(sample))
        return in_runs * 3 < letters and in_words * 8 < letters and controls * 8 < letters
    mixed = len(_MIXED_SCRIPTS.findall(sample))
    # KOI8 read as windows-1251, and the reverse, is all capitals but where a capital should be
    swapped = len(_SWAPPED_CASE.findall(sample))
    capitals = sum(1 for c in accented if c.isupper())
    is_swapped = swapped > 0 and capitals * 2 > letters
    return mixed * 3 < letters and not is_swapped and controls * 8 < letters
