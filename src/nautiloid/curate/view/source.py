"""The source page without anything that acts, and where its formulas sit.

The page is hostile. What comes out has no script, no handler, no form and no address; the frame that
shows it is sandboxed without scripts and has a policy that forbids the network, so each of the
three alone would do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nautiloid.core.errors import missing_extra
from nautiloid.core.report.html import Html, html
from nautiloid.curate.math.recover import Formula, Recovery

MAX_NODES = 150_000
MAX_CHARS = 6_000_000
KEY = "data-nautiloid-key"
SENTINEL = re.compile("\ue000(\\d+)\ue001")

STRUCTURE = """a abbr address article aside b bdi bdo big blockquote body br caption center cite code col
colgroup dd del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hgroup hr
i img ins kbd li main mark menu nav ol p pre q rp rt ruby s samp section small span strike strong sub
summary sup table tbody td tfoot th thead time tr tt u ul var wbr"""
MATHML = """math maction menclose merror mfenced mfrac mi mlabeledtr mmultiscripts mn mo mover mpadded
mphantom mprescripts mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder
munderover none semantics"""
SVG = "svg g path rect line use defs text tspan circle ellipse polygon polyline"
MATHJAX = "mjx-container mjx-math mjx-assistive-mml"


def _words(*texts: str) -> frozenset[str]:
    return frozenset(" ".join(texts).split())


ALLOWED = _words(STRUCTURE, MATHML, SVG, MATHJAX)
VOID = _words("br col hr img wbr")
DROPPED = _words(
    """annotation annotation-xml applet audio base button canvas datalist embed form-control frame
    frameset head iframe input link map meta noframes noscript object option param picture script
    select source style template textarea title track video"""
)
ATTRIBUTES = _words(
    """accent accentunder align cellpadding cellspacing border class colspan columnalign columnspacing
    columnlines cx cy d dir display displaystyle fence fill fill-opacity fontsize form frame height id
    lang largeop length linethickness lspace mathsize mathvariant maxsize minsize movablelimits notation
    open points preserveAspectRatio r rowalign rowlines rowspacing rowspan rspace rx ry scriptlevel
    separator start stretchy stroke stroke-width style symmetric title transform valign value viewBox
    voffset width x x1 x2 y y1 y2"""
)
CODE = _words("code kbd pre samp tt")


@dataclass(frozen=True)
class Source:
    """A page that may be shown.

    Args:
        markup: Body of the frame; formula `n` carries `data-mark="n"`.
        formulas: What was found in the page, by `n`.
        order: All `n` in the order of the page.
        is_cut: The page was too large to be shown whole.
    """

    markup: Html
    formulas: tuple[Formula, ...]
    order: tuple[int, ...]
    is_cut: bool


def sanitise(page: str) -> Source:
    """Markup of a page that cannot act, with its formulas marked.

    Raises:
        InputError: selectolax is not installed.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ModuleNotFoundError:
        raise missing_extra("selectolax", "curate") from None
    prepared, recovery = Recovery.prepare(page)
    tree = LexborHTMLParser(prepared)
    writer = _Writer(recovery, *_marks(tree, recovery, LexborHTMLParser))
    if tree.body is not None:
        writer.write(tree.body)
    shown = dict.fromkeys(writer.order)
    hidden = (n for n in range(len(recovery.formulas)) if n not in shown)
    markup = Html("".join(writer.parts))
    return Source(markup, tuple(recovery.formulas), (*shown, *hidden), writer.is_cut)


def _marks(tree: Any, recovery: Recovery, parse: Any) -> tuple[dict[int, int], dict[int, str]]:
    """Where formulas are: a second tree is changed by the recovery, and the two are compared.

    Returns:
        Number of the formula for the key of each element that a formula has replaced, and the words
        with formulas in them for the `mem_id` of each text that was changed.
    """
    elements: dict[str, Any] = {}
    for number, node in enumerate(tree.root.traverse()):
        if node.is_element_node:
            node.attrs[KEY] = str(number)
            elements[str(number)] = node
    changed = parse(tree.html)
    recovery.replace(changed)
    marks: dict[int, int] = {}
    texts: dict[int, str] = {}
    done: set[str] = set()
    for node in changed.root.traverse(include_text=True):
        if not node.is_text_node or "\ue000" not in (node.text_content or ""):
            continue
        parent = _key(node.parent)
        if parent in elements and parent not in done:
            done.add(parent)
            _compare(elements[parent], node.parent, marks, texts)
    return marks, texts


