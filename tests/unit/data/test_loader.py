# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalIterable=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

import json
import threading
import time
from dataclasses import dataclass, replace

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import MediaPart, Message, Sample, TextPart
from nautiloid.data.loader import Loader, LoaderConfig
from nautiloid.data.mixing import Part, mix
from nautiloid.data.source import Source
from nautiloid.data.sources.environment import EnvironmentSource
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.envs.sums import Sums

PAD, BOS, EOS, BYTES = 0, 1, 2, 3


@dataclass
class Rendered:
    ids: list[int]
    trains: list[bool]


class Renderer:
    def render(self, messages, tools=(), *, mode="on", budget_tokens=None, truncate_history=True):
        ids, trains = [], []
        for message in messages:
            part = [BYTES + b for b in message.text.encode()] + [EOS]
            ids += part
            trains += [message.role == "assistant"] * len(part)
        return Rendered(ids, trains)


class ByteTokenizer:
    """Bytes behind three special ids: enough for the loader."""

    vocab_size, pad_id, bos_id, eos_ids = 259, PAD, BOS, (EOS,)

    def encode(self, text, *, allow_special=False):
        return [BYTES + b for b in text.encode()]

    def renderer(self):
        return Renderer()


@dataclass(frozen=True, kw_only=True)
class Docs(Source):
    """Documents of one repeated letter whose lengths follow a pattern."""

    count: int = 60
    letters: str = "abcdefghijklmnopqrstuvwxyz"
    longest: int = 30

    def make(self, i):
        text = self.letters[i % len(self.letters)] * (1 + i * 7 % self.longest)
        return Sample(id=str(i), source="docs", text=text)

    def read(self, start=0):
        return (self.make(i) for i in range(start, self.count))


@dataclass(frozen=True, kw_only=True)
class Given(Source):
    samples: tuple[Sample, ...]

    def read(self, start=0):
        return iter(self.samples[start:])

    def fingerprint(self):
        return str(len(self.samples))


CONFIG = LoaderConfig(row_tokens=32, rows_per_batch=3, window_rows=8, workers=0)
MIXTURE = mix(Part(Docs(count=60), 2.0, "a"), Part(Docs(count=41, letters="XYZ"), 1.0, "b"))
FIELDS = ("tokens_T", "targets_T", "weight_T", "positions_T", "sample_T")


def loader(config=CONFIG, data=MIXTURE, seed=0, **options):
    return Loader(config, data, ByteTokenizer(), Seed(seed), **options)


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def same(a, b):
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in FIELDS) and (
        a.lengths,
        a.row_lengths,
        a.media,
    ) == (b.lengths, b.row_lengths, b.media)


def sequences(batch):
    """Inputs, targets, weights and sample of each packed sequence."""
    at = 0
    for length in batch.lengths:
        cut = slice(at, at + length)
        yield (
            batch.tokens_T[cut].tolist(),
            batch.targets_T[cut].tolist(),
            batch.weight_T[cut].tolist(),
            batch.sample_T[cut].tolist(),
            batch.positions_T[cut].tolist(),
        )
        at += length


def once(*samples):
    return mix(Given(samples=samples), epochs=1)


def text(letters, id="0", **options):
    return Sample(id=id, source="given", text=letters, **options)


def test_document_boundary():
    for batch in take(loader(), 20):
        assert batch.tokens_T.numel() == 96
        assert batch.row_lengths == (32, 32, 32)
        assert (
            batch.tokens_T.dtype == batch.targets_T.dtype == batch.positions_T.dtype == torch.int64
        )
        assert batch.weight_T.dtype == torch.float32
        assert batch.sample_T.dtype == torch.int32
        numbers = []
        for tokens, targets, weight, sample, positions in sequences(batch):
            assert positions == list(range(len(tokens)))
            assert len(set(sample)) == 1
            if sample[0] == -1:
                assert set(tokens) == {PAD}
                assert set(weight) == {0.0}
                continue
            numbers.append(sample[0])
            assert tokens[0] == BOS
            assert tokens[1:] == targets[:-1]
            assert targets[-1] == EOS
            assert set(weight) == {1.0}
        assert numbers == list(range(len(numbers)))


def test_no_document_is_lost_or_repeated():
    source = Docs(count=60, longest=90)
    config = replace(CONFIG, too_long="split")
    found = []
    for batch in loader(config, mix(source, epochs=1)):
        for _, targets, weight, sample, _ in sequences(batch):
            if sample[0] >= 0:
                assert set(weight) == {1.0}
                found += targets
    wanted = [t for s in source.read() for t in [*ByteTokenizer().encode(s.text), EOS]]
    assert sorted(found) == sorted(wanted)


