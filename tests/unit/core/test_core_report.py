"""The report page: complete, self-contained, safe."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nautiloid.core.errors import InputError
from nautiloid.core.metrics import Metrics
from nautiloid.core.report.chart import MAX_POINTS, Series, heat_map, line_chart, smooth, thin
from nautiloid.core.report.run_record import find_runs
from nautiloid.core.report.run_report import write_report

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "br", "path", "rect", "use", "line"}


class Balance(HTMLParser):
    """Every element that opens is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def estimate(mean: float, count: int) -> dict[str, Any]:
    return {"mean": mean, "stderr": 0.01, "interval": [mean - 0.05, mean + 0.05], "count": count}


def make_run(folder: Path, name: str, steps: int = 30) -> Path:
    folder.mkdir(parents=True)
    recipe = {
        "kind": "train.sft",
        "name": name,
        "seed": 0,
        "trainer": {"num_steps": steps},
        "note": EVIL,
    }
    (folder / "config.json").write_text(json.dumps({"schema": 1, "recipe": recipe}))
    (folder / "env.json").write_text(json.dumps({"cores": 2, "versions": {"torch": "2.13.0"}}))
    metrics = Metrics(folder / "metrics.jsonl", clock=lambda: 1.0)
    for step in range(1, steps + 1):
        figures: dict[str, Any] = {
            "loss": float("nan") if step == 3 else 5.0 / step,
            "bits_per_byte": 1.0,
            "mtp_loss": 2.0,
            "lr": 1e-3,
            "grad_norm": float(step**3),
            "tokens": 100 * step,
            "tokens_per_s": 10.0,
            "mfu": 0.25,
            "max_vio": [1.5, 2.0],
            "step_s": 0.5,
        }
        if step % 10 == 0:
            figures["expert_load"] = [[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.25, 0.25]]
            metrics.write("eval", step, {"loss": 1.0, "bits_per_byte": 0.5})
            metrics.write("benchmark", step, {"sums/on": step / steps})
        metrics.write("train", step, figures)
    metrics.write("spike", 3, {"loss": 9.0, "skipped": True})
    answer = {"level": 1, "prompt": EVIL, "content": "12", "reasoning": "so & so", "score": 1.0}
    result = {
        "benchmark": "sums",
        "thinking": True,
        "overall": estimate(0.75, 8),
        "levels": {"1": estimate(1.0, 4), "2": estimate(0.5, 4)},
        "mean_tokens": 12.5,
        "samples": [answer],
    }
    (folder / "results.json").write_text(json.dumps([result]))
    (folder / "model").mkdir()
    manifest = {"files": {"model.safetensors": {"bytes": 10, "sha256": "ab" * 32}}}
    (folder / "model" / "manifest.json").write_text(json.dumps(manifest))
    return folder


def read(path: Path) -> str:
    text = path.read_text()
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert not parser.seen & {"script", "iframe", "object", "link", "img"}
    assert not re.search(r'(src|href)="(?!#)', text), "something is fetched"
    assert "@import" not in text
    assert "url(http" not in text
    assert EVIL not in text
    return text


def test_one_run(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "tuned")
    write_report([tmp_path / "run"], tmp_path / "report.html")
    text = read(tmp_path / "report.html")
    titles = ("Loss", "Bits per byte", "MTP loss", "Gradient norm", "Learning rate", "Throughput")
    for title in (*titles, "Model FLOPs utilisation", "MaxVio", "Expert load", "Accuracy during"):
        assert f"<figcaption>{title}" in text, title
    for part in ("75.0 %", "Held-out accuracy", "Sample chats", "so &amp; so", "ab" * 32, "2.13.0"):
        assert part in text, part
    assert "Overview" not in text


def test_several_runs_share_a_page(tmp_path: Path) -> None:
    for name in ("first", "second"):
        make_run(tmp_path / "main" / name, name)
    (tmp_path / "main" / "corpus").mkdir()
    write_report([tmp_path / "main"], tmp_path / "main" / "report.html")
    text = read(tmp_path / "main" / "report.html")
    assert "Overview" in text
    assert text.count('<section id="run-') == 2
    assert "Held-out accuracy by run" in text


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"schema": 1, "recipe": {"name": "young"}}')
    write_report([folder], tmp_path / "report.html")
    assert "not finished" in read(tmp_path / "report.html")


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "tuned")
    for name in ("a.html", "b.html"):
        write_report([tmp_path / "run"], tmp_path / name)
    assert (tmp_path / "a.html").read_text() == (tmp_path / "b.html").read_text()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_runs([tmp_path / "none"])
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(InputError, match="no run in it"):
        find_runs([tmp_path])


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "nautiloid\[report\]"'):
        line_chart("x", [Series([1, 2], [1, 2])])


def test_curves_follow_the_colours_of_the_page() -> None:
    chart = line_chart("x", [Series([1, 2], [1, None], "a"), Series([1, 2], [2, 3], "b & c")])
    assert "var(--c0)" in chart
    assert "var(--c1)" in chart
    assert "b &amp; c" in chart
    assert "<?xml" not in chart


def test_heat_map_names_its_cells() -> None:
    chart = heat_map(
        "x", [[0.5, 0.0], [0.1, 0.4]], note="", x_label="expert", y_label="layer", centre=0.25
    )
    assert chart.count("<rect") == 4
    assert "<title>layer 1, expert 0: 0.1</title>" in chart


def test_smoothing_keeps_gaps_and_constants() -> None:
    values = [3.0] * 50
    assert smooth(values) == values
    assert smooth([1.0, None, float("nan"), 1.0]) == [1.0, None, None, 1.0]


def test_long_series_are_thinned() -> None:
    x, y = thin(list(range(5000)), [float(v) for v in range(5000)])
    assert len(x) == len(y) <= MAX_POINTS
    assert y == sorted(y)
