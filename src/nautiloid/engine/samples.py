"""A few answers of a model, printed and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from nautiloid.core.files import write_json
from nautiloid.core.types import Message, SamplingParams
from nautiloid.engine.engine import Engine


def print_samples(model: Path, prompts: Sequence[Sequence[Message]], out: Path) -> None:
    """Answer each prompt greedily with thinking on and off; print and write them to `out`."""
    engine = Engine(str(model))
    params = SamplingParams(temperature=0.0, max_tokens=96)
    console = Console()
    kept: list[dict[str, object]] = []
    for thinking in (True, False):
        completions = engine.generate(list(prompts), params, thinking=thinking)
        for prompt, completion in zip(prompts, completions, strict=True):
            text = Text(f"> {prompt[-1].text}\n", style="bold")
            if completion.reasoning:
                text.append(f"{completion.reasoning}\n", style="dim")
            text.append(completion.content, style="green")
            console.print(Panel(text, title=f"thinking {'on' if thinking else 'off'}"))
            kept.append(
                {
                    "prompt": prompt[-1].text,
                    "thinking": thinking,
                    "reasoning": completion.reasoning,
                    "content": completion.content,
                }
            )
    write_json(out, kept)
