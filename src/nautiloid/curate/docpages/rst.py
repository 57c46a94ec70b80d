"""reStructuredText to the body of a page by docutils, and what a perfect extraction would find there."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from nautiloid.core.errors import missing_extra

MathOutput = Literal["MathML", "MathJax", "LaTeX", "HTML"]
MATH_OUTPUTS: tuple[MathOutput, ...] = ("MathML", "MathJax", "LaTeX", "HTML")
MAX_CHARS = 60_000
# One paragraph without any markup: the parser would find nothing, and it is slow to start.
PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9 ,.;'()/-]|\n(?=[A-Za-z]))*")
# What docutils has been seen to raise on docstrings that are no reStructuredText.
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
    NotImplementedError,
)

# Of Sphinx, which renders these docstrings for their projects; docutils alone does not know them.
ROLES = """abbr any attr c:func cite class command const data deprecated dfn doc download envvar eq exc file
func gh guilabel issue kbd keyword legend mailheader makevar manpage meth menuselection mimetype mod
newsgroup numref obj option program pr py:attr py:class py:const py:data py:exc py:func py:meth py:mod py:obj
ref regexp rc samp term token user version"""
NOTES = "deprecated seealso todo versionadded versionchanged versionremoved"
HIDDEN = """autoattribute autoclass autodata autoexception autofunction automethod automodule autosummary
bibliography currentmodule default-domain highlight index minigallery module py:module tabularcolumns toctree"""
CODES = "doctest ipython ipython3 jupyter-execute plot prompt testcode testoutput testsetup"


@dataclass
class Truth:
    """What a page says.

    Attributes:
        words: Text without formulas, in the order of the page.
        formulas: TeX of each formula and whether it is displayed.
        code: Text of each code block.
    """

    words: list[str] = field(default_factory=list[str])
    formulas: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    code: list[str] = field(default_factory=list[str])


def render(name: str, parts: Sequence[tuple[str, str]], math: MathOutput) -> tuple[str, Truth]:
    """The body of a page, and its content.

    Args:
        name: Of the document.
        parts: Signature and docstring of each section; without a signature it stands first, by itself.
        math: How formulas are written.

    Raises:
        InputError: docutils is not installed.
    """
    tools = _tools()
    settings = tools.settings.copy()
    settings.math_output = math
    document = tools.new_document(name, settings)
    for signature, text in parts:
        parsed = _parsed(text, settings)
        if signature:
            section = tools.nodes.section()
            section += tools.nodes.title("", signature)
            section += parsed
            parsed = [section]
        document += parsed
    truth = Truth()
    _read(document, truth)
    visitor = tools.translator(document)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        document.walkabout(visitor)  # the converters of formulas print what they do not know
    return "".join(visitor.body), truth


@dataclass(frozen=True)
class _Tools:
    """docutils, typed Any: its own annotations are partial."""

    settings: Any
    nodes: Any
    new_document: Any
    parser: Any
    translator: Any
    lexer: Any


@cache
def _tools() -> _Tools:
    try:
        from docutils import frontend, nodes, utils
        from docutils.parsers.rst import Directive, Parser, directives, roles
        from docutils.utils.code_analyzer import Lexer
        from docutils.writers import html5_polyglot
    except ModuleNotFoundError:
        raise missing_extra("docutils", "quickstart") from None
    for name in ROLES.split():
        roles.register_local_role(name, _role)
    for names, run in ((NOTES, _run_note), (HIDDEN, _run_hidden), (CODES, _run_code)):
        for name in names.split():
            directives.register_directive(name, _directive(Directive, run))
    components: Any = (Parser, html5_polyglot.Writer)
    settings: Any = frontend.get_default_settings(*components)
    settings.report_level, settings.halt_level = 5, 6
    settings.raw_enabled = settings.file_insertion_enabled = False
    settings.syntax_highlight = "short"
    settings.initial_header_level = "2"
    return _Tools(
        settings, nodes, utils.new_document, Parser(), html5_polyglot.HTMLTranslator, Lexer
    )


def _role(
    name: str,
    raw: str,
    text: str,
    line: int,
    inliner: Any,
    options: Any = None,
    content: Any = None,
) -> tuple[list[Any], list[Any]]:
    """A name of a thing as code: `:func:`~a.b`` shows `b`, `:ref:`words <target>`` its words."""
    words, is_linked, _ = text.partition(" <")
    shown = words if is_linked else text.rpartition(".")[2] if text.startswith("~") else text
    nodes = _tools().nodes
    node = nodes.emphasis if name in ("ref", "doc", "term", "any", "abbr") else nodes.literal
    return [node(raw, shown.lstrip("~!"))], []


def _directive(base: Any, run: Callable[[Any], list[Any]]) -> Any:
    """A directive that takes any argument, any option and any content."""

    class Options(dict[str, Any]):
        """Accepts every name."""

        def __contains__(self, key: object) -> bool:
            return True

        def __getitem__(self, key: str) -> Any:
            return lambda value: value

    members = {
        "required_arguments": 0,
        "optional_arguments": 1,
        "final_argument_whitespace": True,
        "has_content": True,
        "option_spec": Options(),
        "run": run,
    }
    return type("Lenient", (base,), members)


def _run_note(directive: Any) -> list[Any]:
    """A version note or a reference to other things: its words, in a paragraph and what follows."""
    nodes = _tools().nodes
    box = nodes.container(classes=[directive.name])
    label = {"seealso": "See also", "todo": "To do"}.get(directive.name, directive.name)
    arguments = " ".join(directive.arguments)
    words, _ = directive.state.inline_text(f"{label}: {arguments}".rstrip(": "), directive.lineno)
    box += nodes.paragraph("", "", *words)
    directive.state.nested_parse(directive.content, directive.content_offset, box)
    return [box]


def _run_hidden(directive: Any) -> list[Any]:
    """What only the tool of the docstring's project could fill in."""
    return []


