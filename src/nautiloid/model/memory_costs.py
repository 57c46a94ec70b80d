"""Peak memory of a training step on one GPU from the config alone: what is kept, where it peaks.

The model counts what the GPU operators save and their largest temporary memory, in bytes a token;
`benchmarks/gpu.py` compares it with the allocator's peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.memory_config import MemoryConfig

Weights = Literal["float32", "masters", "stochastic"]

BF16, FP32 = 2, 4
# float32 in every mode: A_log, dt_bias, D, sinks
ISLANDS = ("*.A_log", "*.dt_bias", "*.D", "*.sinks")
# largest buffer of logits of the head
HEAD_CHUNK_BYTES = 900_000_000
# workspaces of the matrix library
LIBRARY_BYTES = 64 << 20
# tokens, targets, weights, positions, sample numbers, sorted ids of one micro-batch
BATCH_BYTES_PER_TOKEN = 64
# masters and moments of the two parts that are under way with offload
OFFLOAD_PART_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step.

    Args:
        weights: Parameters as the model computes with them.
        masters: float32 masters.
        gradients: float32 sums.
        moments: Both moments.
        activations: Kept for the backward of one micro-batch, at the end of its forward.
        working: Temporary memory at the peak beyond all of these.
        moment: Where the peak lies: `head`, `update` or the index of a layer's backward.
        peak: Largest sum.
        by_layer: Kept bytes of every layer, those of the MTP head last.
    """

    weights: float
    masters: float
    gradients: float
    moments: float
    activations: float
    working: float
    moment: str
    peak: float
    by_layer: tuple[float, ...] = field(repr=False, default=())

    @property
    def static(self) -> float:
        """What lies there all the time."""
        return self.weights + self.masters + self.gradients + self.moments

    def facts(self) -> Mapping[str, str]:
        """Lines for the terminal."""
        parts = {
            "weights": self.weights,
            "masters": self.masters,
            "gradients": self.gradients,
            "moments": self.moments,
            "activations": self.activations,
            f"working memory ({self.moment})": self.working,
            "peak": self.peak,
        }
        return {name: f"{value / 1e9:.2f} GB" for name, value in parts.items() if value}


def step_memory(
    config: ModelConfig,
    *,
    tokens: int,
    weights: Weights = "masters",
    moments: Literal["float32", "bfloat16"] = "float32",
    memory: MemoryConfig | None = None,
) -> StepMemory:
    """Predict the peak of one step.

    Args:
        config: Shape of the model.
        tokens: Tokens of one micro-batch, padding included.
        weights: Parameter mode.
        moments: Dtype of the moments.
        memory: What is recomputed or offloaded.

    >>> from nautiloid.model.presets import preset
    >>> nano = preset("nemotron-3-nano-4b")
    >>> some = step_memory(nano, tokens=16384, memory=MemoryConfig(recompute=("norm",)))
    >>> some.peak < step_memory(nano, tokens=16384).peak
    True
    """
    memory = memory or MemoryConfig()
    copies, masters, count = _weights(config, weights)
    moment_bytes = count * 2 * (FP32 if moments == "float32" else BF16)
    if memory.offload_optimizer:
        streamed = 2 * min(OFFLOAD_PART_ELEMENTS, count)
        moment_bytes = streamed * moment_bytes / count
        masters = streamed * masters / count
    static = copies + masters + FP32 * count + moment_bytes
    fixed = static + LIBRARY_BYTES + BATCH_BYTES_PER_TOKEN * tokens
    stream = BF16 * config.hidden_size * tokens
    layers: list[tuple[int | None, BlockConfig]] = list(enumerate(config.layers()))
    by_layer = [_kept(config, i, block, memory, tokens) for i, block in layers]
    # summed stream, normalised stream and its gradient, which the head forms in its forward
    after = 2 * stream
    deeper = config.mtp.depth if config.mtp else 0
    for _ in range(deeper):
        assert config.mtp is not None
        for letter in config.mtp.pattern:
            layers.append((None, config.blocks[letter]))
            by_layer.append(_kept(config, None, config.blocks[letter], memory, tokens))
        # embedding, both norms side by side, final norm; gradient of the hidden states before
        by_layer[-len(config.mtp.pattern)] += 3 * stream
        after += 3 * stream
    at_head = fixed + sum(by_layer) + after + stream + _logits(config, tokens)
    peaks = {"head": at_head, "update": fixed}
    below = 0.0
    for number, (i, block) in enumerate(layers):
        below += by_layer[number]
        extra = _work(config, i, block, memory, tokens)
        peaks[f"backward of layer {number}"] = fixed + below + stream + extra
    moment = max(peaks, key=lambda name: peaks[name])
    activations = sum(by_layer) + after
    return StepMemory(
        weights=copies,
        masters=masters,
        gradients=FP32 * count,
        moments=moment_bytes,
        activations=activations,
        working=peaks[moment] - static - activations,
        moment=moment,
        peak=peaks[moment],
        by_layer=tuple(by_layer),
    )


def _weights(config: ModelConfig, mode: Weights) -> tuple[float, float, int]:
    """Bytes of the model's parameters, bytes of masters, trained elements."""
    own = masters = 0.0
    count = 0
    for name, spec in config.tensors().items():
        size = math.prod(spec.shape)
        if spec.is_buffer:
            own += FP32 * size
            continue
        count += size
        is_island = any(fnmatchcase(name, glob) for glob in ISLANDS)
        is_small = len(spec.shape) == 1 or spec.shape[-1] < 16
        own += size * (FP32 if is_island or mode == "float32" else BF16)
        if not is_island and (mode == "masters" or (mode == "stochastic" and is_small)):
            masters += FP32 * size
    return own, masters, count


def _logits(config: ModelConfig, tokens: int) -> float:
    row = BF16 * config.vocab_size
    most = max(256, int(HEAD_CHUNK_BYTES // row) // 256 * 256)
    share = -(-tokens // -(-tokens // most))
    return min(tokens, -(-share // 256) * 256) * row


def _kept(
    config: ModelConfig, index: int | None, block: BlockConfig, memory: MemoryConfig, tokens: int
) -> float:
    """Bytes that the backward of a layer finds."""
    d, drops = config.hidden_size, memory.of_layer(index)
    # offload leaves the layer that is being computed and the one on its way: see `_work`
    if memory.offload_activations and memory.covers(index):
        return 0.0
    stream = BF16 * d * tokens
    if "block" in drops:
        return stream
    norm = FP32 * tokens + (0 if "norm" in drops else stream)
    return stream + norm + sum(k.size for k in block.kept(d, tokens) if k.part not in drops)


def _work(
    config: ModelConfig, index: int | None, block: BlockConfig, memory: MemoryConfig, tokens: int
) -> float:
    """Bytes that the backward of a layer needs beyond what was kept."""
    d, drops = config.hidden_size, memory.of_layer(index)
    stream = BF16 * d * tokens
    whole = stream + sum(k.size for k in block.kept(d, tokens))
    work = stream + block.work(d, tokens)
    if memory.offload_activations and memory.covers(index):
        return work + 2 * (stream + whole)
    if "block" in drops:
        return work + whole
    return work + (stream if "norm" in drops else 0)
