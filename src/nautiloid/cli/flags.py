"""Flags from dataclasses through tyro; every parse error becomes one `InputError`."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Generator, Sequence
from typing import TypeVar

import tyro

from nautiloid.core.errors import InputError

T = TypeVar("T")

RULE = frozenset("-+\u2500\u256d\u256e\u2570\u256f ")
WIDE = "2000"
SIDES = "|\u2502 "
CLEARER = (
    (
        r"^Error parsing (--\S+): invalid literal for int\(\) with base 10: (.*)$",
        r"\1: \2: use an integer",
    ),
    (r"^Error parsing (--\S+): could not convert string to float: (.*)$", r"\1: \2: use a number"),
    (r"^Error parsing (--\S+): ", r"\1: "),
    (r"^Error parsing [A-Z]\w*: ", ""),  # the recipe itself, by its class
    (r"^Error parsing ([\w.]+): (?:\1\.)?", r"\1."),
    (
        r"^invalid choice ('.*') for argument '(--\S+)'\. Expected one of \((.*?),?\)\.$",
        r"\2: \1: use one of \3",
    ),
    (r"^Missing value for argument '(--\S+)'\. .*$", r"\1: give it a value"),
    (r"^Unrecognized options: ([^,]+).*$", r"\1: unknown option"),
    (
        r"^(--\S+): Could not parse arguments (\[.*\]) into .*$",
        r"\1: \2: wrong number or type of values",
    ),
    (r"^Missing from .*?(--\S+).*$", r"\1: missing; see --help"),
)


def parse(cls: type[T], argv: Sequence[str], *, prog: str, description: str) -> T:
    """Build a dataclass of options; `--help` prints and leaves with status 0."""
    with _one_line_errors(argv):
        return tyro.cli(
            cls,
            args=list(argv),
            prog=prog,
            description=description.strip(),
            config=(tyro.conf.FlagCreatePairsOff,),
        )


def parse_known(cls: type[T], argv: Sequence[str], *, prog: str) -> tuple[T, list[str]]:
    """Build a dataclass of options and return it with the arguments that are not its own."""
    with _one_line_errors(argv):
        return tyro.cli(
            cls,
            args=list(argv),
            prog=prog,
            add_help=False,
            return_unknown_args=True,
            config=(tyro.conf.FlagCreatePairsOff,),
        )


def override(default: T, argv: Sequence[str], *, prog: str, description: str) -> T:
    """Return `default` with the fields that `--dotted.field value` flags name replaced.

    Unions and open unions keep the class they have in `default`; booleans take True or False.
    """
    with _one_line_errors(argv):
        return tyro.cli(
            type(default),
            args=list(argv),
            default=default,
            prog=prog,
            description=description,
            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
        )


@contextlib.contextmanager
def _one_line_errors(argv: Sequence[str]) -> Generator[None, None, None]:
    captured = io.StringIO()
    columns = os.environ.get("COLUMNS")
    wide = not {"-h", "--help"} & set(argv)
    if wide:
        os.environ["COLUMNS"] = WIDE  # tyro breaks lines, and then words, at the terminal's width
    try:
        with contextlib.redirect_stderr(captured):
            yield
    except SystemExit as leave:
        if not leave.code:
            raise
        raise InputError(condense(captured.getvalue())) from None
    finally:
        if columns is not None:
            os.environ["COLUMNS"] = columns
        elif wide:
            del os.environ["COLUMNS"]


def condense(box: str) -> str:
    """Turn the box that tyro draws around an error into one line: field, value, remedy.

    >>> condense("+- Value error ---+\\n| Error parsing model: hidden_size: 0: use at least 1 |\\n+-----+")
    'model.hidden_size: 0: use at least 1'
    """
    paragraphs: list[list[str]] = [[]]
    for line in box.splitlines()[1:]:  # the first is a title
        text = line.strip(SIDES)
        if set(text) <= RULE:
            paragraphs.append([])
        else:
            paragraphs[-1].append(text)
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    said = " ".join(paragraphs[0]) if paragraphs else "the arguments are wrong"
    for pattern, clearer in CLEARER:
        said = re.sub(pattern, clearer, said)
    for paragraph in paragraphs[1:]:
        if paragraph[0].startswith("Perhaps you meant") and len(paragraph) > 1:
            return f"{said}; did you mean {paragraph[1].split()[0]}?"
    return said
