r"""Formulas drawn as images: TeX in the `alt` text or in the address."""

from __future__ import annotations

import re
from itertools import islice
from urllib.parse import unquote, unquote_plus

from selectolax.lexbor import LexborNode

from nautiloid.curate.math.delimiters import stripped, unescaped
from nautiloid.curate.math.formula import Formula, unwrap_style

# Classes whose images are always formulas: Sphinx, Doxygen, MediaWiki, LaTeX2HTML, WordPress, CK-12.
_CLASSES_NAMES = (
    "math tex latex formulainl formuladsp mwe-math-fallback-image-inline "
    "mwe-math-fallback-image-display x-ck12-math x-ck12-block-math x-ck12-hwpmath "
    "latex-image equation_image texrender mathtex"
)
_CLASSES = frozenset(_CLASSES_NAMES.split())
_DISPLAY_NAMES = "formuladsp mwe-math-fallback-image-display x-ck12-block-math displaymath"
_DISPLAY = frozenset(_DISPLAY_NAMES.split())
_COMMAND = re.compile(r"\\[A-Za-z]+|[\^_]\{|^\$.+\$$|^\\[(\[]", re.DOTALL)
# Settings of codecogs and of WordPress in front of the formula.
_SETTING = re.compile(
    r"^\s*(?:\\(?:dpi|fn_?[a-z]*|bg)(?:\{[^{}]*\}|_[a-z]+)|\\(?:inline|bg_[a-z]+|fn_[a-z]+|tiny|small"
    r"|normalsize|large|Large|LARGE|huge|usepackage\{[^{}]*\})(?![A-Za-z]))\s*"
)
_TEXT_MODE = re.compile(r"\\begin\{(displaymath|equation\*?|math)\}(.*)\\end\{\1\}\s*$", re.DOTALL)
# What may stand beside a formula on a line of its own: punctuation and its number.
_BESIDE = " \n\t\xa0.,;()0123456789"
_MAX_BESIDE = 100
_HOSTS = (
    "codecogs.com",
    "mimetex",
    "mathtex",
    "latex.php",
    "cht=tx",
    "/tex.cgi",
    "texify",
    "/svg.latex",
)


def of(image: LexborNode) -> Formula | None:
    """The formula that an `img` element draws, or None where it is a picture."""
    attributes = image.attributes
    alt = attributes.get("alt") or ""
    source = attributes.get("src") or attributes.get("data-src") or ""
    if not alt and not source:
        return None
    names = (attributes.get("class") or "").lower().split()
    # Old Sphinx marks the block and not the image in it.
    known = not _CLASSES.isdisjoint(names) or (alt != "" and _parent_says_display(image))
    from_url = any(host in source for host in _HOSTS) if len(source) < 20_000 else False
    encoding = "image_alt"
    tex = unescaped(alt)
    if "%5C" in tex or "%5c" in tex or "%7B" in tex:
        tex = unquote(tex)
    if from_url and not (_COMMAND.search(tex) or (known and tex)):
        decoded = from_address(source)
        if decoded:
            tex, encoding = decoded, "image_url"
    elif not known and not from_url and not _COMMAND.search(tex):
        return None
    if not known and not from_url and not _certain(tex):
        return None
    inner, is_display = stripped(tex)
    environment = _TEXT_MODE.match(inner)
    if environment is not None:
        # LaTeX2HTML quotes the environment: what is inside it is the formula.
        inner, is_display = environment[2].strip(), environment[1] != "math"
    if not inner:
        return None
    if is_display is None or not is_display:
        is_display = bool(
            is_display
            or not _DISPLAY.isdisjoint(names)
            or inner.startswith(("\\begin{align", "\\begin{equation", "\\begin{gather"))
            or _parent_says_display(image)
        )
    return Formula(unwrap_style(inner), is_display, encoding)


def _certain(tex: str) -> bool:
    """Whether an alt text of an unknown image is TeX and not a sentence or a Windows path."""
    if ":\\" in tex or len(tex) > 2000:
        return False
    if tex.startswith(("$", "\\(", "\\[")):
        return True
    words = len(re.findall(r"(?<![\\A-Za-z{])[A-Za-z]{4,}", tex))
    return words <= 1


def _parent_says_display(image: LexborNode) -> bool:
    """Whether the image stands in a block for formulas, as in Sphinx: `div.math > p > img`."""
    node = image.parent
    for _ in range(2):
        if node is None:
            return False
        names = (node.attributes.get("class") or "").split()
        if node.tag in ("div", "p") and (
            "math" in names or "formulaDsp" in names or "displaymath" in names
        ):
            return True
        if node.tag in ("p", "div", "center") and _is_centred(node):
            return _is_alone(image)
        node = node.parent
    return False


def _is_centred(node: LexborNode) -> bool:
    style = node.attributes.get("style") or ""
    return (
        node.tag == "center"
        or (node.attributes.get("align") or "").lower() == "center"
        or "text-align:center" in style.replace(" ", "")
    )


def _is_alone(image: LexborNode) -> bool:
    """Whether no text but punctuation stands beside an image in its block."""
    parent = image.parent
    if parent is None:
        return False
    # Only so far: each of many images in one block would read all of it.
    for node in islice(parent.traverse(include_text=True), _MAX_BESIDE):
        if node.tag == "-text" and (node.text(deep=False) or "").strip(_BESIDE):
            return False
    return True


def from_address(source: str) -> str:
    r"""TeX in the query of a rendering service, "" where there is none.

    >>> from_address("https://latex.codecogs.com/gif.latex?%5Cfrac%7Ba%7D%7Bb%7D&space;+1")
    '\\frac{a}{b} +1'
    """
    path, mark, query = source.partition("?")
    if "codecogs.com" in path or "svg.latex" in path:
        if not mark:
            # The newer form: .../svg.image?... and .../png.latex/TeX
            query = path.rpartition("/")[2]
        tex = query.replace("&amp;", "&").replace("&space;", " ").replace("&plus;", "+")
        tex = unquote(tex)
    elif "latex.php" in path or "cht=tx" in source:
        name = "chl" if "cht=tx" in source else "latex"
        tex = ""
        for pair in query.replace("&amp;", "&").split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                tex = unquote_plus(value)
    elif mark:
        tex = unquote(query.replace("&amp;", "&"))
        for prefix in ("formdata=", "tex=", "math="):
            tex = tex.removeprefix(prefix)
    else:
        return ""
    while setting := _SETTING.match(tex):
        tex = tex[setting.end() :]
    return tex.strip()
