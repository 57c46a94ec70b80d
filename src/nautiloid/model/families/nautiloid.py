"""Our own config.json: every option of `ModelConfig`, for what no published family can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nautiloid.core.config import from_json, to_json
from nautiloid.model.config import ModelConfig
from nautiloid.model.family import (
    WRITER_KEYS,
    Family,
    Json,
    Stored,
    decode_floats,
    encode_floats,
)
from nautiloid.model.layout import whole


@Family.registry("nautiloid")
class Nautiloid(Family):
    """`ModelConfig` as it is, tensors under the names of the module tree."""

    def read_config(self, data: Mapping[str, Any]) -> ModelConfig:
        """Decode; typed values inside `overrides` are restored through the block's own fields."""
        own = {k: v for k, v in decode_floats(data).items() if k not in WRITER_KEYS}
        config = from_json(ModelConfig, own)
        overrides: dict[int, Json] = {}
        for layer, changes in config.overrides.items():
            block = config.blocks[config.pattern[layer]]
            whole_block = from_json(
                type(block), {**to_json(block), **changes}, f"overrides.{layer}"
            )
            overrides[layer] = {name: getattr(whole_block, name) for name in changes}
        return replace(config, overrides=overrides)

    def write_config(self, config: ModelConfig) -> Json:
        """Encode every field."""
        return {"model_type": "nautiloid", **encode_floats(to_json(config))}

    def layout(self, config: ModelConfig, *, per_expert: bool = True) -> list[Stored]:
        """One file tensor a module tensor; experts are always stacked."""
        return [whole(name, name, spec) for name, spec in config.tensors().items()]
