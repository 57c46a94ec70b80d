r"""Content MathML to TeX: `apply`, `ci`, `cn` and the operators of MathML 2."""

from __future__ import annotations

from nautiloid.curate.math.symbols import is_named, quoted, text_tex
from nautiloid.curate.math.tree import Element

# Binding strength: a weaker argument of a stronger operator gets brackets.
_RELATION, _SUM, _PRODUCT, _POWER, _ATOM = range(5)

_RELATIONS = {
    "eq": "=", "neq": "\\neq", "gt": ">", "lt": "<", "geq": "\\geq", "leq": "\\leq",
    "equivalent": "\\equiv", "approx": "\\approx", "factorof": "|", "implies": "\\Rightarrow",
    "in": "\\in", "notin": "\\notin", "subset": "\\subseteq", "prsubset": "\\subset",
    "notsubset": "\\nsubseteq", "notprsubset": "\\not\\subset", "tendsto": "\\rightarrow",
}  # fmt: skip
_SUMS = {"plus": "+", "union": "\\cup", "or": "\\vee", "xor": "\\oplus", "setdiff": "\\setminus"}
_PRODUCTS = {
    "times": "", "and": "\\wedge", "intersect": "\\cap", "cartesianproduct": "\\times",
    "vectorproduct": "\\times", "scalarproduct": "\\cdot", "outerproduct": "\\otimes",
    "compose": "\\circ", "rem": "\\bmod",
}  # fmt: skip
_CONSTANTS = {
    "pi": "\\pi", "infinity": "\\infty", "exponentiale": "e", "imaginaryi": "i",
    "eulergamma": "\\gamma", "emptyset": "\\emptyset", "integers": "\\mathbb{Z}",
    "reals": "\\mathbb{R}", "rationals": "\\mathbb{Q}", "naturalnumbers": "\\mathbb{N}",
    "complexes": "\\mathbb{C}", "primes": "\\mathbb{P}", "true": "\\text{true}",
    "false": "\\text{false}", "notanumber": "\\text{NaN}",
}  # fmt: skip
_BIG = {"sum": "\\sum", "product": "\\prod", "int": "\\int", "limit": "\\lim"}
_ROWS = frozenset(
    ("matrix", "matrixrow", "vector", "list", "set", "interval", "piecewise", "lambda")
)
_QUALIFIERS_NAMES = "bvar lowlimit uplimit degree logbase condition domainofapplication interval_of"
_QUALIFIERS = frozenset(_QUALIFIERS_NAMES.split())
TAGS = frozenset(("apply", "bind", "ci", "cn", "csymbol", "reln", *_CONSTANTS, *_ROWS))


def to_tex(element: Element) -> str:
    """TeX of one content element. Depth is bounded by the tree, which keeps what is deeper as text."""
    return _term(element)[0]


def _term(element: Element) -> tuple[str, int]:
    tag = element.tag
    if tag in ("ci", "csymbol", "mi"):
        text = element.text.strip()
        if len(text) > 1 and text.isalpha() and text.isascii():
            return f"\\mathrm{{{text}}}", _ATOM
        return text_tex(text), _ATOM
    if tag == "cn":
        return _constant(element)
    if tag in ("mtext", "mn", "mo"):
        return (
            quoted(element.text.strip()) if tag == "mtext" else text_tex(element.text.strip())
        ), _ATOM
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], _ATOM
    if tag in ("apply", "reln", "bind"):
        return _apply(element)
    if tag in _ROWS:
        return _rows(element), _ATOM
    if element.children:
        return ", ".join(_term(child)[0] for child in element.children), _RELATION
    return text_tex(element.text.strip()), _ATOM


def _constant(element: Element) -> tuple[str, int]:
    kind = element.get("type")
    # `<sep/>` between the parts of a number is gone in its text: parts are apart by white space.
    parts = element.text.split()
    if kind == "rational" and len(parts) == 2:
        return f"\\frac{{{parts[0]}}}{{{parts[1]}}}", _ATOM
    if kind == "e-notation" and len(parts) == 2:
        return f"{parts[0]} \\times 10^{{{parts[1]}}}", _PRODUCT
    if kind == "complex-cartesian" and len(parts) == 2:
        return f"{parts[0]} + {parts[1]} i", _SUM
    text = text_tex(" ".join(parts))
    return text, _SUM if text.startswith("-") else _ATOM


