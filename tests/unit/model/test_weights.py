import json
import logging
import os
import struct
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.model.blocks.attention.config import RopeConfig
from nautiloid.model.decoder import Decoder
from nautiloid.model.folder import INDEX, scan
from nautiloid.model.presets import preset
from nautiloid.model.weights import WeightStream, load, save

TOKENS = torch.arange(24).view(2, 12)
EXPERT = "backbone.layers.1.mixer.experts.3.up_proj.weight"


def make(config=None, **options):
    model = Decoder(config or preset("debug"), **options)
    model.init_weights(Seed(0))
    with torch.no_grad():
        for layer in model.moe_layers():
            if layer.router.e_score_correction_bias is not None:
                layer.router.e_score_correction_bias.normal_(
                    generator=torch.Generator().manual_seed(1)
                )
    return model


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture
def folder(model, tmp_path):
    save(model, tmp_path / "model")
    return tmp_path / "model"


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(
        torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a
    )


def rewrite(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_module_tree_has_the_declared_names(model):
    assert set(model.state_dict()) == set(model.config.tensors())


@pytest.mark.parametrize("per_expert", [True, False])
@pytest.mark.parametrize("max_shard_bytes", [5e9, 1_200_000])
def test_round_trip_is_exact(model, tmp_path, per_expert, max_shard_bytes):
    save(model, tmp_path / "m", per_expert=per_expert, max_shard_bytes=max_shard_bytes)
    shards = list((tmp_path / "m").glob("*.safetensors"))
    assert (len(shards) > 1) == (tmp_path / "m" / INDEX).exists() == (max_shard_bytes < 2e6)
    assert all(shard.stat().st_size < max_shard_bytes * 1.2 for shard in shards)
    again = load(tmp_path / "m")
    assert same(model, again)
    assert replace(again.config, extra={}) == replace(model.config, extra={})
    with torch.no_grad():
        assert torch.equal(again(TOKENS), model(TOKENS))


def test_prefix_of_transformers_in_memory_names(model, folder):
    def rename(tensors):
        for name in list(tensors):
            if name.startswith("backbone."):
                tensors["model." + name[9:]] = tensors.pop(name)

    rewrite(folder, rename)
    assert same(model, load(folder))


def test_dtypes(model, folder, tmp_path):
    low = load(folder, dtype="bfloat16")
    kinds = {name: t.dtype for name, t in low.state_dict().items()}
    specs = model.config.tensors()
    biases = {name for name in kinds if name.endswith("e_score_correction_bias")}
    islands = {name for name in kinds if name.endswith((".A_log", ".dt_bias", ".D"))}
    assert biases == {n for n, s in specs.items() if s.is_fp32}
    assert islands == {n for n, s in specs.items() if s.is_island}
    assert {n for n, kind in kinds.items() if kind == torch.float32} == biases | islands
    save(low, tmp_path / "low")
    stored = {e.name: e.dtype for e in scan(tmp_path / "low").values()}
    assert {n for n, kind in stored.items() if kind == "F32"} == {
        n for n in stored if n.endswith("e_score_correction_bias")
    }
    assert json.loads((tmp_path / "low" / "config.json").read_text())["dtype"] == "bfloat16"
    again = load(tmp_path / "low")
    state = low.state_dict()
    for name, tensor in again.state_dict().items():
        stored = state[name].bfloat16() if name in islands else state[name]
        assert torch.equal(tensor, stored.to(tensor.dtype)), name
    save(model, tmp_path / "cast", dtype="bfloat16")
    assert same(again, load(tmp_path / "cast"))
    # exporters that keep the SSM parameters in float32 are accepted
    rewrite(
        tmp_path / "low", lambda t: t.update({n: v.float() for n, v in t.items() if "A_log" in n})
    )
    assert same(again, load(tmp_path / "low"))


def test_stream_gives_every_tensor_in_our_names(model, folder):
    own = model.state_dict()
    found = dict(WeightStream(folder))
    assert list(found) == list(model.config.tensors())
    assert all(torch.equal(found[name], own[name]) for name in found)
    assert torch.equal(
        WeightStream(folder).read("layers.1.mixer.experts.up_proj", 5),
        own["layers.1.mixer.experts.up_proj"][5],
    )


def test_stacking_keeps_the_order_of_more_than_ten_experts(tmp_path):
    base = preset("debug")
    blocks = {**base.blocks, "E": replace(base.blocks["E"], n_routed_experts=13)}
    model = make(replace(base, blocks=blocks))
    save(model, tmp_path / "m")
    assert same(model, load(tmp_path / "m"))
    found = dict(WeightStream(tmp_path / "m"))
    name = "layers.1.mixer.experts.down_proj"
    assert torch.equal(found[name], model.state_dict()[name])


def test_tied_head(tmp_path):
    for name in ("debug", "qwen"):
        config = replace(preset("debug"), tie_word_embeddings=True)
        if name == "qwen":
            config = replace(
                preset("qwen3-0.6b"), pattern="*-", hidden_size=32, vocab_size=64, dtype="float32"
            )
        model = make(config)
        save(model, tmp_path / name)
        assert ("lm_head.weight" in scan(tmp_path / name)) == (name == "debug")
        assert same(model, load(tmp_path / name))


def test_what_the_family_cannot_say_is_saved_as_our_own(tmp_path, caplog):
    base = preset("debug")
    attention = replace(base.blocks["*"], qk_norm=True, rope=RopeConfig(), has_sinks=True)
    model = make(replace(base, blocks={**base.blocks, "*": attention}))
    with caplog.at_level(logging.WARNING, logger="nautiloid"):
        save(model, tmp_path / "m")
    assert "model_type nautiloid" in caplog.text
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "nautiloid"
    again = load(tmp_path / "m")
    assert same(model, again)
    assert again.config == model.config


def test_save_replaces_a_model_and_nothing_else(model, tmp_path):
    save(model, tmp_path / "m", max_shard_bytes=1_200_000)
    save(model, tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors",
    ]  # fmt: skip
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(InputError, match="not a model folder"):
        save(model, tmp_path / "notes")
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "notes"]


