"""Tables, key figures and trees of settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from nautiloid.core.report.html import Html, html, tag


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table; numbers align right.

    >>> "<td class=\\"number\\">1,234</td>" in table(["n"], [[1234]])
    True
    """
    body = [list(row) for row in rows]
    numeric = [
        bool(body) and all(isinstance(row[i], int | float) for row in body)
        for i in range(len(header))
    ]

    def cell(name: str, value: object, i: int) -> Html:
        text = number(value) if isinstance(value, int | float) else value
        return tag(name, text, class_="number") if numeric[i] else tag(name, text)

    head = tag("tr", *(cell("th", name, i) for i, name in enumerate(header)))
    lines = [tag("tr", *(cell("td", value, i) for i, value in enumerate(row))) for row in body]
    return tag("div", tag("table", head, *lines), class_="table")


def facts(pairs: Mapping[str, object]) -> Html:
    """Names and values in two columns."""
    rows = [
        tag(
            "tr",
            tag("td", name, class_="name"),
            tag("td", value if isinstance(value, Html) else tag("code", show(value))),
        )
        for name, value in pairs.items()
    ]
    return tag("div", tag("table", *rows), class_="table")


def tiles(pairs: Mapping[str, object]) -> Html:
    """Key figures in large type."""
    boxes = [
        tag("div", tag("b", show(v)), tag("span", name), class_="tile") for name, v in pairs.items()
    ]
    return tag("div", *boxes, class_="tiles")


def bar(share: float, text: str) -> Html:
    """A horizontal bar from 0 to 1 and its figure."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Html(f'<span class="bar"><i style="width:{width:.1f}%"></i></span>{html(text)}')


def tree(data: Any) -> Html:
    """Nested settings as an indented list."""
    items = cast(Any, data.items() if isinstance(data, Mapping) else enumerate(data))
    lines: list[Html] = []
    for name, value in items:
        if isinstance(value, Mapping) and value:
            pairs = dict(cast(Mapping[str, Any], value))
            kind = pairs.pop("kind", "")
            lines.append(tag("li", tag("b", name), tag("code", kind), tree(pairs)))
        elif isinstance(value, list) and any(
            isinstance(v, Mapping) for v in cast(list[Any], value)
        ):
            lines.append(tag("li", tag("b", name), tree(cast(list[Any], value))))
        else:
            lines.append(tag("li", tag("b", name), tag("code", show(cast(object, value)))))
    return tag("ul", *lines, class_="tree")


def show(value: object) -> str:
    """A value as short text.

    >>> show(12345678), show(0.25), show(None), show([1, 2])
    ('12,345,678', '0.25', 'none', '1, 2')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(show(v) for v in cast(list[object], value))
    return str(value)


def number(value: float) -> str:
    """At most four significant digits after the decimal point, thousands separated.

    >>> number(3.14159), number(0.00012), number(123456.7)
    ('3.142', '0.00012', '123,457')
    """
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(12.3), duration(75), duration(7300)
    ('12 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def amount(value: float) -> str:
    """A count with a unit.

    >>> amount(950), amount(31_577_937_344), amount(2_500_000)
    ('950', '31.6 B', '2.5 M')
    """
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:,.4g}"
