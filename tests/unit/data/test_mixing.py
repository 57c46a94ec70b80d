# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

import json
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Sample
from nautiloid.data.mixing import Mixture, Part, Phase, mix
from nautiloid.data.source import Source
from nautiloid.data.sources.text import Text
from nautiloid.data.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Numbers(Source):
    count: int
    label: str = "n"
    sizes: tuple[int, ...] = (1,)

    def read(self, start=0):
        for i in range(start, self.count):
            yield Sample(id=str(i), source=self.label, text="x" * self.sizes[i % len(self.sizes)])


@dataclass
class Item:
    sample: Sample

    @property
    def positions(self):
        return len(self.sample.text)


def encode(samples):
    return [Item(s) for s in samples]


def parts(*shares, sizes=(1,), **options):
    return tuple(
        Part(Numbers(count=37 + i, label=f"p{i}", sizes=sizes), share, f"p{i}", **options)
        for i, share in enumerate(shares)
    )


def draw(stream, count, progress=0):
    return [stream.draw(progress).sample for _ in range(count)]


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=6), st.integers(1, 400))
@settings(max_examples=50, deadline=None)
def test_sample_counts_never_drift(weights, count):
    mixture = Mixture((Phase(parts=parts(*weights)),), unit="samples")
    counts = Counter(s.source for s in draw(Stream(mixture, encode, Seed(0)), count))
    for i, weight in enumerate(weights):
        assert abs(counts[f"p{i}"] - count * weight / sum(weights)) < len(weights)


def test_token_counts_never_drift():
    sizes = ((1, 3), (40,), (7, 90, 2))
    members = tuple(
        Part(Numbers(count=50, label=f"p{i}", sizes=s), w, f"p{i}")
        for i, (s, w) in enumerate(zip(sizes, (5, 3, 2), strict=True))
    )
    stream = Stream(Mixture((Phase(parts=members),)), encode, Seed(0))
    tokens = Counter()
    for _ in range(2000):
        sample = stream.draw(0).sample
        tokens[sample.source] += len(sample.text)
        for i, share in enumerate((0.5, 0.3, 0.2)):
            assert abs(tokens[f"p{i}"] - share * tokens.total()) <= 90


def test_epochs_cover_everything_in_new_orders():
    stream = Stream(Mixture((Phase(parts=parts(1.0)),), shuffle_samples=10), encode, Seed(0))
    epochs = [[s.id for s in draw(stream, 37)] for _ in range(3)]
    assert all(sorted(e, key=int) == [str(i) for i in range(37)] for e in epochs)
    assert len({tuple(e) for e in epochs}) == 3
    assert sorted(epochs[0][:10], key=int) == [
        str(i) for i in range(10)
    ]  # shuffled inside the window
    again = Stream(Mixture((Phase(parts=parts(1.0)),), shuffle_samples=10), encode, Seed(0))
    assert [s.id for s in draw(again, 37)] == epochs[0]
    other = Stream(Mixture((Phase(parts=parts(1.0)),), shuffle_samples=10), encode, Seed(1))
    assert [s.id for s in draw(other, 37)] != epochs[0]


def test_shuffle_window_is_bounded_by_characters():
    mixture = Mixture((Phase(parts=parts(1.0, sizes=(100,))),), shuffle_chars=500)
    ids = [int(s.id) for s in draw(Stream(mixture, encode, Seed(0)), 20)]
    assert [sorted(ids[i : i + 5]) for i in range(0, 20, 5)] == [
        list(range(i, i + 5)) for i in range(0, 20, 5)
    ]


