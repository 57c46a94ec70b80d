"""Where a run comes from: settings, machine, data, checksums."""

from __future__ import annotations

from typing import Any, cast

from nautiloid.core.report.html import Html, join, tag
from nautiloid.core.report.run_record import RunRecord
from nautiloid.core.report.table import facts, table, tree


def provenance(record: RunRecord) -> Html:
    """Everything that was recorded, folded up."""
    boxes = [_details("Settings", tree(record.settings))]
    environment = {k: v for k, v in record.environment.items() if k != "versions"}
    environment |= {f"{k} version": v for k, v in record.environment.get("versions", {}).items()}
    if environment:
        boxes.append(_details("Environment", facts({k: _line(v) for k, v in environment.items()})))
    if record.provenance:
        boxes.append(_details("Provenance of the model", tree(record.provenance)))
    for name, manifest in record.manifests.items():
        rest = {k: v for k, v in manifest.items() if k != "files"}
        rows = [
            (file, int(fact["bytes"]), tag("code", fact["sha256"]))
            for file, fact in manifest.get("files", {}).items()
        ]
        body = join(tree(rest) if rest else "", table(("file", "bytes", "sha256"), rows))
        boxes.append(_details(f"Files and checksums: {name}", body))
    if record.done:
        boxes.append(_details("Final figures", tree(record.done)))
    return join(*boxes)


def _line(value: Any) -> str:
    return " ".join(map(str, cast(list[Any], value))) if isinstance(value, list) else str(value)


def _details(title: str, body: Html) -> Html:
    return tag("details", tag("summary", title), tag("div", body, class_="inner"))