def test_failed_save_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("nautiloid.model.weights.save_file", fail)
    with pytest.raises(InputError, match="disk full"):
        save(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def drop(tensors):
    del tensors[EXPERT]


def extra(tensors):
    tensors["backbone.layers.9.norm.weight"] = torch.ones(128)


def extra_mtp(tensors):
    tensors["mtp.layers.7.norm.weight"] = torch.ones(128)


def drop_mtp(tensors):
    del tensors["mtp.layers.0.eh_proj.weight"]


def misshape(tensors):
    tensors[EXPERT] = torch.zeros(95, 64)


def integers(tensors):
    tensors[EXPERT] = torch.zeros(96, 64, dtype=torch.int8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, rf"{EXPERT}: missing tensor: expected \[96, 64\]"),
        (extra, r"model.safetensors: backbone.layers.9.norm.weight: unexpected tensor"),
        (extra_mtp, r"mtp.layers.7.norm.weight: unexpected tensor: .*num_nextn_predict_layers"),
        (
            drop_mtp,
            r"eh_proj.weight: missing tensor: expected \[128, 256\]; set num_nextn_predict_layers",
        ),
        (misshape, rf"model.safetensors: {EXPERT}: shape \[95, 64\]: expected \[96, 64\]"),
        (integers, rf"{EXPERT}: I8: expected one of F64"),
    ],
)
def test_damaged_tensor_is_named(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_torn_file_names_the_first_lost_tensor(folder):
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1000])
    with pytest.raises(
        InputError, match=r"model.safetensors: .*: truncated at \d+ bytes: expected \["
    ):
        load(folder)
    file.write_bytes(data[:100])
    with pytest.raises(InputError, match="truncated inside its header"):
        load(folder)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="0 bytes: truncated"):
        load(folder)
    file.write_bytes(struct.pack("<Q", 4) + b"nope" + data)
    with pytest.raises(InputError, match="not a safetensors file"):
        load(folder)
    file.unlink()
    with pytest.raises(InputError, match=r"holds neither model.safetensors nor"):
        load(folder)


def test_missing_shard_is_named(model, tmp_path):
    folder = tmp_path / "m"
    save(model, folder, max_shard_bytes=1_200_000)
    shards = sorted(folder.glob("*.safetensors"))
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["lost.weight"] = shards[0].name
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=rf"{shards[0].name}: lost.weight: missing"):
        load(folder)
    shards[1].unlink()
    with pytest.raises(
        InputError, match=rf"{shards[1].name}: missing shard: .* expects \d+ tensors"
    ):
        load(folder)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"config.json: no such file"):
        load(tmp_path / "nowhere")


MEMORY = """
import resource, sys, torch
from nautiloid.model.weights import load
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = load(sys.argv[1])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = sum(t.nbytes for t in model.state_dict().values())
print((peak - base) * 1024, size)
"""


def test_peak_memory_is_the_model_and_one_shard(tmp_path):
    base = preset("debug")
    model = make(replace(base, vocab_size=60_000))
    shard = 12_000_000
    save(model, tmp_path / "m", max_shard_bytes=shard)
    out = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "m")],
        capture_output=True,
        text=True,
        check=True,
    )
    used, size = (int(n) for n in out.stdout.split())
    largest = max(f.stat().st_size for f in (tmp_path / "m").glob("*.safetensors"))
    assert size > 2 * largest / 1.2
    assert used < size + largest + 10_000_000, (used, size, largest)
