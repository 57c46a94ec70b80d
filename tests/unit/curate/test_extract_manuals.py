"""Pages as generators of manuals write them, each with one thing that once was lost or broken."""

from __future__ import annotations

from nautiloid.curate.extract._html import extract_html

PROSE = "This sentence stands for the main text of a page, which is longer than its chrome is."


def text(html: str) -> str:
    return extract_html(html).text


def test_headings_without_text_stay_before_a_dropped_footer() -> None:
    functions = "".join(f'<h2><a href="api">f{i}()</a></h2>' for i in range(4))
    html = f"""<div role="main"><h1>Random</h1><p>{PROSE}</p>{functions}</div>
      <footer>Built with <a href=x>Sphinx</a> using a theme.</footer>"""
    assert text(html) == f"# Random\n\n{PROSE}\n\n## f0()\n\n## f1()\n\n## f2()\n\n## f3()"


def test_only_the_heading_of_dropped_links_goes_with_them() -> None:
    html = f"""<div role="main"><h1>A</h1><p>{PROSE}</p><h2>No text yet</h2><h2>Share</h2>
      <div class="share"><a href=1>Mail</a> <a href=2>News</a></div></div>"""
    assert text(html) == f"# A\n\n{PROSE}\n\n## No text yet"


def test_entries_of_an_index_are_no_steps() -> None:
    names = (
        "acos() (in module m)",
        "Free Modules of Finite Rank",
        "Finding modules",
        "m.T (class)",
    )
    entries = "".join(f"<li><a href=#{i}>{name}</a></li>" for i, name in enumerate(names))
    html = (
        f'<div role="main"><h1>Index</h1><ul>{entries}</ul><p><a href=1>Next: Links</a></p></div>'
    )
    assert text(html) == "# Index\n\n" + "\n".join(f"- {name}" for name in names)


def test_a_sentence_with_links_is_no_line_of_steps() -> None:
    links = (
        "<a href=1>Home directories and their uses</a> with <a href=2>the modules of a kernel</a>"
    )
    sentence = f"It is useful to know, when a machine is set up, the {links} and its order."
    plain = sentence.replace("<a href=1>", "").replace("<a href=2>", "").replace("</a>", "")
    assert plain in text(f"<p>{PROSE}</p><p>{sentence}</p><p>{PROSE}</p>")


def test_announced_links_are_content() -> None:
    html = f"""<p>{PROSE}</p><p>{PROSE}</p><dl><dt>See Also:</dt><dd><a href=1>norm</a></dd></dl>
      <p><b>See also:</b></p><ul><li><a href=2>solve</a></li><li><a href=3>invert</a></li></ul><p>{PROSE}</p>"""
    found = text(html)
    assert "See Also:\n: norm" in found
    assert "See also:\n\n- solve\n- invert" in found


def test_links_amid_prose_are_content_and_those_around_it_are_not() -> None:
    links = "".join(f"<li><a href={i}>Guide {i} of the system</a></li>" for i in range(3))
    inside = f"<div id=a><p>{PROSE}</p><div class=l><ul>{links}</ul></div><p>{PROSE}</p></div>"
    assert "- Guide 2 of the system" in text(f"<h2>A</h2>{inside}")
    beside = f"<div id=a><div id=b><p>{PROSE}</p></div><ul>{links}</ul><div id=c><p>{PROSE}</p></div></div>"
    assert "Guide" not in text(f"<h2>A</h2>{beside}")


def test_frame_of_the_content_is_no_navigation() -> None:
    links = "".join(f"<li><a href={i}>Tutorial number {i}</a></li>" for i in range(30))
    html = f"""<div class="grid-for-nav"><nav class="nav-side"><ul>{links}</ul></nav>
      <div class="rst-content"><div role="main"><h1>Tutorials</h1><p>{PROSE}</p><ul>{links}</ul></div></div></div>"""
    assert text(html).startswith(f"# Tutorials\n\n{PROSE}\n\n- Tutorial number 0\n")


def test_javadoc() -> None:
    html = f"""<div class="subNav"><ul class="subNavList"><li>Summary:&nbsp;</li><li>Nested&nbsp;|&nbsp;</li></ul></div>
      <div class="header"><div class="subTitle">org.a</div><h2 title="Class B" class="title">Class B</h2></div>
      <div class="contentContainer"><div class="details"><ul class="blockList"><li class="blockList">
      <ul class="blockList"><li class="blockList"><h3>Method Detail</h3>
      <ul class="blockListLast"><li class="blockList"><h4>f</h4><pre>int f(int a,\n      int b)</pre><div>{PROSE}</div>
      <ul><li>one</li><li>two</li></ul></li></ul></li></ul></li></ul></div></div>"""
    assert text(html) == (
        "## Class B\n\n### Method Detail\n\n#### f\n\n```\nint f(int a,\n      int b)\n```\n\n"
        f"{PROSE}\n\n- one\n- two"
    )


