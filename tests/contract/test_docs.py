"""Documentation is true: its commands and its code run, and the files it names exist.

Commands in `sh` blocks run in one folder in the order of DOCUMENTS, each once. Commands that train or
score run with `--preset debug` in the folder that the text names, so they take seconds; `make` and `pip` lines are
checked against Makefile and pyproject.toml.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from nautiloid.cli.main import VERBS, main
from nautiloid.core.recipes import load_recipe

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")
))  # fmt: skip
TRAINING = ("quickstart", "curate", "pretrain", "sft", "distill")


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[str]:
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return [
        line.split(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")
    ]


def fast(words: list[str]) -> list[str]:
    """The same command with the tiny preset, in the run folder that the full one would use."""
    verb, subject = words[0], words[1] if len(words) > 1 and not words[1].startswith("-") else ""
    is_training = verb in TRAINING and not {"--help", "--dry-run", "--preset"} & set(words)
    if not is_training or subject == "view" or subject.startswith("runs/"):
        return words
    name = load_recipe(subject or verb).name
    more = ["--preset", "debug"]
    if "--out" not in words:
        more += ["--out", f"runs/{name}"]
    return [*words, *more]


def run(line: str, stdin: str = "hello\n") -> None:
    words = shlex.split(line.rsplit("|", 1)[-1])
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), line
        return
    if words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
            "optional-dependencies"
        ]
        assert all(extra in extras for extra in re.findall(r"\[(\w+)\]", line)), line
        return
    assert words[0] == "nautiloid", line
    assert words[1] in VERBS, line
    status: object = 0
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        former, sys.stdin = sys.stdin, io.StringIO(stdin)
        try:
            status = main(fast(words[1:]))
        except SystemExit as leave:
            status = leave.code
        finally:
            sys.stdin = former
    assert not status, f"{line}\n{err.getvalue()}"


@pytest.mark.timeout(600)
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text(blocks("docs/engine.md", "jsonl")[0], encoding="utf-8")
    # The first hour trains what the other pages look at.
    ordered = ["docs/start.md", *(d for d in DOCUMENTS if d != "docs/start.md")]
    for line in dict.fromkeys(line for document in ordered for line in commands(document)):
        run(line)
    for document in ordered:
        names = {"__name__": f"docs_{Path(document).stem}"}  # blocks of a page build on each other
        for block in blocks(document, "python"):
            code = compile(block, document, "exec", dont_inherit=True)
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, names)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_it_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    missing = [
        name
        for name in re.findall(r"`([\w./-]+/[\w.-]+\.\w+)`", text)
        if not any((home / name).is_file() for home in (ROOT, ROOT / "src" / "nautiloid"))
        and not name.startswith("runs/")
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_the_table_of_verbs_is_complete() -> None:
    for document in ("README.md",):
        rows = re.findall(r"^\| `(\w+)` \|", (ROOT / document).read_text(), re.MULTILINE)
        assert rows == list(VERBS)


def test_every_page_is_in_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f": {page}\n" not in site] == []


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 120
