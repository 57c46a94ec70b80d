"""A family: how one `model_type` spells its config.json and names its tensors on disk."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast, get_type_hints

from nautiloid.core.config import from_json
from nautiloid.core.errors import InputError
from nautiloid.core.registry import Registry
from nautiloid.model.config import ModelConfig

Json = dict[str, Any]

# Keys every Hugging Face config may carry; they say nothing about the network. The second set
# describes the writer, so it is not written back.
GENERIC_KEYS = frozenset({
    "use_cache", "return_dict", "output_attentions", "output_hidden_states", "torchscript", "use_bfloat16",
    "pruned_heads", "chunk_size_feed_forward", "is_encoder_decoder", "is_decoder",
    "cross_attention_hidden_size", "add_cross_attention", "finetuning_task", "id2label", "label2id",
    "problem_type", "tokenizer_class", "prefix", "task_specific_params", "sep_token_id",
    "decoder_start_token_id", "pretraining_tp", "num_logits_to_keep", "output_router_logits",
    "attn_implementation", "use_mamba_kernels",
})  # fmt: skip
WRITER_KEYS = frozenset({
    "model_type", "architectures", "transformers_version", "auto_map", "_name_or_path",
    "_attn_implementation", "_attn_implementation_autoset",
})  # fmt: skip


class InexpressibleError(InputError):
    """The family's config.json has no way to say this."""


@dataclass(frozen=True)
class Part:
    """A range of a stored tensor and the tensor of the module tree that holds it.

    Args:
        name: Our tensor.
        index: Entry of our tensor's first axis (an expert); None is all of it.
        axis: Axis of the stored tensor that is cut.
        start: First row of the cut.
        stop: Row after the cut; None when the stored tensor is this part alone.
    """

    name: str
    index: int | None = None
    axis: int = 0
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Stored:
    """One tensor of a checkpoint file; its parts cover it in order."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    is_fp32: bool = False


class Family:
    """Reads and writes one `model_type`; a subclass is one file of `model/families`."""

    registry: ClassVar[Registry] = Registry("model_type", "nautiloid.model.families")

    def read_config(self, data: Mapping[str, Any]) -> ModelConfig:
        """Decode config.json.

        Raises:
            InputError: A key is unknown, ill-typed, contradicts another or asks for what is missing here.
        """
        raise TypeError(f"{type(self).__name__} does not define read_config")

    def write_config(self, config: ModelConfig) -> Json:
        """Encode config.json.

        Raises:
            InexpressibleError: Names the first field that the family cannot say.
        """
        raise TypeError(f"{type(self).__name__} does not define write_config")

    def layout(self, config: ModelConfig, *, per_expert: bool = True) -> list[Stored]:
        """Every tensor of a checkpoint, experts one by one or stacked."""
        raise TypeError(f"{type(self).__name__} does not define layout")

    def canonical(self, name: str) -> str:
        """The name that `layout` uses for a tensor of a file, whatever prefix the writer chose."""
        return name


def family(model_type: object) -> Family:
    """The family called `model_type`.

    Raises:
        InputError: There is none of that name.
    """
    if not isinstance(model_type, str):
        raise InputError(
            "model_type", model_type, f"name one of {', '.join(Family.registry.names())}"
        )
    return cast(Family, Family.registry.get(model_type)())


class Keys:
    """Takes keys out of a config.json one by one, then accounts for the rest.

    Args:
        data: The decoded file.
        aliases: Other spellings and the name they stand for.
    """

    def __init__(self, data: Mapping[str, Any], aliases: Mapping[str, str]):
        self._values: Json = {}
        self._taken: set[str] = set()
        spelled: dict[str, str] = {}
        for key, value in data.items():
            name = aliases.get(key, key)
            if name in self._values and self._values[name] != value:
                raise InputError(
                    key, value, f"contradicts {spelled[name]} ({self._values[name]!r}); keep one"
                )
            self._values[name] = value
            spelled[name] = key
        self._spelled = spelled

    def is_null(self, name: str) -> bool:
        """Whether the key is there and null."""
        return name in self._values and self._values[name] is None

    def take(self, name: str, annotation: Any, default: Any = ...) -> Any:
        """The value of a key, checked against `annotation`; without a default it must be there."""
        self._taken.add(name)
        if name not in self._values:
            if default is ...:
                raise InputError(name, None, "missing; add it")
            return default
        return from_json(annotation, self._values[name], self._spelled[name])

    def fields(self, cls: type, names: Iterable[str]) -> Json:
        """The given keys as constructor arguments of a config dataclass; absent ones keep its default."""
        hints = get_type_hints(cls)
        return {name: self.take(name, hints[name]) for name in names if name in self._values}

    def require(self, name: str, allowed: tuple[Any, ...], remedy: str) -> None:
        """Refuse any other value than `allowed`; the key keeps its place among the extras."""
        if name in self._values and self._values[name] not in allowed:
            raise InputError(self._spelled[name], self._values[name], remedy)

    def finish(self, known: Iterable[str]) -> Json:
        """Keys without effect here, to be written back.

        Raises:
            InputError: A key is neither taken nor known.
        """
        known = set(known) | GENERIC_KEYS | WRITER_KEYS
        extra: Json = {}
        for name, value in self._values.items():
            if name in self._taken:
                continue
            if name not in known:
                names = sorted(known | self._taken)
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else "remove it"
                raise InputError(self._spelled[name], None, f"unknown key; {hint}")
            if name not in WRITER_KEYS:
                extra[name] = value
        return extra


def decode_floats(value: Any) -> Any:
    """Undo transformers' encoding of the floats that JSON lacks.

    >>> decode_floats({"a": [0.0, {"__float__": "Infinity"}]})
    {'a': [0.0, inf]}
    """
    if isinstance(value, Mapping):
        pairs = cast(Mapping[str, Any], value)
        if set(pairs) == {"__float__"}:
            return float(pairs["__float__"])
        return {k: decode_floats(v) for k, v in pairs.items()}
    if isinstance(value, list):
        return [decode_floats(v) for v in cast(list[Any], value)]
    return value


def encode_floats(value: Any) -> Any:
    """Encode infinities and NaN as transformers does.

    >>> encode_floats((0.0, math.inf))
    [0.0, {'__float__': 'Infinity'}]
    """
    if isinstance(value, Mapping):
        return {k: encode_floats(v) for k, v in cast(Mapping[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [encode_floats(v) for v in cast(list[Any], value)]
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"__float__": name}
    return value


def read_dtype(keys: Keys) -> str:
    """The `dtype` key, old spelling `torch_dtype`; bfloat16 when absent."""
    value = keys.take("dtype", str | None, None) or "bfloat16"
    value = value.removeprefix("torch.")
    known = ("float32", "bfloat16", "float16", "float64")
    if value not in known:
        raise InputError("dtype", value, f"use one of {', '.join(known)}")
    return value


def read_tokens(
    keys: Keys, *, pad: int | None = None, bos: int | None = None, eos: int | None = None
) -> Json:
    """Special token ids with the family's defaults; no end of text is an empty tuple."""
    eos_ids = keys.take("eos_token_id", int | list[int] | None, eos)
    return {
        "pad_token_id": keys.take("pad_token_id", int | None, pad),
        "bos_token_id": keys.take("bos_token_id", int | None, bos),
        "eos_token_id": ()
        if eos_ids is None
        else tuple(eos_ids)
        if isinstance(eos_ids, list)
        else eos_ids,
    }