def _in(element: Element, strength: int) -> str:
    """TeX of an argument, in brackets where it binds weaker than its operator."""
    tex, own = _term(element)
    return f"\\left({tex}\\right)" if own < strength else tex


def _apply(element: Element) -> tuple[str, int]:
    if not element.children:
        return "", _ATOM
    operator, *rest = element.children
    qualifiers = {child.tag: child for child in rest if child.tag in _QUALIFIERS}
    bound = [child for child in rest if child.tag == "bvar"]
    arguments = [child for child in rest if child.tag not in _QUALIFIERS]
    name = operator.tag
    if name == "csymbol":
        name = operator.text.strip()
    if name in _BIG:
        return _big(name, bound, qualifiers, arguments), _SUM
    if name in _RELATIONS:
        return f" {_RELATIONS[name]} ".join(_in(one, _SUM) for one in arguments), _RELATION
    if name == "minus":
        if len(arguments) == 1:
            return f"-{_in(arguments[0], _PRODUCT)}", _SUM
        left, *others = arguments or [Element("ci", {})]
        return " - ".join([_in(left, _SUM), *(_in(one, _PRODUCT) for one in others)]), _SUM
    if name in _SUMS:
        sign = f" {_SUMS[name]} "
        tex = sign.join(_in(one, _SUM) for one in arguments)
        return tex.replace("+ -", "- ") if name == "plus" else tex, _SUM
    if name in _PRODUCTS:
        sign = _PRODUCTS[name]
        parts = [_in(one, _PRODUCT) for one in arguments]
        return (f" {sign} " if sign else " ").join(parts), _PRODUCT
    return _one(name, operator, bound, qualifiers, arguments)


def _one(
    name: str,
    operator: Element,
    bound: list[Element],
    qualifiers: dict[str, Element],
    arguments: list[Element],
) -> tuple[str, int]:
    """Operators of one or two arguments, and functions."""
    first = arguments[0] if arguments else Element("ci", {})
    second = arguments[1] if len(arguments) > 1 else None
    if name in ("divide", "quotient") and second is not None:
        tex = f"\\frac{{{_term(first)[0]}}}{{{_term(second)[0]}}}"
        return (
            (tex, _ATOM) if name == "divide" else (f"\\left\\lfloor {tex} \\right\\rfloor", _ATOM)
        )
    if name == "power" and second is not None:
        return f"{_in(first, _ATOM)}^{{{_term(second)[0]}}}", _POWER
    if name == "root":
        degree = qualifiers.get("degree")
        index = _inside(degree) if degree is not None else ""
        mark = f"[{index}]" if index and index != "2" else ""
        return f"\\sqrt{mark}{{{_term(first)[0]}}}", _ATOM
    if name in ("abs", "card", "determinant"):
        return f"\\left|{_term(first)[0]}\\right|", _ATOM
    if name == "floor":
        return f"\\left\\lfloor {_term(first)[0]} \\right\\rfloor", _ATOM
    if name == "ceiling":
        return f"\\left\\lceil {_term(first)[0]} \\right\\rceil", _ATOM
    if name == "factorial":
        return f"{_in(first, _ATOM)}!", _POWER
    if name == "conjugate":
        return f"\\overline{{{_term(first)[0]}}}", _ATOM
    if name == "transpose":
        return f"{_in(first, _ATOM)}^{{T}}", _POWER
    if name == "inverse":
        return f"{_in(first, _ATOM)}^{{-1}}", _POWER
    if name == "not":
        return f"\\neg {_in(first, _POWER)}", _POWER
    if name == "selector":
        index = ",".join(_term(one)[0] for one in arguments[1:])
        return f"{_in(first, _ATOM)}_{{{index}}}", _POWER
    if name == "diff":
        return _derivative("d", bound, first), _PRODUCT
    if name == "partialdiff":
        return _derivative("\\partial ", bound, first), _PRODUCT
    if name == "forall" or name == "exists":
        variables = ", ".join(_inside(one) for one in bound)
        return f"\\{name} {variables}: {_term(first)[0]}", _RELATION
    if name == "log" and "logbase" in qualifiers:
        return f"\\log_{{{_inside(qualifiers['logbase'])}}} {_in(first, _POWER)}", _POWER
    if name == "exp":
        return f"e^{{{_term(first)[0]}}}", _POWER
    return _function(operator, arguments), _POWER


