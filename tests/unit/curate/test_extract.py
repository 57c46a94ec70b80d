"""Pages of many kinds against the text that they should give, whole and readable."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.extract import lynx
from nautiloid.curate.extract.dom import Dom
from nautiloid.curate.extract.lynx import Lynx
from nautiloid.curate.extract.plain import Plain
from nautiloid.curate.page import Page
from nautiloid.curate.stage import Dropped

PROSE = "This sentence stands for the main text of a page, which is longer than its chrome is."


def extract(html: str | bytes, **options: Any) -> Document:
    content = html.encode() if isinstance(html, str) else html
    mime = options.pop("mime", "text/html")
    found = Dom(**options).extract(Page("p", content, url="https://a.org/x", mime=mime))
    assert isinstance(found, Document), found
    return found


def text(html: str, **options: Any) -> str:
    return extract(html, **options).text


def test_headings_lists_and_quotations() -> None:
    html = f"""<h1>Title<a class="headerlink" href="#t">\u00b6</a></h1><p>{PROSE}
      <ul><li>one<ul><li>one a<li>one b</ul><li><p>two</p><p>more of two</p></ul>
      <ol start=3><li>three<li>four</ol><blockquote><p>Quoted.</p><p>Twice.</p></blockquote>
      <dl><dt>Term</dt><dd>What it means.</dd><dt>Other</dt><dd><p>First.</p><p>Second.</p></dd></dl>
      <h2 id="s">Section</h2>a<br>b<br><br>c"""
    assert (
        text(html)
        == f"""# Title

{PROSE}

- one
  - one a
  - one b
- two

  more of two

3. three
4. four

> Quoted.
>
> Twice.

Term
: What it means.

Other
: First.

Second.

## Section

a
b

c"""
    )


def test_data_table_and_layout_table() -> None:
    html = f"""<table width="100%"><tr><td><a href=1>Home</a><br><a href=2>Lectures</a><td><h1>Groups</h1>
      {PROSE}<p><table border=1><caption>Products</caption><tr><th>*<th>e<th>a|b<tr><td>e<td>e<td>\\(a\\)
      <tr><td colspan=2>wide<td>1</table><p>The end of it."""
    assert (
        text(html)
        == f"""# Groups

{PROSE}

Products

| * | e | a\\|b |
| --- | --- | --- |
| e | e | $a$ |
| wide |  | 1 |

The end of it."""
    )


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (
            '<div class="highlight-python notranslate"><table class="highlighttable"><tr><td class="linenos">'
            '<div class="linenodiv"><pre>1\n2</pre></div></td><td class="code"><div class="highlight"><pre>'
            '<span></span><span class="k">def</span> f():\n    <span class="k">return</span> 1\n</pre></div>'
            "</td></tr></table></div>",
            "```python\ndef f():\n    return 1\n```",
        ),
        (
            '<figure class="highlight ruby"><table><tr><td class="gutter"><pre><span class="line">1</span><br>'
            '<span class="line">2</span><br></pre></td><td class="code"><pre><span class="line">if a</span><br>'
            '<span class="line">  b</span><br></pre></td></tr></table></figure>',
            "```ruby\nif a\n  b\n```",
        ),
        (
            '<div class="syntaxhighlighter"><table><tr><td class="gutter"><div class="line number1">1</div>'
            '<div class="line number2">2</div></td><td class="code"><div class="container"><div class="line">'
            '<code>var a;</code></div><div class="line"><code>&nbsp;&nbsp;</code><code>a = 1;</code></div></div>'
            "</td></tr></table></div>",
            "```\nvar a;\n  a = 1;\n```",
        ),
        (
            '<table class="highlight js-file-line-container"><tr><td class="blob-num" data-line-number="1"></td>'
            '<td class="blob-code">import os</td></tr><tr><td class="blob-num"></td><td class="blob-code">'
            "  x</td></tr></table>",
            "```\nimport os\n  x\n```",
        ),
        (
            '<div class="fragment"><div class="line"><a name="l1"></a><span class="lineno">    1</span>int f() {</div>'
            '<div class="line"><span class="lineno">    2</span>  return 1; }</div><div class="ttc">tip</div></div>',
            "```\nint f() {\n  return 1; }\n```",
        ),
        (
            '<div class="sourceCode"><pre class="sourceCode haskell"><code><a aria-hidden="true"></a>x &lt;- get\n\n'
            "  y</code></pre></div>",
            "```haskell\nx <- get\n\n  y\n```",
        ),
        ("<pre>>>> print('''a\n... b''')\na\nb</pre>", "```\n>>> print('''a\n... b''')\na\nb\n```"),
        ("<pre>\n\n\tif x:\n\t\ty   \n\n</pre>", "```\n\tif x:\n\t\ty\n```"),
        ("<pre>```\ninner\n```</pre>", "````\n```\ninner\n```\n````"),
        ("<xmp><b>bold</b></xmp>", "```\n<b>bold</b>\n```"),
        (
            "<pre>" + "".join(f'<a name="line{i}">{i:3d}: </a>row {i}\n' for i in range(1, 8)) + "</pre>",
            "```\n" + "".join(f"row {i}\n" for i in range(1, 8)) + "```",
        ),
    ],
)  # fmt: skip
def test_listing(html: str, expected: str) -> None:
    assert text(f"<p>{PROSE}</p>{html}") == f"{PROSE}\n\n{expected}"


def test_inline_code_scripts_and_entities() -> None:
    html = f"""<p>{PROSE} Press <kbd><kbd>Ctrl</kbd>-<kbd>C</kbd></kbd>, use <code>a $x$ b</code> or <code>a`b</code>,
      <em><code>man</code></em><code>(1)</code>; the 2<sup>nd</sup> of 10<sup>9</sup> H<sub>2</sub>O&nbsp;&amp; &lt;tag&gt;
      soft\u00adhyphen.<sup class="reference"><a href="#n">[1]</a></sup></p>"""
    assert text(html) == (
        f"{PROSE} Press `Ctrl-C`, use `a $x$ b` or ``a`b``, `man(1)`; the 2nd of $10^{{9}}$ H\u2082O & <tag> "
        "softhyphen."
    )