def _compare(before: Any, after: Any, marks: dict[int, int], texts: dict[int, str]) -> None:
    """Find what was replaced among the children of one element, gap by gap between those that stayed."""
    now: list[tuple[str | None, str]] = [
        (None, child.text_content or "") if child.is_text_node else (_key(child), "")
        for child in after.iter(include_text=True)
    ]
    stayed = {key for key, _ in now if key is not None}
    at = 0
    removed: list[int] = []
    words: list[Any] = []
    for child in [*before.iter(include_text=True), None]:
        key = _key(child)
        if child is not None and key is None:
            if child.is_text_node:
                words.append(child)
            continue
        if key is not None and key not in stayed:
            removed.append(int(key))
            continue
        text = ""
        while at < len(now) and (child is None or now[at][0] != key):
            text += now[at][1]
            at += 1
        at += 1
        formulas = [int(number) for number in SENTINEL.findall(text)]
        # several elements may carry one formula (a preview, its rendering and its script)
        for i, number in enumerate(removed if formulas else ()):
            marks[number] = formulas[i * len(formulas) // len(removed)]
        if formulas and not removed and len(words) == 1:
            texts[words[0].mem_id] = text
        removed, words = [], []


def _key(node: Any) -> str | None:
    return node.attributes.get(KEY) if node is not None and node.is_element_node else None


class _Writer:
    """Writes allowed elements and all text in one walk without recursion."""

    def __init__(self, recovery: Recovery, marks: dict[int, int], texts: dict[int, str]):
        self.recovery = recovery
        self.marks = marks
        self.texts = texts
        self.parts: list[str] = []
        self.order: list[int] = []
        self.size = 0
        self.is_cut = False

    def write(self, body: Any) -> None:
        """Write the inside of an element."""
        node = body.first_child
        closing: list[str] = []
        inside: list[Any] = []
        is_quiet: list[bool] = [False]  # no formulas are sought in code and inside marked elements
        count = 0
        while True:
            if node is None:
                if not inside:
                    return
                node = inside.pop().next
                self._put(closing.pop())
                is_quiet.pop()
                continue
            count += 1
            self.is_cut = count > MAX_NODES or self.size > MAX_CHARS
            if self.is_cut:
                for end in reversed(closing):
                    self._put(end)
                return
            if node.is_text_node:
                self._text(node, is_quiet[-1])
                node = node.next
                continue
            opened = self._open(node) if node.is_element_node else None
            if opened is None:
                node = node.next
                continue
            inside.append(node)
            closing.append(opened)
            is_quiet.append(is_quiet[-1] or node.tag in CODE or self._mark(node) is not None)
            node = node.first_child

    def _mark(self, node: Any) -> int | None:
        key = _key(node)
        return self.marks.get(int(key)) if key is not None else None

    def _open(self, node: Any) -> str | None:
        """Write the start of an element; its end, or None where nothing inside is to be written."""
        name, mark = node.tag or "", self._mark(node)
        note = f' data-mark="{mark}"' if mark is not None else ""
        if mark is not None:
            self.order.append(mark)
        if name in DROPPED or name.startswith("!"):
            if mark is not None:
                self._put(f'<code class="nv-hidden"{note}>{html(node.text())}</code>')
            return None
        if name == "img" and not str(node.attributes.get("src") or "").startswith("data:image/"):
            words = node.attributes.get("alt") or node.attributes.get("src") or "image"
            self._put(f'<span class="nv-image"{note}>{html(words[:2000])}</span>')
            return None
        if name not in ALLOWED:
            if note:
                self._put(f"<span{note}>")
                return "</span>"
            return ""
        self._put(f"<{name}{_attributes(node)}{note}>")
        return None if name in VOID else f"</{name}>"

    def _text(self, node: Any, is_quiet: bool) -> None:
        text = node.text_content or ""
        found = self.texts.get(node.mem_id)
        if found is None:
            found = text if is_quiet else self.recovery.in_text(text)
        pieces = SENTINEL.split(found)
        at = 0
        for before, number, after in zip(pieces[::2], pieces[1::2], pieces[2::2], strict=False):
            start = text.find(before, at) + len(before)
            end = text.find(after, start) if after else len(text)
            if start < len(before) or end < 0:
                break  # the recovery changed the words around it: show them unmarked
            self._put(html(text[at:start]))
            self.order.append(int(number))
            self._put(f'<span data-mark="{number}">{html(text[start:end])}</span>')
            at = end
        self._put(html(text[at:]))

    def _put(self, text: str) -> None:
        self.parts.append(text)
        self.size += len(text)


def _attributes(node: Any) -> str:
    given: list[str] = []
    for name, value in node.attributes.items():
        is_inner_link = name in ("href", "xlink:href") and str(value or "").startswith("#")
        is_picture = name == "src" and node.tag == "img"
        if name in ATTRIBUTES or is_inner_link or is_picture:
            given.append(f' {name}="{html(value or "")}"')
    return "".join(given)
