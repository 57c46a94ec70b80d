import time
import unicodedata

import pytest

from nautiloid.curate.charset import declared_inside, decode, is_possible, label

from .charset_sentences import SENTENCES

CASES = [(language, name) for language, (names, _) in SENTENCES.items() for name in names]
WESTERN = {"french", "german", "spanish", "portuguese"}


def written(language: str, name: str) -> tuple[str, bytes]:
    """The sentence as such a page holds it, with the bytes."""
    text = SENTENCES[language][1]
    if name == "windows-1258":  # tones are separate characters there
        tones = "\u0300\u0301\u0303\u0309\u0323"
        text = "".join(
            unicodedata.normalize("NFC", "".join(x for x in d if x not in tones))
            + "".join(x for x in d if x in tones)
            for d in (unicodedata.normalize("NFD", c) for c in text)
        )
    codec = {"windows-874": "cp874", "tis-620": "cp874", "windows-1258": "cp1258"}.get(name, name)
    return text, text.encode(codec)


def page(body: bytes, declared: str | None) -> bytes:
    meta = f'<meta http-equiv="Content-Type" content="text/html; charset={declared}">'
    head = meta.encode() if declared else b""
    return (
        b"<html><head>" + head + b"<title>x</title></head><body><p>" + body + b"</p></body></html>"
    )


@pytest.mark.parametrize(("language", "name"), CASES)
@pytest.mark.parametrize("place", ["nowhere", "transport", "page"])
def test_legacy_encodings_come_out_right(language: str, name: str, place: str):
    text, body = written(language, name)
    content = page(body, name if place == "page" else None)
    decoded, found = decode(content, name if place == "transport" else None, "text/html")
    assert text in decoded
    assert "\ufffd" not in decoded
    assert body.isascii() or found != "utf-8"


@pytest.mark.parametrize(("language", "name"), CASES)
@pytest.mark.parametrize("wrong", ["utf-8", "iso-8859-1"])
def test_labels_that_lie_are_seen_through(language: str, name: str, wrong: str):
    text, body = written(language, name)
    assert text in decode(page(body, wrong), None)[0]
    assert text in decode(page(body, None), wrong)[0]


@pytest.mark.parametrize(
    ("language", "name", "wrong"),
    [
        ("russian", "windows-1251", "koi8-r"),
        ("russian", "koi8-r", "windows-1251"),
        ("russian", "windows-1251", "shift_jis"),
        ("japanese", "shift_jis", "euc-jp"),
        ("japanese", "euc-jp", "shift_jis"),
        ("simplified chinese", "gbk", "big5"),
        ("traditional chinese", "big5", "gb2312"),
        ("korean", "euc-kr", "gb2312"),
        ("greek", "windows-1253", "windows-1251"),
        ("french", "windows-1252", "gb2312"),
        ("french", "windows-1252", "windows-1251"),
    ],
)
def test_labels_of_another_script_are_seen_through(language: str, name: str, wrong: str):
    text, body = written(language, name)
    assert text in decode(page(body, wrong), None)[0]


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("wrong", ["iso-8859-1", "windows-1251", "gbk", "shift_jis", "ascii"])
def test_utf8_is_utf8_whatever_is_declared(language: str, wrong: str):
    text = SENTENCES[language][1]
    assert decode(page(text.encode(), wrong), wrong) == (
        page(text.encode(), wrong).decode(),
        "utf-8",
    )


@pytest.mark.parametrize(
    ("codec", "mark", "name"),
    [
        ("utf-16-le", b"\xff\xfe", "utf-16le"),
        ("utf-16-be", b"\xfe\xff", "utf-16be"),
        ("utf-16-le", b"", "utf-16le"),
        ("utf-16-be", b"", "utf-16be"),
        ("utf-32-le", b"\xff\xfe\0\0", "utf-32le"),
        ("utf-8", b"\xef\xbb\xbf", "utf-8"),
    ],
)
def test_wide_encodings_and_marks(codec: str, mark: bytes, name: str):
    text = "<html><body>" + SENTENCES["russian"][1] + "</body></html>" + " " * 200
    assert decode(mark + text.encode(codec), "iso-8859-1") == (text, name)


def test_mostly_utf8_keeps_its_text_and_reads_stray_bytes():
    content = ("déjà vu, été, naïve " * 5).encode() + b"caf\xe9 \x93quoted\x94"
    text, name = decode(content, None)
    assert name == "utf-8"
    assert text == "déjà vu, été, naïve " * 5 + "café “quoted”"


