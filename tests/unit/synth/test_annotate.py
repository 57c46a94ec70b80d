import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.core.types import Document
from nautiloid.curate.filters.score import Score
from nautiloid.curate.quality.annotators import ChildEmbedder, Classifier, Embeddings
from nautiloid.curate.quality.child import Child, Command
from nautiloid.curate.stage import Stage
from nautiloid.synth.annotate import Model, answer, serve

transformers = pytest.importorskip("transformers")

WORDS = [f"word{i}" for i in range(60)]
TEXT = "word1 word2 word3"
LONG = " ".join(WORDS * 4)


def save_bert(folder, *, num_labels=None):
    """A BERT of one layer with a vocabulary of 64 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True)),
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        **({} if num_labels is None else {"num_labels": num_labels}),
    )
    kind = "BertModel" if num_labels is None else "BertForSequenceClassification"
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("classifier"), num_labels=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def scorer(classifier):
    with Classifier(model=classifier, max_windows=3, threads=1).open() as opened:
        yield opened


def exact_scores(folder, texts):
    """Scores of transformers itself, one text at a time."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return [model(**tokenizer(t, return_tensors="pt")).logits.item() for t in texts]


def test_scores_are_those_of_transformers(classifier, scorer):
    texts = [TEXT, "word5", " ".join(WORDS[:30]), "unknown"]
    assert scorer.score(texts) == pytest.approx(exact_scores(classifier, texts), abs=1e-3)
    assert scorer.score(texts[:1]) == pytest.approx(scorer.score(texts)[:1], abs=1e-3)
    assert scorer.score([]) == []


def test_long_texts_are_cut_into_windows(classifier, scorer):
    words = LONG.split()
    parts = [" ".join(words[i : i + 38]) for i in range(0, len(words), 38)]
    expected = exact_scores(classifier, [parts[i] for i in (0, 3, 6)])
    assert scorer.score([LONG]) == pytest.approx([sum(expected) / 3], abs=1e-3)
    model = Model(classifier, "score", max_windows=3)
    assert answer(model, [LONG], "max") == pytest.approx([max(expected)], abs=1e-3)
    one = Model(classifier, "score", max_windows=1)
    assert answer(one, [LONG, ""], "mean")[0] == pytest.approx(
        exact_scores(classifier, [parts[3]])[0], abs=1e-3
    )


def test_the_stage_scores_in_batches(classifier, scorer):
    stage = Score(scorer=Classifier(model=classifier, batch_size=5))
    assert from_json(Stage, to_json(stage)) == stage
    assert stage.batch_size == 5
    documents = [Document(str(i), " ".join(WORDS[i : i + 5])) for i in range(5)]
    rated = stage.apply_batch(documents, scorer)
    alone = stage.apply(documents[2], scorer)
    assert alone.meta["score"] == pytest.approx(rated[2].meta["score"], abs=1e-3)
    assert not stage.apply_batch((), scorer)
    assert [r.id for r in rated] == list("01234")
    assert all(0 <= r.meta["score"] <= 5 for r in rated)


class Served:
    """Asks a model of this process in the way of a child."""

    def __init__(self, model):
        self.model = model

    def ask(self, texts):
        requests = io.StringIO(json.dumps({"texts": texts}) + "\nrubbish\n")
        answers = io.StringIO()
        serve(self.model, requests, answers)
        first, second = map(json.loads, answers.getvalue().splitlines())
        assert second["error"].startswith("JSONDecodeError")
        return first["results"]


