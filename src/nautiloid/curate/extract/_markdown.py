"""Blocks as one Markdown text."""

from __future__ import annotations

from collections.abc import Sequence

from nautiloid.curate.extract._block import Block, Kind


def join(blocks: Sequence[Block]) -> str:
    """Markdown of the blocks; formulas are still marks."""
    parts: list[str] = []
    before: Block | None = None
    for block in blocks:
        text = block.text
        if block.kind > Kind.HEADING:
            text = "#" * (block.kind - Kind.HEADING) + " " + text
        if block.indent and "\n" in text:
            text = text.replace("\n", "\n" + block.indent)
        if before is not None:
            parts.append("\n" if _is_tight(before, block) else "\n\n")
            if (
                parts[-1] == "\n\n"
                and block.indent.endswith("> ")
                and before.indent == block.indent
            ):
                parts[-1] = "\n" + block.indent.rstrip() + "\n"
        parts.append(block.lead + text)
        before = block
    return "".join(parts)


def _is_tight(before: Block, block: Block) -> bool:
    """Whether no empty line separates two blocks: items of a list, a term and its definition."""
    if before.kind > Kind.TABLE - 1 or block.kind > Kind.TABLE - 1 or "\n" in before.text:
        return False
    if before.kind == Kind.TERM or block.lead.endswith(": "):
        return before.kind == Kind.TERM and block.is_item
    if not (before.is_item and block.is_item) or before.lead.endswith(": "):
        return False
    is_level = len(before.indent) == len(block.indent)
    return not is_level or before.lead.endswith("- ") == block.lead.endswith("- ")
