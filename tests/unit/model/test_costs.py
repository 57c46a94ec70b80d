"""Every number of specs/architecture 2.8 and 9."""

import pytest

from nautiloid.model import costs
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.presets import preset

H8, N9, N12 = "nemotron-h-8b", "nemotron-nano-9b-v2", "nemotron-nano-12b-v2"
N4, N30, LIGHTNING = (
    "nemotron-3-nano-4b",
    "nemotron-3-nano-30b-a3b",
    "nemotron-3.5-lightning-30b-a3b",
)
SUPER, ULTRA = "nemotron-3-super-120b-a12b", "nemotron-3-ultra-550b-a55b"


def by_kind(name):
    return {cost.letter: cost for cost in costs.layers(preset(name))}


@pytest.mark.parametrize(
    ("name", "total", "layers"),
    [
        (H8, 8_100_852_736, {"M": 109_640_064, "-": 176_164_864, "*": 41_947_136}),
        (N9, 8_888_227_328, {"M": 147_450_624, "-": 140_497_280, "*": 55_054_720}),
        (N12, 12_310_001_152, {"M": 168_504_704, "-": 209_720_320, "*": 62_919_680}),
        (N4, 3_973_556_832, {"M": 79_036_768, "-": 78_679_104, "*": 38_538_304}),
        (N30, 31_577_940_288, {"M": 38_744_896, "E": 1_297_468_160, "*": 23_399_040}),
        (SUPER, 120_668_707_840, {"M": 109_640_064, "E": 2_873_102_848, "*": 35_655_680}),
        (ULTRA, 549_308_993_536, {"M": 421_645_056, "E": 10_942_947_840, "*": 138_420_224}),
    ],
)
def test_parameter_counts(name, total, layers):
    counted = costs.parameters(preset(name))
    assert counted.trunk == total
    found = by_kind(name)
    assert {letter: found[letter].total for letter in layers} == layers
    head_and_norm = counted.embedding + counted.head + preset(name).hidden_size
    assert sum(cost.total for cost in costs.layers(preset(name))) + head_and_norm == total


@pytest.mark.parametrize(
    ("name", "active_layer", "active"),
    [
        (N30, 80_169_728, (2.875, 3.228, 3.580)),
        (SUPER, 175_641_088, (11.696, 12.233, 12.770)),
        (ULTRA, 666_903_040, (53.911, 54.985, 56.059)),
    ],
)
def test_active_parameters(name, active_layer, active):
    counted = costs.parameters(preset(name))
    assert by_kind(name)["E"].active == active_layer
    found = (counted.active, counted.active_head, counted.active_both)
    assert tuple(round(n / 1e9, 3) for n in found) == active


@pytest.mark.parametrize("name", [H8, N9, N12, N4])
def test_dense_models_use_every_parameter(name):
    counted = costs.parameters(preset(name))
    assert counted.active_both == counted.total


def test_totals_with_mtp():
    assert costs.parameters(preset(LIGHTNING)).total == 32_913_266_240
    found = costs.parameters(preset(SUPER))
    assert found.total == 123_611_033_088
    assert (round(found.mtp / 1e9, 3), round(found.active_mtp / 1e9, 3)) == (2.942, 0.245)
    assert round(costs.parameters(preset(ULTRA)).total / 1e9, 2) == 560.52


@pytest.mark.parametrize(
    ("name", "tensors", "elements", "fp32", "mtp"),
    [
        (N4, 263, 3_973_556_832, 0, 0),
        (N30, 6_243, 31_577_940_288, 23, 0),
        (LIGHTNING, 6_513, 32_913_266_240, 24, 270),
        (SUPER, 42_683, 123_611_033_088, 41, 1_040),
    ],
)
def test_checkpoint_tensor_counts(name, tensors, elements, fp32, mtp):
    assert costs.checkpoint_tensors(preset(name)) == costs.TensorCount(tensors, elements, fp32, mtp)


@pytest.mark.parametrize(
    ("name", "kv", "ssm", "conv", "conv_full"),
    [
        (H8, 16_384, 100_663_296, 1_474_560, 1_966_080),
        (N9, 16_384, 141_557_760, 1_990_656, 2_654_208),
        (N12, 24_576, 146_800_640, 2_064_384, 2_752_512),
        (N4, 16_384, 82_575_360, 1_225_728, 1_634_304),
        (N30, 6_144, 48_234_496, 847_872, 1_130_496),
        (SUPER, 8_192, 167_772_160, 2_457_600, 3_276_800),
        (ULTRA, 12_288, 402_653_184, 5_308_416, 7_077_888),
    ],
)
def test_state_bytes(name, kv, ssm, conv, conv_full):
    found = costs.state_bytes(preset(name))
    assert (found.kv_per_token, found.ssm, found.conv, found.conv_full) == (
        kv,
        ssm,
        conv,
        conv_full,
    )
    assert found.at(1000) == kv * 1000 + ssm + conv


