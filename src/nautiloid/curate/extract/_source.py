"""Source of a page before it is parsed: depths and tags that a parser suffers from."""

from __future__ import annotations

import re

from nautiloid.curate.extract._words import names

# Browsers stop nesting at 512; the parser's work grows with the square of the depth.
MAX_DEPTH = 512
# A page of fewer tags costs the parser 0.2 s however deep it is.
_MANY_TAGS = 10_000

# Shorter than the tags of `MAX_DEPTH` elements, so that a stretch of a usual page stays below it.
_STRETCH = 4096
# Openings that have no end tag.
_NEVER_DEEPER = ("<br", "<img", "<hr", "<!")

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]*)")
# A start tag this long holds attributes without end, on which the parser spends quadratic time.
_LONG = 60_000
_LONG_TAG = re.compile(rf"(<[A-Za-z][A-Za-z0-9:-]{{0,40}})\s[^<>]{{{_LONG},}}")
_RAW = re.compile(r"(?is)<(xmp|plaintext)\b[^>]*>")
# Elements whose end the parser does not imply: only these pile up.
_NESTING = names(
    """
    div span b i u s em strong font a big small tt code center blockquote ul ol dl dir menu
    table form section article main aside header footer nav fieldset details figure sup sub ins
    del q abbr cite object applet marquee math svg g mrow mstyle mi mo mn msup msub mfrac pre
    label bdo bdi kbd samp var
    """
)


def mended(html: str) -> str:
    """Source of bounded depth."""
    if _has_stretch(html):
        html = _LONG_TAG.sub(_without_many, html)
    # The shortest tag has three characters.
    if len(html) > 3 * _MANY_TAGS and html.count("<") > _MANY_TAGS and not _is_shallow(html):
        html = _flattened(html)
    return html


def _has_stretch(html: str) -> bool:
    """Whether `_LONG` characters stand between two tags, or inside one."""
    start = 0
    while len(html) - start > _LONG:
        last = html.rfind("<", start + 1, start + _LONG)
        if last < 0:
            return True
        start = last
    return False


def _is_shallow(html: str) -> bool:
    """Whether counts of tags, a stretch at a time, already bound the depth: most pages end here."""
    depth = 0
    for start in range(0, len(html), _STRETCH):
        stretch = html[start : start + _STRETCH]
        ends = stretch.count("</")
        opened = stretch.count("<") - ends - sum(map(stretch.count, _NEVER_DEEPER))
        if depth + opened > MAX_DEPTH:
            return False
        # An end tag too many must not hide what is opened behind it.
        depth = max(0, depth + opened - ends)
    return True


def _without_many(match: re.Match[str]) -> str:
    """A start tag without its attributes where they are many; one long value may stay."""
    return match.group(0) if match.group(0).count("=") < 2_000 else match.group(1) + " "


def without_raw(html: str) -> str:
    """`xmp` and `plaintext` as `pre`: what is in them is text, tags included."""
    lower = html.lower()
    parts: list[str] = []
    done = 0
    while match := _RAW.search(html, done):
        parts.append(html[done : match.start()])
        name = match.group(1).lower()
        stop = lower.find(f"</{name}", match.end()) if name == "xmp" else -1
        raw = html[match.end() : stop if stop >= 0 else len(html)]
        raw = raw.replace("&", "&amp;").replace("<", "&lt;")
        parts.append(f"<pre>{raw}</pre>")
        if stop < 0:
            return "".join(parts)
        done = html.find(">", stop) + 1 or len(html)
    parts.append(html[done:])
    return "".join(parts)


def _flattened(html: str) -> str:
    """Source in which no element lies deeper than `MAX_DEPTH`: tags beyond it are left out."""
    depth = deepest = 0
    for slash, name in _TAG.findall(html):
        if name.lower() in _NESTING:
            depth += -1 if slash else 1
            if depth > deepest:
                deepest = depth
            elif depth < 0:
                depth = 0
    if deepest <= MAX_DEPTH:
        return html
    parts: list[str] = []
    done = depth = beyond = 0
    for match in _TAG.finditer(html):
        if match.group(2).lower() not in _NESTING:
            continue
        if match.group(1):
            drop = beyond > 0
            if drop:
                beyond -= 1
            elif depth:
                depth -= 1
        else:
            drop = depth >= MAX_DEPTH
            if drop:
                beyond += 1
            else:
                depth += 1
        if drop:
            parts.append(html[done : match.start()])
            done = html.find(">", match.end()) + 1 or len(html)
    parts.append(html[done:])
    return "".join(parts)
