"""Header lines of WARC and HTTP."""

from __future__ import annotations


def fields(head: bytes) -> dict[str, str]:
    """Header lines to a mapping by lower-case name; folded lines are joined, the first one counts."""
    found: dict[str, str] = {}
    name = ""
    for line in head.decode("utf-8", "replace").split("\n"):
        if line[:1] in (" ", "\t") and name:
            found[name] = f"{found[name]} {line.strip()}"
            continue
        key, colon, value = line.partition(":")
        name = key.strip().lower() if colon else ""
        if name in found:
            name = ""
        elif name:
            found[name] = value.strip()
    return found
