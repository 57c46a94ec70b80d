import random
from itertools import pairwise

import pytest
from tests.suites.filters import check_stage, results_elsewhere, results_here

from nautiloid.core.config import from_json
from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.filters.blocklist import Blocklist
from nautiloid.curate.filters.c4 import C4
from nautiloid.curate.filters.fineweb import FineWeb
from nautiloid.curate.filters.formulas import Formulas
from nautiloid.curate.filters.gopher_quality import GopherQuality
from nautiloid.curate.filters.gopher_repetition import GopherRepetition
from nautiloid.curate.filters.language import CODES, Language
from nautiloid.curate.filters.length import Length
from nautiloid.curate.filters.licence import Licence
from nautiloid.curate.filters.pii import Pii
from nautiloid.curate.filters.url import Url
from nautiloid.curate.stage import Dropped, Stage

ARTICLE = r"""# Limits of sequences

A sequence $(a_n)_{n \ge 1}$ of real numbers converges to $L$ if for every $\varepsilon > 0$ there
is an index $N$ with $|a_n - L| < \varepsilon$ for all $n \ge N$. We write

$$\lim_{n\to\infty} a_n = L .$$

The limit is unique, for if $L$ and $M$ were two of them, then the triangle inequality gives

$$|L - M| \le |L - a_n| + |a_n - M| < 2\varepsilon$$

and this holds for every $\varepsilon$, so that both have to be equal. Bounded sequences that grow
have a limit, and that fact is equivalent to the completeness of the real numbers.

```python
def partial_sums(terms):
    total = 0.0
    for term in terms:
        total += term
        yield total
```

The listing adds terms one by one. It is the simplest way to see a series approach its sum, but
rounding errors add up, and with many terms one should use compensated summation to be safe.
"""
WORDS = [
    "river",
    "stone",
    "window",
    "garden",
    "winter",
    "letter",
    "market",
    "doctor",
    "island",
    "bridge",
    "coffee",
    "silver",
    "flower",
    "mountain",
    "candle",
    "teacher",
    "dinner",
    "planet",
    "forest",
    "station",
    "blanket",
    "journey",
    "cottage",
    "harbour",
    "pencil",
    "kitchen",
    "meadow",
    "lantern",
    "violin",
    "captain",
    "theatre",
    "village",
    "orchard",
    "compass",
    "hammer",
]


TEMPLATES = (
    "The {} that we have lies near the old {}.",
    "When a {} meets the {}, nobody looks at the {} any longer.",
    "She put her {} beside that {} and went home.",
    "A {} costs more than any {} in this {}.",
    "From the {} to the {} it takes an hour with the {}.",
    "Nothing but a {} can be seen behind his {}.",
    "They say that every {} once was a {}.",
)


def prose(sentences, seed=0):
    """Plain English sentences without repetition."""
    chosen = random.Random(seed)
    return " ".join(
        TEMPLATES[(i + seed) % len(TEMPLATES)].format(*chosen.sample(WORDS, 3))
        for i in range(sentences)
    )


def test_gopher_quality():
    menu = "\n".join(f"- {a} and the {b} to go" for a, b in pairwise(WORDS))
    check_stage(
        GopherQuality(),
        keeps=[ARTICLE, prose(10), "$a$ " * 60],
        drops={
            "few_words": "The cat sat on the mat.",
            "long_words": "internationalization " * 60,
            "short_words": "a b c d " * 60,
            "symbols": prose(8) + " ..." * 40,
            "bullets": menu,
            "few_alphabetic": prose(6) + " 12345" * 200,
            "few_stop_words": " ".join(WORDS * 2),
        },
    )
    many = GopherQuality(max_words=60).keep(Document("1", prose(10)))
    assert (many.keep, many.reason) == (False, "many_words")
    lines = [f"{prose(1, seed=i)[:-1]}..." for i in range(6)]
    cut_off = GopherQuality(max_symbol_ratio=1.0).keep(Document("2", "\n".join(lines)))
    assert (cut_off.keep, cut_off.reason) == (False, "ellipses")


def test_gopher_quality_masks_formulas_and_code():
    """The same page with every formula and listing in the text is dropped for its symbols."""
    page = "We have the sum of all terms with that bound. " * 6
    formulas = page + "\n\n$$" + r"\frac{1}{2^{10}} + " * 150 + "0$$\n\n" + page
    assert GopherQuality().keep(Document("1", formulas)).keep
    bare = formulas.replace("$", "")
    assert GopherQuality(max_word_chars=6).keep(Document("2", bare)).reason
    code = page + "\n\n```c\n" + "x = 1 + 2 # # # #\n" * 80 + "```\n"
    assert GopherQuality().keep(Document("3", code)).keep
    assert not GopherQuality().keep(Document("4", code.replace("```", ""))).keep


