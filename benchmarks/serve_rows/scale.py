"""Full size on a GPU, or the same calls on a few tokens of a tiny model on a CPU, for tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from benchmarks.gpu_rows.models import fill

from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.decoder import Decoder
from nautiloid.model.weights import dtype_of


@dataclass(frozen=True)
class Scale:
    """Sizes of everything that is measured."""

    is_tiny: bool = False

    @property
    def device(self) -> str:
        """Where the model lives."""
        return "cpu" if self.is_tiny else "cuda"

    def requests(self, count: int) -> int:
        """Requests of a row."""
        return min(count, 3) if self.is_tiny else count

    def tokens(self, count: int) -> int:
        """Tokens of a prompt."""
        return max(4, count // 512) if self.is_tiny else count

    def steps(self, count: int) -> int:
        """Repetitions."""
        return min(count, 8) if self.is_tiny else count

    def config(self, config: ModelConfig) -> ModelConfig:
        """The model, or a small one with the same kinds of blocks."""
        if not self.is_tiny:
            return config
        return replace(
            config,
            pattern="".join(dict.fromkeys(config.pattern)),
            blocks={letter: _small(block) for letter, block in config.blocks.items()},
            overrides={},
            vocab_size=96,
            hidden_size=32,
            max_position_embeddings=min(config.max_position_embeddings, 4096),
            dtype="float32",
        )

    def model(self, config: ModelConfig) -> Decoder:
        """Random weights of an already scaled config, made where they stay."""
        model = Decoder(config, device=self.device, dtype=dtype_of(config.dtype))
        fill(model)
        return model

    def wait(self) -> None:
        """Let the device finish."""
        if not self.is_tiny:
            torch.cuda.synchronize()


def _small(block: BlockConfig) -> BlockConfig:
    if isinstance(block, MambaConfig):
        return replace(
            block,
            mamba_num_heads=4,
            mamba_head_dim=8,
            n_groups=2,
            ssm_state_size=8,
            chunk_size=16,
        )
    if isinstance(block, AttentionConfig):
        return replace(block, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    if isinstance(block, MLPConfig):
        return replace(block, intermediate_size=32)
    assert isinstance(block, MoEConfig)
    return replace(
        block,
        n_routed_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        moe_shared_expert_intermediate_size=16 if block.moe_shared_expert_intermediate_size else 0,
        moe_latent_size=16 if block.moe_latent_size else None,
    )