def test_a_page_cut_inside_a_character_stays_utf8():
    for content in ("Doppelgänger für ä".encode()[:-1], "有界な数列は必ず".encode()[:-2]):
        text, name = decode(content, "iso-8859-1")
        assert name == "utf-8"
        assert "\ufffd" not in text
        assert content.startswith(text.encode())


@pytest.mark.parametrize("name", ["shift_jis", "gbk", "big5", "euc-kr"])
def test_a_page_cut_inside_a_legacy_character_keeps_its_encoding(name: str):
    language = {"shift_jis": "japanese", "gbk": "simplified chinese", "big5": "traditional chinese"}
    text, body = written(language.get(name, "korean"), name)
    cut = next(n for n in range(60, 70) if _fails(body[:n], name))
    assert decode(body[:cut], name)[0].startswith(text[:25])


def _fails(body: bytes, codec: str) -> bool:
    try:
        body.decode(codec)
    except UnicodeDecodeError:
        return True
    return False


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"<meta charset=koi8-r>", "koi8-r"),
        (b"<META CHARSET='Shift_JIS'/>", "shift_jis"),
        (b'<meta content="text/html; charset = gb2312" http-equiv=x>', "gbk"),
        (b'<?xml version="1.0" encoding="ISO-8859-2"?><html/>', "iso-8859-2"),
        (b"<!-- <meta charset=koi8-r> --><meta charset=big5>", "big5"),
        (b"<script>var a = 'x'</script>" * 100 + b"<meta charset=euc-jp>", "euc-jp"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=klingon><meta charset=latin1>", "windows-1252"),
        (b"<p charset=big5>", None),
        (b"<meta name=a><p>charset=big5", None),
        (b"<!-- <meta charset=big5>", None),
        (b"", None),
    ],
)
def test_declaration_inside(head: bytes, expected: str | None):
    assert declared_inside(head) == expected


def test_labels():
    assert [label(n) for n in ("ISO-8859-1", " utf8 ", "x-sjis", "ks_c_5601-1987", "no", None)] == [
        "windows-1252",
        "utf-8",
        "shift_jis",
        "euc-kr",
        None,
        None,
    ]


def test_json_is_utf8():
    assert decode(b'{"a": "\xff"}', "latin-1", "application/json")[1] == "utf-8"


def test_nul_characters_are_left_out():
    assert decode(b"<p>a\0b\0\0c</p>", None)[0] == "<p>abc</p>"


def test_mojibake_is_not_possible():
    assert not is_possible(SENTENCES["russian"][1].encode("cp1251").decode("latin-1"))
    assert not is_possible(SENTENCES["russian"][1].encode("koi8-r").decode("cp1251"))
    assert not is_possible(SENTENCES["french"][1].encode("cp1252").decode("cp1251"))
    assert not is_possible(SENTENCES["polish"][1].encode("iso8859-2").decode("latin-1"))
    assert all(is_possible(text) for _, text in SENTENCES.values())


@pytest.mark.parametrize("name", ["shift_jis", "euc-jp", "gb18030", "big5", "euc-kr"])
@pytest.mark.parametrize("lead", range(4))
def test_long_pages_are_cut_between_characters(name: str, lead: int):
    languages = {"gb18030": "simplified chinese", "big5": "traditional chinese"}
    languages |= {"shift_jis": "japanese", "euc-jp": "japanese"}
    text = SENTENCES[languages.get(name, "korean")][1]
    text = "x" * lead + f"{text * 30}<p>{text * 3}</p> " * 8
    assert decode(text.encode(name)) == (text, name)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        bytes(range(256)) * 50,
        b"\xff" * 10_000,
        b"\x1b$" * 1000,
        b"<meta " * 20_000 + b"\xff",
        b"<meta charset" * 10_000 + b"\xff",
        b"<!--" * 20_000 + b"\xff",
        b"<?xml " + b"encoding= " * 10_000 + b"\xe9",
        "é".encode() * 50_000 + b"\xe9" * 40_000,
        b"\xef\xbf\xbd" * 1000 + b"\x80",
    ],
)
def test_hostile_bytes_are_decoded_in_time(content: bytes):
    began = time.perf_counter()
    text, name = decode(content, "no-such-charset", "text/html", "http://[::1")
    assert time.perf_counter() - began < 2
    assert "\0" not in text
    assert label(name) == name or name.startswith("utf-")


def test_valid_utf8_takes_the_fast_way():
    content = page(SENTENCES["french"][1].encode(), "utf-8") * 60
    assert 20_000 < len(content) < 40_000
    times: list[float] = []
    for _ in range(50):
        began = time.perf_counter()
        decode(content, None)
        times.append(time.perf_counter() - began)
    assert min(times) < 60e-6