def test_hidden_and_scripted_parts_go() -> None:
    html = f"""<body><p>{PROSE}<script>if (a < b) document.write("</p><p>no");</script><style>p{{}}</style>
      <noscript>Enable JavaScript</noscript><template><p>no</p></template><iframe>no</iframe><svg><text>no</text></svg>
      <select><option>no</select><button>no</button><!-- <p>no</p> --></p>
      <div style="display: none">no</div><p hidden>no</p><span aria-hidden="true">no</span>
      <details><summary>More</summary>yes</details>"""
    assert text(html) == f"{PROSE}\n\nMore\n\nyes"


def test_stack_exchange() -> None:
    html = f"""<title>Why? - Mathematics Stack Exchange</title><header class="s-topbar"><a>Home</a></header>
      <div id="left-sidebar"><ol class="nav-links"><li><a>Tags</a></ol></div><div id="content">
      <div id="question-header"><h1><a>Why does it diverge?</a></h1></div>
      <div id="mainbar" role="main"><div class="question"><div class="votecell"><div class="js-vote-count">42</div></div>
      <div class="s-prose js-post-body"><p>Why does <span class="math-container">$$\\sum \\frac1n$$</span> diverge?</p>
      <pre class="lang-py"><code>for n in r:\n    t += 1</code></pre></div><div class="post-taglist"><a>analysis</a></div>
      <div class="js-post-menu"><a>Share</a></div><div class="user-info">asked by <a>Bob</a></div>
      <ul class="comments-list"><li><span class="comment-copy">Compare with <span class="math-container">$1/x$</span>.</span></ul></div>
      <div id="answers"><div class="answer"><div class="s-prose"><p>{PROSE}</p></div></div></div>
      <h2 class="bottom-notice">Browse other questions</h2></div>
      <div id="sidebar"><h4>Related</h4><a>Other</a></div></div><div class="site-footer">legal</div>"""
    assert (
        text(html)
        == f"""# Why does it diverge?

Why does
$$\\sum \\frac1n$$
diverge?

```python
for n in r:
    t += 1
```

- Compare with $1/x$.

{PROSE}"""
    )


