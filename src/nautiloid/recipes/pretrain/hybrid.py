"""A LatentMoE hybrid of 44 million parameters, 14 million of them active, on sources and docstrings of this Python installation.

    nautiloid pretrain pretrain/hybrid

CPU, 2 cores: 600 steps of 16,384 tokens, hours (240 tokens a second were measured on one busy core at half
of its peak); 0.7 GB for weights, gradients and moments. Stop it at any time, the same command goes on.
No full run is on record yet, so no loss is promised.
"""

from __future__ import annotations

from dataclasses import replace

from nautiloid.data.loader import LoaderConfig
from nautiloid.data.mixing import Mixture, Part, Phase
from nautiloid.data.sources.python_install import PythonInstall
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig, MTPConfig
from nautiloid.recipes.pretrain import debug as small
from nautiloid.train.config import AdamWConfig, TrainerConfig
from nautiloid.train.pretrain import PretrainRecipe
from nautiloid.train.recipe import TokenizerConfig
from nautiloid.train.schedule import ScheduleConfig


def recipe() -> PretrainRecipe:
    vocab_size = 8192
    docstrings = PythonInstall(which=("docstrings",))
    sources = PythonInstall(which=("sources",))
    return PretrainRecipe(
        name="pretrain-hybrid",
        model=ModelConfig(
            vocab_size=vocab_size,
            hidden_size=384,
            pattern="MEMEM*EMEMEM*EME",
            blocks={
                "M": MambaConfig(
                    mamba_num_heads=12, mamba_head_dim=64, n_groups=2, ssm_state_size=64
                ),
                "E": MoEConfig(
                    n_routed_experts=32,
                    num_experts_per_tok=4,
                    moe_intermediate_size=256,
                    moe_shared_expert_intermediate_size=512,
                    moe_latent_size=192,
                    routed_scaling_factor=2.5,
                ),
                "*": AttentionConfig(num_attention_heads=6, num_key_value_heads=2, head_dim=64),
            },
            mtp=MTPConfig(),
            initializer_range=0.04,
            eos_token_id=(2, 11),
            dtype="float32",
        ),
        tokenizer=TokenizerConfig(vocab_size=vocab_size, num_documents=4000),
        # The prose gets more weight at the end, when the learning rate falls.
        data=Mixture(
            (
                Phase(
                    until=0.6,
                    parts=(Part(sources, 0.7, "sources"), Part(docstrings, 0.3, "docstrings")),
                ),
                Phase(parts=(Part(sources, 0.3, "sources"), Part(docstrings, 0.7, "docstrings"))),
            )
        ),
        eval_data=PythonInstall(which=("docstrings",), split="test", max_documents=200),
        loader=LoaderConfig(row_tokens=1024, rows_per_batch=8, window_rows=256),
        trainer=TrainerConfig(
            num_steps=600,
            batches_per_step=2,
            optim=AdamWConfig(lr=1.5e-3),
            schedule=ScheduleConfig(warmup_steps=30, decay_share=0.3),
            save_every_steps=20,
            eval_every_steps=100,
            eval_batches=8,
        ),
    )


def debug() -> PretrainRecipe:
    base, tiny = recipe(), small.debug()
    assert base.model is not None
    return replace(
        base,
        name="pretrain-hybrid-tiny",
        model=replace(base.model, hidden_size=64, vocab_size=512),
        tokenizer=tiny.tokenizer,
        data=tiny.data,
        eval_data=tiny.eval_data,
        loader=tiny.loader,
        trainer=replace(tiny.trainer, batches_per_step=2),
    )
