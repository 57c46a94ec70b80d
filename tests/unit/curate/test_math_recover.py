"""Formulas of a page by encoding, what must stay text, and sources made to hurt."""

from __future__ import annotations

import time

import pytest
from selectolax.lexbor import LexborHTMLParser

from nautiloid.curate.math.formula import MAX_CHARS
from nautiloid.curate.math.recover import Recovery

DOLLARS = (
    "<script>MathJax.Hub.Config({tex2jax: {inlineMath: [['$','$'], ['\\\\(','\\\\)']]}})</script>"
)
KATEX_DOLLARS = '<script>delimiters: [{left: "$$", right: "$$"}, {left: "$", right: "$", display: false}]</script>'
ASCIIMATH = '<script src="MathJax.js?config=TeX-MML-AM_CHTML"></script>'


def recovered(html: str) -> tuple[str, Recovery]:
    html, recovery = Recovery.prepare(html)
    tree = LexborHTMLParser(html)
    recovery.replace(tree)
    assert tree.body is not None
    return recovery.in_text(tree.body.text()), recovery


def text(html: str) -> str:
    marked, recovery = recovered(html)
    return " ".join(recovery.render(marked).split())


@pytest.mark.parametrize(
    ("html", "wanted"),
    [
        (r"<p>a \(x^2\) b", "a $x^2$ b"),
        (r"<p>a \[x^2\] b", "a $$x^2$$ b"),
        (r"<p>a $$x^2$$, b", "a $$x^2$$, b"),
        (r"<p>a [itex]x^2[/itex] [tex]y_1[/tex]", "a $x^2$ $y_1$"),
        (r"<p>\begin{equation}x=1\end{equation}", "$$x=1$$"),
        (r"<p>\begin{align*}x&amp;=1\end{align*}", r"$$\begin{align*}x&=1\end{align*}$$"),
        (r"<p>if \(a<b\) and \(b<c\) then", "if $a<b$ and $b<c$ then"),
        (r"<p>$\\mathbf{x} \\in A$", r"$\mathbf{x} \in A$"),
        (DOLLARS + "<p>a $x$ b", "a $x$ b"),
        (KATEX_DOLLARS + r"<p>a $\text{if $x$}$ b", r"a $\text{if $x$}$ b"),
        (r"<p>with $\alpha + 1$ and $n$, $x_1$, $k=2$", r"with $\alpha + 1$ and $n$, $x_1$, $k=2$"),
        ('<p><span class="math">\\(x\\)</span> <span class="math-container">$y$</span>', "$x$ $y$"),
        ('<div class="math"><span class="eqno">(1)</span>\\[x\\]</div>', "(1) $$x$$"),
        ('<p><tt class="math">a + b</tt> <pre class="math">c</pre>', "$a + b$ $$c$$"),
        ('<p><span class="math inline">x^2</span>', "$x^2$"),
        ('<p><script type="math/tex">x<y</script> <script type="math/tex; mode=display">y</script>', "$x<y$ $$y$$"),
        (
            '<p><span class="MathJax_Preview">x</span><span class="MathJax" id="a"><span>x</span></span>'
            '<script type="math/tex" id="b">% <![CDATA[\nx % ]]></script>',
            "$x$",
        ),
        ('<p><script type="math/mml"><math><mi>x</mi></math></script>', "$x$"),
        ('<p><script type="math/asciimath">sqrt(x)/2</script>', r"$\frac{\sqrt{x}}{2}$"),
        ('<p><span class="MathJax" data-mathml="&lt;math&gt;&lt;mi&gt;x&lt;/mi&gt;&lt;/math&gt;">y</span>', "$x$"),
        (
            '<p><mjx-container display="true"><svg></svg><mjx-assistive-mml><math><mi>x</mi></math>'
            "</mjx-assistive-mml></mjx-container>",
            "$$x$$",
        ),
        (
            '<span class="katex-display"><span class="katex"><span class="katex-mathml"><math><semantics><mi>x</mi>'
            '<annotation encoding="application/x-tex">x</annotation></semantics></math></span>'
            '<span class="katex-html"><span>x</span></span></span></span>',
            "$$x$$",
        ),
        ('<p><span class="katex-error" title="e">\\foo{x}</span>', r"$\foo{x}$"),
        ('<p><math alttext="\\alpha"><mi>a</mi></math>', r"$\alpha$"),
        ('<p><mml:math display="block"><mml:mi>x</mml:mi></mml:math>', "$$x$$"),
        (
            '<p><span class="mwe-math-element"><span><math alttext="{\\displaystyle x}"><mi>x</mi></math></span>'
            '<img class="mwe-math-fallback-image-inline" alt="{\\displaystyle x}"></span>',
            "$x$",
        ),
        ('<p><img class="formulaInl" alt="$ F_p $"> <img class="formulaDsp" alt="\\[ x, \\]">', "$F_p$ $$x,$$"),
        ('<div class="math"><p><img src="m.png" class="math" alt="x"></p></div>', "$$x$$"),
        ('<p><img src="https://s0.wp.com/latex.php?latex=x%5E2&bg=fff" alt="x^2">', "$x^2$"),
        ('<p><img src="https://latex.codecogs.com/gif.latex?\\dpi{120}&space;\\frac{a}{b}">', r"$\frac{a}{b}$"),
        ('<p><img src="https://chart.googleapis.com/chart?cht=tx&chl=%5Cpi+r">', r"$\pi r$"),
        ('<p><IMG ALT="\\begin{displaymath} x \\end{displaymath}">', "$$x$$"),
        (
            '<p align="center"><img src="https://s0.wp.com/latex.php?latex=x" alt="\\displaystyle x^2" class="latex">',
            "$$x^2$$",
        ),
        ('<p><img src="/cgi-bin/mimetex.cgi?\\sqrt{x}">', r"$\sqrt{x}$"),
        ('<p><IMG CLASS="x-ck12-math" ALT="x%5E%7B2%7D">', "$x^{2}$"),
        ('<p><span data-tex="x^2">junk</span><div data-formula="y">junk</div>', "$x^2$ $$y$$"),
        (ASCIIMATH + "<p>a `x^2` b <mathjax>#1/2#</mathjax>", r"a $x^{2}$ b $\frac{1}{2}$"),
        ("<p><i>a</i><sup>2</sup> + <i>b</i><sup>2</sup> = <var>c</var><sup>2</sup>.", "$a^{2} + b^{2} = c^{2}$."),
        (
            '<meta name="generator" content="Docutils 0.23"><p><span class="formula"><span class="fraction">'
            '<span class="ignored">(</span><span class="numerator"><i>a</i></span><span class="ignored">)/(</span>'
            '<span class="denominator"><i>b</i></span><span class="ignored">)</span></span> + <i>x</i>'
            '<span class="scripts"><sup class="script">2</sup><sub class="script"><i>i</i></sub></span></span>',
            r"$\frac{a}{b} + x_{i}^{2}$",
        ),
        ("<p>many (2<sup>32</sup> or more) and <i>f</i>(<i>x</i>)=<i>x</i><sup>2</sup>", "many ($2^{32}$ or more) and $f(x)=x^{2}$"),
        ("<p>10<sup>&minus;3</sup> and x<sub>i</sub>", "$10^{-3}$ and $x_{i}$"),
    ],
)  # fmt: skip
def test_encoding(html, wanted):
    assert text(html) == wanted