def test_row_boundary():
    config = replace(CONFIG, boundary="row")
    for batch in take(loader(config), 20):
        assert sum(batch.lengths) == 96
        for tokens, targets, weight, sample, positions in sequences(batch):
            assert positions == list(range(len(tokens)))
            if sample[0] == -1:
                assert set(weight) == {0.0}
                continue
            assert tokens[0] == BOS
            assert tokens[-1] == EOS
            assert tokens[1:] == targets[:-1]  # one sequence: what follows is the target everywhere
            assert [w == 0 for w in weight] == [t == EOS for t in tokens]
        at = 0
        for length in batch.row_lengths:
            tokens = batch.tokens_T[at : at + length].tolist()
            assert tokens.count(BOS) == tokens.count(EOS) > 0
            at += length


def test_split_in_row_boundary_trains_across_the_cut():
    config = replace(CONFIG, boundary="row", rows_per_batch=4)
    (batch,) = list(loader(config, once(text("abcdefghij" * 5))))
    by_first = {
        tokens[0]: (tokens, targets, weight) for tokens, targets, weight, *_ in sequences(batch)
    }
    tokens, targets, weight = by_first[BOS]
    assert len(tokens) == 32
    assert tokens[1:] == targets[:-1]
    assert targets[-1] in by_first
    assert set(weight) == {1.0}
    rest = by_first[targets[-1]]
    assert rest[0][-1] == EOS
    assert rest[2] == [1.0] * (len(rest[0]) - 1) + [0.0]


