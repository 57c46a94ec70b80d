import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.engine.text import TextStream, ThinkingSplit, overlap

BYTES = [bytes([b]) for b in range(256)] + [b"ab", b"</th", b"ink>", "\u00e9\u4e2d".encode(), b""]


def streamed(ids, stop=()):
    """The pieces that come out while tokens go in, and the final text."""
    stream = TextStream(BYTES, stop)
    pieces = []
    for token_id in ids:
        stream.push(token_id)
        pieces.append(stream.take())
        if stream.is_stopped:
            break
    stream.close()
    pieces.append(stream.take())
    return pieces, stream.text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, len(BYTES) - 1), max_size=30))
def test_pieces_join_to_the_decoded_bytes(ids):
    pieces, text = streamed(ids)
    assert "".join(pieces) == text == b"".join(BYTES[i] for i in ids).decode("utf-8", "replace")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(list(b"abc")), max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_strings_are_cut_and_never_shown(ids, stop):
    pieces, text = streamed(ids, stop)
    whole = bytes(ids).decode()
    found = [(whole.find(s) + len(s), whole.find(s)) for s in stop if s in whole]
    if found:
        end = min(found)[0]  # the stop string that is complete first ends the text
        cut = min(start for finish, start in found if finish == end)
        assert text == whole[:cut]
    else:
        assert text == whole
    assert "".join(pieces) == text
    assert not any(s in text for s in stop)


def test_characters_arrive_whole():
    pieces, text = streamed([*"\u00e9".encode(), *"\U0001f41a".encode(), 65])
    assert pieces[:7] == ["", "\u00e9", "", "", "", "\U0001f41a", "A"]
    assert text == "\u00e9\U0001f41aA"


def test_a_torn_character_ends_as_a_replacement():
    assert streamed([65, *"\U0001f41a".encode()[:2]])[1] == "A\ufffd"


@pytest.mark.parametrize(
    ("text", "size"), [("", 0), ("abc", 0), ("a<", 1), ("a</think", 7), ("</think>", 0), ("<<", 1)]
)
def test_overlap(text, size):
    assert overlap(text, ["</think>"]) == size


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("text", "thinking", "is_open", "reasoning", "content"),
    [
        ("\nhm <b\n</think>\n\nyes</think>", True, True, "hm <b\n", "yes</think>"),
        ("all of it </thin", True, True, "all of it </thin", ""),
        ("plain </think> x", False, True, "", "plain </think> x"),
        ("<think>\nhm</think>yes", True, False, "hm", "yes"),
        (" <b>yes</b>", True, False, "", "<b>yes</b>"),
        ("<thi", True, False, "", "<thi"),
    ],
)
def test_reasoning_is_split_wherever_pieces_break(
    step, text, thinking, is_open, reasoning, content
):
    split = ThinkingSplit(thinking=thinking, is_open=is_open)
    parts = [split.feed(text[i : i + step]) for i in range(0, len(text), step)]
    parts.append(split.feed("", last=True))
    assert "".join(p[0] for p in parts) == reasoning
    assert "".join(p[1] for p in parts) == content