@pytest.mark.parametrize(
    "html",
    [
        "<p>It costs $5 and $10, or $3.50 to $4.",
        "<p>set $HOME/bin:$PATH and ${x}$y",
        "<p>$Id: a.c 12 $ and US$ 5 or A$6",
        DOLLARS + "<p>It costs $5 for the first visit and $10 after that",
        r"<p>a line \\(not math\\) and \$x\$",
        "<p>a `tick` b",
        "<p>the 1<sup>st</sup> and the 2<sup>nd</sup>, a word<sup>3</sup>, see<sup><a href='#n'>1</a></sup>[2]",
        "<p>H<sub>2</sub>O, CO<sub>2</sub>, Fe<sup>3+</sup>, Brand<sup>TM</sup>, in 2019<sup>4</sup>",
        '<p><img alt="A view of the house" src="house.jpg"> <img alt="C:\\temp\\x">',
        '<div data-math="true">text of a page</div>',
        "<p>unclosed \\( and \\[ and $$ and \\begin{align} here",
        "<p>[math] alone, and $$ $$ empty",
    ],
)  # fmt: skip
def test_what_stays_text(html):
    marked, recovery = recovered(html)
    assert recovery.formulas == []
    body = LexborHTMLParser(html).body
    assert body is not None
    assert marked == body.text()


