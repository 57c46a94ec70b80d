r"""Commands and environments of a normalised formula, their arguments read already."""

from __future__ import annotations

from nautiloid.curate.math.normal.names import ENVIRONMENTS, FENCED, PLAIN_ENVIRONMENTS

_GENERALISED = {"\\choose": ("(", ")"), "\\brace": ("\\{", "\\}"), "\\brack": ("[", "]")}


def command(token: str, option: str, arguments: list[str]) -> str:
    """A command in its common spelling.

    Args:
        token: Its name, with the backslash.
        option: The argument in square brackets, "" without one.
        arguments: As many as the command takes, without braces.
    """
    if token in ("\\textcolor", "\\colorbox"):
        return f"{{{arguments[1]}}}"
    if token == "\\pmod":
        return f"(\\mathrm{{mod}}{arguments[0]})"
    if token == "\\pod":
        return f"({arguments[0]})"
    if token == "\\genfrac":
        bar = "\\frac" if not arguments[2].startswith("0") else "\\atop"
        inner = f"{bar}{{{arguments[4]}}}{{{arguments[5]}}}"
        return f"{{{arguments[0]}{inner}{arguments[1]}}}"
    if token == "\\binom":
        return f"(\\atop{{{arguments[0]}}}{{{arguments[1]}}})"
    mark = f"[{option}]" if option else ""
    return token + mark + "".join(f"{{{argument}}}" for argument in arguments)


def environment(name: str, body: str) -> str:
    """An environment under its common name, brackets of its own spelled out."""
    # Line breaks at the end show nothing.
    breaks = (len(body) - len(body.rstrip("\\"))) // 2
    body = body[: len(body) - 2 * breaks]
    if name in PLAIN_ENVIRONMENTS:
        return f"{{{body}}}"
    common = ENVIRONMENTS.get(name)
    left = right = ""
    if common is None:
        common = "matrix"
        if name in FENCED:
            left, right = FENCED[name]
        else:
            common = name.rstrip("*")
    return f"{left}\\begin{{{common}}}{body}\\end{{{common}}}{right}"


def generalised(token: str, above: str, below: str) -> str:
    r"""A fraction of plain TeX, `a \over b` and its kin, as a command."""
    if token == "\\over":
        return f"\\frac{{{above}}}{{{below}}}"
    left, right = _GENERALISED.get(token, ("", ""))
    return f"{left}\\atop{{{above}}}{{{below}}}{right}"


def lettered(font: str, letter: str) -> str:
    """A letter in its font; what no font changes stands alone."""
    if not font or (font == "\\mathit" and len(letter) == 1):
        return letter
    return f"{font}{{{letter}}}"
