import json
import struct

import pytest
import torch
from tests.suites import transfers

from nautiloid.core.errors import InputError
from nautiloid.model.transfer import Move, copy_moves
from nautiloid.model.weights import load


@pytest.mark.parametrize("name", transfers.configs())
@pytest.mark.parametrize("per_expert", [True, False])
def test_round_trip_of_every_family(name, per_expert, tmp_path):
    transfers.check_round_trip(name, tmp_path / "m", device="cpu", per_expert=per_expert)


@pytest.mark.parametrize("wanted", ["float32", "float16", "float64"])
def test_other_dtypes_round_once(wanted, tmp_path):
    transfers.check_round_trip(
        "nemotron_h", tmp_path / "m", device="cpu", dtype="float32", wanted=wanted
    )


def test_small_buffers(tmp_path):
    transfers.check_small_buffers(tmp_path / "m", device="cpu")


@pytest.mark.parametrize("shards", [20_000, 5e9])
def test_shards(shards, tmp_path):
    transfers.check_round_trip("qwen3_moe", tmp_path / "m", device="cpu", max_shard_bytes=shards)


def test_file_cut_while_it_is_read(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes(100))
    move = Move(file, 8, torch.float32, torch.empty(40))
    with pytest.raises(InputError, match=r"a: truncated at 100 bytes while it was read: copy"):
        copy_moves([move])


@pytest.mark.parametrize("change", [-2, 2])
def test_header_that_contradicts_itself(change, tmp_path):
    transfers.saved(transfers.configs()["qwen3"], tmp_path / "m", dtype="bfloat16")
    file = tmp_path / "m" / "model.safetensors"
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["model.norm.weight"]["data_offsets"][0] += change
    text = json.dumps(header).encode().ljust(length)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(InputError, match=r"model.norm.weight: \d+ bytes: its header says \[64\]"):
        load(tmp_path / "m")
