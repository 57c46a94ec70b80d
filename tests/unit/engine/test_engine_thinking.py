import pytest

from nautiloid.engine.thinking import ThinkingSpan

END, NEWLINE, WORD = (13, 14), 5, 7


def run(budget, words, end=END):
    """Feed words until the span closes, obeying what it forces; returns all ids."""
    span = ThinkingSpan(end, budget, lambda token_id: token_id == NEWLINE)
    ids = []
    for word in words:
        ids.append(span.forced[0] if span.forced else word)
        span.advance(ids)
        if not span.is_open:
            break
    return ids, span


@pytest.mark.parametrize("end", [(13,), (13, 14), (13, 14, 15)])
@pytest.mark.parametrize("budget", [1, 3, 9, 20, 40])
def test_without_newlines_the_grace_is_a_tenth(end, budget):
    ids, span = run(budget, [WORD] * 100, end)
    assert ids[-len(end) :] == list(end)
    assert not span.is_open
    assert span.num_tokens == len(ids) - len(end) == budget + max(1, budget // 10)


@pytest.mark.parametrize("at", [19, 20, 21])
def test_closes_at_the_next_newline(at):
    words = [WORD] * 100
    words[at - 1] = NEWLINE
    _, span = run(20, words)
    assert span.num_tokens == (22 if at < 20 else at)


def test_no_thinking_at_all():
    ids, span = run(0, [WORD] * 5)
    assert ids == list(END)
    assert span.num_tokens == 0


@pytest.mark.parametrize("budget", [None, 10])
def test_closes_by_itself(budget):
    ids, span = run(budget, [WORD, WORD, *END, WORD])
    assert ids == [WORD, WORD, *END]
    assert span.num_tokens == 2
    assert not span.forced


def test_half_an_end_is_not_the_end():
    _, span = run(None, [WORD, 13, WORD, 14])
    assert span.is_open
    assert span.num_tokens == 4
