from dataclasses import replace

import pytest
import torch

from nautiloid.core.seed import Seed
from nautiloid.data.batch import Batch
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig, MTPConfig
from nautiloid.model.decoder import Decoder


@pytest.fixture
def config():
    return ModelConfig(
        vocab_size=48,
        hidden_size=16,
        pattern="ME*",
        blocks={
            "M": MambaConfig(
                mamba_num_heads=2, mamba_head_dim=8, n_groups=1, ssm_state_size=8, chunk_size=8
            ),
            "E": MoEConfig(
                n_routed_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=8,
                moe_shared_expert_intermediate_size=8,
            ),
            "*": AttentionConfig(num_attention_heads=2, num_key_value_heads=1, head_dim=8),
        },
        mtp=MTPConfig(depth=2),
        initializer_range=0.2,
        dtype="float32",
    )


@pytest.fixture
def make_model(config):
    def make(seed=0, **changes):
        model = Decoder(replace(config, **changes))
        model.init_weights(Seed(seed))
        return model

    return make


@pytest.fixture
def make_batch():
    """Batches of packed sequences; the first `masked` targets of each carry no weight."""

    def make(lengths=((7, 5), (12,)), seed=0, masked=2, vocab_size=48):
        generator = torch.Generator().manual_seed(seed)
        flat = [n for row in lengths for n in row]
        total = sum(flat)
        tokens = torch.randint(3, vocab_size, (total + 1,), generator=generator)
        positions = torch.cat([torch.arange(n) for n in flat])
        return Batch(
            tokens_T=tokens[:-1],
            targets_T=tokens[1:].clone(),
            weight_T=(positions >= masked).float() * (1 + positions % 3),
            positions_T=positions,
            lengths=tuple(flat),
            row_lengths=tuple(sum(row) for row in lengths),
            sample_T=torch.repeat_interleave(torch.arange(len(flat)), torch.tensor(flat)).int(),
        )

    return make
