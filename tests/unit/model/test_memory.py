"""Whatever is dropped and formed again, every gradient keeps its bits."""

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig, MTPConfig
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.memory_config import MemoryConfig

PARTS = ("norm", "activation", "router", "conv", "latent", "block")
LENGTHS = (5, 9, 3)


@pytest.fixture(scope="module")
def config():
    experts = {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "moe_shared_expert_intermediate_size": 8,
    }
    return ModelConfig(
        vocab_size=32,
        hidden_size=16,
        pattern="ME*-L",
        blocks={
            "M": MambaConfig(mamba_num_heads=2, mamba_head_dim=8, n_groups=1, ssm_state_size=8),
            "E": MoEConfig(**experts),
            "L": MoEConfig(**experts, moe_latent_size=8),
            "*": AttentionConfig(num_attention_heads=2, num_key_value_heads=1, head_dim=8),
            "-": MLPConfig(intermediate_size=24),
        },
        mtp=MTPConfig(),
        initializer_range=0.2,
    )


def run(config, memory):
    """Loss, gradients, counts and routes of one forward and backward."""
    model = Decoder(config)
    model.init_weights(Seed(0))
    model.set_memory(memory)
    tokens = torch.arange(sum(LENGTHS)) * 7 % config.vocab_size
    ctx = Context.packed(LENGTHS, collect_aux=True, collect_routes=True)
    output = model.hidden(tokens, ctx, [tokens.roll(-1)])
    assert output.aux is not None
    loss = output.hidden_TD.square().sum() + output.mtp[0].sin().sum() + output.aux.balance_loss
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return loss.detach(), gradients, output.aux.counts, output.routes


def check_equal(config, memory):
    loss, gradients, counts, routes = run(config, MemoryConfig())
    again = run(config, memory)
    assert torch.equal(loss, again[0])
    assert all(g is not None for n, g in gradients.items() if not n.startswith("lm_head"))
    for name, gradient in gradients.items():
        other = again[1][name]
        assert (gradient is None) == (other is None), name
        assert gradient is None or torch.equal(gradient, other), name
    for mine, others in ((counts, again[2]), (routes, again[3])):
        assert len(mine) == len(others)
        assert all(torch.equal(a, b) for a, b in zip(mine, others, strict=True))


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone(config, part):
    check_equal(config, MemoryConfig(recompute=(part,)))


@pytest.mark.parametrize("parts", [PARTS[:-1], PARTS])
def test_all_parts_together(config, parts):
    check_equal(config, MemoryConfig(recompute=parts))


def test_some_layers_only(config):
    check_equal(config, MemoryConfig(recompute=("norm", "block"), layers=(1, 3)))


def test_offload_has_no_effect_on_a_cpu(config):
    check_equal(config, MemoryConfig(offload_activations=True, smallest_offload=1))


def test_dropped_outputs_are_not_kept(config):
    """Bytes that autograd holds after the forward fall by what the parts promise."""

    def held(memory):
        seen = {}

        def pack(tensor):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        model = Decoder(config)
        model.init_weights(Seed(0))
        model.set_memory(memory)
        tokens = torch.arange(sum(LENGTHS)) % config.vocab_size
        if model.memory is not None:
            inner = model.memory._pack
            model.memory._pack = lambda t: keep(inner, pack, t)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = model.hidden(tokens, Context.packed(LENGTHS)).hidden_TD
        assert out.requires_grad
        return len(seen)

    def keep(inner, pack, tensor):
        kept = inner(tensor)
        return pack(kept) if isinstance(kept, torch.Tensor) else kept

    everything = held(MemoryConfig())
    assert held(MemoryConfig(recompute=("norm",))) < everything
    assert held(MemoryConfig(recompute=("block",))) < held(MemoryConfig(recompute=("norm",)))


def test_an_unknown_part_is_refused():
    with pytest.raises(InputError, match=r"trainer.memory.recompute: attention"):
        MemoryConfig(recompute=("attention",))
