"""The shape of a model: sizes, a pattern of block letters, and what each letter means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from nautiloid.core.errors import InputError
from nautiloid.core.types import MediaPart
from nautiloid.model.blocks.config import BlockConfig, TensorSpec

Dtype = Literal["float32", "bfloat16", "float16", "float64"]


@dataclass(frozen=True, kw_only=True)
class MTPConfig:
    """Multi-token prediction: `depth` steps through one physical set of blocks (specs/architecture 4).

    Args:
        pattern: Letters of the inner blocks, looked up in the model's `blocks`.
        num_nextn_predict_layers: Physical sets of weights in the checkpoint.
        depth: Steps trained and drafted; the last physical set serves all further ones.
    """

    pattern: str = "*E"
    num_nextn_predict_layers: int = 1
    depth: int = 1


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder: every letter of `pattern` is one pre-norm residual block.

    Args:
        pattern: One letter a layer.
        blocks: What each letter means; several letters may name variants of one block type.
        overrides: Per layer index, fields that differ from the letter's config.
        mtp: Multi-token prediction head, None when absent.
        family: The `model_type` of the Hugging Face folder this is read from and written to.
        extra: Keys of the family's config.json that have no effect here but are written back.
    """

    family: str = "nemotron_h"
    vocab_size: int
    hidden_size: int
    pattern: str
    blocks: dict[str, BlockConfig]
    overrides: dict[int, dict[str, Any]] = field(default_factory=dict)
    mtp: MTPConfig | None = None
    tie_word_embeddings: bool = False
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    rescale_prenorm_residual: bool = True
    max_position_embeddings: int = 4096
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | tuple[int, ...] = 2
    dtype: Dtype = "bfloat16"
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "use at least 1")
        if not self.pattern:
            raise InputError("pattern", self.pattern, "name at least one layer")
        known = ", ".join(f"{k} ({type(v).__name__})" for k, v in self.blocks.items())
        for where, pattern in (
            ("pattern", self.pattern),
            ("mtp.pattern", self.mtp.pattern if self.mtp else ""),
        ):
            for i, letter in enumerate(pattern):
                if letter not in self.blocks:
                    raise InputError(
                        where, letter, f"unknown letter at layer {i}; blocks has {known}"
                    )
        for layer, changes in self.overrides.items():
            if not 0 <= layer < len(self.pattern):
                raise InputError("overrides", layer, f"layers are 0 to {len(self.pattern) - 1}")
            names = {f.name for f in fields(self.blocks[self.pattern[layer]])}
            for name in changes:
                if name not in names:
                    raise InputError(
                        f"overrides.{layer}.{name}", None, f"unknown; use {sorted(names)}"
                    )
        if self.mtp and not (self.mtp.depth >= 1 and self.mtp.num_nextn_predict_layers >= 1):
            raise InputError("mtp.depth", self.mtp.depth, "use at least 1, or mtp None")

    @property
    def num_hidden_layers(self) -> int:
        """Number of residual blocks of the trunk."""
        return len(self.pattern)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end a text."""
        return self.eos_token_id if isinstance(self.eos_token_id, tuple) else (self.eos_token_id,)

    def layer(self, index: int) -> BlockConfig:
        """The block config of one trunk layer, overrides applied."""
        config = self.blocks[self.pattern[index]]
        changes = self.overrides.get(index)
        return replace(config, **changes) if changes else config

    def layers(self) -> Iterator[BlockConfig]:
        """The block configs of the trunk in order."""
        return (self.layer(i) for i in range(self.num_hidden_layers))

    def tensors(self) -> dict[str, TensorSpec]:
        """Every stored tensor by the name it has in the module tree."""
        d, norm = self.hidden_size, TensorSpec((self.hidden_size,), init="ones")
        specs = {"embeddings.weight": TensorSpec((self.vocab_size, d), "vocab")}
        for i, config in enumerate(self.layers()):
            specs[f"layers.{i}.norm.weight"] = norm
            specs |= {f"layers.{i}.mixer.{k}": v for k, v in config.tensors(d).items()}
        specs["norm_f.weight"] = norm
        if not self.tie_word_embeddings:
            specs["lm_head.weight"] = TensorSpec((self.vocab_size, d), "vocab")
        if self.mtp:
            size = len(self.mtp.pattern)
            for step in range(self.mtp.num_nextn_predict_layers):
                for j, letter in enumerate(self.mtp.pattern):
                    at = f"mtp.layers.{step * size + j}"
                    if j == 0:
                        specs[f"{at}.enorm.weight"] = norm
                        specs[f"{at}.hnorm.weight"] = norm
                        specs[f"{at}.eh_proj.weight"] = TensorSpec((d, 2 * d))
                    specs[f"{at}.norm.weight"] = norm
                    inner = self.blocks[letter].tensors(d)
                    specs |= {f"{at}.mixer.{k}": v for k, v in inner.items()}
                    if j == size - 1:
                        specs[f"{at}.final_layernorm.weight"] = norm
        return specs

    def check_media(self, parts: tuple[MediaPart, ...]) -> None:
        """Refuse media that this family has no encoder for.

        Raises:
            InputError: Always when `parts` is not empty; text-only families are what exists so far.
        """
        if parts:
            part = parts[0]
            raise InputError(
                f"{part.kind} {part.ref}",
                None,
                f"model family {self.family} reads text only; remove the media",
            )
