"""Benchmark results of runs: accuracies and sample conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nautiloid.core.report.html import Html, join, tag
from nautiloid.core.report.samples import sample, samples
from nautiloid.core.report.table import bar, number, table

Result = Mapping[str, Any]
MAX_SAMPLES = 4


def scores(results: Sequence[tuple[str, Result]]) -> Html:
    """A table of accuracies by run, benchmark, thinking mode and level; empty without results."""
    rows: list[tuple[object, ...]] = []
    for run, result in results:
        name = (run, str(result["benchmark"]), _mode(result))
        levels: Mapping[str, Result] = result.get("levels", {})
        overall: Result = result["overall"]
        tokens = number(round(float(result.get("mean_tokens", 0.0)), 1))
        label = "all" if len(levels) > 1 else next(iter(levels), "all")
        rows.append((*name, label, int(overall["count"]), _accuracy(overall), tokens))
        if len(levels) > 1:
            rows += [
                ("", "", "", level, int(part["count"]), _accuracy(part), "")
                for level, part in levels.items()
            ]
    if not rows:
        return Html("")
    header = ("run", "benchmark", "thinking", "level", "problems", "accuracy", "tokens an answer")
    return join(tag("h3", "Held-out accuracy"), table(header, rows))


def comparison(results: Sequence[tuple[str, Result]]) -> Html:
    """Accuracy of several runs side by side; empty when there are not at least two."""
    runs = list(dict.fromkeys(run for run, _ in results))
    if len(runs) < 2:
        return Html("")
    cells: dict[tuple[str, str], dict[str, Html]] = {}
    for run, result in results:
        mean = float(result["overall"]["mean"])
        row = cells.setdefault((str(result["benchmark"]), _mode(result)), {})
        row[run] = bar(mean, f"{100 * mean:.1f} %")
    rows = [(*key, *(row.get(run, "") for run in runs)) for key, row in cells.items()]
    return join(
        tag("h3", "Held-out accuracy by run"), table(("benchmark", "thinking", *runs), rows)
    )


def chats(results: Sequence[tuple[str, Result]], answers: Sequence[Result] = ()) -> Html:
    """Sample answers, and some problems of each result, spread over levels and verdicts."""
    boxes = [
        _chat(f"thinking {'on' if answer.get('thinking') else 'off'}", answer) for answer in answers
    ]
    for _, result in results:
        for item in _chosen(result.get("samples", [])):
            note = f"{result['benchmark']}, level {item['level']}, thinking {_mode(result)}"
            boxes.append(_chat(note, item, reward=float(item["score"])))
    if not boxes:
        return Html("")
    return join(tag("h3", "Sample chats"), samples(boxes))


def _chat(note: str, item: Result, reward: float | None = None) -> Html:
    answer = {"role": "assistant", "content": item["content"], "reasoning": item.get("reasoning")}
    return sample(note, ({"role": "user", "content": item["prompt"]}, answer), reward=reward)


def _mode(result: Result) -> str:
    return "on" if result.get("thinking") else "off"


def _accuracy(estimate: Result) -> Html:
    mean = float(estimate["mean"])
    text = f"{100 * mean:.1f} %"
    if "interval" in estimate:
        low, high = estimate["interval"]
        text += f"  ({100 * low:.1f} to {100 * high:.1f})"
    return bar(mean, text)


def _chosen(answers: Sequence[Result]) -> list[Result]:
    """The first of every level and verdict, then the next ones."""
    seen: set[tuple[object, bool]] = set()
    first: list[Result] = []
    rest: list[Result] = []
    for answer in answers:
        key = (answer["level"], float(answer["score"]) > 0)
        (rest if key in seen else first).append(answer)
        seen.add(key)
    return (first + rest)[:MAX_SAMPLES]
