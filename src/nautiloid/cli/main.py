"""Entry of the command line: choose the verb, turn user errors into one line and a status."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nautiloid.core.errors import InputError

VERBS: Mapping[str, str] = MappingProxyType(
    {
        "quickstart": "from the text of this machine to a model that chats, in minutes on a CPU",
        "curate": "web pages to clean training text with formulas kept",
        "pretrain": "train a model on text",
        "sft": "train a model on conversations",
        "distill": "train a small model on the distributions of a large one",
        "chat": "talk to a model in the terminal",
        "eval": "score a model on benchmarks",
        "inspect": "look at a preset, a checkpoint or a run",
        "convert": "to and from Hugging Face folders, merges",
        "report": "one HTML page about one or several runs",
    }
)

HELP = """\
usage: nautiloid VERB [SUBJECT] [--dotted.field value] [--preset NAME] [--out DIR] [--dry-run]

One package for the whole life of a Nemotron-class model.

verbs:
{verbs}

A subject is a recipe (sft/debug, a .py file, the config.json of a run), a run folder,
a checkpoint folder or the name of a model preset.

examples:
  nautiloid quickstart
  nautiloid pretrain pretrain/debug --trainer.num-steps 20 --out runs/try
  nautiloid inspect nemotron-3-nano-30b-a3b
  nautiloid sft --help

options:
  --help      this text; after a verb, its own
  --version   the version
  --verbose   after a verb: debug messages and tracebacks
"""

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for a user error, 130 when interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, text in VERBS.items())))
        return 0
    if args[0] == "--version":
        from nautiloid import __version__

        print(__version__)
        return 0
    verb, *rest = args
    verbose = "--verbose" in rest
    try:
        if verb not in VERBS:
            close = difflib.get_close_matches(verb, VERBS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(VERBS)}"
            raise InputError("verb", verb, hint)
        command = importlib.import_module(f"nautiloid.cli.{verb}")
        return command.main([arg for arg in rest if arg != "--verbose"], verbose=verbose)
    except BrokenPipeError:
        sys.stdout = None  # the reader of our pipe left; nothing more can be said
        return 0
    except (InputError, OSError) as error:
        if verbose:
            traceback.print_exc()
        print(f"error: {describe(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def describe(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or type(error).__name__}"
    return " ".join(str(error).split()) or type(error).__name__
