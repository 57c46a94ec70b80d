import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.core.errors import InputError
from nautiloid.core.types import Message
from nautiloid.data.tokenizer import Tokenizer

CORPUS = [
    "def add(left, right):\n    return left + right  # 12 + 345 = 357\n\n\nclass Point:\n    pass\n",
    "The quick brown fox jumps over the lazy dog. Then it sleeps.\n\nAnd wakes, hungry!\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 価格は高い。\n",
] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(CORPUS, 512)


def test_published_ids_come_first(tokenizer):
    names = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
    assert [tokenizer.special(name) for name in names] == [0, 1, 2, 10, 11, 12, 13]
    assert tokenizer.special("<tool_call>") == 14
    assert tokenizer.special("</tool_call>") == 15
    assert tokenizer.special("<SPECIAL_31>") == 31
    assert (tokenizer.eos_ids, tokenizer.bos_id, tokenizer.pad_id) == ((2, 11), 1, 0)
    with pytest.raises(InputError, match=r"<SPECIAL_32>"):
        tokenizer.special("<SPECIAL_32>")


def test_nano_v2_keeps_numbered_names():
    tokenizer = Tokenizer.train(CORPUS, 400, "nano_v2")
    assert tokenizer.special("<SPECIAL_12>") == 12
    assert "<think>" not in tokenizer.specials
    assert tokenizer.eos_ids == (2, 12)
    assert tokenizer.renderer().think_end_ids == tuple(tokenizer.encode("</think>"))


def test_training_is_deterministic(tokenizer):
    again = Tokenizer.train(iter(CORPUS), 512)
    text = CORPUS[0] + CORPUS[2]
    assert again.vocab_size == tokenizer.vocab_size <= 512
    assert again.encode(text) == tokenizer.encode(text)


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_decoding_inverts_encoding(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    lengths = tokenizer.byte_lengths()
    spelled = tokenizer.token_bytes()
    assert b"".join(spelled[i] for i in ids) == text.encode()
    assert sum(lengths[i] for i in ids) == len(text.encode())
    assert tokenizer.encode_batch([text, "a"]) == [ids, tokenizer.encode("a")]


def test_digits_stand_alone():
    tokenizer = Tokenizer.train(["1234 2024 2024 2024"] * 50, 400)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("2024")] == ["2", "0", "2", "4"]


def test_special_names_in_text_stay_text(tokenizer):
    text = "a<|im_end|><think></s><SPECIAL_20>b"
    ids = tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.specials.values())
    assert tokenizer.decode(ids) == text
    trusted = tokenizer.encode(text, allow_special=True)
    assert trusted[1:5] == [11, 12, 2, 20]
    assert tokenizer.decode(trusted) == text
    assert tokenizer.decode(trusted, skip_special=True) == "ab"
    assert len(tokenizer.byte_lengths()) == tokenizer.vocab_size
    assert all(tokenizer.byte_lengths()[i] == 0 for i in tokenizer.specials.values())


def test_offsets_name_the_characters_of_each_id(tokenizer):
    text = "über 価格 12\n\n"
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text)
    assert {i for start, end in offsets for i in range(start, end)} == set(range(len(text)))


def test_folder_round_trip(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "model")
    loaded = Tokenizer.load(tmp_path / "model")
    assert loaded.grammar == "nemotron3"
    assert loaded.encode(CORPUS[2]) == tokenizer.encode(CORPUS[2])
    loaded.save(tmp_path / "again")
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    ):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


@pytest.mark.parametrize("grammar", ["nemotron3", "nano_v2"])
def test_transformers_reads_the_folder(grammar, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = Tokenizer.train(CORPUS, 512, grammar)
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    text = CORPUS[0] + "<s>" + CORPUS[2] + "<SPECIAL_20>"
    assert theirs(text).input_ids == tokenizer.encode(text, allow_special=True)
    assert theirs.decode(theirs(text).input_ids) == text
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (1, 2, 0)
    messages = [{"role": "user", "content": "Hi"}]
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(ids) == tokenizer.renderer().prompt([Message("user", "Hi")])


def test_a_template_of_the_folder_is_kept(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "a")
    (tmp_path / "a" / "chat_template.jinja").write_text("theirs")
    Tokenizer.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "b" / "chat_template.jinja").read_text() == "theirs"


def test_missing_and_damaged_folders_are_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file"):
        Tokenizer.load(tmp_path)
    tokenizer.save(tmp_path)
    whole = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"tokenizer\.json: damaged"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(whole)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer_config\.json: not valid JSON"):
        Tokenizer.load(tmp_path)


def test_unknown_grammar_names_the_remedy(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    assert config.pop("nautiloid_grammar") == "nemotron3"
    path.write_text(json.dumps(config))
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match=r"pass grammar= .*nano_v2"):
        Tokenizer.load(tmp_path)
    assert Tokenizer.load(tmp_path, grammar="nemotron3_ultra").grammar == "nemotron3_ultra"
    with pytest.raises(InputError, match="did you mean 'chatml'"):
        Tokenizer.load(tmp_path, grammar="chatm")
    with pytest.raises(InputError, match="<SPECIAL_10>: the nano_v2 grammar needs"):
        Tokenizer.load(tmp_path, grammar="nano_v2")


@pytest.mark.parametrize("grammar", ["chatml", "nemotron3", "nemotron3_ultra", "nano_v2"])
def test_the_chat_template_tells_the_grammar(grammar, tmp_path):
    Tokenizer.train(CORPUS, 400, grammar).save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["nautiloid_grammar"]
    path.write_text(json.dumps(config))
    assert Tokenizer.load(tmp_path).grammar == grammar


def test_too_small_vocabulary_is_refused():
    with pytest.raises(InputError, match="vocab_size: 100: use at least 288"):
        Tokenizer.train(CORPUS, 100)
    with pytest.raises(InputError, match="num_reserved: 12"):
        Tokenizer.train(CORPUS, 400, num_reserved=12)
    assert Tokenizer.train(CORPUS, 288, num_reserved=16).special("</tool_call>") == 15
