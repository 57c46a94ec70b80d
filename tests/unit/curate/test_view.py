"""The view page: hostile content stays inert, formulas are found again, addresses are kept secret."""

from __future__ import annotations

import gzip
import html as stdlib_html
import http.client
import http.server
import re
import threading
from datetime import UTC, datetime

import pytest

from nautiloid.cli.main import main
from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.page import Page
from nautiloid.curate.view.fetch import FetchLimits, fetch
from nautiloid.curate.view.formulas import align
from nautiloid.curate.view.markdown import render
from nautiloid.curate.view.page import view_page
from nautiloid.curate.view.server import ViewServer
from nautiloid.curate.view.source import sanitise
from nautiloid.curate.view.subject import load

HOSTILE = r"""
<html><head><base href="http://evil.example/"><meta http-equiv=refresh content="0;url=//evil.example">
<link rel=stylesheet href="http://evil.example/x.css"><title>T</title></head>
<body onload="alert(1)"><h1 onclick="alert(1)">Head</h1>
<script>alert(1)</script><script type="math/tex">a<b</script>
<img src=x onerror=alert(1)><img src="http://evil.example/pixel.png" alt="pixel">
<a href="javascript:alert(1)">one</a><a href="http://evil.example">two</a><a href="#here">three</a>
<iframe src="http://evil.example"></iframe><object data="x.swf"></object>
<form action="http://evil.example"><input name=q><button>Go</button></form>
<svg><a xlink:href="javascript:alert(1)"><text>svg</text></a><script>alert(2)</script></svg>
<math><mi xlink:href="javascript:alert(3)">z</mi></math>
<p>Text with <b>bold</b> &lt;script&gt; and \(x&lt;y\) and <code>\(no\)</code>.</p>
<noscript><img src=x onerror=alert(4)></noscript><template><script>alert(5)</script></template>
</body></html>
"""


def texts(markup: str) -> str:
    return stdlib_html.unescape(re.sub(r"<[^>]*>", " ", markup))


def test_nothing_of_a_hostile_page_acts():
    source = sanitise(HOSTILE)
    tags = re.findall(r"<(\w[\w-]*)([^>]*)>", source.markup)
    assert not {name for name, _ in tags} & {
        "script", "iframe", "object", "form", "input", "button", "base", "meta", "link", "template",
    }  # fmt: skip
    attributes = " ".join(rest for _, rest in tags)
    assert not re.search(r"\son\w+=|javascript:|http", attributes)
    assert 'href="#here"' in attributes
    assert "pixel" in texts(source.markup)
    assert "<script>" in texts(source.markup)


def test_formulas_are_marked_where_they_sit():
    source = sanitise(HOSTILE)
    marked = dict(re.findall(r'data-mark="(\d+)"[^>]*>([^<]*)<', source.markup))
    found = {f.tex: stdlib_html.unescape(marked[str(n)]) for n, f in enumerate(source.formulas)
             if str(n) in marked}  # fmt: skip
    assert found["x<y"] == r"\(x<y\)"
    assert "a<b" in {f.tex for f in source.formulas}
    assert "no" not in {f.tex for f in source.formulas}


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ('<p>Let <span class="math">\\(x\\)</span> be</p>', 1),
        ('<div class="math"><span class="eqno">(1)<a href="#e">#</a></span>\\[x^2\\]</div>', 1),
        ('<p>a <img class="math" alt="\\alpha" src="a.png"> <img class="math" alt="b_1"> c</p>', 2),
        ("<p><math><mi>x</mi></math> and <math><mi>y</mi></math></p>", 2),
        ('<p><span class="MathJax_Preview">x</span><script type="math/tex">x</script> t</p>', 1),
    ],
)
def test_every_formula_of_a_page_has_its_place(page, count):
    source = sanitise(page)
    marks = set(re.findall(r'data-mark="(\d+)"', source.markup))
    assert marks == {str(n) for n in range(count)} == {str(n) for n in range(len(source.formulas))}


def test_deep_and_large_pages_are_cut(monkeypatch):
    monkeypatch.setattr("nautiloid.curate.view.source.MAX_NODES", 5000)
    deep = sanitise("<div>" * 4000 + "x")
    assert not deep.is_cut
    assert deep.markup.count("</div>") == 4000
    large = sanitise("<p>x" * 6000)
    assert large.is_cut
    assert large.markup.endswith("</p>")


def test_markdown_as_extraction_writes_it():
    rendered = render(
        "# A & B\n\n- one $x$\n  - two\n\n1. a\n\n| c | $|y|$ |\n|---|---|\n| 1 | `a|b` |\n\n"
        "```python\nif a < b:\n    pass\n```\n\n$$\n\\int x\n$$\n\n> quoted **bold** \\$5"
    )
    assert rendered.formulas == [("x", False), ("|y|", False), (r"\int x", True)]
    for part in (
        "<h1>A &amp; B</h1>",
        "<ul><li>two</li></ul>",
        '<ol start="1"><li>a</li></ol>',
        "<td><code>a|b</code></td>",
        "<small>python</small><code>if a &lt; b:\n    pass</code>",
        "<strong>bold</strong> $5",
    ):
        assert part in rendered.body


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["`", "$a", "[", "*", "**a", "- ", "> ", "$$\n", "```\n", "| ", "\\"]
)
def test_markdown_is_linear(piece):
    render(piece * 20_000)


