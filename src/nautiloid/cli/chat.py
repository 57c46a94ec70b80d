"""`nautiloid chat`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from nautiloid.cli import flags

TEXT = """
Talk to a model in the terminal; /help there lists what can be changed on the way. Piped input is
answered line by line.

examples:
  nautiloid chat runs/quickstart/sft
  nautiloid chat runs/sft-debug/model --thinking off --temperature 0
  echo "3 + 4 + 5" | nautiloid chat runs/sft-debug
"""


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Options of the verb.

    Args:
        model: Folder of a model, or of a finished run.
        thinking: Whether answers start with reasoning.
        budget: Close the reasoning after this many tokens.
        system: System message.
        temperature: 0 always takes the most likely token.
        top_p: Keep the smallest set of tokens whose probability reaches this.
        max_tokens: Limit of one answer.
        device: Where the model runs.
    """

    model: Positional[str]
    thinking: Literal["on", "off"] = "on"
    budget: int | None = None
    system: str | None = None
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 1024
    device: Literal["cpu", "cuda"] = "cpu"


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    options = flags.parse(ChatOptions, argv, prog="nautiloid chat", description=TEXT)
    from nautiloid.core.types import SamplingParams
    from nautiloid.train.recipe import model_folder

    folder = model_folder(options.model, "model")
    params = SamplingParams(
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        thinking_budget_tokens=options.budget,
    )
    from nautiloid.engine.chat import chat

    chat(
        folder,
        params=params,
        thinking=options.thinking == "on",
        system=options.system,
        device=options.device,
    )
    return 0
