"""The comparison as Markdown tables and as one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from nautiloid.core.errors import missing_extra
from nautiloid.core.files import write_text
from nautiloid.core.metrics import read_metrics

COLOURS = ("#0f766e", "#c2410c", "#6d28d9", "#475569")
NAMES = {
    "math": "mathematics",
    "formulas": "its formulas",
    "prose": "the rest of it",
    "code": "code",
    "text": "general text",
}

# [set][arm][seed] -> tokens, bits per byte
Curves = Mapping[str, Mapping[str, Sequence[Sequence[tuple[float, float]]]]]


def write_report(folder: Path, results: Mapping[str, Any], curves: Curves) -> None:
    """Write `results.md` and `results.svg` into the folder of the run.

    Raises:
        InputError: matplotlib is not installed; the tables are written before it is asked for.
    """
    write_text(folder / "results.md", "\n".join(tables(results)) + "\n")
    write_text(folder / "results.svg", picture(results, curves))


def tables(results: Mapping[str, Any]) -> Iterator[str]:
    """Means, then differences with their intervals, for every set of pages."""
    for name, compared in results["sets"].items():
        arms = compared["bits_per_byte"]
        yield f"### `{name}`"
        yield ""
        yield f"| bits per byte, mean of {results['seeds']} seeds | {' | '.join(arms)} |"
        yield f"|---|{'---|' * len(arms)}"
        for measure, title in NAMES.items():
            yield f"| {title} | {' | '.join(f'{mean(arms[arm][measure]):.4f}' for arm in arms)} |"
        yield ""
        yield "| one pass over the pages | pages | bytes | tokens | formulas | passes made |"
        yield "|---|---|---|---|---|---|"
        share = results["weights"]["pages"] * results["tokens"] / results["share"]
        for arm, size in results["corpus"]["sets"][name].items():
            counts = " | ".join(
                f"{size[key]:,}" for key in ("pages", "bytes", "tokens", "formulas")
            )
            yield f"| {arm} | {counts} | {share / size['tokens']:.1f} |"
        yield ""
        yield "| difference, ours minus peer | peer | mean | 95 % over seeds | 95 % over documents |"
        yield "|---|---|---|---|---|"
        for peer, by in compared["differences"].items():
            for measure, title in NAMES.items():
                found = by[measure]
                low, high = found["documents"]
                yield (
                    f"| {title} | {peer} | {found['mean']:+.4f} | {found['low']:+.4f} to "
                    f"{found['high']:+.4f} | {low:+.4f} to {high:+.4f} |"
                )
        yield ""
    if results["inline_only"]:
        yield "### Held-out mathematics without displayed formulas"
        yield ""
        yield "| pages | difference, ours minus peer | peer | mean | 95 % over seeds |"
        yield "|---|---|---|---|---|"
        for name, compared in results["inline_only"].items():
            for peer, by in compared["differences"].items():
                for measure in ("math", "formulas"):
                    found = by[measure]
                    yield (
                        f"| `{name}` | {NAMES[measure]} | {peer} | {found['mean']:+.4f} | "
                        f"{found['low']:+.4f} to {found['high']:+.4f} |"
                    )
        yield ""
    if results["rendered_minus_control"] is not None:
        yield "### `rendered` less `control`: the encoding alone"
        yield ""
        yield "| difference of the differences | peer | mean | 95 % over seeds |"
        yield "|---|---|---|---|"
        for peer, by in results["rendered_minus_control"].items():
            for measure, title in NAMES.items():
                found = by[measure]
                yield (
                    f"| {title} | {peer} | {found['mean']:+.4f} | {found['low']:+.4f} to "
                    f"{found['high']:+.4f} |"
                )
        yield ""


def read_curves(
    run: Path, folders: Mapping[str, Mapping[str, Sequence[str]]], step_tokens: int
) -> Curves:
    """Held-out mathematics over tokens, from the metrics of the trainings.

    Args:
        run: Folder of the whole run.
        folders: Names of the trainings, `[set][arm][seed]`.
        step_tokens: Tokens of a step.
    """
    return {
        name: {
            arm: [
                [
                    (line["step"] * step_tokens, line["bits_per_byte"])
                    for line in read_metrics(run / folder / "metrics.jsonl", "eval")
                ]
                for folder in by_seed
            ]
            for arm, by_seed in arms.items()
        }
        for name, arms in folders.items()
    }


def picture(results: Mapping[str, Any], curves: Curves) -> str:
    """Learning curves above, differences with intervals below, one column a set of pages; SVG."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise missing_extra("matplotlib", "report") from None
    import io

    library: Any = matplotlib
    sets = results["sets"]
    style = {"svg.fonttype": "none", "svg.hashsalt": "cc-math", "font.size": 8}
    with library.rc_context({**style, "axes.unicode_minus": False}):
        figure: Any = Figure(figsize=(3.6 * len(sets), 5.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(2, len(sets), squeeze=False, sharey="row")
        for column, (name, compared) in enumerate(sets.items()):
            _draw_curves(axes[0][column], name, curves[name])
            _draw_differences(axes[1][column], compared["differences"], results["margin"])
        axes[0][0].set_ylabel("bits per byte of held-out mathematics")
        axes[1][0].set_ylabel("bits per byte, ours minus peer")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _draw_curves(
    axes: Any, name: str, curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]]
) -> None:
    for colour, (arm, by_seed) in zip(COLOURS, curves.items(), strict=False):
        for number, points in enumerate(by_seed):
            later = points[len(points) // 8 :]
            axes.plot(
                [tokens / 1e6 for tokens, _ in later], [bits for _, bits in later],
                color=colour, linewidth=0.9, label=arm if number == 0 else None,
            )  # fmt: skip
    axes.set_title(f"pages: {name}")
    axes.set_xlabel("million tokens")
    axes.legend(frameon=False)
    _bare(axes)


def _draw_differences(axes: Any, differences: Mapping[str, Any], margin: float) -> None:
    width = 0.8 / max(len(differences), 1)
    for number, (peer, by) in enumerate(differences.items()):
        places = [i + (number - (len(differences) - 1) / 2) * width for i in range(len(NAMES))]
        found = [by[measure] for measure in NAMES]
        axes.bar(
            places, [d["mean"] for d in found], width, label=f"against {peer}",
            color=COLOURS[number + 1], alpha=0.75,
            yerr=[d["high"] - d["mean"] for d in found],
            error_kw={"linewidth": 0.8}, capsize=2,
        )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.7)
    axes.axhline(margin, color="black", linewidth=0.5, linestyle=":")
    axes.set_xticks(range(len(NAMES)), [title.replace(" ", "\n", 1) for title in NAMES.values()])
    axes.legend(frameon=False)
    _bare(axes)


def _bare(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.3)
    axes.set_axisbelow(True)
