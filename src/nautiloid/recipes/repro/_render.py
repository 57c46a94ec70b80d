r"""The same page with its formulas in another encoding of the web.

Sphinx writes `<span class="math">\(TeX\)</span>`, which every tool keeps. Here KaTeX and MathJax themselves
write what their servers would send, so that two pages differ in nothing but the encoding.
"""

from __future__ import annotations

import hashlib
import html
import json
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from nautiloid.core.errors import InputError
from nautiloid.core.files import atomic_path, write_text

log = logging.getLogger("nautiloid.repro")

LIBRARIES = ("katex@0.19.1", "mathjax-full@3.2.2")
PAGES_PER_PROCESS = 50
_SPHINX = re.compile(
    r'<(span|div) class="math[^"]*"[^>]*>\s*(?:<span class="eqno">.{0,400}?</span>\s*)?'
    r"\\(?:\((?P<inline>[^<]*?)\\\)|\[(?P<display>[^<]*?)\\\])\s*</\1>",
    re.DOTALL,
)
_MATH = re.compile(r"<math .*?</math>", re.DOTALL)
_ANNOTATION = re.compile(r"<annotation .*?</annotation>", re.DOTALL)

Formula = tuple[str, bool]  # TeX, whether it is displayed
# (TeX, display, what KaTeX wrote, what MathJax wrote) -> HTML
Encode = Callable[[str, bool, str, str], str]


def _mathml(katex: str) -> str:
    found = _MATH.search(katex)
    assert found is not None, "KaTeX writes MathML beside its own HTML"
    return found[0]


def _script(tex: str, display: bool, katex: str, mathjax: str) -> str:
    mode = "; mode=display" if display else ""
    return f'<span class="MathJax_Preview"></span><script type="math/tex{mode}">{tex}</script>'


def _wikipedia(tex: str, display: bool, katex: str, mathjax: str) -> str:
    styled = html.escape(rf"{{\displaystyle {tex}}}")
    place = "display" if display else "inline"
    tree = _mathml(katex).replace("<math ", f'<math alttext="{styled}" ', 1)
    return (
        f'<span class="mwe-math-element"><span class="mwe-math-mathml-{place} mwe-math-mathml-a11y" '
        f'style="display: none;">{tree}</span><img src="https://wikimedia.org/api/rest_v1/media/math/'
        f'render/svg/0" class="mwe-math-fallback-image-{place}" aria-hidden="true" alt="{styled}"></span>'
    )


def _image(tex: str, display: bool, katex: str, mathjax: str) -> str:
    alt = html.escape(tex)
    return (
        f'<img src="https://s0.wp.com/latex.php?latex={quote(tex)}&amp;bg=ffffff" alt="{alt}" '
        f'title="{alt}" class="latex" />'
    )


ENCODINGS: Mapping[str, Encode | None] = MappingProxyType(
    {
        "text": None,
        "katex": lambda tex, display, katex, mathjax: katex,
        "mathjax": lambda tex, display, katex, mathjax: mathjax,
        "script": _script,
        "mathml": lambda tex, display, katex, mathjax: _ANNOTATION.sub("", _mathml(katex)),
        "annotated": lambda tex, display, katex, mathjax: _mathml(katex),
        "wikipedia": _wikipedia,
        "image": _image,
    }
)


def encoding_of(name: str) -> str:
    """Which encoding a page gets: all are equally frequent, by the hash of its name."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"encoding").digest()
    return list(ENCODINGS)[int.from_bytes(digest, "little") % len(ENCODINGS)]


def install(cache: Path) -> Path:
    """Folder of KaTeX and MathJax, fetched by npm unless they are there.

    Raises:
        InputError: Node is missing, or npm could not fetch them.
    """
    folder = cache / "npm"
    if (folder / "node_modules").is_dir():
        return folder
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise InputError(tool, "not installed", "KaTeX and MathJax need it to write formulas")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        command = ["npm", "install", "--no-fund", "--no-audit", "--prefix", temporary, *LIBRARIES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError("npm", done.stderr.strip()[-200:], f"cannot fetch {LIBRARIES}")
    return folder


def render_pages(pages: Mapping[str, Path], folder: Path, libraries: Path) -> dict[str, Path]:
    """Write every page anew as `folder/<name>.html`; formulas that a library refuses stay text.

    Args:
        pages: Files by name; the name decides the encoding.
        folder: Where the new ones go.
        libraries: See `install`.
    """
    made = {name: folder / f"{name}.html" for name in pages}
    waiting = [name for name in pages if not made[name].is_file()]
    for start in range(0, len(waiting), PAGES_PER_PROCESS):
        group = waiting[start : start + PAGES_PER_PROCESS]
        texts = {name: pages[name].read_text(encoding="utf-8", errors="replace") for name in group}
        formulas = {name: page_formulas(texts[name]) for name in group}
        answers = iter(_answers([f for name in group for f in formulas[name]], libraries))
        for name in group:
            own = [next(answers) for _ in formulas[name]]
            write_text(made[name], _rewritten(texts[name], formulas[name], own, encoding_of(name)))
        log.info("%d of %d pages with other formulas", start + len(group), len(waiting))
    return made


def page_formulas(text: str) -> list[Formula]:
    """The formulas of a page by Sphinx."""
    return [_formula(match) for match in _SPHINX.finditer(text)]


def _answers(formulas: Sequence[Formula], libraries: Path) -> list[Mapping[str, str]]:
    environment = {**os.environ, "NODE_PATH": str(libraries.resolve() / "node_modules")}
    command = ["node", str(Path(__file__).with_name("_render.cjs"))]
    lines = "".join(
        json.dumps({"tex": tex, "display": display}) + "\n" for tex, display in formulas
    )
    done = subprocess.run(
        command, input=lines, env=environment, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _rewritten(
    text: str, formulas: Sequence[Formula], answers: Sequence[Mapping[str, str]], encoding: str
) -> str:
    encode = ENCODINGS[encoding]
    if encode is None:
        return text
    pairs = zip(formulas, answers, strict=True)

    def written(match: re.Match[str]) -> str:
        (tex, display), answer = next(pairs)
        if "mathjax" not in answer:
            return match[0]
        shown = encode(tex, display, answer["katex"], answer["mathjax"])
        return f"<{match[1]}>{shown}</{match[1]}>"

    return _SPHINX.sub(written, text)


def _formula(match: re.Match[str]) -> Formula:
    display = match["display"] is not None
    return html.unescape(match["display"] if display else match["inline"]).strip(), display
