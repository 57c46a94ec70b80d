"""Names and links of licences, brought to SPDX identifiers (https://spdx.org/licenses)."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_SPDX = """
0BSD AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0-Perl Artistic-2.0
BSD-2-Clause BSD-3-Clause BSD-4-Clause BSL-1.0 CC-BY-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0
CC-BY-NC-1.0 CC-BY-NC-2.0 CC-BY-NC-2.5 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-2.0 CC-BY-NC-ND-2.5
CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-1.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-2.5 CC-BY-NC-SA-3.0
CC-BY-NC-SA-4.0 CC-BY-ND-1.0 CC-BY-ND-2.0 CC-BY-ND-2.5 CC-BY-ND-3.0 CC-BY-ND-4.0 CC-BY-SA-1.0
CC-BY-SA-2.0 CC-BY-SA-2.5 CC-BY-SA-3.0 CC-BY-SA-4.0 CC-PDDC CC0-1.0 CECILL-2.1 CDDL-1.0 CPL-1.0
ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.2 GFDL-1.1-only GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later
GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later
GPL-3.0-only GPL-3.0-or-later HPND ISC LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only
LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later LPPL-1.3c MIT MIT-0 MPL-1.1 MPL-2.0 NCSA
ODC-By-1.0 ODbL-1.0 OFL-1.1 PDDL-1.0 PostgreSQL PSF-2.0 Python-2.0 Unlicense Vim W3C WTFPL Zlib
ZPL-2.1
"""
SPDX = frozenset(_SPDX.split())
_BY_LOWER = {name.lower(): name for name in SPDX}

REDISTRIBUTABLE = tuple(sorted(n for n in SPDX if not n.startswith(("CC-BY-NC", "CC-BY-ND"))))
"""Licences under which an edited text may be passed on: neither NC (use) nor ND (changes)."""

# Words on package pages and in metadata. What they leave open stays open: no version, no entry.
_ALIASES = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "artistic-2": "Artistic-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd-2": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "boost software license": "BSL-1.0",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "mit license": "MIT",
    "mit/expat": "MIT",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "public domain": "CC-PDDC",
    "public-domain": "CC-PDDC",
    "the unlicense": "Unlicense",
    "mpl-2": "MPL-2.0",
    "odc-by": "ODC-By-1.0",
    "odbl": "ODbL-1.0",
}
_CC_LINK = re.compile(
    r"creativecommons\.org/(?P<kind>licenses|publicdomain)/(?P<name>[a-z0-9-]{2,20}|zero|mark)"
    r"/(?P<version>\d\.\d)",
    re.IGNORECASE,
)
_CC_NAME = re.compile(
    r"(?:cc|creative commons)[ -]?(?P<name>by(?:[ -](?:nc|nd|sa)){0,2})[ -]?v?(?P<version>\d\.\d)?",
    re.IGNORECASE,
)
_CC_LONG = re.compile(
    r"(?:creative commons |cc )?attribution(?P<nc>[ -]non-?commercial)?"
    r"(?:(?P<sa>[ -]share-?alike)|(?P<nd>[ -]no-?deriv\w{0,10}))?"
    r"(?: (?P<version>\d\.\d))?(?: (?:international|unported|generic))?(?: licen[cs]e)?",
    re.IGNORECASE,
)
_GNU = re.compile(
    r"(?:gnu )?(?P<name>a?gpl|lgpl|gfdl|fdl)(?:[- ]?v?(?P<version>[123](?:\.[0123])?))"
    r"(?P<later>\+|[- ]or[- ]later)?(?:[- ]only)?",
    re.IGNORECASE,
)
_GNU_LINK = re.compile(r"gnu\.org/licenses/(?:old-licenses/)?(?P<name>\w{3,4}-[123]\.[0123])")
_LINKS = (
    (re.compile(r"opensource\.org/licenses?/(?P<name>[\w.-]{2,40})", re.IGNORECASE)),
    (re.compile(r"spdx\.org/licenses/(?P<name>[\w.-]{2,40}?)(?:\.html|$|[#?])", re.IGNORECASE)),
)
_TAG = re.compile(r"SPDX-License-Identifier:\s{0,4}([A-Za-z0-9.+-]{2,40})")
_PHRASE = re.compile(
    r"(?:licen[cs]ed|available|distributed|released|published|shared)\s{1,3}under"
    r"|licen[cs]e\s?:|rights\s{1,3}reserved",
    re.IGNORECASE,
)


def to_spdx(value: str) -> str | None:
    """The SPDX identifier of a licence's name or link, None where it cannot be told.

    >>> to_spdx("https://creativecommons.org/licenses/by-sa/3.0/deed.de"), to_spdx("GPL-2+")
    ('CC-BY-SA-3.0', 'GPL-2.0-or-later')
    >>> to_spdx("CC BY 4.0"), to_spdx("Expat"), to_spdx("All rights reserved")
    ('CC-BY-4.0', 'MIT', None)
    """
    text = " ".join(value.split()).strip(" .()[]")[:300]
    lowered = text.lower()
    known = _BY_LOWER.get(lowered) or _ALIASES.get(lowered)
    if known:
        return known
    link = _CC_LINK.search(lowered)
    if link:
        return _creative_commons(link["name"], link["version"])
    for pattern in _LINKS:
        link = pattern.search(text)
        if link and (found := to_spdx(link["name"])):
            return found
    link = _GNU_LINK.search(lowered)
    if link:
        return to_spdx(link["name"])
    name = _CC_NAME.fullmatch(lowered.removesuffix(" license").removesuffix(" licence"))
    if name:
        return _creative_commons(name["name"].replace(" ", "-"), name["version"])
    name = _CC_LONG.fullmatch(lowered)
    if name:
        parts = ("by", *(part for part in ("nc", "sa", "nd") if name[part]))
        return _creative_commons("-".join(parts), name["version"])
    name = _GNU.fullmatch(lowered)
    if name and name["version"]:
        base = {"fdl": "GFDL"}.get(name["name"], name["name"].upper())
        version = name["version"] if "." in name["version"] else f"{name['version']}.0"
        return _BY_LOWER.get(f"{base}-{version}-{'or-later' if name['later'] else 'only'}".lower())
    return None


def find_licence(text: str) -> str | None:
    """The licence that a text states for itself, None where it states none or several.

    Counted are SPDX tags, and Creative Commons links within 200 characters of words such as
    `licensed under`: a link alone may speak of a picture.

    >>> find_licence("This work is licensed under https://creativecommons.org/licenses/by/4.0/.")
    'CC-BY-4.0'
    >>> find_licence("Read https://creativecommons.org/licenses/by/4.0/ for fun.")
    """
    found = {to_spdx(match[1]) for match in _TAG.finditer(text)}
    if "creativecommons.org" in text:
        for match in _CC_LINK.finditer(text):
            near = text[max(match.start() - 200, 0) : match.end() + 200]
            if _PHRASE.search(near):
                found.add(to_spdx(match.group()))
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def is_among(licence: str, allowed: tuple[str, ...]) -> bool:
    """Whether an SPDX identifier matches one of the names or shell patterns (`CC-BY-*`)."""
    return any(licence == name or fnmatchcase(licence, name) for name in allowed)


def _creative_commons(name: str, version: str | None) -> str | None:
    if name in ("zero", "0"):
        return "CC0-1.0"
    if name in ("mark", "publicdomain"):
        return "CC-PDDC"
    parts = name.split("-")
    ordered = [part for part in ("by", "nc", "nd", "sa") if part in parts]
    if len(ordered) != len(parts) or "by" not in parts:
        return None
    return _BY_LOWER.get(
        f"cc-{'-'.join(ordered)}-{version}"
    )  # no version: which text holds is open