def _run_code(directive: Any) -> list[Any]:
    text = "\n".join(directive.content)
    return [_block(text)] if text.strip() else []


def _block(text: str) -> Any:
    """A block of Python, its words in the classes of Pygments."""
    tools = _tools()
    block = tools.nodes.literal_block(text, classes=["code", "python"])
    for classes, words in tools.lexer(text, "pycon" if ">>>" in text else "python", "short"):
        block += (
            tools.nodes.inline(words, words, classes=classes)
            if classes
            else tools.nodes.Text(words)
        )
    return block


def _parsed(text: str, settings: Any) -> list[Any]:
    """The nodes of one docstring; as one block of code where docutils cannot read it."""
    tools = _tools()
    if PLAIN.fullmatch(text):
        return [tools.nodes.paragraph("", text)]
    document = tools.new_document("docstring", settings)
    try:
        tools.parser.parse(text[:MAX_CHARS], document)
    except UNREADABLE:
        return [tools.nodes.literal_block(text, text)]
    _clean(document)
    return list(document.children)


def _clean(document: Any) -> None:
    """Leave what a writer can write: no messages, no references that lead nowhere."""
    nodes = _tools().nodes
    hidden = (nodes.system_message, nodes.pending, nodes.substitution_definition, nodes.comment)
    words = (nodes.problematic, nodes.substitution_reference, nodes.reference, nodes.target)
    marks = (nodes.footnote_reference, nodes.citation_reference)
    for node in list(document.findall(nodes.Element)):
        if node.parent is None:
            continue
        if isinstance(node, hidden):
            node.parent.remove(node)
        elif isinstance(node, marks):
            node.parent.replace(node, nodes.Text(f"[{node.astext()}]"))
        elif isinstance(node, words) and not node.get("refuri"):
            node.parent.replace(node, nodes.Text(node.astext()))
        elif isinstance(node, nodes.doctest_block):
            node.parent.replace(node, _block(node.astext()))
        elif isinstance(node, nodes.Admonition) and not isinstance(node, nodes.admonition):
            title = nodes.title("", node.tagname.capitalize())
            box = nodes.admonition("", title, *node.children, classes=[node.tagname])
            node.parent.replace(node, box)


def _read(document: Any, truth: Truth) -> None:
    nodes = _tools().nodes
    for node in document.findall():
        if isinstance(node, nodes.math | nodes.math_block):
            truth.formulas.append((node.astext(), isinstance(node, nodes.math_block)))
        elif isinstance(node, nodes.literal_block):
            truth.code.append(node.astext())
        elif isinstance(node, nodes.Text) and not isinstance(
            node.parent, nodes.math | nodes.math_block
        ):
            truth.words += node.astext().split()
