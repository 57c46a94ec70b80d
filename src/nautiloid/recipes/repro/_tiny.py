"""A few pages and sources of the standard library's docstrings, so that every stage can run in seconds."""

from __future__ import annotations

import html
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from nautiloid.core.files import write_text

MODULES = ("math", "statistics", "fractions", "random", "decimal", "cmath", "bisect", "heapq")
FORMULAS = (r"\frac{a}{b} = c", r"x^{2} + y^{2} \leq r^{2}", r"\sum_{i=1}^{n} a_{i}", r"\sqrt{2}")
ENCODINGS = (
    lambda tex: rf'<span class="math">\({tex}\)</span>',
    lambda tex: f'<img class="math" src="a.png" alt="{tex}"/>',
    lambda tex: (
        f'<math><semantics><mi>x</mi><annotation encoding="application/x-tex">{tex}</annotation></semantics></math>'
    ),
)


def write_tiny(cache: Path) -> None:
    """Write `tiny-pages`, `tiny-held-out` and `tiny-text` as if they were unpacked packages."""
    for number, (name, paragraphs) in enumerate(_texts()):
        encode = ENCODINGS[number % len(ENCODINGS)]
        formulas = [html.escape(FORMULAS[i % len(FORMULAS)]) for i in range(len(paragraphs))]
        body = "".join(
            f"<p>{html.escape(text)} Here {encode(tex)} holds, and {encode(tex)} too.</p>"
            for text, tex in zip(paragraphs, formulas, strict=True)
        )
        page = f"<html><head><title>{name}</title></head><body><h1>{name}</h1>{body}</body></html>"
        write_text(cache / "tiny-pages" / f"{name}.html", page)
        title = f"{name}\n{'=' * len(name)}\n\n"
        write_text(cache / "tiny-text" / f"{name}.rst.txt", title + "\n\n".join(paragraphs))
        lines = [f":math:`{tex}` and :math:`{tex}` give:\n\n.. math:: {tex}\n" for tex in FORMULAS]
        write_text(cache / "tiny-held-out" / f"{name}.rst.txt", title + "\n".join(lines))


def _texts() -> Iterator[tuple[str, list[str]]]:
    for name in MODULES:
        members = inspect.getmembers(importlib.import_module(name), callable)
        documented = [" ".join((inspect.getdoc(value) or "").split()) for _, value in members]
        yield name, [text for text in documented if len(text) >= 60][:12]
