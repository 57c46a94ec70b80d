r"""One spelling for formulas that are set alike: what is compared when a tool's TeX is judged.

The same function is applied to the expected TeX and to that of every tool. It removes what does not
show (white space, spacing commands, `\left`, `\right`, sizes, styles, redundant braces, labels) and
gives one name to commands that draw the same character or build the same layout.
"""

from __future__ import annotations

import html
import re
from functools import cache

from nautiloid.curate.math.delimiters import stripped
from nautiloid.curate.math.formula import aligned
from nautiloid.curate.math.symbols import FUNCTIONS, char_tex, join, tables

# Braces nested deeper than this are compared as they stand.
_MAX_DEPTH = 80

_TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\s+|.", re.DOTALL)

_UNSEEN = (
    r"\, \; \: \! \> \/ \quad \qquad \enspace \thinspace \medspace \thickspace \negthinspace "
    r"\negmedspace \negthickspace \displaystyle \textstyle \scriptstyle \scriptscriptstyle \limits "
    r"\nolimits \nonumber \notag \left \right \middle \big \Big \bigg \Bigg \bigl \bigr \bigm \Bigl "
    r"\Bigr \Bigm \biggl \biggr \biggm \Biggl \Biggr \Biggm \mathstrut \strut \hline \relax "
    r"\allowbreak \nobreak \null \hfill \newline \par \mathopen \mathclose \mathord \mathbin \mathrel "
    r"\mathpunct \mathinner \mathop \ensuremath \smash \hbox \operatornamewithlimits \rm \mathit* "
    r"\normalsize \large \small \tiny \rlap \llap \mathrlap \mathllap \mathclap \bmod* \noindent"
)
_UNSEEN_SET = frozenset((*_UNSEEN.split(), "\\ ", "~"))
# Commands that vanish with their argument.
_DROPPED = frozenset(
    (r"\label", r"\tag", r"\hspace", r"\hspace*", r"\vspace", r"\mspace", r"\phantom", r"\hphantom",
     r"\vphantom", r"\color", r"\eqref", r"\cline", r"\tag*")
)  # fmt: skip
_UPRIGHT = r"\operatorname \operatorname* \mathrm \text \textrm \mbox \textnormal \mathup \textup"
_ROMAN = frozenset(_UPRIGHT.split())
_FONTS = {
    **dict.fromkeys(_ROMAN, r"\mathrm"),
    r"\mathbf": r"\mathbf", r"\textbf": r"\mathbf", r"\boldsymbol": r"\boldsymbol",
    r"\bm": r"\boldsymbol", r"\pmb": r"\boldsymbol", r"\mathit": r"\mathit", r"\textit": r"\mathit",
    r"\mathsf": r"\mathsf", r"\textsf": r"\mathsf", r"\mathtt": r"\mathtt", r"\texttt": r"\mathtt",
    r"\mathcal": r"\mathcal", r"\mathscr": r"\mathcal", r"\mathfrak": r"\mathfrak",
    r"\mathbb": r"\mathbb", r"\Bbb": r"\mathbb", r"\mathnormal": "", r"\emph": r"\mathit",
}  # fmt: skip
_RENAMED = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom",
    r"\tbinom": r"\binom", r"\stackrel": r"\overset", r"\widebar": r"\overline",
}  # fmt: skip
_ACCENTS = (
    r"\hat \widehat \tilde \widetilde \bar \overline \underline \vec \overrightarrow \overleftarrow "
    r"\overleftrightarrow \dot \ddot \dddot \ddddot \acute \grave \breve \check \widecheck \mathring "
    r"\overbrace \underbrace \cancel \bcancel \xcancel \boxed \substack \overparen \underparen "
    r"\xrightarrow \xleftarrow \utilde \underrightarrow \underleftarrow \overbracket \underbracket"
)
_ARITY = {
    **dict.fromkeys(_ACCENTS.split(), 1),
    **dict.fromkeys(_FONTS, 1),
    r"\sqrt": 1, r"\frac": 2, r"\binom": 2, r"\overset": 2, r"\underset": 2, r"\genfrac": 6,
    r"\textcolor": 2, r"\colorbox": 2, r"\pmod": 1, r"\pod": 1,
}  # fmt: skip
_ENVIRONMENTS = {
    **dict.fromkeys(("align", "align*", "aligned", "split", "eqnarray", "eqnarray*", "alignat",
                     "alignat*", "alignedat", "flalign", "flalign*"), "aligned"),
    **dict.fromkeys(("gather", "gather*", "gathered", "multline", "multline*"), "gathered"),
    **dict.fromkeys(("matrix", "array", "smallmatrix", "subarray", "darray"), "matrix"),
}  # fmt: skip
_FENCED = {
    "pmatrix": ("(", ")"), "bmatrix": ("[", "]"), "Bmatrix": ("\\{", "\\}"), "vmatrix": ("|", "|"),
    "Vmatrix": ("\\|", "\\|"), "cases": ("\\{", ""), "dcases": ("\\{", ""), "rcases": ("", "\\}"),
}  # fmt: skip
_SPECIFIED = frozenset(("array", "alignat", "alignat*", "alignedat", "subarray", "darray"))
_PLAIN_ENVIRONMENTS = frozenset(("equation", "equation*", "displaymath", "math", "subequations"))
_NEGATED = {
    "=": r"\neq", r"\in": r"\notin", "<": r"\nless", ">": r"\ngtr", r"\leq": r"\nleq",
    r"\geq": r"\ngeq", r"\subset": r"\not\subset", r"\subseteq": r"\nsubseteq", r"\sim": r"\nsim",
    r"\exists": r"\nexists", "|": r"\nmid", r"\|": r"\nparallel", r"\equiv": r"\not\equiv",
    r"\cong": r"\ncong", r"\rightarrow": r"\nrightarrow", r"\Rightarrow": r"\nRightarrow",
}  # fmt: skip
_BEFORE_CENTRED = frozenset(
    (*"+-=<>*", r"\cdot", r"\times", r"\leq", r"\geq", r"\rightarrow", r"\oplus", r"\otimes", r"\cup",
     r"\cap", r"\wedge", r"\vee", r"\circ", r"\pm", r"\Rightarrow", r"\in", r"\subset", r"\subseteq", r"\prec", r"\succ", r"\sim", r"\neq", r"\div", r"\int", r"\sum", r"\prod")
)  # fmt: skip
# A font command around letters, in front of scripts; one with nothing behind it.
_RUN = re.compile(r"(\\math[a-z]+|\\boldsymbol)\{((?:\\[A-Za-z]+|[^{}\\])+)\}")
_WHOLE = re.compile(r"(?:\\math[a-z]+|\\boldsymbol)\{[^{}]+\}")