@pytest.mark.parametrize(
    ("name", "projections", "scan", "chunked", "mlp", "attention", "slope", "body", "head"),
    [
        (H8, 219.152, 7.340, 6.554, 352.322, 83.886, 16384, 14.229, 1.074),
        (N9, 294.748, 9.175, 8.126, 280.986, 110.100, 20480, 15.674, 1.174),
        (N12, 336.855, 9.175, 8.126, 419.430, 125.829, 20480, 22.191, 1.342),
        (N30, 77.414, 3.670, 3.408, 160.334, 46.793, 16384, 5.835, 0.705),
        (SUPER, 219.152, 7.340, 6.554, 351.273, 71.303, 16384, 23.684, 1.074),
        (ULTRA, 843.055, 14.680, 12.845, 1333.789, 276.824, 32768, 108.522, 2.147),
    ],
)
def test_flops_per_layer(name, projections, scan, chunked, mlp, attention, slope, body, head):
    config, found = preset(name), by_kind(name)
    parts = found["M"].parts
    block = config.blocks["M"]
    assert isinstance(block, MambaConfig)
    assert round((parts["in_proj"] + parts["out_proj"]) / 1e6, 3) == projections
    assert parts["conv"] == 2 * block.conv_kernel * block.conv_channels
    assert round(parts["scan"] / 1e6, 3) == scan
    assert round(costs.chunked_scan_flops(block, 128) / 1e6, 3) == chunked
    assert round(found["E" if "E" in found else "-"].flops.fixed / 1e6, 3) == mlp
    assert round(found["*"].flops.fixed / 1e6, 3) == attention
    assert found["*"].flops.per_context == slope
    assert round(costs.body_flops(config).fixed / 1e9, 3) == pytest.approx(body, abs=1e-9)
    assert round(costs.head_flops(config) / 1e9, 3) == head


@pytest.mark.parametrize(
    ("name", "experts", "shared", "router", "latent"),
    [
        (N30, 119.734, 39.911, 0.688, 0),
        (SUPER, 242.221, 88.080, 4.194, 16.777),
        (ULTRA, 922.747, 335.544, 8.389, 67.109),
    ],
)
def test_moe_flops_split(name, experts, shared, router, latent):
    parts = by_kind(name)["E"].parts
    projections = parts.get("fc1_latent_proj", 0) + parts.get("fc2_latent_proj", 0)
    found = (parts["experts"], parts["shared_experts"], parts["router"], projections)
    assert tuple(round(n / 1e6, 3) for n in found) == (experts, shared, router, latent)
    assert "scan" not in parts


@pytest.mark.parametrize(
    ("name", "decode", "prefill"),
    [
        (N30, (7.344, 19.424, 32.309, 109.618), (6.942, 12.982, 19.424, 58.079)),
        (SUPER, (25.832, 41.938, 59.118, 162.197), (25.295, 33.348, 41.938, 93.478)),
        (ULTRA, (113.891, 162.209, 213.749, 522.986), (112.280, 136.439, 162.209, 316.828)),
        (N12, (24.539, 39.639, 55.745, 152.382), (24.036, 31.586, 39.639, 87.957)),
        (N9, (17.519, 27.585, 38.323, 102.747), (17.184, 22.217, 27.585, 59.798)),
    ],
)
def test_flops_by_context(name, decode, prefill):
    lengths = (2**13, 2**17, 2**18, 2**20)
    config = preset(name)
    assert tuple(round(costs.decode_flops(config, n) / 1e9, 3) for n in lengths) == decode
    assert tuple(round(costs.prefill_flops(config, n) / 1e9, 3) for n in lengths) == prefill


@pytest.mark.parametrize(
    ("name", "tokens", "total"),
    [(N30, 25e12, 5.2e23), (SUPER, 25e12, 2.1e24), (N12, 20e12, 1.4e24)],
)
def test_pretraining_compute(name, tokens, total):
    found = costs.train_flops_per_token(preset(name), 8192) * tokens
    assert float(f"{found:.1e}") == total


def test_ultra_pretraining_compute_counts_mtp():
    config = preset(ULTRA)
    trunk = 3 * costs.prefill_flops(config, 8192) * 20e12
    assert float(f"{trunk:.1e}") == 6.7e24
    assert float(f"{costs.train_flops_per_token(config, 8192) * 20e12:.1e}") == 7.2e24


def test_mtp_depth_of_super():
    flops = costs.mtp_flops(preset(SUPER))
    assert round((flops.fixed + flops.per_context * 8192 / 2) / 1e9, 2) == 1.63


def test_decode_budget_of_nano():
    config = preset(N30)
    counted, state = costs.parameters(config), costs.state_bytes(config)
    assert round(costs.weight_bytes(config) / 1e9, 2) == 63.16
    assert costs.weight_bytes(config) == 2 * counted.total + 2 * 23 * 128
    assert round(counted.active_head * 2 / 1e9, 2) == 6.46
    assert round(2 * state.ssm / 1e6, 1) == 96.5
    read = [state.kv_per_token * n for n in (2**13, 2**17, 2**18, 2**20)]
    assert [round(n / 1e9, 3) for n in read] == [0.050, 0.805, 1.611, 6.442]
    assert round(state.ssm / state.kv_per_token) == 7851


def test_experts_touched():
    batches = (1, 4, 8, 16, 32, 64, 128)
    nano = [round(costs.experts_touched(128, 6, n), 1) for n in batches]
    ultra = [round(costs.experts_touched(512, 22, n), 1) for n in batches]
    assert nano == [6, 22.4, 40.8, 68.6, 100.5, 122.1, 127.7]
    assert ultra == [22, 82.5, 151.7, 258.4, 386.4, 481.2, 510.1]


def test_tied_head_counts_once():
    counted = costs.parameters(preset("qwen3-0.6b"))
    assert (counted.total, counted.head) == (596_049_920, 0)
    assert counted.active_both == counted.active_head == counted.total
    assert costs.parameters(preset("qwen3-30b-a3b")).total == 30_532_122_624