@pytest.mark.parametrize("epochs", [None, 2])
def test_resume_at_every_draw(epochs):
    mixture = Mixture(
        (Phase(parts=parts(3, 1, 0.5, sizes=(1, 5, 2), epochs=epochs)),), shuffle_samples=8
    )
    stream = Stream(mixture, encode, Seed(3))
    drawn, states = [], []
    while len(drawn) < 250:
        states.append(json.loads(json.dumps(stream.state_dict())))
        item = stream.draw(0)
        if item is None:
            break
        drawn.append(item.sample)
    if epochs:
        assert Counter(s.source for s in drawn) == {"p0": 74, "p1": 76, "p2": 78}
    for at in range(0, len(drawn), 7):
        resumed = Stream(mixture, encode, Seed(3), state=states[at])
        rest = [item.sample for item in (resumed.draw(0) for _ in range(len(drawn) - at)) if item]
        assert rest == drawn[at:], at
    assert len(json.dumps(states[-1])) < 500


def test_phases_switch_and_shared_parts_go_on():
    a, b, c = parts(1, 1, 1)
    mixture = Mixture(
        (Phase(parts=(a, b), until=0.5), Phase(parts=(b, c), until=150), Phase(parts=(c,))),
        "samples",
    )
    stream = Stream(mixture, encode, Seed(0), total_tokens=200)
    first = draw(stream, 20, progress=99)
    second = draw(stream, 20, progress=100)
    third = draw(stream, 5, progress=150)
    assert Counter(s.source for s in first) == {"p0": 10, "p1": 10}
    assert Counter(s.source for s in second) == {"p1": 10, "p2": 10}
    assert Counter(s.source for s in third) == {"p2": 5}
    seen = [s.id for s in first + second if s.source == "p1"]
    assert len(set(seen)) == 20


def test_bad_mixtures():
    a, b = parts(1, 1)
    for make, field in (
        (lambda: Mixture(()), "data.phases"),
        (lambda: Mixture((Phase(parts=()),)), "data.phases.0.parts"),
        (lambda: Mixture((Phase(parts=(a, a)),)), "data.phases.0.parts"),
        (lambda: Mixture((Phase(parts=(a,)), Phase(parts=(b,)))), "data.phases.0.until"),
        (lambda: Mixture((Phase(parts=(a,), until=-1.0),)), "data.phases.0.until"),
        (
            lambda: Mixture(
                (Phase(parts=(a,), until=9.0), Phase(parts=(Part(b.source, 1, "p0"),)))
            ),
            "data.phases.1.parts",
        ),
        (lambda: Part(a.source, 0.0), "part.weight"),
        (lambda: Part(a.source, float("nan")), "part.weight"),
        (lambda: Part(a.source, epochs=0), "part.epochs"),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert caught.value.field == field
    shares = Mixture((Phase(parts=(a,), until=0.5), Phase(parts=(b,))))
    with pytest.raises(InputError, match="length is open"):
        Stream(shares, encode, Seed(0))
    falling = Mixture(
        (Phase(parts=(a,), until=90.0), Phase(parts=(b,), until=0.5), Phase(parts=(a,)))
    )
    with pytest.raises(InputError, match="ends before"):
        Stream(falling, encode, Seed(0), total_tokens=100)


def test_empty_source_is_an_error():
    stream = Stream(mix(Numbers(count=0, label="none")), encode, Seed(0))
    with pytest.raises(InputError, match=r"Numbers.*no samples"):
        stream.draw(0)


def test_source_of_which_everything_is_dropped_is_an_error():
    stream = Stream(mix(Numbers(count=5)), lambda samples: [None] * len(samples), Seed(0))
    with pytest.raises(InputError, match="every sample is dropped"):
        stream.draw(0)
    finite = Stream(mix(Numbers(count=5), epochs=2), lambda samples: [None] * len(samples), Seed(0))
    assert finite.draw(0) is None


def test_mix_names_parts_and_records():
    mixture = mix(Text(paths=("a",)), Part(Text(paths=("b",)), 2.0), epochs=1)
    assert list(mixture.parts) == ["text", "text-2"]
    assert from_json(Mixture, json.loads(json.dumps(to_json(mixture)))) == mixture


def test_fingerprint(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    source = Text(paths=(str(tmp_path),))
    assert mix(source).fingerprint() == mix(source).fingerprint()
    assert mix(source).fingerprint() != mix(Part(source, 2.0), Part(source)).fingerprint()