def normalise(tex: str) -> str:
    r"""The common spelling of a formula.

    >>> normalise(r"\left( x^2_i \right) \le \dfrac12") == normalise("$(x_{i}^{2})\\leq\\frac{1}{2}$")
    True
    """
    if "&" in tex and ";" in tex:
        tex = html.unescape(tex)
    tex = aligned(stripped(tex)[0])
    tokens = [token for token in _TOKEN.findall(tex) if not token.isspace()]
    while tokens and tokens[-1] == "\\\\":
        # A line break at the end shows nothing.
        tokens.pop()
    return _Reader(_renamed(tokens)).whole()


def _renamed(tokens: list[str]) -> list[str]:
    """Tokens under their common names, those that do not show left out."""
    synonyms = tables()[1]
    out: list[str] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token in (r"\left", r"\right") and index < len(tokens) and tokens[index] == ".":
            index += 1
            continue
        if token == r"\dots":
            token = (
                r"\cdots"
                if index < len(tokens) and _canonical(tokens[index]) in _BEFORE_CENTRED
                else r"\ldots"
            )
        if token in _UNSEEN_SET:
            continue
        if token[0] == "\\" and len(token) > 1:
            name = token[1:]
            if token in _RENAMED:
                token = _RENAMED[token]
            elif name in synonyms:
                out += _split(synonyms[name])
                continue
        elif not token.isascii():
            out += _split(char_tex(token))
            continue
        out.append(token)
    return out