def test_wikipedia() -> None:
    zeta = r"{\displaystyle \zeta (s)}"
    html = f"""<html lang="en"><body class="mediawiki"><div id="content" role="main"><h1 id="firstHeading">Zeta</h1>
      <div id="siteSub">From Wikipedia</div><div id="mw-content-text"><div class="mw-parser-output"><p><b>Zeta</b> is
      <span class="mwe-math-element"><span style="display: none;"><math alttext="{zeta}"><annotation
      encoding="application/x-tex">{zeta}</annotation></math></span><img alt="{zeta}"
      class="mwe-math-fallback-image-inline"></span>.<sup class="reference"><a>[1]</a></sup> {PROSE}</p>
      <div id="toc" class="toc"><h2>Contents</h2><ul><li><a>1 Values</a></ul></div>
      <h2>Values<span class="mw-editsection">[<a>edit</a>]</span></h2><dl><dd>Indented.</dd></dl>
      <div class="navbox"><table><tr><td><a>Riemann</a></table></div></div></div>
      <div id="catlinks" class="catlinks"><a>Categories</a></div></div><div id="mw-panel">Tools</div></body>"""
    found = extract(html)
    assert found.text == f"# Zeta\n\nZeta is $\\zeta (s)$. {PROSE}\n\n## Values\n\nIndented."
    assert found.meta["language"] == "en"
    assert found.meta["formula_count"] == 1


def test_blog_without_main_keeps_title_and_comments() -> None:
    html = f"""<title>Primes | My blog</title><div id="header"><h1><a>My blog</a></h1></div>
      <div class="post"><h2 class="post-title">Primes</h2><div class="post-meta">5 May in <a>math</a></div>
      <div class="post-content"><p>{PROSE}</p><p>{PROSE}</p><div class="sharedaddy"><h3>Share this:</h3><a>X</a></div></div></div>
      <div class="post-navigation"><a>Older</a></div><h3>1 comment</h3><ol class="commentlist"><li>
      <div class="comment-meta"><a>6 May</a></div><p>Is the error smaller?</p><div class="reply"><a class="comment-reply-link">Reply</a>
      </div></ol><div id="respond"><h3>Leave a Reply</h3></div><div id="sidebar"><h2>Recent</h2><ul><li><a>B</a></ul></div>"""
    assert text(html) == (
        f"## Primes\n\n{PROSE}\n\n{PROSE}\n\n### 1 comment\n\n1. Is the error smaller?"
    )


def test_ar5iv() -> None:
    html = f"""<div class="ltx_page_content"><article class="ltx_document"><h1 class="ltx_title">Squares</h1>
      <p class="ltx_p">{PROSE}<span class="ltx_note ltx_role_footnote"><sup class="ltx_note_mark">1</sup>
      <span class="ltx_note_outer"><span class="ltx_note_content"><sup class="ltx_note_mark">1</sup><span class="ltx_tag
      ltx_tag_note">1</span>Not zero.</span></span></span></p>
      <table class="ltx_equation ltx_eqn_table"><tr><td class="ltx_eqn_cell"></td><td><math alttext="x^{{2}}=1"
      display="block"><mi>x</mi></math></td><td class="ltx_eqn_eqno"><span class="ltx_tag">(1)</span></td></tr></table>
      </article></div><footer class="ltx_page_footer">LaTeXML</footer>"""
    assert text(html) == f"# Squares\n\n{PROSE} (Not zero.)\n\n$$x^{{2}}=1$$\n(1)"


def test_sphinx_api_page() -> None:
    html = f"""<div class="related"><a>next</a></div><div class="body" role="main"><section id="search"><h1>Search<a
      class="headerlink">\u00b6</a></h1><dl class="py function"><dt class="sig sig-object py" id="m.search"><span
      class="sig-name">search</span><span class="sig-paren">(</span><em>x</em><span class="sig-paren">)</span><a
      class="headerlink">\u00b6</a></dt><dd><p>{PROSE}</p><dl class="field-list"><dt>Parameters</dt><dd><dl><dt><strong>x</strong><span
      class="classifier">float</span></dt><dd><p>A number \\(x_i\\).</p></dd></dl></dd></dl><div class="highlight-default"><pre>
>>> search(1)\n2</pre></div></dd></dl></section></div><div class="sphinxsidebar"><h3>Contents</h3></div>"""
    assert (
        text(html)
        == f"""# Search

search(x)
: {PROSE}

Parameters

x : float
: A number $x_i$.

```python
>>> search(1)
2
```"""
    )