def test_rows_follow_the_text_then_what_it_lacks():
    source = sanitise(r"<p>\(a\) \(b\) \(a\)</p>")
    rows = align([("b", False), ("a", False), ("z", False)], [], source.formulas, source.order)
    assert [(row.tex, row.span, row.mark) for row in rows] == [
        ("b", 0, 1),
        ("a", 1, 0),
        ("z", 2, None),
        ("a", None, 2),
    ]


def test_the_page_escapes_and_allows_its_own_scripts_only():
    page = Page(id="</script><script>alert(1)</script>", content=HOSTILE.encode(), mime="text/html")
    text, policy = view_page(page, ("dom",))
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert policy.count("'sha256-") == 2
    assert len(re.findall("<script>", text.split("</head>")[1])) == 2
    frame = re.search(r'<iframe sandbox="allow-same-origin"[^>]*srcdoc="([^"]*)"', text)
    assert frame is not None
    assert "default-src &amp;#x27;none&amp;#x27;" in frame[1]
    assert not re.search(r"https?://(?!www\.w3\.org)[\w.]+/[^\s\"']+\.(?:js|css|woff)", text)


def test_a_ready_document_has_no_source_column():
    text, _ = view_page(Document("7", "Words and $x$.", meta={"title": "Seven"}), ("dom",))
    assert "<iframe" not in text
    assert "<h1>Seven</h1>" in text


def request(server: ViewServer, path: str, host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    headers = {"Host": host or f"127.0.0.1:{server.server_port}"}
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def test_the_server_answers_its_owner_only():
    with ViewServer("page", "default-src 'none'") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            answer = request(server, f"/{server.token}/")
            assert (answer.status, answer.read()) == (200, b"page")
            assert "frame-ancestors 'none'" in (answer.getheader("Content-Security-Policy") or "")
            assert answer.getheader("Access-Control-Allow-Origin") is None
            for path, host in (
                ("/", None),
                ("/guess/", None),
                (f"/{server.token}/../", None),
                (f"/{server.token}/", "evil.example"),
            ):
                assert request(server, path, host).status == 404
        finally:
            server.shutdown()


def test_a_taken_port_is_an_input_error():
    with ViewServer("", "") as server, pytest.raises(InputError, match="--port"):
        ViewServer("", "", port=server.server_port)


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<p>hello</p>"
        if self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
        elif self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
        elif self.path == "/missing":
            self.send_response(404)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=latin-1")
        if self.path == "/bomb":
            body = gzip.compress(bytes(5_000_000))
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_of_the_web(site):
    page = load(f"{site}/page")
    assert isinstance(page, Page)
    assert (page.content, page.mime, page.charset) == (b"<p>hello</p>", "text/html", "latin-1")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/loop", "status 302"),
        ("/file", "http"),
        ("/missing", "status 404"),
        ("/bomb", "over 1,000"),
    ],
)
def test_what_a_site_may_not_do(site, path, says):
    with pytest.raises(InputError, match=says):
        fetch(f"{site}{path}", FetchLimits(size_bytes=1000, total_s=5))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x.example/", "http://", "data:text/html,x"]
)
def test_only_the_web_is_fetched(url):
    with pytest.raises(InputError):
        fetch(url)


def test_a_record_of_an_archive(tmp_path):
    from nautiloid.curate.warc_writer import writing

    path = tmp_path / "crawl.warc.gz"
    with writing(path, date=datetime(2000, 1, 1, tzinfo=UTC)) as archive:
        archive.response("http://a.example/", b"<html><body><p>first page</p></body></html>")
        offset = archive.response("http://b.example/", b"<html><body><p>second</p></body></html>")
    for which in ("1", "http://b.example/", f"@{offset}"):
        found = load(f"{path}#{which}")
        assert isinstance(found, Page)
        assert b"second" in found.content
    assert b"first" in load(str(path)).content
    with pytest.raises(InputError, match="no such record"):
        load(f"{path}#9")


def test_the_command_writes_one_file(tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text(f"<html><body><main>{'<p>Some words about math.</p>' * 9}"
                    r"<p>And \(\frac12\).</p></main></body></html>")  # fmt: skip
    out = tmp_path / "view.html"
    assert main(["curate", "view", str(page), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert '<span class="tex" data-span="0">\\frac12</span>' in out.read_text()
    for more, says in (
        ([str(tmp_path / "none.html")], "no such file"),
        ([], "name a file or an http address"),
        ([str(page), "--extractors", "domm", "--out", str(out)], "did you mean 'dom'?"),
    ):
        assert main(["curate", "view", *more]) == 2
        assert says in capsys.readouterr().err
