"""Charts as inline SVG that follows the colours of the page, light or dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from nautiloid.core.errors import missing_extra
from nautiloid.core.report.html import Html, tag

# Axes and figures are typed Any: matplotlib's own annotations are partial.
# Colours that matplotlib writes and that become CSS variables of the page.
INK, SOFT, LINE = "#010101", "#020202", "#030303"
COLOURS = ("#040400", "#040401", "#040402", "#040403", "#040404", "#040405")
VARIABLES = (
    (INK, "var(--ink)"),
    (SOFT, "var(--soft)"),
    (LINE, "var(--line)"),
    *((colour, f"var(--c{i})") for i, colour in enumerate(COLOURS)),
)
MAX_POINTS = 400


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Args:
        x: Positions, ascending.
        y: Values; None and non-finite ones leave a gap.
        label: Name in the legend; empty leaves it out.
        has_marks: Draw the points themselves, for few of them.
        is_faint: Draw it thin and pale, as the noise behind another line.
    """

    x: Sequence[float]
    y: Sequence[float | None]
    label: str = ""
    has_marks: bool = False
    is_faint: bool = False


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    note: str = "",
    x_label: str = "step",
    is_log: bool = False,
    starts_at_zero: bool = False,
    marks: Sequence[float] = (),
    is_wide: bool = False,
) -> Html:
    """Lines over a common axis; `marks` are x positions of events."""

    def draw(axes: Any) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

        colour = -1
        for line in series:
            colour = colour if line.is_faint else colour + 1
            x, y = thin(line.x, line.y)
            style: dict[str, Any] = {
                "color": COLOURS[max(colour, 0) % len(COLOURS)],
                "linewidth": 1.6,
            }
            if line.is_faint:
                style |= {
                    "linewidth": 0.8,
                    "alpha": 0.3,
                    "color": COLOURS[(colour + 1) % len(COLOURS)],
                }
            if line.has_marks:
                style |= {"marker": "o", "markersize": 3.5}
            axes.plot(x, y, label=line.label or "_", **style)
        for position in marks:
            axes.axvline(position, color=COLOURS[5], linewidth=0.8, alpha=0.6)
        if is_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_plain_tick))
            axes.yaxis.set_minor_formatter(NullFormatter())
        elif starts_at_zero:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(x_label, color=SOFT, fontsize=8)
        axes.margins(x=0.01)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        if sum(bool(line.label) for line in series) > 1:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best", handlelength=1.4)

    return _figure(title, note, draw, height=3.1 if is_wide else 2.1, is_wide=is_wide)


def heat_map(
    title: str,
    rows: Sequence[Sequence[float]],
    *,
    note: str,
    x_label: str,
    y_label: str,
    centre: float,
) -> Html:
    """Cells coloured by value / `centre` on a log scale: below it pale, at it medium, above it strong."""
    columns = max(map(len, rows))
    left, width, height = 44, 1040, min(26, 520 // len(rows))
    step = (width - left) / columns
    gap = 1.5 if step > 6 else 0.0
    cells: list[str] = []
    for i, row in enumerate(rows):
        cells.append(
            f'<text x="{left - 8}" y="{(i + 0.5) * height + 4:.1f}" text-anchor="end">{i}</text>'
        )
        for j, value in enumerate(row):
            cells.append(
                f'<rect x="{left + j * step:.2f}" y="{i * height:.1f}" width="{step - gap:.2f}" '
                f'height="{height - 1.5:.1f}" rx="1.5" fill-opacity="{_intensity(value, centre):.2f}">'
                f"<title>{y_label} {i}, {x_label} {j}: {value:.4g}</title></rect>"
            )
    below = len(rows) * height + 15
    ticks = {0, columns - 1, *range(0, columns, max(columns // 16, 1))}
    for j in sorted(ticks):
        cells.append(
            f'<text x="{left + (j + 0.5) * step:.1f}" y="{below}" text-anchor="middle">{j}</text>'
        )
    svg = (
        f'<svg viewBox="0 0 {width} {below + 6}" role="img" class="heat" font-size="11" '
        f'fill="var(--c0)">{"".join(cells)}</svg>'
    )
    return tag("figure", tag("figcaption", title, tag("small", note)), Html(svg), class_="wide")


def smooth(values: Sequence[float | None]) -> list[float | None]:
    """Exponential moving average without the bias of its start; few values stay as they are.

    >>> smooth([2.0, 2.0, None])
    [2.0, 2.0, None]
    """
    weight = min(max(1 - 12 / max(len(values), 1), 0.0), 0.88)
    total = norm = 0.0
    out: list[float | None] = []
    for value in values:
        if value is None or not math.isfinite(value):
            out.append(None)
            continue
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        out.append(round(total / norm, 12))
    return out


def thin(x: Sequence[float], y: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """At most `MAX_POINTS` points, each the mean of its neighbours; gaps are NaN."""
    clean = [math.nan if v is None or not math.isfinite(v) else float(v) for v in y]
    width = math.ceil(len(clean) / MAX_POINTS) or 1
    xs: list[float] = []
    ys: list[float] = []
    for start in range(0, len(clean), width):
        part = [v for v in clean[start : start + width] if not math.isnan(v)]
        xs.append(float(x[min(start + width // 2, len(x) - 1)]))
        ys.append(sum(part) / len(part) if part else math.nan)
    return xs, ys


def _intensity(value: float, centre: float) -> float:
    if value <= 0 or not math.isfinite(value):
        return 0.03
    return min(max(0.4 + 0.2 * math.log2(value / centre), 0.06), 1.0)


def _figure(
    title: str, note: str, draw: Callable[[Any], None], *, height: float, is_wide: bool
) -> Html:
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise missing_extra("matplotlib", "report") from None
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.family": "DejaVu Sans",
    }
    with cast(Any, matplotlib).rc_context(style):
        figure: Any = Figure(figsize=(11.0 if is_wide else 3.9, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _bare(axes)
        draw(axes)
        svg = _svg(figure)
    caption = tag("figcaption", title, tag("small", note) if note else "")
    return tag("figure", caption, Html(svg), class_="wide" if is_wide else "chart")


def _plain_tick(value: float, _: int) -> str:
    return f"{value:g}"


def _bare(axes: Any) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT, labelsize=8, length=0, which="both")


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r' id="[A-Za-z]+[\d.]*_\d+"', "", text
    )  # group names; several charts share a page
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    for colour, variable in VARIABLES:
        text = text.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", text)