def test_doxygen_members_read_as_lines() -> None:
    html = f"""<div id="top"><div id="nav-path"><a>Home</a></div><div class="header"><div class="summary"><a>Members</a></div>
      <div class="headertitle"><div class="title">A Class Reference</div></div></div></div><div class="contents">
      <p>{PROSE}</p><table class="memberdecls"><tr class="heading"><td colspan="2"><h2>Functions</h2></td></tr>
      <tr><td class="memItemLeft">void&#160;</td><td class="memItemRight"><a>f</a> (int a)</td></tr></table>
      <table class="memname"><tr><td class="memname">void A::f</td><td>(</td><td>int&#160;</td><td>a</td></tr>
      <tr><td></td><td></td><td>int</td><td>b</td></tr><tr><td></td><td>)</td></tr></table></div>"""
    assert text(html) == (
        f"# A Class Reference\n\n{PROSE}\n\n## Functions\n\nvoid f (int a)\n\nvoid A::f ( int a int b )"
    )


def test_page_of_nested_tables_from_1997() -> None:
    html = f"""<HTML><BODY><TABLE><TR><TD><A HREF=1>Home</A><BR><A HREF=2>Links</A><TD><CENTER><H1>Lecture 3</H1></CENTER>
      <FONT SIZE=3>{PROSE}<BR><BR>(1) first,<BR>(2) second.<P><UL><LI>Hint<LI>Answer</UL>
      <HR><A HREF=2>Prev</A> | <A HREF=4>Next: Lecture 4</A> | <A HREF=0>Up</A></FONT></TABLE>"""
    assert text(html) == (f"# Lecture 3\n\n{PROSE}\n\n(1) first,\n(2) second.\n\n- Hint\n- Answer")


def test_display_equations_are_never_pruned() -> None:
    html = """<div class="sidebar"><p>\\[ e^{i\\pi} = -1 \\]</p></div><div class="links"><a href=1>\\(a\\)</a></div>
      <p>Short.</p><p>\\[ \\int_0^1 x\\,dx \\]</p><pre>x = 1\ny = 2</pre>"""
    found = text(html)
    for part in (r"\int_0^1 x\,dx", "x = 1\ny = 2", "$a$"):
        assert part in found


def test_chrome_that_holds_the_page_stays() -> None:
    html = f"<nav class='menu'><p>{PROSE}</p><p>{PROSE}</p><p>Unclosed navigation.</p>"
    assert text(html).count(PROSE) == 2
    html = f"<div class='sidebar-layout navigation'><main><p>{PROSE}</p></main></div>"
    assert text(html) == PROSE


def test_link_lists_go_beside_text_and_stay_as_the_page() -> None:
    links = "".join(f"<li><a href={i}>Chapter {i}</a></li>" for i in range(12))
    assert "Chapter" not in text(f"<ul>{links}</ul>" + f"<p>{PROSE}</p>" * 4)
    assert "- Chapter 11" in text(f"<h1>Book</h1><ul>{links}</ul>")


def test_language_title_licence_and_formulas_in_meta() -> None:
    html = f"""<html><head><meta http-equiv="content-language" content="pt-BR"><title>On
      $x$</title><link rel="license" href="https://creativecommons.org/licenses/by/4.0/"></head>
      <p>{PROSE} \\(a &lt; b\\)</p>"""
    meta = extract(html, keep_formulas=True).meta
    assert meta["title"] == "On $x$"
    assert meta["language"] == "pt-BR"
    assert meta["licence_links"] == ["https://creativecommons.org/licenses/by/4.0/"]
    assert meta["formulas"] == [{"tex": "a < b", "display": False, "encoding": "delimiters"}]


def test_chrome_is_kept_on_request() -> None:
    html = f"<nav><a>Home</a></nav><main><p>{PROSE}</p></main>"
    assert text(html) == PROSE
    assert "Home" in text(html, keep_chrome=True)


@pytest.mark.parametrize(
    ("content", "mime", "reason"),
    [
        (b"", "text/html", "empty"),
        (b"<script>var x = 1;</script>", "text/html", "empty"),
        (b"\x89PNG\r\n\x1a\n", None, "not_text"),
        (b"%PDF-1.5 ...", "text/html", "not_text"),
        (b"abc", "image/png", "not_text"),
        (b"{}", "application/x-ipynb+json", "bad_notebook"),
    ],
)
def test_pages_without_text(content: bytes, mime: str | None, reason: str) -> None:
    found = Dom().extract(Page("p", content, mime=mime))
    assert isinstance(found, Dropped)
    assert found.reason == reason


