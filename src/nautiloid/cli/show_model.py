"""A model's shape and costs on the terminal, torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nautiloid.cli.show import facts_table, rows_table, settings_tree
from nautiloid.core.config import to_json
from nautiloid.core.files import MANIFEST
from nautiloid.core.report.table import amount
from nautiloid.model import costs
from nautiloid.model.checkpoint import Checkpoint
from nautiloid.model.config import ModelConfig
from nautiloid.model.folder import scan
from nautiloid.model.presets import preset, preset_names

COLOURS = {"mamba": "cyan", "moe": "magenta", "attention": "yellow", "mlp": "green"}
LETTERS_A_LINE = 60


def presets() -> Table:
    """All presets in one table."""
    rows: list[tuple[object, ...]] = []
    for name in preset_names():
        config = preset(name)
        count = costs.parameters(config)
        rows.append(
            (
                name,
                config.family,
                config.num_hidden_layers,
                config.hidden_size,
                amount(count.total),
                amount(count.active_both),
                amount(costs.decode_flops(config, 8192)),
            )
        )
    header = ("preset", "family", "layers", "width", "total", "active", "FLOP/token")
    table = rows_table("", header, rows)
    table.collapse_padding = True  # to fit 80 columns
    return table


def model(name: str, config: ModelConfig, context: int, dtype: str | None) -> list[RenderableType]:
    """Pattern, layers, parameters, operations, states and memory."""
    return [
        Text.from_markup(f"[bold]{escape(name)}[/]  [dim]{config.family}[/]"),
        _pattern(config),
        _layers(config),
        _parameters(config),
        _work(config, context, dtype or config.dtype),
        settings_tree("settings", _settings(config)),
    ]


def checkpoint(folder: Path, context: int, dtype: str | None) -> list[RenderableType]:
    """The model of a folder, its files and where it comes from."""
    found = Checkpoint.open(folder)
    entries = scan(folder).values()
    by_dtype = Counter(entry.dtype for entry in entries)
    files = sorted({entry.file for entry in entries})
    facts = {
        "tensors": ", ".join(f"{count:,} {dtype}" for dtype, count in by_dtype.most_common()),
        "files": f"{len(files)}, {_bytes(sum(file.stat().st_size for file in files))}",
        "checksums": "in manifest.json" if (folder / MANIFEST).is_file() else "none recorded",
    }
    parts = model(str(folder), found.config, context, dtype)
    parts.append(facts_table("[bold]files[/]", facts))
    if found.provenance:
        parts.append(settings_tree("provenance", found.provenance))
    return parts


def tensors(folder: Path) -> Table:
    """Every tensor of a folder by its header."""
    rows = [
        (entry.name, entry.dtype, "x".join(map(str, entry.shape)) or "scalar", entry.file.name)
        for entry in scan(folder).values()
    ]
    return rows_table("[bold]tensors[/]", ("name", "dtype", "shape", "file"), rows)


def _pattern(config: ModelConfig) -> Text:
    kinds = {letter: _kind(config, letter) for letter in config.blocks}
    text = Text()
    for start in range(0, len(config.pattern), LETTERS_A_LINE):
        text.append(f"{start:>4} ", style="dim")
        for letter in config.pattern[start : start + LETTERS_A_LINE]:
            text.append(letter, style=COLOURS.get(kinds[letter], "white"))
        text.append("\n")
    if config.mtp:
        text.append(" mtp ", style="dim")
        for letter in config.mtp.pattern:
            text.append(letter, style=COLOURS.get(kinds[letter], "white"))
        text.append(f"  x{config.mtp.num_nextn_predict_layers}\n", style="dim")
    text.rstrip()
    return text


def _layers(config: ModelConfig) -> Table:
    groups: dict[tuple[str, int, int], list[costs.LayerCost]] = {}
    for cost in costs.layers(config):
        groups.setdefault((cost.letter, cost.total, cost.active), []).append(cost)
    rows = [
        (
            letter,
            group[0].kind,
            len(group),
            total,
            active,
            amount(group[0].flops.fixed),
            f"{group[0].flops.per_context:g} L" if group[0].flops.per_context else "",
        )
        for (letter, total, active), group in groups.items()
    ]
    header = (
        "",
        "block",
        "layers",
        "parameters each",
        "active each",
        "FLOP a token",
        "with context L",
    )
    return rows_table("[bold]layers[/]", header, rows)


def _parameters(config: ModelConfig) -> Table:
    count = costs.parameters(config)
    facts = {
        "total": f"{count.total:,}  ({amount(count.total)})",
        "without MTP": f"{count.trunk:,}" if count.mtp else "",
        "MTP": f"{count.mtp:,}" if count.mtp else "",
        "embedding": f"{count.embedding:,}",
        "head": f"{count.head:,}" if count.head else "tied to the embedding",
        "active a token": f"{count.active_both:,}  ({amount(count.active_both)})",
        "  without embedding": f"{count.active_head:,}",
        "  nor head": f"{count.active:,}",
    }
    return facts_table("[bold]parameters[/]", {k: v for k, v in facts.items() if v})


def _work(config: ModelConfig, context: int, dtype: str) -> Table:
    state = costs.state_bytes(config, dtype)
    facts = {
        "decode, one token": f"{amount(costs.decode_flops(config, context))} FLOP",
        "prefill, a token": f"{amount(costs.prefill_flops(config, context))} FLOP",
        "training, a token": f"{amount(costs.train_flops_per_token(config, context))} FLOP",
        "weights": _bytes(costs.weight_bytes(config, dtype)),
        "keys and values": f"{_bytes(state.kv_per_token)} a token, {_bytes(state.kv_per_token * context)} in all",
        "recurrent state": f"{_bytes(state.ssm)} SSM, {_bytes(state.conv)} convolution",
        "one sequence": _bytes(state.at(context)),
    }
    return facts_table(f"[bold]at {context:,} tokens of context in {dtype}[/]", facts)


def _settings(config: ModelConfig) -> Mapping[str, object]:
    return {
        k: v for k, v in to_json(config).items() if k not in ("pattern", "extra", "overrides") or v
    }


def _kind(config: ModelConfig, letter: str) -> str:
    return str(getattr(type(config.blocks[letter]), "__kind__", ""))


def _bytes(count: float) -> str:
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count:,.0f} B"
