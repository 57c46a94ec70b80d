"""`nautiloid chat`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from nautiloid.cli import flags
from nautiloid.core.errors import InputError
from nautiloid.core.sampling import SamplingParams

TEXT = """
Talk to a model in the terminal; /help there lists what can be changed on the way. Piped input is
answered line by line. With --input and --output a file of prompts is answered instead: one JSON object
a line with "prompt" or "messages", and if you like "id", "thinking", "tools" and "params"; the same
command goes on where it was interrupted.

examples:
  nautiloid chat runs/quickstart/sft
  nautiloid chat runs/sft-debug/model --thinking off --temperature 0
  echo "3 + 4 + 5" | nautiloid chat runs/sft-debug
  nautiloid chat runs/quickstart/sft --input prompts.jsonl --output answers.jsonl
"""


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Options of the verb.

    Args:
        model: Folder of a model, or of a finished run.
        thinking: Whether answers start with reasoning.
        budget: Close the reasoning after this many tokens.
        effort: Ask for this effort level, if the chat grammar has it.
        system: System message.
        temperature: 0 always takes the most likely token.
        top_p: Keep the smallest set of tokens whose probability reaches this.
        max_tokens: Limit of one answer.
        seed: Of the random numbers; None draws new ones for every answer, and is 0 for files.
        input: Answer this file of JSON lines (.jsonl, .jsonl.zst, .jsonl.gz) instead of talking.
        output: Where the answers to the file go.
        max_batch: Most requests at a time, for files.
        device: Where the model runs.
    """

    model: Positional[str]
    thinking: Literal["on", "off"] = "on"
    budget: int | None = None
    effort: str | None = None
    system: str | None = None
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 1024
    seed: int | None = None
    input: str | None = None
    output: str | None = None
    max_batch: int = 32
    device: Literal["cpu", "cuda"] = "cpu"


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    options = flags.parse(ChatOptions, argv, prog="nautiloid chat", description=TEXT)
    if (options.input is None) != (options.output is None):
        missing = "--output" if options.output is None else "--input"
        raise InputError(missing, None, "give --input and --output together")
    params = SamplingParams(
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=options.seed,
        thinking_budget_tokens=options.budget,
        thinking_effort=options.effort,
    )
    from nautiloid.train.recipe import model_folder

    folder = model_folder(options.model, "model")
    if options.input is not None:
        _answer_file(options, folder, params)
        return 0
    from nautiloid.engine.chat import chat

    chat(
        folder,
        params=params,
        thinking=options.thinking == "on",
        system=options.system,
        device=options.device,
    )
    return 0


def _answer_file(options: ChatOptions, folder: str, params: SamplingParams) -> None:
    assert options.input is not None
    assert options.output is not None
    if options.system is not None:
        raise InputError("--system", options.system, "put it into the messages of the file")
    from nautiloid.engine.engine import Engine
    from nautiloid.engine.files import generate_file

    engine = Engine(folder, max_batch=options.max_batch, device=options.device)
    thinking = options.thinking == "on"
    report = generate_file(engine, options.input, options.output, params, thinking=thinking)
    rate = report.completion_tokens / max(report.seconds, 1e-9)
    print(
        f"{options.output}: {report.rows} rows, {report.failed} failed; "
        f"{report.completion_tokens} tokens, {rate:.0f} tok/s",
        file=sys.stderr,
    )