def test_ignored_parts_stay_text():
    html = r'<div class="tex2jax_ignore">\(x\) <span class="a">$$y$$</span></div><p>\(z\)'
    marked, recovery = recovered(html)
    assert [formula.tex for formula in recovery.formulas] == ["z"]
    assert recovery.render(marked).split() == [r"\(x\)", "$$y$$$z$"]


def test_code_is_shielded():
    _, recovery = Recovery.prepare("")
    block = "use " + recovery.protect(r"$x$ and \(y\)") + r" for \(z\)"
    assert recovery.render(recovery.in_text(block)) == r"use $x$ and \(y\) for $z$"


def test_display_formulas_have_their_own_line():
    _, recovery = Recovery.prepare("")
    marked = recovery.in_text("so\n- it is \\[x\\] here.\n> said \\[y\\].")
    assert recovery.render(marked) == "so\n- it is\n  $$x$$\n  here.\n> said\n> $$y$$."
    assert recovery.render(marked, is_inline=True) == "so\n- it is $x$ here.\n> said $y$."
    assert [formula.tex for formula in recovery.kept(marked)] == ["x", "y"]


def test_pages_cannot_write_marks():
    assert text("<p>\ue0000\ue001 \\(x\\)") == "\ue0000 $x$"
    assert text("<p>a&#xe000;7&#xE001; \\(x\\)") == "a\ue0007 $x$"
    _, recovery = recovered("<p>\ue0005\ue001 \\(x\\)")
    assert len(recovery.formulas) == 1


def test_a_formula_over_the_cap_keeps_its_text():
    long = "x" * (MAX_CHARS + 1)
    marked, recovery = recovered(f'<p><img class="math" alt="{long}"> <math><mi>{long}</mi></math>')
    assert recovery.formulas == []
    assert marked.count("x" * MAX_CHARS) == 2


@pytest.mark.parametrize(
    "html",
    [
        "\\(" * 100_000,
        "\\(<b " * 100_000,
        "$$" * 100_000,
        "\\({\\)" * 20_000,
        DOLLARS + "${ " * 40_000,
        "\\begin{align}" * 20_000,
        "$" + "\\" * 200_000 + "$",
        "<math>" * 30_000,
        '<span class="math">' * 30_000,
        '<span class="katex"><span class="katex-html">' * 10_000 + "x",
        '<span class="katex-html"><span class="katex">' + '<span class="mord"><span class="vlist-t">' * 5_000 + "x",
        "x<sup>2</sup>+" * 5_000,
        "<sup>x" * 20_000,
        "<math>" + "<mo>(</mo>" * 4_000,
        '<script type="math/asciimath">' + "sqrt((" * 3_000 + "</script>",
        "<mml:math>" * 20_000,
    ],
)  # fmt: skip
def test_hostile_source_takes_linear_time(html):
    start = time.monotonic()
    recovered("<p>" + html)
    assert time.monotonic() - start < 15