def test_gopher_repetition():
    check_stage(
        GopherRepetition(),
        keeps=[ARTICLE, prose(12), ""],
        drops={
            "duplicate_paragraphs": "one two\n\none two\n\none two\n\nthree",
            "duplicate_paragraph_chars": "\n\n".join(
                ["a b", "c d", "e f", "g h", prose(2), prose(2)]
            ),
            "duplicate_lines": "\n".join(["alpha beta"] * 4 + list(WORDS[:4])),
            "duplicate_line_chars": "\n".join([prose(2), prose(2), *WORDS[:5]]),
            "top_2_gram": "the end " * 20 + " ".join(WORDS),
            "duplicate_10_grams": " ".join(f"word{i % 75:04}" for i in range(85)),
        },
    )


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_repeats_equal_the_definition(n):
    """Compiled counts against datatrove's definition in plain Python."""
    from collections import Counter

    from nautiloid.curate.text.repeats import repeated_chars, top_chars, word_ids

    words = [WORDS[(i * i // 3) % (7 + i // 40)] for i in range(400)]
    ids, lengths = word_ids(words)
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    gram, count = Counter(grams).most_common(1)[0]
    assert top_chars(ids, lengths, n) == (len(gram) * count if count > 1 else 0)
    seen, at, chars = set(), 0, 0
    while at < len(words) - n + 1:
        gram = tuple(words[at : at + n])
        chars += sum(map(len, gram)) if gram in seen else 0
        at += n if gram in seen else 1
        seen.add(gram)
    assert repeated_chars(ids, lengths, n) == chars


def test_fineweb():
    rows = [prose(1, seed=i) for i in range(4)]
    check_stage(
        FineWeb(),
        keeps=[ARTICLE, "\n".join(prose(1, seed=i) for i in range(8)), "$$x$$"],
        drops={
            "few_ended_lines": "\n".join(
                f"{a} {b}" for a, b in zip(WORDS, WORDS[3:], strict=False)
            ),
            "short_lines": "\n".join(f"{a}, {b}." for a, b in zip(WORDS, WORDS[3:], strict=False)),
            "duplicate_line_chars": "\n".join([*rows, *rows]),
            "many_lines": "\n".join(f"{'-'.join(WORDS[i : i + 6])} end." for i in range(20)),
        },
    )


def test_c4():
    script = "Please enable Javascript to see the rest of this page."
    text = f"{prose(6)}\n\n{script}\n\nWe use cookies to make this better for you.\n\nLast"
    check_stage(
        C4(),
        keeps=[ARTICLE, text],
        drops={
            "lorem_ipsum": prose(6) + " Lorem ipsum dolor sit amet.",
            "few_sentences": "One sentence. Two sentences.",
        },
    )
    assert C4().apply(Document("1", text), None).text == prose(6)
    assert C4().apply(Document("2", ARTICLE), None).text == ARTICLE.strip("\n")
    assert C4(drops_braces=True).apply(Document("3", ARTICLE), None).id == "3"
    braces = C4(drops_braces=True).apply(Document("4", prose(6) + " { "), None)
    assert braces.reason == "curly_bracket"
    cited = C4().apply(Document("5", prose(5) + " As shown.[12] And [this](x). `a[1]`, yes."), None)
    assert cited.text.endswith("As shown. And [this](x). `a[1]`, yes.")
    nothing = C4(min_sentences=0).apply(Document("6", "menu\nhome"), None)
    assert nothing.reason == "empty"


def test_language():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    assert set(CODES) == set(LanguageIdentifier.from_model_file(MODEL_FILE).labels)
    german = "Jede beschr\u00e4nkte Folge reeller Zahlen hat einen H\u00e4ufungspunkt, wie man wei\u00df."
    check_stage(
        Language(min_score=0.6),
        keeps=[ARTICLE, prose(3)],
        drops={
            "other_language": german,
            "little_prose": "$$" + "x + " * 50 + "y$$",
        },
    )
    greek = Document("0", "alpha beta gamma lambda sin cos det dim ker")
    unsure = Language(languages=())
    with unsure.open() as tools:
        assert unsure.apply(greek, tools).reason == "unsure_language"
    every = Language(languages=())
    with every.open() as tools:
        meta = every.apply(Document("1", german, meta={"language": "en"}), tools).meta
    assert meta["language"] == "de"
    assert 0.9 < meta["language_score"] <= 1
    little = Language(keeps_little_prose=True)
    with little.open() as tools:
        assert little.apply(Document("2", "$x$"), tools).id == "2"
    with pytest.raises(InputError, match=r"language\.languages: klingon: use codes of ace af"):
        from_json(Stage, {"kind": "language", "languages": ["klingon"]})


def test_length():
    check_stage(
        Length(min_chars=10, max_chars=2_000, min_words=3),
        keeps=[ARTICLE, "three words here"],
        drops={"empty": "   ", "too_short": "one two!!!", "too_long": "word " * 1_000},
    )


def test_url(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "# a hosts file\n0.0.0.0 ads.example # why\nwww.bad.example\nb\u00fccher.example\n"
    )
    urls = tmp_path / "urls"
    urls.write_text("http://www.fine.example/one/page/#top\n")

    def at(url):
        return Document(url, "text", meta={"url": url})

    stage = Url(
        domain_files=(str(hosts),),
        url_files=(str(urls),),
        patterns=(r"/tag/[^/]+/page/\d+",),
        allowed_domains=("good.bad.example",),
        needs_url=True,
    )
    check_stage(
        stage,
        keeps=[
            at("https://fine.example/poker-odds"),
            at("https://notbad.example/"),
            at("https://good.bad.example/xxx"),
            at("https://essex.example/sussex"),
        ],
        drops={
            "blocked_domain": at("https://deep.sub.BAD.example.:8080/x"),
            "blocked_url": at("https://fine.example/one/page"),
            "blocked_pattern": at("https://fine.example/tag/x/page/12"),
            "blocked_word": at("https://fine.example/free%20porn"),
            "spam_words": at("https://fine.example/casino-poker"),
            "bad_url": at("http://[::1"),
            "no_url": Document("1", "text"),
        },
    )
    with stage.open() as tools:
        for url in (
            "http://a.xn--bcher-kva.example",
            "http://b\u00fccher.example",
            "http://ads.example",
        ):
            assert stage.apply(at(url), tools).reason == "blocked_domain"
    with (
        pytest.raises(InputError, match="missing"),
        Url(url_files=(str(tmp_path / "missing"),)).open(),
    ):
        pass
    with pytest.raises(InputError, match="regular expression"):
        Url(patterns=("(",))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to grace.hopper+news@navy.mil.", {"email": 1}),
        ("at example: ada@example.com, x@localhost", {}),
        ("from 8.8.8.8, 10.1.2.3, 127.0.0.1 and 300.1.2.3", {"ip": 1}),
        ("2001:4860:4860::8888 and fe80::1 at 12:30:45 in std::vector", {"ip": 1}),
        ("section 1.2.3.4.5 of version 4.4.4.4", {}),
        ("call +49 30 901820 or (415) 555-2671 or 415-555-2671", {"phone": 3}),
        ("3 +12 345 678 and x +12 345 678 are sums, 1990-2000-2010 are years", {}),
        ("cards 4111 1111 1111 1111, 378282246310005, 5555-5555-5555-4444", {"card": 3}),
        ("4111 1111 1111 1112 fails, 3141592653589793 has no issuer", {}),
        ("AKIAIOSFODNN7EXAMPLE and ghp_" + "a1B2" * 9, {"key": 2}),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----", {"key": 1}),
        ("in code `a@b.org` and $8.8.8.8$\n```\n+49 30 901820\n```", {}),
        ("the digits 3.14159265358979323846264338327950288419716939937510", {}),
    ],
)
def test_pii_kinds(text, kinds):
    document = Pii().apply(Document("1", text), None)
    assert document.meta.get("pii", {}) == kinds
    assert (document.text == text) == (not kinds)
    assert Pii().apply(document, None).text == document.text
    hidden = {"email", "ip", "phone"} if "`" in text else set(kinds)
    assert set(Pii(in_code=True).apply(Document("1", text), None).meta.get("pii", {})) == hidden


def test_pii():
    check_stage(
        Pii(max_found=1), keeps=[ARTICLE, "a@b.org"], drops={"much_pii": "a@b.org and c@d.org"}
    )
    assert Pii(masks={"ip": "X"}).apply(Document("1", "a@b.org 8.8.8.8"), None).text == "a@b.org X"
    with pytest.raises(InputError, match=r"pii\.masks: name: use some of"):
        Pii(masks={"name": "X"})


def test_licence():
    link = "https://creativecommons.org/licenses/by-nc/4.0/"
    check_stage(
        Licence(only_allowed=True),
        keeps=[
            Document("1", "", licence="GPL-2+"),
            Document("2", "", meta={"licence_links": ["/about", "//spdx.org/licenses/MIT.html"]}),
            Document(
                "3", "This page is licensed under https://creativecommons.org/licenses/by/3.0/."
            ),
            Document("4", "SPDX-License-Identifier: Apache-2.0\nrest"),
        ],
        drops={
            "not_redistributable": Document("5", "", licence="MIT", meta={"licence_links": [link]}),
            "unknown_licence": Document("6", f"I like {link}, all of it.", licence="custom"),
        },
    )
    assert Licence().apply(Document("7", "", licence="custom"), None).licence == "custom"
    only_by = Licence(only_allowed=True, allowed=("CC-BY-4.*",), keeps_unknown=True)
    assert only_by.apply(Document("8", "", licence="MIT"), None).reason == "not_redistributable"
    assert only_by.apply(Document("9", "", licence="odd"), None).id == "9"
    both = Document("10", "", meta={"licence_links": [link, "https://opensource.org/licenses/MIT"]})
    assert Licence(only_allowed=True).apply(both, None).reason == "unknown_licence"
    with pytest.raises(InputError, match=r"licence\.allowed: MIIT: use SPDX"):
        Licence(allowed=("MIIT",))


@pytest.mark.parametrize(
    ("given", "spdx"),
    [
        ("CC BY-SA 3.0", "CC-BY-SA-3.0"),
        (
            "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International",
            "CC-BY-NC-SA-4.0",
        ),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://www.gnu.org/licenses/old-licenses/gpl-2.0.html", "GPL-2.0-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GFDL-1.3", "GFDL-1.3-only"),
        ("apache-2.0", "Apache-2.0"),
        ("GPL", None),
        ("CC BY", None),
        ("proprietary", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_to_spdx(given, spdx):
    from nautiloid.curate.text.licence import SPDX, to_spdx

    assert to_spdx(given) == spdx
    assert spdx is None or spdx in SPDX


def test_formulas():
    check_stage(
        Formulas(min_count=2, min_share=0.01, max_share=0.6),
        keeps=[ARTICLE],
        drops={
            "few_formulas": prose(3) + " $x$",
            "little_mathematics": prose(10) + " $x$ $y$",
            "formulas_alone": "$$" + "x + " * 50 + "y$$ and $z$",
        },
    )
    assert Formulas().apply(Document("1", ARTICLE), None).meta["formula_count"] == 11


def test_blocklist(tmp_path):
    listed = tmp_path / "words.txt"
    listed.write_text("# not wanted\nfree spins\nJackpot\n")
    check_stage(
        Blocklist(files=(str(listed),), max_found=1),
        keeps=[ARTICLE, "One jackpot. `free spins`"],
        drops={"blocked_words": "Free spins, *JACKPOT*!"},
    )
    long = Blocklist(words=("a b c d e f g h i",))
    with pytest.raises(InputError, match="at most 8 words"), long.open():
        pass
    with pytest.raises(InputError, match="cannot be read"), Blocklist(files=("nowhere",)).open():
        pass


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"kind": "gopher_quality", "max_words": 10}, "gopher_quality.max_words"),
        ({"kind": "gopher_quality", "min_alphabetic": 2.0}, "gopher_quality.min_alphabetic"),
        ({"kind": "gopher_quality", "min_stop_words": 9}, "gopher_quality.min_stop_words"),
        ({"kind": "gopher_repetition", "max_lines": -0.1}, "gopher_repetition.max_lines"),
        ({"kind": "gopher_repetition", "top_grams": {"0": 0.1}}, "gopher_repetition.top_grams"),
        ({"kind": "fineweb", "max_short_lines": float("nan")}, "fineweb.max_short_lines"),
        ({"kind": "c4", "min_sentences": -1}, "c4.min_sentences"),
        ({"kind": "length", "max_chars": 10}, "length.max_chars"),
        ({"kind": "language", "min_score": 1.5}, "language.min_score"),
        ({"kind": "formulas", "min_share": 0.5, "max_share": 0.2}, "formulas.max_share"),
        ({"kind": "pii", "max_found": -1}, "pii.max_found"),
        ({"kind": "blocklist", "max_found": -1}, "blocklist.max_found"),
        ({"kind": "lengthy"}, "stage"),
    ],
)
def test_settings_are_refused(settings, field):
    with pytest.raises(InputError) as error:
        from_json(Stage, settings)
    assert error.value.field.endswith(field)


def test_another_process_answers_the_same():
    stages = [
        GopherQuality(),
        GopherRepetition(),
        C4(),
        FineWeb(),
        Pii(),
        Url(),
        Blocklist(words=("we",)),
    ]
    documents = [
        Document("1", ARTICLE, meta={"url": "https://example.org/casino-poker-slots"}),
        Document("2", prose(20)),
        Document("3", "mail a@b.org " * 30),
    ]
    assert results_elsewhere(stages, documents, hash_seed=7) == results_here(stages, documents)
    assert any(isinstance(s.apply(documents[2], None), Dropped) for s in stages[:4])
