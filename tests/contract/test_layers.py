"""Imports go down the layers only, and torch-free modules never reach torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TORCH_FREE = (
    "nautiloid",
    "nautiloid.cli",
    "nautiloid.core",
    "nautiloid.curate",
    "nautiloid.envs",
    "nautiloid.recipes",
    "nautiloid.data.entropy",
    "nautiloid.data.mixing",
    "nautiloid.data.render",
    "nautiloid.data.source",
    "nautiloid.data.sources",
    "nautiloid.data.tokenizer",
    "nautiloid.eval.benchmarks",
    "nautiloid.eval.recipe",
    "nautiloid.model.blocks.config",
    "nautiloid.model.blocks.attention.config",
    "nautiloid.model.blocks.mamba.config",
    "nautiloid.model.blocks.mlp.config",
    "nautiloid.model.blocks.moe.config",
    "nautiloid.model.checkpoint",
    "nautiloid.model.config",
    "nautiloid.model.costs",
    "nautiloid.model.families",
    "nautiloid.model.folder",
    "nautiloid.model.memory_config",
    "nautiloid.model.memory_costs",
    "nautiloid.model.presets",
    "nautiloid.ops.config",
    "nautiloid.train.config",
    "nautiloid.train.distill",
    "nautiloid.train.hook",
    "nautiloid.train.pretrain",
    "nautiloid.train.recipe",
    "nautiloid.train.schedule",
    "nautiloid.train.sft",
)

IMPORT_ALL = """
import importlib, json, pkgutil, sys
guilty = {}
def visit(name):
    module = importlib.import_module(name)
    for heavy in ("torch", "transformers", "matplotlib"):
        if heavy in sys.modules and heavy not in guilty:
            guilty[heavy] = name
    if name != "nautiloid" and hasattr(module, "__path__"):
        for found in pkgutil.iter_modules(module.__path__, name + "."):
            visit(found.name)
for name in json.loads(sys.argv[1]):
    visit(name)
print(json.dumps(guilty))
"""

RUN_COMMANDS = """
import contextlib, io, json, sys
from nautiloid.cli.main import main
guilty = {}
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        assert main(command) == 0, command
    for heavy in ("torch", "transformers", "matplotlib"):
        if heavy in sys.modules and heavy not in guilty:
            guilty[heavy] = command
print(json.dumps(guilty))
"""


def guilty(program: str, argument: object) -> object:
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(argument)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_imports_go_down_the_layers() -> None:
    importlinter = pytest.importorskip("importlinter.cli", reason="installed with the extra dev")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert importlinter
    assert done.returncode == 0, done.stdout[-3000:]


def test_settings_and_command_line_never_import_torch() -> None:
    assert guilty(IMPORT_ALL, TORCH_FREE) == {}


def test_help_and_inspect_never_import_torch() -> None:
    commands = [
        ["--help"],
        ["--version"],
        ["sft", "--help"],
        ["sft", "sft/debug", "--help"],
        ["pretrain", "pretrain/debug", "--dry-run"],
        ["inspect"],
        ["inspect", "nemotron-3-nano-30b-a3b"],
        ["inspect", "--help"],
        ["convert", "--help"],
        ["chat", "--help"],
        ["curate", "--help"],
        ["curate", "curate/cc_math", "--help"],
        ["report", "--help"],
        ["eval", "--help"],
    ]
    assert guilty(RUN_COMMANDS, commands) == {}
