"""The common spelling of formulas, and AsciiMath."""

from __future__ import annotations

import time

import pytest

from nautiloid.curate.math.asciimath import to_tex
from nautiloid.curate.math.normal import normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\left( x^2_i \right) \le \dfrac12", r"$(x_{i}^{2})\leq\frac{1}{2}$"),
        (
            r"\left[\begin{matrix}1 & 0\\0 & 1\end{matrix}\right]",
            r"\begin{bmatrix}1&0\\0&1\\\end{bmatrix}",
        ),
        (r"\begin{cases}a&b\end{cases}", r"\left\{\begin{array}{ll}a&b\end{array}\right."),
        (r"\begin{align*}a&=b\end{align*}", r"\begin{aligned}a & = b\end{aligned}"),
        (r"a &= b", r"\begin{split}a&=b\end{split}"),
        (r"f'(x)", r"f^{\prime}(x)"),
        (r"f'^2", r"f^{'2}"),
        (r"{n \choose k}", r"\binom nk"),
        (r"{a \over b}", r"\frac ab"),
        (r"a \not= b", r"a \ne b"),
        (r"\operatorname{sin} x", r"\sin x"),
        (r"\mathrm{rel\_entr}", r"\mathrm{rel}\_\mathrm{entr}"),
        (r"\mathbf{\hat{x}_A}", r"\hat{\mathbf{x}}_{\mathbf{A}}"),
        (r"\mathbf{a}\mathbf{b}", r"\mathbf{ab}"),
        (r"x\,\quad y", "xy"),
        (r"\displaystyle\sum\limits_{i}", r"\sum_i"),
        (r"{}_pF_q", r"_{p}F_{q}"),
        (r"a \pmod{p}", r"a\ (\mathrm{mod}\ p)"),
        (r"{\langle x \rangle}^2", r"\langle x \rangle^{2}"),
        (r"1,\dots,n", r"1,\ldots,n"),
        (r"1+\dots+n", r"1+\cdots+n"),
        (r"{10}^3", r"10^{3}"),
        ("a&lt;b", "a<b"),
        ("\u03b1 \u2264 \u221e", r"\alpha\leq\infty"),
        (r"\sqrt [3] x", r"\sqrt[3]{x}"),
        (r"x \label{eq:1}\tag{1}\\", "x"),
    ],
)
def test_one_spelling(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x^2", "x_2"),
        ("x^{ab}", "x^ab"),
        ("{ab}^2", "ab^2"),
        (r"\phi", r"\varphi"),
        (r"\mathrm{d}x", "dx"),
        (r"\mathbf{x}", "x"),
        (r"\hat{x}", r"\widehat{x}"),
        (r"\ldots", r"\cdots"),
        (r"\begin{matrix}a&b\end{matrix}", r"\begin{matrix}a\\b\end{matrix}"),
        ("(x)", "[x]"),
        (r"\sum", r"\Sigma"),
        ("a<b", "a>b"),
    ],
)
def test_what_differs_stays_different(one, other):
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    "tex", ["", "{", "}", "x^", "\\", "\\frac", "\\left", "\\begin{", "\\end{x}", "[", "^_'"]
)
def test_broken_tex_has_a_form(tex):
    assert isinstance(normalise(tex), str)


@pytest.mark.parametrize(
    "tex",
    ["{" * 20_000, "\\frac" * 20_000, "x^" * 10_000, "\\not" * 20_000, "\\begin{array}{" * 3_000],
)
def test_depth_is_bounded(tex):
    start = time.monotonic()
    normalise(tex)
    assert time.monotonic() - start < 15


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (
            "sum_(i=1)^n i^3=((n(n+1))/2)^2",
            r"\sum_{i=1}^{n}i^{3}=\left(\frac{n(n+1)}{2}\right)^{2}",
        ),
        (
            "[[a,b],[c,d]]((n),(k))",
            r"\begin{bmatrix} a & b \\ c & d \end{bmatrix}\begin{pmatrix} n \\ k \end{pmatrix}",
        ),
        (
            '{(1,"if " x!=0),(0,"else"):}',
            r"\begin{cases} 1 & \text{if }x\neq0 \\ 0 & \text{else} \end{cases}",
        ),
        ("sqrt sqrt root3x", r"\sqrt{\sqrt{\sqrt[3]{x}}}"),
        ("|x|+||v||", r"|x|+\|v\|"),
        ("hat(ab) bar(xy) vecA bbR bbbR", r"\hat{ab}\overline{xy}\vec{A}\mathbf{R}\mathbb{R}"),
        ("f: RR -> ZZ", r"f:\mathbb{R}\to\mathbb{Z}"),
        ("a//b", "a/b"),
        ("((((", "(((("),
        ("x^", "x"),
        ("", ""),
    ],
)
def test_asciimath(source, wanted):
    assert to_tex(source) == wanted


@pytest.mark.parametrize(
    "source",
    ["(" * 5_000, "((" * 2_000 + "))" * 2_000, "sqrt " * 5_000, "|" * 5_000, "[[a,b]," * 1_000],
)
def test_asciimath_is_linear(source):
    start = time.monotonic()
    to_tex(source)
    assert time.monotonic() - start < 15