def write_tokens(config: ModelConfig) -> Json:
    """Special token ids as config.json and generation_config.json spell them."""
    eos = config.eos_token_id
    return {
        "pad_token_id": config.pad_token_id,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": (list(eos) or None) if isinstance(eos, tuple) else eos,
    }


def refuse_quantized(keys: Keys) -> None:
    """Refuse a `quantization_config` whose number format `ops/quant` does not have."""
    value = keys.take("quantization_config", dict[str, Any] | None, None)
    if value is not None:
        method = value.get("quant_method") or value.get("producer", {}).get("name") or "unnamed"
        names = ", ".join(Registry("quant", "nautiloid.ops.quant").names())
        raise InputError(
            "quantization_config.quant_method",
            method,
            f"no checkpoint reader among the number formats ({names}); use the bfloat16 release",
        )


def require_same(config: ModelConfig, back: ModelConfig, model_type: str) -> None:
    """Check that what was written reads back as the same network.

    Raises:
        InexpressibleError: Names the first difference.
    """

    def refuse(field: str, value: object) -> None:
        raise InexpressibleError(field, value, f"{model_type} cannot express this")

    letters = config.mtp.pattern if config.mtp else ""
    back_letters = back.mtp.pattern if back.mtp else ""
    ours = [*((f"layer {i}", c) for i, c in enumerate(config.layers()))]
    ours += [(f"mtp layer {i}", config.blocks[c]) for i, c in enumerate(letters)]
    theirs = [*back.layers(), *(back.blocks[c] for c in back_letters)]
    if len(ours) != len(theirs):
        refuse("pattern", config.pattern)
    for (where, a), b in zip(ours, theirs, strict=True):
        if type(a) is not type(b):
            refuse(where, type(a).__name__)
        for f in fields(a):
            if getattr(a, f.name) != getattr(b, f.name):
                refuse(f"{where} {f.name}", getattr(a, f.name))
    for name in (
        "vocab_size", "hidden_size", "tie_word_embeddings", "layer_norm_epsilon", "initializer_range",
        "max_position_embeddings", "pad_token_id", "bos_token_id",
        "eos_token_id", "dtype",
    ):  # fmt: skip
        if getattr(config, name) != getattr(back, name):
            refuse(name, getattr(config, name))
    if config.mtp and back.mtp:
        for name in ("num_nextn_predict_layers", "depth"):
            if getattr(config.mtp, name) != getattr(back.mtp, name):
                refuse(f"mtp.{name}", getattr(config.mtp, name))
