"""The line of waiting requests."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nautiloid.core.types import SamplingParams
from nautiloid.engine.queue import Queue
from nautiloid.engine.request import Request


def request(number, priority, client, turn=None):
    return Request(
        id=number,
        prompt_ids=(1,),
        params=SamplingParams(),
        seed=0,
        stop_ids=frozenset(),
        max_tokens=1,
        priority=priority,
        client=client,
        turn=turn,
    )


asked = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.booleans()), max_size=20)


def line_of(entries):
    queue, made = Queue(), []
    for i, (priority, client, has_run) in enumerate(entries):
        made.append(request(i, priority, client, turn=i * 7 % 23 if has_run else None))
        queue.push(made[-1])
    return queue, made


def drain(queue):
    return [queue.pop() for _ in range(len(queue))]


@given(asked)
def test_order(entries):
    queue, made = line_of(entries)
    assert set(queue) == set(made)
    order = drain(queue)
    assert not len(queue)
    assert not queue.lanes
    assert sorted(order, key=lambda r: r.id) == made
    assert [r.priority for r in order] == sorted(r.priority for r in made)
    for priority in range(3):
        lane = [r for r in order if r.priority == priority]
        resumed = [r.turn for r in lane if r.turn is not None]
        assert [r.turn for r in lane[: len(resumed)]] == sorted(resumed)
        new = lane[len(resumed) :]
        for client in "abc":  # each keeps its order
            ids = [r.id for r in new if r.client == client]
            assert ids == sorted(ids)
        left = Counter(r.client for r in new)
        served = Counter()
        for r in new:  # nobody is two requests ahead of one who still waits
            served[r.client] += 1
            left[r.client] -= 1
            waiting = [served[c] for c in "abc" if left[c]]
            assert not waiting or served[r.client] <= min(waiting) + 1


@given(asked, st.integers(0, 20), st.data())
def test_what_was_taken_can_be_put_back(entries, count, data):
    plain, _ = line_of(entries)
    expected = [r.id for r in drain(plain)]
    queue, _ = line_of(entries)
    taken = [queue.pop() for _ in range(min(count, len(queue)))]
    for r in reversed(taken):
        queue.unpop(r)
    assert [r.id for r in drain(queue)] == expected
    queue, made = line_of(entries)
    if made:
        gone = data.draw(st.sampled_from(made))
        queue.remove(gone)
        assert set(queue) == set(made) - {gone}
        assert len(queue) == len(made) - 1
