"""Formulas far larger than any real one: linear code takes a second or two, quadratic code minutes."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser

from nautiloid.curate.math import asciimath, katex
from nautiloid.curate.math.formula import clean
from nautiloid.curate.math.normal import normalise
from nautiloid.curate.math.recover import Recovery

pytestmark = pytest.mark.timeout(60)
ALPHAS = r"\alpha" * 1_000
BOX = '<span style="top:-{}em"><span class="pstrut" style="height:3em"></span><span class="mord">x</span></span>'
COLUMN = '<span class="col-align-c"><span class="vlist-t"><span class="vlist-r"><span class="vlist">{}</span></span></span></span>'


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        (r"\mathbf x" * 100_000, rf"\mathbf{{{'x' * 100_000}}}"),
        (r"\mathrm{ab}" * 60_000, rf"\mathrm{{{'ab' * 60_000}}}"),
        (rf"\mathring{{{ALPHAS}_2}}", rf"\mathring{{{ALPHAS}_{{2}}}}"),
        (r"\begin{matrix}a" + r"\\" * 250_000 + r"\end{matrix}", r"\begin{matrix}a\end{matrix}"),
        ("x" + r"\\[" * 100_000, "x" + r"\\[" * 100_000),
        ("x" + r"\sqrt[" * 50_000, "x" + r"\sqrt{[}" * 50_000),
    ],
    ids=["bold", "roman", "accent", "breaks", "lengths", "roots"],
)
def test_one_spelling(tex: str, wanted: str) -> None:
    assert normalise(tex) == wanted


@pytest.mark.parametrize("tex", [r"a\over " * 50_000, "{" * 78 + r"\sqrt[{" * 75 + "}]" * 75])
def test_depth_is_bounded(tex: str) -> None:
    assert normalise(tex)


@pytest.mark.parametrize(("rows", "columns"), [(40_000, 1), (1, 3_000)])
def test_a_sheet_of_a_layout_stays_text(rows: int, columns: int) -> None:
    """Boxes of 40,000 heights in one column, or of 3,000 heights in as many columns."""
    made = "".join(
        COLUMN.format("".join(BOX.format(row + column) for row in range(rows)))
        for column in range(columns)
    )
    tex = _layout(f'<span class="mtable">{made}</span>')
    assert tex == rf"\text{{{'x' * rows * columns}}}"


def test_asciimath() -> None:
    assert asciimath.to_tex("(" * 250_000) == "(" * 250_000


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        ("a" + " " * 400_000 + "b\nc", "a b\nc"),
        ("a\n" + "%" * 400_000, "a\n" + "%" * 400_000),
        ("a" + "%b\n" * 200_000 + "c", "ac"),
    ],
    ids=["spaces", "unended", "comments"],
)
def test_white_space_and_comments(tex: str, wanted: str) -> None:
    assert clean(tex, is_display=True) == wanted


def test_images_of_one_paragraph() -> None:
    html = '<p align="center">' + '<img alt="$x$" src="a">' * 30_000
    html, recovery = Recovery.prepare(html)
    recovery.replace(LexborHTMLParser(html))
    assert len(recovery.formulas) == 30_000


def test_a_formula_inside_another_is_part_of_it() -> None:
    html = "docutils <p>" + '<span class="formula"><i>a</i>' * 2_000
    html, recovery = Recovery.prepare(html)
    recovery.replace(LexborHTMLParser(html))
    assert len(recovery.formulas) == 1


def _layout(html: str) -> str:
    page = LexborHTMLParser(f'<span class="katex-html">{html}</span>')
    node = page.css_first(".katex-html")
    assert node is not None
    return katex.to_tex(node)
