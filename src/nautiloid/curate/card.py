"""The data card: README.md of the shards, with the configurations that dataset hubs read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nautiloid.core.files import MANIFEST, read_json, write_text

if TYPE_CHECKING:
    from nautiloid.curate.recipe import CurateRecipe

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
LANGUAGES = 20
PATTERNS = {"parquet": "train-*.parquet", "jsonl": "train-*.jsonl.zst"}


def write_card(folder: Path, recipe: CurateRecipe) -> None:
    """Write `shards/README.md` from the manifest."""
    manifest = read_json(folder / MANIFEST)
    write_text(folder / "shards" / "README.md", f"{_front(recipe, manifest)}\n{_body(manifest)}")


def _front(recipe: CurateRecipe, manifest: Mapping[str, Any]) -> str:
    """The YAML block; its values are JSON, which YAML includes."""
    whole = manifest["subsets"]["all"]
    languages = [name for name in manifest["languages"] if name != "unknown"][:LANGUAGES]
    licences = [name for name in manifest["licences"] if name != "unknown"]
    lines = ["---", f"pretty_name: {json.dumps(manifest['name'])}"]
    if languages:
        lines.append(f"language: {json.dumps(languages)}")
    one = len(licences) == 1 and "unknown" not in manifest["licences"]
    lines.append(f"license: {json.dumps(licences[0].lower() if one else 'other')}")
    lines.append("task_categories: [text-generation]")
    lines.append(f"size_categories: [{json.dumps(_size(whole['documents']))}]")
    name = next((name for name in recipe.shards.formats if name in PATTERNS), None)
    if name is not None:
        lines.append("configs:")
        present = {path.split("/")[1] for path in manifest["files"]}
        for subset in ("all", *(subset.name for subset in recipe.subsets)):
            bands = [b for b in manifest["subsets"][subset]["bands"] if b in present]
            if bands:
                paths = [f"{name}/{band}/{PATTERNS[name]}" for band in bands]
                lines += _config(subset, paths, is_default=subset == "all")
    return "\n".join([*lines, "---", ""])


def _config(name: str, paths: Sequence[str], *, is_default: bool) -> list[str]:
    lines = [f"- config_name: {json.dumps(name)}"]
    if is_default:
        lines.append("  default: true")
    return [*lines, "  data_files:", "  - split: train", f"    path: {json.dumps(list(paths))}"]


def _size(documents: int) -> str:
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    if documents < SIZES[0]:
        return "n<1K"
    for low, high, bound in zip(names, names[1:], SIZES[1:], strict=False):
        if documents < bound:
            return f"{low}<n<{high}"
    return "n>1B"


def _body(manifest: Mapping[str, Any]) -> str:
    source = manifest["input"]
    parts = [
        f"# {manifest['name']}\n",
        f"Text of {source['pages']:,} pages ({source['bytes'] / 1e6:,.1f} MB in {source['units']:,} units), "
        "curated by Nautiloid. Formulas are TeX between `$` and `$$`, code stands in fenced blocks, tables "
        "are Markdown. Settings, versions, checksums and the fingerprint of the input are in the manifest "
        "of the run.\n",
        "## Subsets\n",
        _table(
            ("subset", "documents", "characters", "bytes", "tokens", "share"),
            [
                (name, *_counts(entry), f"{entry['share']:.1%}")
                for name, entry in manifest["subsets"].items()
            ],
        ),
        "## What was left out\n",
        _table(
            ("stage", "documents in", "documents out", "reasons"),
            [
                (
                    stage["name"],
                    f"{stage['documents_in']:,}",
                    f"{stage['documents_out']:,}",
                    ", ".join(f"{reason} {count:,}" for reason, count in stage["dropped"].items()),
                )
                for stage in manifest["stages"]
            ],
        ),
        "## Licences\n",
        "As stated by the sources; a document without a statement counts as unknown.\n",
        _table(
            ("licence", "documents"),
            [(name, f"{count:,}") for name, count in manifest["licences"].items()],
        ),
    ]
    return "\n".join(parts)


def _counts(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    tokens = "" if entry["tokens"] is None else f"{entry['tokens']:,}"
    return f"{entry['documents']:,}", f"{entry['chars']:,}", f"{entry['bytes']:,}", tokens


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