def _function(operator: Element, arguments: list[Element]) -> str:
    name = operator.tag
    inside = ", ".join(_term(one)[0] for one in arguments)
    if is_named(name):
        return f"\\{name}\\left({inside}\\right)" if inside else f"\\{name}"
    if operator.tag in ("ci", "csymbol", "apply", "mi"):
        return f"{_in(operator, _ATOM)}\\left({inside}\\right)"
    return f"\\operatorname{{{name}}}\\left({inside}\\right)"


def _inside(element: Element) -> str:
    """TeX of what a qualifier holds."""
    return ", ".join(_term(child)[0] for child in element.children if child.tag != "degree")


def _derivative(sign: str, bound: list[Element], body: Element) -> str:
    variables = ""
    order = 0
    for one in bound:
        degree = next((child for child in one.children if child.tag == "degree"), None)
        power = _inside(degree) if degree is not None else "1"
        variables += f"{sign}{_inside(one)}" + (f"^{{{power}}}" if power != "1" else "")
        order = order + int(power) if power.isdecimal() and len(power) < 3 and order >= 0 else -1
    above = sign.strip() + (f"^{{{order}}}" if order > 1 else "^{n}" if order < 0 else "")
    return f"\\frac{{{above}}}{{{variables}}} {_in(body, _PRODUCT)}"


def _big(
    name: str, bound: list[Element], qualifiers: dict[str, Element], arguments: list[Element]
) -> str:
    variable = ", ".join(_inside(one) for one in bound)
    low = _inside(qualifiers["lowlimit"]) if "lowlimit" in qualifiers else ""
    high = _inside(qualifiers["uplimit"]) if "uplimit" in qualifiers else ""
    condition = _inside(qualifiers["condition"]) if "condition" in qualifiers else ""
    body = " ".join(_in(one, _PRODUCT) for one in arguments if one.tag != "interval")
    interval = next((one for one in arguments if one.tag == "interval"), None)
    if interval is not None and len(interval.children) == 2:
        low, high = (_term(child)[0] for child in interval.children)
    if name == "int":
        below = low or condition
        differential = f" \\, d{variable}" if variable else ""
    else:
        sign = " \\rightarrow " if name == "limit" else "="
        below = f"{variable}{sign}{low}" if low else condition or variable
        differential = ""
    tex = _BIG[name] + (f"_{{{below}}}" if below else "") + (f"^{{{high}}}" if high else "")
    return f"{tex} {body}{differential}"


def _rows(element: Element) -> str:
    tag = element.tag
    inner = [
        _term(child)[0] for child in element.children if child.tag not in ("bvar", "condition")
    ]
    if tag == "matrix":
        lines = [
            " & ".join(_term(child)[0] for child in one.children)
            for one in element.children
            if one.tag == "matrixrow"
        ]
        return "\\begin{pmatrix} " + " \\\\ ".join(lines) + " \\end{pmatrix}"
    if tag == "vector":
        return "\\begin{pmatrix} " + " \\\\ ".join(inner) + " \\end{pmatrix}"
    if tag == "piecewise":
        lines = []
        for one in element.children:
            terms = [_term(child)[0] for child in one.children]
            if one.tag == "otherwise":
                terms.append("\\text{otherwise}")
            lines.append(" & ".join(terms))
        return "\\begin{cases} " + " \\\\ ".join(lines) + " \\end{cases}"
    if tag == "interval":
        kind = element.get("closure") or "closed"
        left = "(" if kind in ("open", "open-closed") else "["
        right = ")" if kind in ("open", "closed-open") else "]"
        return f"{left}{', '.join(inner)}{right}"
    if tag == "lambda":
        variables = ", ".join(_inside(one) for one in element.children if one.tag == "bvar")
        return f"{variables} \\mapsto {', '.join(inner)}"
    if tag == "set":
        condition = next((_inside(one) for one in element.children if one.tag == "condition"), "")
        variables = ", ".join(_inside(one) for one in element.children if one.tag == "bvar")
        if condition:
            return f"\\{{{variables or ', '.join(inner)} \\mid {condition}\\}}"
        return f"\\{{{', '.join(inner)}\\}}"
    return f"({', '.join(inner)})"