def test_embeddings_are_masked_means_of_length_one(encoder):
    model = transformers.AutoModel.from_pretrained(encoder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    with torch.inference_mode():
        mean = model(**tokenizer("word0 " + TEXT, return_tensors="pt")).last_hidden_state[0].mean(0)
    expected = torch.nn.functional.normalize(mean, dim=0)
    served = Served(Model(encoder, "embed"))
    vectors = torch.tensor(ChildEmbedder(served, "word0 ").embed([TEXT, LONG, "word7 " * 20]))
    assert torch.allclose(vectors[0], expected, atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


def test_bad_folders_are_refused(tmp_path, classifier, encoder):
    with pytest.raises(InputError, match=r"no config\.json there"):
        Classifier(model=str(tmp_path)).command("score")
    many = save_bert(tmp_path / "many", num_labels=3)
    with pytest.raises(InputError, match=r"3 outputs: use a classifier trained as a regression"):
        Model(many, "score")
    with pytest.raises(InputError, match=r"max_tokens: 100: the model takes at most 40"):
        Model(classifier, "score", max_tokens=100)
    with pytest.raises(InputError, match=r"max_tokens: 2: use more than 2"):
        Model(classifier, "score", max_tokens=2)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(InputError, match="cannot be loaded"):
        Model(str(broken), "embed")
    with pytest.raises(InputError, match=r"classifier\.model: name the folder"):
        Classifier()
    with pytest.raises(InputError, match=r"embeddings\.batch_size: 0"):
        Embeddings(model=encoder, batch_size=0)


FAKE = """
import json, os, sys, time
mode = sys.argv[1]
print(json.dumps({"ready": True}) if mode != "noise" else "hello", flush=True)
if mode == "early": sys.exit(3)
for number, line in enumerate(sys.stdin):
    texts = json.loads(line)["texts"]
    flag = sys.argv[2]
    if mode == "once" and not os.path.exists(flag):
        open(flag, "w").close()
        print("CUDA error: out of luck", file=sys.stderr, flush=True)
        os._exit(7)
    if mode == "always": print("Killed by the weather", file=sys.stderr, flush=True); os._exit(9)
    if mode == "silent": time.sleep(60)
    if mode == "rubbish": print("{]", flush=True); continue
    if mode == "short": print(json.dumps({"results": [1.0]}), flush=True); continue
    if mode == "refuse": print(json.dumps({"error": "ValueError: no"}), flush=True); continue
    print(json.dumps({"results": [len(text) for text in texts]}), flush=True)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A child that behaves as its first argument says."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    start = subprocess.Popen

    def popen(command, **options):
        return start([sys.executable, "-S", str(script), *command[3:]], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)

    def command(mode, **settings):
        arguments = (mode, str(tmp_path / "flag"))
        return replace(Command("score by fake", arguments, 20.0, 20.0, 1), **settings)

    return command


def test_a_child_that_dies_once_is_replaced(fake):
    with Child(fake("once")) as child:
        assert child.ask(["abc"]) == [3]
        assert child.ask(["abcd"]) == [4]


def test_large_batches_go_both_ways(fake):
    with Child(fake("fine")) as child:
        texts = ["x" * 300_000] * 20
        assert child.ask(texts) == [300_000] * 20
        assert len(child.ask(["\n\u20ac\"'"] * 30_000)) == 30_000


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        ("always", r"score by fake: the child ended with status 9: it said: Killed by the weather"),
        ("rubbish", "rubbish instead of an answer"),
        ("short", "an answer of another length"),
        ("refuse", "ValueError: no"),
    ],
)
def test_a_child_that_fails_stops_the_run(fake, mode, match):
    with Child(fake(mode)) as child, pytest.raises(InputError, match=match):
        child.ask(["a", "b"])


def test_a_silent_child_is_ended_in_time(fake):
    start = time.monotonic()
    with Child(fake("silent", answer_s=0.3)) as child:
        assert child._process
        pid = child._process.pid
        with pytest.raises(InputError, match=r"no answer in 0\.3 s"):
            child.ask(["a"])
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert time.monotonic() - start < 10


def use(command):
    with Child(command) as child:
        child.ask(["a"])
        child.ask(["a"])


@pytest.mark.parametrize("mode", ["noise", "early"])
def test_a_child_that_never_gets_ready(fake, mode):
    with pytest.raises(InputError, match=r"rubbish|the child ended"):
        use(fake(mode))
