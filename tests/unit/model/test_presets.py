import subprocess
import sys

import pytest

from nautiloid.core.config import from_json, to_json
from nautiloid.core.errors import InputError
from nautiloid.model import costs
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.family import family
from nautiloid.model.presets import preset, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_preset_survives_json_and_its_family(name):
    config = preset(name)
    assert from_json(ModelConfig, to_json(config)) == config
    own = family(config.family)
    back = own.read_config(own.write_config(config))
    assert back.tensors() == config.tensors()
    assert back.mtp == config.mtp


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("nemotron-h-4b", (24, 0, 24, 4)),
        ("nemotron-h-8b", (24, 0, 24, 4)),
        ("nemotron-h-47b", (45, 0, 48, 5)),
        ("nemotron-h-56b", (54, 0, 54, 10)),
        ("nemotron-nano-9b-v2", (27, 0, 25, 4)),
        ("nemotron-nano-12b-v2", (28, 0, 28, 6)),
        ("nemotron-3-nano-4b", (21, 0, 17, 4)),
        ("nemotron-3-nano-30b-a3b", (23, 23, 0, 6)),
        ("nemotron-3-super-120b-a12b", (40, 40, 0, 8)),
        ("nemotron-3-ultra-550b-a55b", (48, 48, 0, 12)),
    ],
)
def test_layers_by_kind(name, counts):
    assert tuple(preset(name).pattern.count(c) for c in "ME-*") == counts


@pytest.mark.parametrize(
    ("name", "layers", "active", "total"),
    [
        ("a315m", 22, 0.315, 1),
        ("a500m", 27, 0.505, 2),
        ("a770m", 33, 0.776, 4),
        ("a1b", 36, 1.109, 7),
        ("a2b", 44, 2.009, 15),
        ("a3b", 52, 3.580, 32),
    ],
)
def test_ladder_is_named_by_active_and_total_parameters(name, layers, active, total):
    config = preset(name)
    counted = costs.parameters(config)
    assert config.num_hidden_layers == layers
    assert round(counted.active_both / 1e9, 3) == active
    assert int(counted.trunk / 1e9 + 0.5) == total


def test_widths_of_table_1_3():
    rows = {
        "nemotron-h-8b": (8192, 18560, 10240),
        "nemotron-nano-9b-v2": (10240, 22656, 12288),
        "nemotron-nano-12b-v2": (10240, 22656, 12288),
        "nemotron-3-nano-4b": (7680, 17504, 9728),
        "nemotron-3-nano-30b-a3b": (4096, 10304, 6144),
        "nemotron-3-super-120b-a12b": (8192, 18560, 10240),
        "nemotron-3-ultra-550b-a55b": (16384, 35072, 18432),
    }
    for name, row in rows.items():
        block = preset(name).blocks["M"]
        assert isinstance(block, MambaConfig)
        assert (block.inner, sum(block.segments.values()), block.conv_channels) == row


def test_debug_has_every_kind_of_block():
    config = preset("debug")
    assert set(config.pattern) == set("ME*-")
    moe = config.blocks["E"]
    assert isinstance(moe, MoEConfig)
    assert moe.moe_latent_size
    assert config.mtp
    assert costs.parameters(config).total < 2_000_000


def test_unknown_preset_names_a_close_one():
    with pytest.raises(InputError, match="did you mean 'nemotron-3-nano-30b-a3b'"):
        preset("nemotron3-nano-30b-a3b")
    with pytest.raises(InputError, match="use one of debug"):
        preset("zzz")


def test_costs_and_presets_do_not_import_torch():
    code = (
        "import sys; from nautiloid.model import costs, presets, folder, checkpoint;"
        "costs.checkpoint_tensors(presets.preset('debug')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
