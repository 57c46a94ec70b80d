r"""Formulas read by recursive descent: each atom becomes its common spelling."""

from __future__ import annotations

import re
from bisect import bisect_left

from nautiloid.curate.math.normal.braces import is_fenced, is_single, unbraced
from nautiloid.curate.math.normal.commands import command, environment, generalised, lettered
from nautiloid.curate.math.normal.names import ARITY, DROPPED, FONTS, GREEK, NEGATED, SPECIFIED
from nautiloid.curate.math.normal.rows import joined

# Tokens that an argument in square brackets may have, and one that is a length.
_MAX_OPTION = 400
_MAX_LENGTH = 40
# Braces nested deeper than this are compared as they stand.
_MAX_DEPTH = 80

_GENERALISED = frozenset(("\\over", "\\choose", "\\atop", "\\brace", "\\brack"))
_PRIMED = re.compile(r"^\^\{('+[^{}]*)\}")
_LENGTH = re.compile(r"-?[0-9.]+(?:em|ex|pt|mm|cm|in|px|mu|baselineskip|jot)")


class Reader:
    """Recursive descent over the tokens of one formula; depth is bounded."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self.index = 0
        # The font that holds where we are, "" for none.
        self.font = ""
        self.closers = [index for index, token in enumerate(tokens) if token == "]"]

    def whole(self, depth: int = 0) -> str:
        """Everything, unbalanced braces included."""
        parts: list[str] = []
        while self.index < len(self.tokens):
            parts.append(self._row(depth))
            if self.index < len(self.tokens):
                # A brace that closes nothing.
                self.index += 1
        return "".join(parts)

    def _peek(self) -> str:
        return self.tokens[self.index] if self.index < len(self.tokens) else ""

    def _row(self, depth: int) -> str:
        """Atoms up to a closing brace, an `\\end`, a `]` asked for by the caller, or the end."""
        atoms: list[str] = []
        while self.index < len(self.tokens):
            token = self.tokens[self.index]
            if token == "}" or token == "\\end":
                break
            if token in _GENERALISED and depth <= _MAX_DEPTH:
                self.index += 1
                above = joined(atoms)
                below = self._row(depth + 1)
                return generalised(token, above, below)
            atoms.append(self._scripted(depth))
        return joined(atoms)

    def _scripted(self, depth: int) -> str:
        """One atom and its scripts, subscript first."""
        base = "" if self._peek() in ("^", "_", "'") else self._atom(depth)
        sub = sup = primes = ""
        while (token := self._peek()) and token in "^_'":
            self.index += 1
            if token == "'":
                primes += "'"
                continue
            script = self._argument(depth)
            # A prime inside braces is the same prime.
            script = _PRIMED.sub(r"\1", script)
            if token == "_":
                sub += script
            else:
                sup += script
        sup = primes + sup
        if not sub and not sup:
            return unbraced(base)
        if base.startswith("{"):
            inner = base[1:-1]
            if (
                not inner
                or is_single(inner)
                or inner.replace(".", "").isdigit()
                or is_fenced(inner)
            ):
                base = inner
        return base + (f"_{{{sub}}}" if sub else "") + (f"^{{{sup}}}" if sup else "")

    def _argument(self, depth: int) -> str:
        """The argument of a command or script, without braces."""
        if not self._peek() or self._peek() == "}":
            return ""
        if self._peek() in ("^", "_", "'"):
            self.index += 1
            return "'" if self.tokens[self.index - 1] == "'" else ""
        return unbraced(self._atom(depth))

    def _group(self, depth: int) -> str:
        """What stands in braces; the opening one is behind us."""
        if depth > _MAX_DEPTH:
            start, level = self.index, 1
            while self.index < len(self.tokens) and level:
                level += {"{": 1, "}": -1}.get(self.tokens[self.index], 0)
                self.index += 1
            return "".join(self.tokens[start : self.index - 1])
        inner = self._row(depth + 1)
        while self._peek() == "\\end":
            self.index += 1
            inner += self._row(depth + 1)
        if self._peek() == "}":
            self.index += 1
        return inner

    def _atom(self, depth: int) -> str:
        """One atom; a group of several atoms comes in braces."""
        token = self.tokens[self.index]
        self.index += 1
        if token == "{":
            return f"{{{self._group(depth)}}}"
        if token[0] != "\\" or len(token) == 1:
            return lettered(self.font, token) if token.isalpha() else token
        if depth > _MAX_DEPTH:
            return token
        if token in DROPPED:
            self._argument(depth + 1)
            return ""
        if token == "\\begin":
            return self._environment(depth)
        if token == "\\not" and self._peek():
            negated = self._argument(depth + 1)
            return NEGATED.get(negated, "\\not" + negated)
        if token in ("\\bmod", "\\mod"):
            return "{\\mathrm{mod}}"
        if token == "\\\\":
            self._optional(depth, is_length=True)
            return token
        if token in ARITY:
            return self._command(token, depth)
        # Bold symbols differ from plain ones; upright ones do not.
        return (
            lettered(self.font, token) if self.font == "\\boldsymbol" and token in GREEK else token
        )

    def _optional(self, depth: int, is_length: bool = False) -> str:
        """An optional argument in square brackets, "" without one."""
        if self._peek() == "*":
            self.index += 1
        if self._peek() != "[":
            return ""
        limit = _MAX_LENGTH if is_length else _MAX_OPTION
        closer = bisect_left(self.closers, self.index)
        if closer == len(self.closers) or self.closers[closer] - self.index > limit + 1:
            return ""
        stop, level = self.index + 1, 0
        while stop < len(self.tokens) and (self.tokens[stop] != "]" or level):
            level += {"{": 1, "}": -1}.get(self.tokens[stop], 0)
            if level < 0 or stop - self.index > limit:
                return ""
            stop += 1
        if stop >= len(self.tokens):
            return ""
        if is_length and not _LENGTH.fullmatch("".join(self.tokens[self.index + 1 : stop])):
            return ""
        inner = Reader(self.tokens[self.index + 1 : stop])
        self.index = stop + 1
        return inner.whole(depth + 1) if depth < _MAX_DEPTH else "".join(inner.tokens)

    def _command(self, token: str, depth: int) -> str:
        option = (
            self._optional(depth) if token in ("\\sqrt", "\\xrightarrow", "\\xleftarrow") else ""
        )
        if token in FONTS:
            outer, self.font = self.font, FONTS[token]
            inner = self._argument(depth + 1)
            self.font = outer
            return f"{{{inner}}}"
        arguments = [self._argument(depth + 1) for _ in range(ARITY[token])]
        return command(token, option, arguments)

    def _name(self) -> str:
        """The name in braces behind `\\begin` or `\\end`."""
        if self._peek() != "{":
            return ""
        stop = self.index + 1
        while stop < len(self.tokens) and self.tokens[stop] != "}" and stop - self.index < 30:
            stop += 1
        name = "".join(self.tokens[self.index + 1 : stop])
        self.index = stop + 1
        return name

    def _environment(self, depth: int) -> str:
        name = self._name()
        if name in SPECIFIED:
            self._optional(depth)
            if self._peek() == "{":
                self.index += 1
                self._group(depth)
        if depth > _MAX_DEPTH:
            return f"\\begin{{{name}}}"
        body = self._row(depth + 1)
        if self._peek() == "\\end":
            self.index += 1
            self._name()
        return environment(name, body)
