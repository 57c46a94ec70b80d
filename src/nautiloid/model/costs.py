"""Parameters, floating-point operations and bytes of a model from its config alone (specs/architecture 9).

A multiply-add counts as two operations. L is the context length of a decoded token, T the length
of a whole sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nautiloid.model.blocks.config import BlockConfig, Flops, TensorSpec
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.family import family
from nautiloid.model.memory_costs import StepMemory as StepMemory
from nautiloid.model.memory_costs import step_memory as step_memory

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Parameters:
    """Element counts; the router's correction bias counts as the checkpoints count it.

    Args:
        total: Everything stored, MTP included.
        trunk: Everything but MTP.
        embedding: Token embedding.
        head: Output head; 0 when tied to the embedding.
        mtp: Blocks and fusion tensors of the MTP head.
        active: Used by one token, without embedding, head and MTP.
        active_head: `active` with the head (the tied embedding when there is no own head).
        active_both: `active_head` with the embedding.
        active_mtp: Used by one token in one MTP depth.
    """

    total: int
    trunk: int
    embedding: int
    head: int
    mtp: int
    active: int
    active_head: int
    active_both: int
    active_mtp: int


@dataclass(frozen=True)
class LayerCost:
    """One residual block, its pre-norm included.

    Args:
        letter: Letter of the pattern.
        kind: Registered name of the block type.
        total: Parameters.
        active: Parameters that one token uses.
        flops: Forward operations a token.
        parts: `flops.fixed` by submodule: matrices by their name, `scan` for the rest.
        cached_bytes: State that grows with every token of context.
        state_bytes: State of fixed size a sequence.
    """

    letter: str
    kind: str
    total: int
    active: int
    flops: Flops
    parts: Mapping[str, float]
    cached_bytes: int
    state_bytes: int


@dataclass(frozen=True)
class StateBytes:
    """Decoding state of one sequence in the trunk.

    Args:
        kv_per_token: Keys and values a token of context.
        ssm: Recurrent states.
        conv: Pre-convolution columns, K - 1 a channel, as stored here.
        conv_full: The same with K columns, as transformers and Megatron store it.
        mtp_kv_per_token: Keys and values of the MTP blocks a token of context.
    """

    kv_per_token: int
    ssm: int
    conv: int
    conv_full: int
    mtp_kv_per_token: int

    def at(self, context: int) -> int:
        """Bytes of one sequence with `context` tokens."""
        return self.kv_per_token * context + self.ssm + self.conv


@dataclass(frozen=True)
class TensorCount:
    """What a checkpoint's files hold, experts stored one by one."""

    tensors: int
    elements: int
    fp32_tensors: int
    mtp_tensors: int


def _numel(specs: Mapping[str, TensorSpec]) -> int:
    return sum(math.prod(spec.shape) for spec in specs.values())


def _active(specs: Mapping[str, TensorSpec]) -> int:
    return sum(round(math.prod(spec.shape) * spec.active) for spec in specs.values())


def parameters(config: ModelConfig) -> Parameters:
    """Count every tensor of the model.

    >>> from nautiloid.model.presets import preset
    >>> parameters(preset("nemotron-3-super-120b-a12b")).total
    123611033088
    """
    specs = config.tensors()
    mtp = {k: v for k, v in specs.items() if k.startswith("mtp.")}
    ends = {k: v for k, v in specs.items() if k in ("embeddings.weight", "lm_head.weight")}
    body = {k: v for k, v in specs.items() if k not in mtp and k not in ends}
    embedding = math.prod(specs["embeddings.weight"].shape)
    head = 0 if config.tie_word_embeddings else embedding
    active = _active(body)
    depths = config.mtp.num_nextn_predict_layers if config.mtp else 1
    return Parameters(
        total=_numel(specs),
        trunk=_numel(body) + embedding + head,
        embedding=embedding,
        head=head,
        mtp=_numel(mtp),
        active=active,
        active_head=active + embedding,
        active_both=active + embedding + head,
        active_mtp=_active(mtp) // depths,
    )


def _state_bytes(block: BlockConfig, dtype: str, kind: str) -> int:
    return sum(
        math.prod(spec.shape) * _BYTES[dtype if spec.dtype == "model" else spec.dtype]
        for spec in block.states().values()
        if spec.kind == kind
    )


def block_parts(block: BlockConfig, d: int) -> dict[str, float]:
    """Operations a token by submodule; what is no matrix product (the scan) is `scan`."""
    parts: dict[str, float] = {}
    for name, spec in block.tensors(d).items():
        if len(spec.shape) > 1:
            part = name.partition(".")[0]
            used = round(math.prod(spec.shape) * spec.active)
            parts[part] = parts.get(part, 0) + 2 * used
    rest = block.flops(d).fixed - sum(parts.values())
    return {**parts, "scan": rest} if rest else parts


