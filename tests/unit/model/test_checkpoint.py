import json

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.model.checkpoint import Checkpoint, check_tokenizer, merge, write_checkpoint
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset
from nautiloid.model.weights import load, save


def make(seed=0):
    model = Decoder(preset("debug"))
    model.init_weights(Seed(seed))
    return model


@pytest.fixture
def tokenizer(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    write_tokenizer(folder, 2048)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "notes.txt").write_text("not copied")
    return folder


def write_tokenizer(folder, size):
    vocab = {f"t{i}": i for i in range(size - 1)}
    data = {
        "model": {"type": "BPE", "vocab": vocab},
        "added_tokens": [{"id": size - 1, "content": "<x>"}],
    }
    (folder / "tokenizer.json").write_text(json.dumps(data))


def test_folder_is_complete(tmp_path, tokenizer):
    model = make()
    path = write_checkpoint(
        tmp_path / "out",
        model,
        tokenizer_folder=tokenizer,
        provenance={"steps": 3},
        card="# Card\n",
    )
    assert sorted(p.name for p in path.iterdir()) == [
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "manifest.json",
        "model.safetensors", "provenance.json", "tokenizer.json",
    ]  # fmt: skip
    found = Checkpoint.open(path, verify=True)
    assert found.provenance == {"steps": 3}
    assert found.config.eos_ids == (2, 11)
    assert (path / "README.md").read_text() == "# Card\n"
    a, b = model.state_dict(), load(path).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_damage_is_found(tmp_path):
    path = write_checkpoint(tmp_path / "out", make(), tokenizer_folder=None, provenance={}, card="")
    file = path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    Checkpoint.open(path)
    with pytest.raises(InputError, match=r"model.safetensors: wrong checksum"):
        Checkpoint.open(path, verify=True)


def test_tokenizer_that_does_not_fit_is_refused(tmp_path, tokenizer):
    write_tokenizer(tokenizer, 2049)
    with pytest.raises(
        InputError, match=r"tokenizer.json: 2049 ids: the model has vocab_size 2048"
    ):
        write_checkpoint(
            tmp_path / "out", make(), tokenizer_folder=tokenizer, provenance={}, card=""
        )
    assert not (tmp_path / "out").exists()
    save(make(), tmp_path / "m")
    write_tokenizer(tmp_path / "m", 2049)
    with pytest.raises(InputError, match="2049 ids"):
        load(tmp_path / "m")
    check_tokenizer(tmp_path / "nothing", preset("debug"))


def test_merge_averages_in_float32(tmp_path, tokenizer):
    models = [make(seed) for seed in (0, 1)]
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, model in zip(paths, models, strict=True):
        write_checkpoint(
            path, model, tokenizer_folder=tokenizer, provenance={}, card="", dtype="bfloat16"
        )
    out = merge(paths, tmp_path / "out", card="merged")
    found = load(out)
    assert (found.config.dtype, (out / "tokenizer.json").exists()) == ("bfloat16", True)
    a, b, c = (load(p).state_dict() for p in (*paths, out))
    for name in c:
        mean = (a[name].float() + b[name].float()) / 2
        is_wide = found.config.tensors()[name].is_fp32
        stored = mean if is_wide else mean.bfloat16()
        assert torch.equal(c[name], stored.to(c[name].dtype)), name
    shares = Checkpoint.open(out, verify=True).provenance["merge"]
    assert [part["share"] for part in shares] == [0.5, 0.5]
    only = load(merge(paths, tmp_path / "only", weights=[0, 2])).state_dict()
    assert all(torch.equal(only[name], b[name]) for name in b)


def test_bad_merges_are_refused(tmp_path):
    save(make(), tmp_path / "a")
    with pytest.raises(InputError, match="name at least two"):
        merge([tmp_path / "a"], tmp_path / "out")
    with pytest.raises(InputError, match="give 2 numbers"):
        merge([tmp_path / "a", tmp_path / "a"], tmp_path / "out", weights=[1.0])
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    save(make(), tmp_path / "b")
    (tmp_path / "b" / "config.json").write_text(json.dumps({**config, "chunk_size": 32}))
    with pytest.raises(InputError, match=r"a: layer 0 chunk_size: 64: .* has another"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