def test_plain_text_and_sources_keep_their_brackets() -> None:
    source = b"#include <vector>\r\ntemplate <class T> T f();\r\n"
    found = extract(source, mime="text/x-c++")
    assert found.text == "#include <vector>\ntemplate <class T> T f();"


def test_notebook() -> None:
    book = (
        b'{"nbformat": 4, "metadata": {"kernelspec": {"language": "python"}}, "cells": ['
        b'{"cell_type": "markdown", "source": ["# Title\\n", "Let $x$."]},'
        b'{"cell_type": "code", "source": "1 + 1", "outputs": ['
        b'{"name": "stderr", "text": "warning"}, {"data": {"text/plain": "2"}},'
        b'{"data": {"text/plain": "<Figure size 1x1>"}}]}]}'
    )
    found = extract(book, mime="application/x-ipynb+json")
    assert found.text == "# Title\nLet $x$.\n\n```python\n1 + 1\n```\n\n```\n2\n```"
    assert found.meta["title"] == "Title"


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + "deep",
        "<table><tr><td>" * 5_000 + "deep",
        "<ul><li>" * 10_000 + "deep",
        "<b>" * 50_000 + "deep",
        "<p><a href=x>" * 10_000 + "deep",
        "<table>" + "<tr><td>a<td>deep" * 4_000,
        "<!--" * 100_000 + "--><p>deep",
        "<div " + " ".join(f"a{i}=b" for i in range(50_000)) + ">deep</div>",
        "<table><tr><td colspan=99999999 rowspan=9999>deep<td>b</tr>" + "<tr><td>c<td>d" * 500,
        "<p>deep" + "<" * 200_000,
        "<sup>" * 5_000 + "deep",
    ],
    ids=range(11),
)
def test_hostile_markup_is_read_in_time(html: str) -> None:
    start = time.process_time()
    assert "deep" in text(html)
    assert time.process_time() - start < 5


def test_our_marks_in_a_page_are_harmless() -> None:
    assert text(f"<p>{PROSE}\ue000&#xe001;0\ue001 \x01&#1;\uf101\x00</p>") == f"{PROSE}0"


@pytest.mark.skipif(shutil.which("lynx") is None, reason="lynx is not installed")
def test_lynx_reads_what_the_meta_element_denies() -> None:
    html = "<meta charset=iso-8859-1><title>T</title><p>na\u00efve \u2211 a\0b<p>x<sup>2</sup>"
    found = Lynx().extract(Page("p", html.encode(), mime="text/html"))
    assert isinstance(found, Document)
    assert found.text.split() == ["na\u00efve", "\u2211", "ab", "x^2"]
    assert found.meta["title"] == "T"


def test_lynx_missing_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    lynx._program.cache_clear()
    with pytest.raises(InputError, match="apt-get install lynx"):
        Lynx().extract(Page("p", b"<p>x", mime="text/html"))


def test_plain_takes_tags_for_text() -> None:
    found = Plain().extract(Page("p", b"<p>x", mime="text/html"))
    assert isinstance(found, Document)
    assert found.text == "<p>x"


def test_blocks_inside_a_listing_add_no_lines() -> None:
    html = f"""<p>{PROSE}</p><pre>import a
<div class="viewcode-block" id="f"><a class="viewcode-back" href="x">[docs]</a>def f():
    return 1</div>


<div class="viewcode-block">def g():
    pass</div>
</pre>"""
    assert text(html).endswith("```\nimport a\ndef f():\n    return 1\n\n\ndef g():\n    pass\n```")


def test_titled_sidebar_is_content() -> None:
    html = f'<p>{PROSE}</p><div class="sidebar"><p class="sidebar-title">Note</p><p>Box.</p></div><p>{PROSE}</p>'
    assert "Box." in text(html)


def test_links_side_by_side_are_words_apart() -> None:
    steps = "<a href=1>Contents</a><a href=2>Previous Section 1</a><a href=3>Next Section 3</a>"
    assert text(f"{steps}<div><h2>Series</h2><p>{PROSE}</p></div>") == f"## Series\n\n{PROSE}"
