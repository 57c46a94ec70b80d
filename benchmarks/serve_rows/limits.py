"""What a step must read and write, and how fast this device reads."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import time
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from nautiloid.model.config import ModelConfig
from nautiloid.model.costs import body_flops, state_bytes
from nautiloid.model.weights import dtype_of
from nautiloid.ops.launch import launch

# bfloat16 products of 8192^3 random numbers on an H200
PEAK_FLOPS = 793e12


@dataclass(frozen=True)
class StepBytes:
    """Bytes of one decoding step.

    Args:
        weights: Everything that every token uses, and the experts that are chosen by some token.
        states: Fixed-size states, read and written.
        keys: Keys and values of all cached tokens, read.
    """

    weights: float
    states: float
    keys: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.states + self.keys

    def __str__(self) -> str:
        return f"weights {self.weights / 1e9:.2f} GB, states {self.states / 1e9:.2f}, KV {self.keys / 1e9:.2f}"


def step_bytes(
    config: ModelConfig,
    *,
    requests: int,
    cached_tokens: float,
    distinct_experts: float | None,
    ssm_dtype: str = "float32",
    drafts: int = 0,
) -> StepBytes:
    """What one step has to move.

    Args:
        config: The model.
        requests: Rows of the step.
        cached_tokens: Keys of all rows together.
        distinct_experts: Chosen by some row, mean over the layers; None without experts.
        ssm_dtype: Of the recurrent states.
        drafts: Runs of the multi-token prediction head, each with the output head.
    """
    size = dtype_of(config.dtype).itemsize
    weights = 0.0
    for name, spec in config.tensors().items():
        runs = 1
        if name.startswith("mtp."):
            runs = drafts
        elif name == "lm_head.weight":
            runs = 1 + drafts
        count = math.prod(spec.shape) * (4 if spec.is_fp32 else size)
        if name == "embeddings.weight" and not config.tie_word_embeddings:
            count = requests * config.hidden_size * size
        elif spec.active < 1:
            assert distinct_experts is not None
            count *= distinct_experts / spec.shape[0]
        weights += runs * count
    state = state_bytes(config)
    ssm = state.ssm * dtype_of(ssm_dtype).itemsize / 4
    return StepBytes(weights, 2 * requests * (ssm + state.conv), cached_tokens * state.kv_per_token)


def prefill_limit(config: ModelConfig, tokens: int) -> float:
    """Tokens a second of whole prompts at the rate of large products; the head sees the last token only."""
    body = body_flops(config)
    return PEAK_FLOPS / (body.fixed + body.per_context * tokens / 2)


@triton.jit
def _read(x, out, blocks_each, BLOCK: tl.constexpr):
    """Sum of a stretch of int32 numbers; stores are too few to matter."""
    first = tl.program_id(0).to(tl.int64) * blocks_each * BLOCK
    total = tl.zeros([BLOCK], tl.int32)
    for i in tl.range(0, blocks_each, num_stages=1, loop_unroll_factor=4):
        total += tl.load(x + first + i * BLOCK + tl.arange(0, BLOCK))
    tl.store(out + tl.program_id(0), tl.sum(total, 0))


@functools.cache
def read_bytes_s(device: str) -> float:
    """Bytes a second of reading memory once, median of a few passes over 4 GiB (64 MiB on a CPU)."""
    if device == "cpu":
        x = torch.ones(16 << 20, dtype=torch.int32)
        times: list[float] = []
        for _ in range(5):
            begin = time.perf_counter()
            x.sum()
            times.append(time.perf_counter() - begin)
        return x.nbytes / statistics.median(times)
    x = torch.ones(1 << 30, dtype=torch.int32, device=device)
    best = 0.0
    for block, each in ((4096, 32), (8192, 16), (4096, 128)):
        programs = x.numel() // (block * each)
        out = torch.empty(programs, dtype=torch.int32, device=device)
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(9)]
        for mark in marks:
            launch(_read, (programs,), x, out, each, BLOCK=block, num_warps=8)
            mark.record()
        torch.cuda.synchronize()
        assert int(out.sum()) == x.numel()
        times = [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(marks)]
        best = max(best, x.nbytes / statistics.median(times))
    del x
    torch.cuda.empty_cache()
    return best
