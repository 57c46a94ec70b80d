"""Personal data and secrets in text, masked."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.stage import Dropped, Stage, stage
from nautiloid.curate.text.spans import protect

# Every repetition is bounded, and every pattern starts with few characters: what stands before the
# match is looked at behind its first character, which lets the engine skip all others at once.
_KEY = re.compile(
    r"""-----BEGIN\ [A-Z ]{0,20}PRIVATE\ KEY-----(?:[^-]|-(?!----)){0,8000}-----END\ [A-Z ]{0,20}KEY-----
    | (?<![\w-])(?:
        (?:AKIA|ASIA)[0-9A-Z]{16}
      | gh[pousr]_[A-Za-z0-9]{36,255} | github_pat_[A-Za-z0-9_]{22,255}
      | glpat-[\w-]{20,64}
      | xox[abeprs]-[0-9A-Za-z-]{10,255}
      | AIza[\w-]{35}
      | sk-(?:[a-z]{2,8}-)?[A-Za-z0-9_-]{20,255} | [rs]k_live_[0-9A-Za-z]{16,255}
      | hf_[A-Za-z0-9]{30,64} | npm_[A-Za-z0-9]{36} | pypi-[\w-]{50,255}
      | eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}
    )(?![\w-])""",
    re.VERBOSE,
)
_KEY_STARTS = (
    "-----BEGIN ", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
    "xox", "AIza", "sk-", "k_live_", "hf_", "npm_", "pypi-", "eyJ",
)  # fmt: skip
_EMAIL = re.compile(
    r"(?<![\w.%+-])[A-Za-z0-9_%+-][A-Za-z0-9._%+-]{0,63}"
    r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_IP4 = re.compile(r"\d(?<![\w.:-].)(?<!ersion .)\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}(?![\w:]|\.\d)")
_IP6 = re.compile(r"(?<![\w.:-])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")
_IP6_SIGN = re.compile(r":[0-9A-Fa-f]{0,4}:")
_CARD = re.compile(
    r"\d(?<![\w.,-].)(?:\d{12,18}|\d{3}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{3}([ -])\d{6}\2\d{5})"
    r"(?![\w-]|[.,]\d)"
)
# A plus behind an operand is an addition, not a country code.
_PHONE = re.compile(
    r"\+(?<![\d)\]}\ufdd1]\s.)(?<!\b\w\s.)(?<![\w)\]}+].)\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}(?![\w-])"
    r"|[\d(](?<![\w.-].)(?:(?<=\()\d{3}\) ?|(?<=\d)\d{2}-)\d{3}-\d{4}(?![\w-])"
)


def _may_hold_key(text: str) -> bool:
    return any(start in text for start in _KEY_STARTS)


def _may_hold_email(text: str) -> bool:
    return "@" in text


def _may_hold_ip6(text: str) -> bool:
    return _IP6_SIGN.search(text) is not None


def _may_hold_any(text: str) -> bool:
    return True


# Kind, whether a look is worth it, and what is looked for.
_SEARCHES: tuple[tuple[str, Callable[[str], bool], re.Pattern[str]], ...] = (
    ("key", _may_hold_key, _KEY),
    ("email", _may_hold_email, _EMAIL),
    ("ip", _may_hold_any, _IP4),
    ("ip", _may_hold_ip6, _IP6),
    ("card", _may_hold_any, _CARD),
    ("phone", _may_hold_any, _PHONE),
)
_KINDS = ("email", "ip", "phone", "card", "key")
_EXAMPLES = ("@example.com", "@example.org", "@example.net", ".example", "@localhost")


def _masks() -> dict[str, str]:
    return {
        "email": "email@example.com",
        "ip": "192.0.2.1",  # RFC 5737: an address of documentation
        "phone": "+1 202 555 0100",
        "card": "0000 0000 0000 0000",
        "key": "SECRET_KEY",
    }


@stage("pii")
@dataclass(frozen=True, kw_only=True)
class Pii(Stage):
    """Masks e-mail addresses, public IP addresses, phone and card numbers, keys and tokens.

    Card numbers must have the prefix and length of an issuer and pass the Luhn check; numbers
    without such proof stay, as do private and documentation addresses. Counts go to
    `meta["pii"]`. Reason: `much_pii`.

    Args:
        masks: What is put for each kind (`email`, `ip`, `phone`, `card`, `key`); a kind that is
            left out is not looked for.
        in_code: Look inside code blocks and formulas too.
        max_found: Drop documents with more; None keeps all.

    >>> text = "Write to ada@lovelace.org from 8.8.8.8; see $a@b.com$ and 10.0.0.1."
    >>> document = Pii().apply(Document("1", text), None)
    >>> document.text
    'Write to email@example.com from 192.0.2.1; see $a@b.com$ and 10.0.0.1.'
    >>> document.meta["pii"]
    {'email': 1, 'ip': 1}
    """

    masks: dict[str, str] = field(default_factory=_masks)
    in_code: bool = False
    max_found: int | None = None

    def __post_init__(self) -> None:
        for kind in self.masks:
            if kind not in _KINDS:
                raise InputError("pii.masks", kind, f"use some of {', '.join(_KINDS)}")
        if self.max_found is not None and self.max_found < 0:
            raise InputError("pii.max_found", self.max_found, "use 0 or more, or null")

    def apply(self, document: Document, tools: Any) -> Document | Dropped:
        """The document with its text masked and the counts noted."""
        protected = None if self.in_code else protect(document.text)
        text = document.text if protected is None else protected.text
        counts: Counter[str] = Counter()
        for kind, may_hold, pattern in _SEARCHES:
            if kind not in self.masks or not may_hold(text):
                continue
            text = pattern.sub(_Masker(kind, self.masks[kind], counts), text)
        if not counts:
            return document
        if self.max_found is not None and counts.total() > self.max_found:
            return Dropped("much_pii", f"found {counts.total()} > {self.max_found}", document)
        text = text if protected is None else protected.restore(text)
        meta = {**document.meta, "pii": dict(sorted(counts.items()))}
        return replace(document, text=text, meta=meta)


@dataclass(frozen=True, slots=True)
class _Masker:
    kind: str
    mask: str
    counts: Counter[str]

    def __call__(self, match: re.Match[str]) -> str:
        found = match.group()
        test = _TESTS.get(self.kind)
        if found == self.mask or (test is not None and not test(found)):
            return found
        self.counts[self.kind] += 1
        return self.mask


def _is_private(address: str) -> bool:
    return not address.lower().endswith(_EXAMPLES)


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:  # a time, a version, a number of a section
        return False


def _is_card(text: str) -> bool:
    """Whether an issuer has numbers of this prefix and length, and the check digit fits."""
    digits = [int(c) for c in text if c.isdigit()]
    number = "".join(map(str, digits))
    two, four, size = int(number[:2]), int(number[:4]), len(number)
    is_issued = (
        (number[0] == "4" and size in (13, 16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and size == 16)
        or (two in (34, 37) and size == 15)
        or ((four == 6011 or two == 65 or 644 <= int(number[:3]) <= 649) and size in (16, 19))
        or (3528 <= four <= 3589 and size in (16, 19))
        or (two in (30, 36, 38, 39) and size == 14)
    )
    doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
    return is_issued and sum(doubled) % 10 == 0


def _is_phone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


_TESTS: dict[str, Callable[[str], bool]] = {
    "email": _is_private,
    "ip": _is_public,
    "card": _is_card,
    "phone": _is_phone,
}
