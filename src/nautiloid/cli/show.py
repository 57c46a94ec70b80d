"""Settings and figures on the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

PIPED = 120


def settings_tree(title: str, data: Any) -> Tree:
    """JSON values as a tree; lists of plain values stay on one line."""
    tree = Tree(f"[bold]{escape(title)}[/]")
    _grow(tree, data)
    return tree


def _grow(tree: Tree, data: Any) -> None:
    items = data.items() if isinstance(data, Mapping) else enumerate(data)
    for name, value in items:
        label = escape(str(name))
        if isinstance(value, Mapping) and value:
            kind = value.get("kind")
            rest = {k: v for k, v in value.items() if k != "kind"}
            _grow(tree.add(f"{label} [dim]{escape(str(kind))}[/]" if kind else label), rest)
        elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
            _grow(tree.add(label), value)
        else:
            tree.add(f"{label} [cyan]{escape(plain(value))}[/]")


def plain(value: Any) -> str:
    """A setting as one short text."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(v) for v in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def facts_table(title: str, facts: Mapping[str, object]) -> Table:
    """Two columns, name and value."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in facts.items():
        table.add_row(escape(str(name)), escape(plain(value)))
    return table


def rows_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table with a header; columns after the first align right when they hold numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        is_number = all(isinstance(row[index], int | float) for row in rows)
        table.add_column(
            name, justify="right" if is_number and rows else "left", no_wrap=index == 0
        )
    for row in rows:
        table.add_row(*(escape(f"{v:,}" if isinstance(v, int) else plain(v)) for v in row))
    return table


def console() -> Console:
    """Standard output; piped, it is wide enough for our tables."""
    found = Console(highlight=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = PIPED
    return found