@pytest.mark.parametrize("boundary", ["document", "row"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_resume_at_every_position_equals_uninterrupted(boundary, workers):
    config = replace(CONFIG, boundary=boundary, workers=workers)
    run = loader(config)
    states, batches = [], []
    for _ in range(25):
        states.append(json.loads(json.dumps(run.state_dict())))
        batches.append(next(run))
    run.close()
    assert len(json.dumps(states[-1])) < 600
    for at in range(0, 25, 1 if workers == 0 else 6):
        resumed = loader(config)
        resumed.load_state_dict(states[at])
        assert resumed.state_dict() == states[at]
        rest = take(resumed, min(6, 25 - at))
        assert all(same(a, b) for a, b in zip(rest, batches[at:], strict=False)), at
        resumed.close()


def test_going_back_and_on_in_one_loader():
    run = loader(replace(CONFIG, workers=1))
    take(run, 4)
    state = run.state_dict()
    wanted = take(run, 6)
    run.load_state_dict(state)
    first = take(run, 3)
    run.close()  # stops the thread; the position stays
    assert all(same(a, b) for a, b in zip([*first, *take(run, 3)], wanted, strict=True))
    run.close()


def test_workers_do_not_change_the_batches():
    runs = [loader(replace(CONFIG, workers=w)) for w in (0, 1, 2, 3)]
    wanted = take(runs[0], 40)
    for run in runs[1:]:
        assert all(same(a, b) for a, b in zip(take(run, 40), wanted, strict=True))
        run.close()


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_same_global_rows(world_size):
    alone = loader(replace(CONFIG, rows_per_batch=3 * world_size))
    ranks = [loader(rank=r, world_size=world_size) for r in range(world_size)]
    for whole in take(alone, 8):
        batches = [next(rank) for rank in ranks]
        for field in ("tokens_T", "targets_T", "weight_T", "positions_T"):
            joined = torch.cat([getattr(b, field) for b in batches])
            assert torch.equal(joined, getattr(whole, field))
        assert sum((b.lengths for b in batches), ()) == whole.lengths
    assert {json.dumps(r.state_dict()) for r in ranks} == {json.dumps(alone.state_dict())}
    moved = loader()  # one rank goes on where several stopped
    moved.load_state_dict(ranks[0].state_dict())
    assert torch.equal(next(moved).tokens_T, next(ranks[0]).tokens_T)


def test_seeds_differ_and_repeat():
    assert same(next(loader(seed=1)), next(loader(seed=1)))
    assert not same(next(loader(seed=1)), next(loader(seed=2)))


@pytest.mark.parametrize("world_size", [1, 2])
def test_last_batch_is_filled_with_padding(world_size):
    ranks = [
        list(loader(data=mix(Docs(count=7), epochs=1), rank=r, world_size=world_size))
        for r in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    batches = [b for batches in ranks for b in batches]
    assert all(b.tokens_T.numel() == 96 for b in batches)
    assert sum(int((b.weight_T > 0).sum()) for b in batches) == sum(
        len(s.text) + 1 for s in Docs(count=7).read()
    )


def test_messages_train_only_what_the_renderer_marks():
    chat = Sample(
        id="0",
        source="given",
        weight=0.5,
        messages=(
            Message(
                "user", (TextPart("q"), MediaPart("image", "a.png"), MediaPart("audio", "b.wav"))
            ),
            Message("assistant", "xy"),
        ),
    )
    (batch,) = list(loader(replace(CONFIG, rows_per_batch=1), once(chat)))
    q, x, y = (BYTES + ord(c) for c in "qxy")
    assert batch.tokens_T[:5].tolist() == [q, EOS, x, y, PAD]
    assert batch.targets_T[:4].tolist() == [EOS, x, y, EOS]
    assert batch.weight_T[:5].tolist() == [0.0, 0.5, 0.5, 0.5, 0.0]
    assert batch.lengths == (4, 28)
    assert batch.media == chat.messages[0].media


def test_token_samples():
    config = replace(CONFIG, rows_per_batch=1)
    sample = Sample(id="0", source="given", tokens=(5, 6, 7), trains=(True, True, False))
    (batch,) = list(loader(config, once(sample)))
    assert batch.tokens_T[:2].tolist() == [5, 6]
    assert batch.targets_T[:2].tolist() == [6, 7]
    assert batch.weight_T[:2].tolist() == [1.0, 0.0]
    with pytest.raises(InputError, match=r"sample 0 of given.*259 ids"):
        list(loader(config, once(Sample(id="0", source="given", tokens=(5, 259)))))


def test_without_bos():
    (batch,) = list(loader(replace(CONFIG, rows_per_batch=1, add_bos=False), once(text("ab"))))
    assert batch.lengths == (2, 30)
    assert batch.tokens_T[0] == BYTES + ord("a")


def test_too_long():
    short, long = text("ab", "0"), text("c" * 70, "1")
    config = replace(CONFIG, rows_per_batch=4)
    (split,) = list(loader(replace(config, too_long="split"), once(short, long)))
    assert sorted(split.lengths) == [3, 7, 22, 32, 32, 32]
    assert split.sample_T.unique().tolist() == [-1, 0, 1]  # all pieces belong to one sample
    (drop,) = list(loader(replace(config, too_long="drop"), once(short, long)))
    assert (drop.weight_T > 0).sum() == 3
    with pytest.raises(
        InputError, match=r"sample 1 of given: 71 tokens: over loader.row_tokens 32"
    ):
        list(loader(replace(config, too_long="error"), once(short, long)))
    chat = Sample(
        id="0",
        source="given",
        messages=(Message("user", (TextPart("q" * 50), MediaPart("image", "a.png"))),),
    )
    with pytest.raises(InputError, match=r"set loader\.too_long to drop"):
        list(loader(config, once(chat)))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_data(workers):
    config = replace(CONFIG, workers=workers)
    with pytest.raises(InputError, match="no samples"):
        next(loader(config, mix(Given(samples=()))))
    run = loader(replace(config, too_long="drop"), once(text("c" * 70)))
    for _ in range(2):  # the second try is no silent end
        with pytest.raises(InputError, match="no usable sample"):
            next(run)
    with pytest.raises(InputError, match="every sample is dropped"):
        next(loader(replace(config, too_long="drop"), Given(samples=(text("c" * 70), text("")))))


def test_bad_settings():
    for name, value in (
        ("row_tokens", 0),
        ("rows_per_batch", 0),
        ("window_rows", 0),
        ("workers", -1),
    ):
        with pytest.raises(InputError, match=f"loader.{name}"):
            LoaderConfig(**{name: value})


def test_state_of_other_data_is_refused():
    state = loader().state_dict()
    for other in (
        loader(data=mix(Docs(count=61))),
        loader(replace(CONFIG, row_tokens=64)),
        loader(replace(CONFIG, boundary="row")),
        loader(seed=1),
    ):
        with pytest.raises(InputError, match="loader state"):
            other.load_state_dict(state)


def test_real_tokenizer_and_environment():
    data = EnvironmentSource(
        environment=Sums(), count=40, modes={"on": 1.0, "off": 1.0, "budget": 1.0}
    )
    words = [m.text for s in data.read() for m in s.messages]
    tokenizer = Tokenizer.train(words, 400)
    config = LoaderConfig(row_tokens=256, rows_per_batch=2, workers=0)
    texts = []
    for batch in Loader(config, mix(data, epochs=1), tokenizer, Seed(0)):
        for tokens, targets, weight, sample, _ in sequences(batch):
            if sample[0] >= 0:
                texts.append(tokenizer.decode([*tokens, targets[-1]]))
                trained = [t for t, w in zip(targets, weight, strict=True) if w]
                assert 0 < len(trained) < len(targets)
                assert trained[-1] in tokenizer.eos_ids
    assert len(texts) == 40
    assert all(any(s.messages[0].text in t for t in texts) for s in data.read())


def test_abandoned_loader_ends_its_thread():
    run = loader(replace(CONFIG, workers=2))
    next(run)
    del run
    deadline = time.monotonic() + 10
    while any(t.name.startswith("nautiloid") for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_assembly_is_fast():
    samples = tuple(
        Sample(id=str(i), source="given", tokens=(7,) * (50 + i * 37 % 700)) for i in range(4000)
    )
    config = LoaderConfig(row_tokens=2048, rows_per_batch=8, workers=0)
    run = loader(config, mix(Given(samples=samples)))
    began = time.perf_counter()
    batches = take(run, 100)
    rate = 100 * config.batch_tokens / (time.perf_counter() - began)
    assert sum(int((b.weight_T > 0).sum()) for b in batches) > 0.98 * 100 * config.batch_tokens
    assert rate > 1e6, rate