def test_types_that_a_source_shows_on_hover_are_no_code() -> None:
    html = f"""<p>{PROSE}</p><pre><span class="hs-keyword">import</span><span> A</span><span>
</span><span id="line-2"></span><span>
</span><span id="line-3"></span><span class="annot"><a href="x"><span class="hs-var">fs</span></a><span
class="annottext">f a -&gt; Folding f a
</span></span><span> = 1</span></pre>"""
    assert text(html).endswith("```\nimport A\n\nfs = 1\n```")


def test_empty_lines_of_a_listing_in_rows() -> None:
    rows = "".join(
        f'<div class="line"><a id="l{n}"></a><span class="lineno">{n}</span>{part}</div>'
        for n, part in enumerate(
            ('<span class="comment">/* a</span>', '<span class="comment"></span>', "", "b */"), 1
        )
    )
    assert text(f'<p>{PROSE}</p><div class="fragment">{rows}</div>').endswith(
        "```\n/* a\n\n\nb */\n```"
    )


def test_prompts_of_notebooks_go_and_those_of_shells_stay() -> None:
    html = f"""<p>{PROSE}</p><div class="nbinput"><div class="prompt"><div class="highlight"><pre>[1]:\n</pre></div></div>
      <div class="input_area highlight-python"><pre>x = 1\ny = 2</pre></div></div>
      <pre><span class="prompt">$ </span>ls\na  b</pre>"""
    assert text(html).endswith("```python\nx = 1\ny = 2\n```\n\n```\n$ ls\na  b\n```")


def test_name_of_tex_is_no_formula() -> None:
    names = "L<sup>A</sup>T<sub>E</sub>X, plasT<sub>e</sub>X and T<sub>E</sub>X at T<sub>e</sub>"
    assert text(f"<p>{names}</p>") == "LaTeX, plasTeX and TeX at $T_{e}$"


def test_title_before_content_with_headings_of_its_rank_stays() -> None:
    body = f'<div class="contents"><h1>Definition</h1><p>{PROSE}</p><h1>Method</h1><p>{PROSE}</p></div>'
    html = f"<title>Lib: Minimum Cost Flow</title><div><h1>Minimum Cost Flow</h1></div>{body}"
    assert text(html).startswith("# Minimum Cost Flow\n\n# Definition\n\n")
    site = f"<title>Definition - The Name of the Site</title><div><h1>The Name of the Site</h1></div>{body}"
    assert text(site).startswith("# Definition\n\n")


def test_members_named_like_steps_stay() -> None:
    row = '<tr><td class="l"><a href=1>Index</a></td><td><a href=2>{}</a></td></tr><tr><td></td><td>Of P.</td></tr>'
    table = '<table class="memberdecls"><tr><td colspan=2><h2>Data</h2></td></tr>{}</table>'
    html = f'<div class="contents"><p>{PROSE}</p>{table.format(row.format("n") + row.format("m"))}</div>'
    assert text(html) == f"{PROSE}\n\n## Data\n\nIndex n\nOf P.\nIndex m\nOf P."


def test_notes_of_docutils_and_pandoc_are_content() -> None:
    link = '<a href="https://a.example/b.pdf">https://a.example/long/address/of/a/paper.pdf</a>'
    paper = "Author, A. (2001). A note on the number of paths between two of the nodes of a graph."
    notes = f"""<section><h3>References</h3><aside class="footnote-list brackets">
      <aside class="footnote brackets" role="doc-footnote"><span>[1]</span><p>{paper} {link}</p></aside></aside></section>
      <aside role="doc-endnotes"><p>{paper} {link}</p></aside>"""
    html = f"<h1>Paths</h1><p>{PROSE}</p><p>{PROSE}</p>{notes}<aside><a href=1>Like</a> <a href=2>Tell</a></aside>"
    address = "https://a.example/long/address/of/a/paper.pdf"
    assert text(html).endswith(
        f"{PROSE}\n\n### References\n\n[1]\n\n{paper} {address}\n\n{paper} {address}"
    )
