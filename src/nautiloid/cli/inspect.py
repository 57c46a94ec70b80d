"""`nautiloid inspect`; never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from nautiloid.cli import flags
from nautiloid.core.errors import InputError

TEXT = """
Look at a model preset, a checkpoint folder (of anyone) or a run: layers, parameters total and
active, operations and state a token, memory; tensors and provenance; progress and last metrics.

examples:
  nautiloid inspect
  nautiloid inspect nemotron-3-nano-30b-a3b
  nautiloid inspect nemotron-3-super-120b-a12b --context 1000000
  nautiloid inspect runs/pretrain-debug
  nautiloid inspect runs/pretrain-debug/model --tensors
"""


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Options of the verb.

    Args:
        subject: Preset name, checkpoint folder or run folder; all presets in one table when not given.
        context: Tokens of context that costs and states are given for.
        dtype: Of weights and caches; the config's when not given.
        tensors: List every tensor of a checkpoint.
    """

    subject: Positional[str] = ""
    context: int = 8192
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    tensors: bool = False


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    options = flags.parse(InspectOptions, argv, prog="nautiloid inspect", description=TEXT)
    if options.context < 1:
        raise InputError("--context", options.context, "use at least 1")
    from nautiloid.cli import show, show_model, show_run
    from nautiloid.core.report.run_record import is_run

    console = show.console()
    subject = options.subject
    if not subject:
        console.print(show_model.presets())
        return 0
    folder = Path(subject)
    if not folder.exists():
        from nautiloid.model.presets import preset, preset_names

        if folder.name != subject and subject not in preset_names():
            raise InputError(subject, None, "no such folder")

        parts = show_model.model(subject, preset(subject), options.context, options.dtype)
    elif is_run(folder):
        parts = show_run.run(folder)
        if (folder / "model").is_dir():
            parts += show_model.checkpoint(folder / "model", options.context, options.dtype)
    elif folder.is_dir() and not (folder / "config.json").is_file():
        raise InputError(subject, None, "neither a model nor a run: there is no config.json in it")
    else:
        parts = show_model.checkpoint(folder, options.context, options.dtype)
        if options.tensors:
            parts.append(show_model.tensors(folder))
    for part in parts:
        console.print(part)
        console.print()
    return 0
