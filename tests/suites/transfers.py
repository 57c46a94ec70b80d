"""Folders of every family loaded onto a device, number by number equal to what was saved."""

from __future__ import annotations

from dataclasses import replace

import torch

from nautiloid.core.seed import Seed
from nautiloid.model.blocks.attention.config import RopeConfig
from nautiloid.model.decoder import Decoder
from nautiloid.model.family import family
from nautiloid.model.folder import FLOATS, match, scan
from nautiloid.model.presets import preset
from nautiloid.model.transfer import copy_moves, moves
from nautiloid.model.weights import dtype_of, load, save


def configs():
    """One small model a family: hybrid with latent experts and MTP, Qwen3 dense and sparse, our own."""
    debug, dense, sparse = preset("debug"), preset("qwen3-0.6b"), preset("qwen3-30b-a3b")
    attention = replace(
        sparse.blocks["*"], num_attention_heads=4, num_key_value_heads=2, head_dim=16
    )
    experts = replace(
        sparse.blocks["E"], n_routed_experts=5, num_experts_per_tok=2, moe_intermediate_size=24
    )
    small = {"hidden_size": 64, "vocab_size": 97}
    own = replace(debug.blocks["*"], qk_norm=True, rope=RopeConfig(), has_sinks=True)
    return {
        "nemotron_h": debug,
        "qwen3": replace(
            dense,
            pattern="*-" * 2,
            blocks={"*": attention, "-": replace(dense.blocks["-"], intermediate_size=40)},
            **small,
        ),
        "qwen3_moe": replace(
            sparse, pattern="*E" * 2, blocks={"*": attention, "E": experts}, **small
        ),
        "nautiloid": replace(debug, blocks={**debug.blocks, "*": own}),
    }


def saved(config, folder, *, dtype, **options):
    """A random model of the config, and its folder."""
    model = Decoder(config, dtype=dtype_of(dtype))
    model.init_weights(Seed(0))
    save(model, folder, **options)
    return model


def check_round_trip(name, folder, *, device, dtype="bfloat16", wanted=None, **options):
    """Loaded weights are the saved ones, rounded once to the wanted dtype."""
    model = saved(configs()[name], folder, dtype=dtype, **options)
    found = load(folder, device=device, dtype=wanted)
    kind = dtype_of(wanted or dtype)
    for key, tensor in model.state_dict().items():
        own, spec = found.state_dict()[key], model.config.tensors()[key]
        assert own.device.type == torch.device(device).type, key
        is_wide = spec.is_fp32 or spec.is_island
        assert own.dtype == (torch.promote_types(kind, torch.float32) if is_wide else kind), key
        stored = tensor.to(dtype_of(dtype)) if spec.is_island else tensor
        assert torch.equal(own.cpu(), stored.to(own.dtype)), key


def check_small_buffers(folder, *, device):
    """Stretches cut anywhere, several a buffer, give the same numbers; nothing is written beside them."""
    config = configs()["qwen3_moe"]
    model = saved(config, folder, dtype="bfloat16", per_expert=False)
    entries = scan(folder).values()
    pairs = match(family(config.family), config, folder, entries)
    for dtype in (torch.bfloat16, torch.float32):
        targets = {
            key: torch.full(t.shape, torch.nan, dtype=dtype, device=device)
            for key, t in model.state_dict().items()
        }
        copy_moves(moves(pairs, targets, FLOATS), buffer_bytes=1000)
        for key, tensor in model.state_dict().items():
            assert torch.equal(targets[key].cpu(), tensor.to(dtype)), key