def layer(config: ModelConfig, block: BlockConfig, letter: str) -> LayerCost:
    """Costs of one block of the model."""
    d = config.hidden_size
    specs = {"norm": TensorSpec((d,)), **block.tensors(d)}
    return LayerCost(
        letter=letter,
        kind=getattr(type(block), "__kind__", type(block).__name__),
        total=_numel(specs),
        active=_active(specs),
        flops=block.flops(d),
        parts=block_parts(block, d),
        cached_bytes=_state_bytes(block, config.dtype, "paged"),
        state_bytes=_state_bytes(block, config.dtype, "slot"),
    )


def layers(config: ModelConfig) -> list[LayerCost]:
    """Costs of every trunk layer in order."""
    pairs = zip(config.layers(), config.pattern, strict=True)
    return [layer(config, block, letter) for block, letter in pairs]


def body_flops(config: ModelConfig) -> Flops:
    """Forward of the trunk without the head, a token."""
    return sum((block.flops(config.hidden_size) for block in config.layers()), Flops())


def head_flops(config: ModelConfig) -> int:
    """Forward of the output head, a token: 2 d V."""
    return 2 * config.hidden_size * config.vocab_size


def mtp_flops(config: ModelConfig) -> Flops:
    """Forward of one MTP depth, its head included: fusion 4 d^2, inner blocks, 2 d V."""
    if config.mtp is None:
        return Flops()
    d = config.hidden_size
    inner = (config.blocks[letter].flops(d) for letter in config.mtp.pattern)
    return sum(inner, Flops(4 * d * d + head_flops(config)))


def decode_flops(config: ModelConfig, context: int) -> float:
    """Forward of one token at context L, head included.

    >>> from nautiloid.model.presets import preset
    >>> round(decode_flops(preset("nemotron-3-nano-30b-a3b"), 8192) / 1e9, 3)
    7.344
    """
    body = body_flops(config)
    return body.fixed + body.per_context * context + head_flops(config)


def prefill_flops(config: ModelConfig, tokens: int) -> float:
    """Forward a token averaged over a causal sequence of T tokens, head on every token."""
    return decode_flops(config, 0) + body_flops(config).per_context * tokens / 2


def forward_flops_per_token(config: ModelConfig, seq_len: int) -> float:
    """Training forward a token: trunk, head and every MTP depth, causal average."""
    mtp = mtp_flops(config)
    depth = config.mtp.depth if config.mtp else 0
    return prefill_flops(config, seq_len) + depth * (mtp.fixed + mtp.per_context * seq_len / 2)


def train_flops_per_token(config: ModelConfig, seq_len: int) -> float:
    """Forward and backward a token, three times the forward; the numerator of MFU."""
    return 3 * forward_flops_per_token(config, seq_len)


def chunked_scan_flops(block: MambaConfig, chunk: int | None = None) -> int:
    """Operations a token of the scan as dense chunked matmuls: 2 c (G N + H P) + 4 H P N."""
    c = chunk or block.chunk_size
    bc = block.n_groups * block.ssm_state_size
    return 2 * c * (bc + block.inner) + 4 * block.inner * block.ssm_state_size


def state_bytes(config: ModelConfig, dtype: str | None = None) -> StateBytes:
    """Decoding state of one sequence; `dtype` is that of keys, values and convolution columns."""
    dtype = dtype or config.dtype
    kv = ssm = conv = full = 0
    for block in config.layers():
        kv += _state_bytes(block, dtype, "paged")
        for name, spec in block.states().items():
            if spec.kind == "slot":
                size = (
                    math.prod(spec.shape) * _BYTES[dtype if spec.dtype == "model" else spec.dtype]
                )
                if name == "conv":
                    conv += size
                    full += size // spec.shape[0] * (spec.shape[0] + 1)
                else:
                    ssm += size
    letters = config.mtp.pattern if config.mtp else ""
    mtp = sum(_state_bytes(config.blocks[letter], dtype, "paged") for letter in letters)
    return StateBytes(kv, ssm, conv, full, mtp)


def weight_bytes(config: ModelConfig, dtype: str | None = None) -> int:
    """Bytes of all weights in `dtype`; tensors that stay float32 count as such."""
    size = _BYTES[dtype or config.dtype]
    return sum(
        math.prod(spec.shape) * (max(4, size) if spec.is_fp32 else size)
        for spec in config.tensors().values()
    )


def checkpoint_tensors(config: ModelConfig, *, per_expert: bool = True) -> TensorCount:
    """Tensors of a Hugging Face checkpoint of this model.

    >>> from nautiloid.model.presets import preset
    >>> checkpoint_tensors(preset("nemotron-3-super-120b-a12b")).tensors
    42683
    """
    stored = family(config.family).layout(config, per_expert=per_expert)
    return TensorCount(
        tensors=len(stored),
        elements=sum(math.prod(s.shape) for s in stored),
        fp32_tensors=sum(s.is_fp32 for s in stored),
        mtp_tensors=sum(s.name.startswith("mtp.") for s in stored),
    )


def experts_touched(count: int, chosen: int, tokens: int) -> float:
    """Distinct experts that a batch of tokens uses under uniform routing: E (1 - (1 - k/E)^B)."""
    return count * (1 - (1 - chosen / count) ** tokens)
