"""Curves and the expert-load map of one run."""

from __future__ import annotations

import math

from nautiloid.core.report.chart import Series, heat_map, line_chart, smooth
from nautiloid.core.report.html import Html, tag
from nautiloid.core.report.run_record import RunRecord


def charts(record: RunRecord) -> Html:
    """All charts that the run has figures for."""
    loss = _loss(record, "loss", "Loss", is_wide=True)
    drawn = [*([loss] if loss else []), *_small_charts(record), *_experts(record)]
    return tag("div", *drawn, class_="charts") if drawn else Html("")


def _loss(record: RunRecord, name: str, title: str, *, is_wide: bool = False) -> Html | None:
    x, y = record.series("train", name)
    lines = []
    if len(x) > 1:
        lines = [Series(x, y, is_faint=True), Series(x, smooth(y), "training, smoothed")]
    held_x, held_y = record.series("eval", name)
    if held_x:
        lines.append(Series(held_x, held_y, "held out", has_marks=True))
    if not lines:
        return None
    spikes = record.series("spike", "loss")[0]
    note = f"{len(spikes)} spikes or skipped steps marked" if spikes else ""
    return line_chart(title, lines, note=note, marks=spikes[:200], is_wide=is_wide)


def _small_charts(record: RunRecord) -> list[Html]:
    charts: list[Html] = []
    bits = _loss(record, "bits_per_byte", "Bits per byte")
    if bits:
        charts.append(bits)
    others = ("mtp_loss", "balance_loss", "z_loss", "kl")
    lines = [Series(*_smoothed(record, name), name.replace("_", " ")) for name in others]
    lines = [line for line in lines if len(line.x) > 1 and any(line.y)]
    for line in lines:
        charts.append(
            line_chart(line.label.capitalize().replace("Mtp", "MTP").replace("Kl", "KL"), [line])
        )
    plain = (
        ("grad_norm", "Gradient norm", "before clipping", True),
        ("lr", "Learning rate", "", False),
        ("tokens_per_s", "Throughput", "tokens a second", False),
        ("mfu", "Model FLOPs utilisation", "share of the measured peak", False),
    )
    for name, title, note, is_log in plain:
        x, y = record.series("train", name)
        if len(x) < 2:
            continue
        values = [v for v in y if v is not None]
        is_log = is_log and bool(values) and 0 < 20 * min(values) < max(values)
        charts.append(
            line_chart(title, [Series(x, y)], note=note, is_log=is_log, starts_at_zero=not is_log)
        )
    by_benchmark = _benchmark_lines(record)
    if by_benchmark:
        charts.append(line_chart("Accuracy during training", by_benchmark, starts_at_zero=True))
    return charts


def _smoothed(record: RunRecord, name: str) -> tuple[list[float], list[float | None]]:
    x, y = record.series("train", name)
    return x, smooth(y)


def _benchmark_lines(record: RunRecord) -> list[Series]:
    lines = record.lines.get("benchmark", [])
    names = sorted(
        {k for line in lines for k, v in line.items() if isinstance(v, int | float)}
        - {"step", "time"}
    )
    series = [Series(*record.series("benchmark", name), name, has_marks=True) for name in names]
    return [line for line in series if len(line.x) > 1]


def _experts(record: RunRecord) -> list[Html]:
    charts: list[Html] = []
    lines = [line for line in record.lines.get("train", []) if line.get("max_vio")]
    if len(lines) > 1:
        x = [float(line["step"]) for line in lines]
        values = [
            [v for v in line["max_vio"] if isinstance(v, int | float)] or [math.nan]
            for line in lines
        ]
        pair = [
            Series(x, smooth([max(v) for v in values]), "worst layer"),
            Series(x, smooth([sum(v) / len(v) for v in values]), "mean of layers"),
        ]
        charts.append(
            line_chart("MaxVio", pair, note="busiest expert over the mean load, 1 is balance")
        )
    load = record.last("train", "expert_load")
    if load and all(load):
        step = next(
            line["step"] for line in reversed(record.lines["train"]) if "expert_load" in line
        )
        share = 1 / len(load[0])
        charts.append(
            heat_map(
                "Expert load",
                load,
                note=f"share of routed tokens at step {step}; balance is {share:.3g}",
                x_label="expert",
                y_label="layer",
                centre=share,
            )
        )
    return charts