@cache
def _canonical(token: str) -> str:
    token = _RENAMED.get(token, token)
    return tables()[1].get(token[1:], token) if token[0] == "\\" else char_tex(token)


@cache
def _split(tex: str) -> tuple[str, ...]:
    return tuple(token for token in _TOKEN.findall(tex) if not token.isspace())


_PRIMED = re.compile(r"^\^\{('+[^{}]*)\}")
_LENGTH = re.compile(r"-?[0-9.]+(?:em|ex|pt|mm|cm|in|px|mu|baselineskip|jot)")
_GREEK_NAMES = (
    r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \iota \kappa \lambda "
    r"\mu \nu \xi \pi \varpi \rho \varrho \sigma \varsigma \tau \upsilon \phi \varphi \chi \psi \omega "
    r"\Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Upsilon \Phi \Psi \Omega"
)
_GREEK = frozenset(_GREEK_NAMES.split())


class _Reader:
    """Recursive descent over the tokens of one formula; depth is bounded."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self.index = 0
        # The font that holds where we are, "" for none.
        self.font = ""

    def whole(self) -> str:
        """Everything, unbalanced braces included."""
        parts: list[str] = []
        while self.index < len(self.tokens):
            parts.append(self._row(0))
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
            if token in ("\\over", "\\choose", "\\atop", "\\brace", "\\brack"):
                self.index += 1
                above = _row_text(atoms)
                below = self._row(depth + 1)
                return _generalised(token, above, below)
            atoms.append(self._scripted(depth))
        return _row_text(atoms)

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
            return _unbraced(base)
        if base.startswith("{"):
            inner = base[1:-1]
            if not inner or _single(inner) or inner.replace(".", "").isdigit() or _is_fenced(inner):
                base = inner
        return base + (f"_{{{sub}}}" if sub else "") + (f"^{{{sup}}}" if sup else "")

    def _argument(self, depth: int) -> str:
        """The argument of a command or script, without braces."""
        if not self._peek() or self._peek() == "}":
            return ""
        if self._peek() in ("^", "_", "'"):
            self.index += 1
            return "'" if self.tokens[self.index - 1] == "'" else ""
        return _unbraced(self._atom(depth))

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
            return _lettered(self.font, token) if token.isalpha() else token
        if depth > _MAX_DEPTH:
            return token
        if token in _DROPPED:
            self._argument(depth + 1)
            return ""
        if token == "\\begin":
            return self._environment(depth)
        if token == "\\not" and self._peek():
            negated = self._argument(depth + 1)
            return _NEGATED.get(negated, "\\not" + negated)
        if token in ("\\bmod", "\\mod"):
            return "{\\mathrm{mod}}"
        if token == "\\\\":
            self._optional(depth, is_length=True)
            return token
        if token in _ARITY:
            return self._command(token, depth)
        # Bold symbols differ from plain ones; upright ones do not.
        return (
            _lettered(self.font, token)
            if self.font == "\\boldsymbol" and token in _GREEK
            else token
        )

    def _optional(self, depth: int, is_length: bool = False) -> str:
        """An optional argument in square brackets, "" without one."""
        if self._peek() == "*":
            self.index += 1
        if self._peek() != "[":
            return ""
        stop, level = self.index + 1, 0
        while stop < len(self.tokens) and (self.tokens[stop] != "]" or level):
            level += {"{": 1, "}": -1}.get(self.tokens[stop], 0)
            if level < 0 or stop - self.index > 400:
                return ""
            stop += 1
        if stop >= len(self.tokens):
            return ""
        if is_length and not _LENGTH.fullmatch("".join(self.tokens[self.index + 1 : stop])):
            return ""
        inner = _Reader(self.tokens[self.index + 1 : stop])
        self.index = stop + 1
        return inner.whole() if depth < _MAX_DEPTH else "".join(inner.tokens)

    def _command(self, token: str, depth: int) -> str:
        option = (
            self._optional(depth) if token in ("\\sqrt", "\\xrightarrow", "\\xleftarrow") else ""
        )
        if token in _FONTS:
            outer, self.font = self.font, _FONTS[token]
            inner = self._argument(depth + 1)
            self.font = outer
            return f"{{{inner}}}"
        arguments = [self._argument(depth + 1) for _ in range(_ARITY[token])]
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
        if name in _SPECIFIED:
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
        while body.endswith("\\\\"):
            body = body[:-2]
        if name in _PLAIN_ENVIRONMENTS:
            return f"{{{body}}}"
        common = _ENVIRONMENTS.get(name)
        left = right = ""
        if common is None:
            common = "matrix"
            if name in _FENCED:
                left, right = _FENCED[name]
            else:
                common = name.rstrip("*")
        return f"{left}\\begin{{{common}}}{body}\\end{{{common}}}{right}"


def _row_text(atoms: list[str]) -> str:
    """Atoms side by side; neighbours of one font in one command, scripts behind the last."""
    out: list[str] = []
    for atom in atoms:
        match = _RUN.match(atom)
        if (
            match is not None
            and out
            and out[-1].startswith(match[1] + "{")
            and _WHOLE.fullmatch(out[-1])
        ):
            out[-1] = out[-1][:-1] + match[2] + atom[match.end(2) :]
        elif atom:
            out.append(atom)
    tex = ""
    for atom in out:
        tex = join(tex, _word(atom) if atom.startswith("\\mathrm{") else atom)
    return tex


def _closes(command: str) -> bool:
    """Whether the first brace of a command ends at its last character."""
    depth = 0
    for index, char in enumerate(command):
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return index == len(command) - 1
    return False


def _lettered(font: str, letter: str) -> str:
    """A letter in its font; what no font changes stands alone."""
    if not font or (font == "\\mathit" and len(letter) == 1):
        return letter
    return f"{font}{{{letter}}}"


def _word(atom: str) -> str:
    """Upright letters that TeX has a command for, as that command."""
    end = atom.find("}")
    name = atom[8:end]
    return f"\\{name}{atom[end + 1 :]}" if name in FUNCTIONS else atom


def _generalised(token: str, above: str, below: str) -> str:
    if token == "\\over":
        return f"\\frac{{{above}}}{{{below}}}"
    inner = f"\\atop{{{above}}}{{{below}}}"
    left, right = {"\\choose": ("(", ")"), "\\brace": ("\\{", "\\}"), "\\brack": ("[", "]")}.get(
        token, ("", "")
    )
    return left + inner + right


def _unbraced(tex: str) -> str:
    return tex[1:-1] if tex.startswith("{") and tex.endswith("}") and _closes(tex) else tex


def _single(tex: str) -> bool:
    return (
        len(tex) == 1
        or re.fullmatch(r"\\(?:[A-Za-z]+|.)", tex) is not None
        or (tex.startswith("\\") and tex.endswith("}") and _closes(tex))
    )


_PAIRS = {
    "(": ")",
    "[": "]",
    r"\{": r"\}",
    r"\langle": r"\rangle",
    r"\lfloor": r"\rfloor",
    r"\lceil": r"\rceil",
    "|": "|",
    r"\|": r"\|",
}


def _is_fenced(tex: str) -> bool:
    """Whether one pair of brackets holds the whole group."""
    tokens = _TOKEN.findall(tex)
    if len(tokens) < 2 or _PAIRS.get(tokens[0]) != tokens[-1]:
        return False
    if tokens[0] == tokens[-1]:
        return tokens.count(tokens[0]) == 2
    depth = 0
    for index, token in enumerate(tokens):
        if token == tokens[0]:
            depth += 1
        elif token == tokens[-1]:
            depth -= 1
            if depth == 0:
                return index == len(tokens) - 1
    return False
