"""The steady state of 8k in, 16k out: requests of all ages at once, new ones as old ones end.

Positions lie evenly in 8,192 to 24,576, as in an engine that has run for long. A request that reaches
24,576 ends by itself, and a prompt of 8,192 tokens takes its place: batch / 16,384 of them a step.
Only the caches that the requests start from are random numbers instead of computed ones.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import torch
from benchmarks.results_file import Row
from benchmarks.serve_rows.kernels_shown import print_steps
from benchmarks.serve_rows.limits import read_bytes_s, step_bytes
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.config import ModelConfig
from nautiloid.model.costs import state_bytes
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset

PROMPT, COMPLETION = 8192, 16384
STEPS, WARM = 300, 20
CHUNK = 8192
# of the device, for activations of a prefill, graphs and libraries
SPARE_BYTES = 7e9
# pages of requests that grow a little more than the mean
SLACK = 1.02


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """Both models, and their ratio."""
    scale = Scale(tiny)
    config = preset("nemotron-3-nano-30b-a3b")
    nano = _steady(scale, config, "steady_8k_16k_nano", 8400, 9500, profile)
    yield nano
    qwen = _steady(scale, preset("qwen3-30b-a3b"), "steady_8k_16k_qwen", None, None, profile)
    yield qwen
    assert nano.value
    assert qwen.value
    yield Row(
        work="ratio_8k_16k_qwen",
        value=nano.value / qwen.value,
        unit="ratio of tokens/s",
        goal=5.5,
        ours=nano.value,
        peer=qwen.value,
        limit="8.4 by bytes; more means that the steady Qwen3 is further from its own limit",
        reps=1,
        reason="both bfloat16, in this engine; stretch 6.5",
    )
    serving = Serving(
        scale, preset("qwen3-30b-a3b"), requests=64, cached_tokens=64 * (PROMPT + 256)
    )
    measured = serving.decode(64, PROMPT, 100, is_filled=True)
    yield serving.decode_row(
        "decode_qwen_64x8192", measured, goal=1785, peer=1785, note="caches hold random numbers"
    )


def _steady(
    scale: Scale,
    config: ModelConfig,
    work: str,
    goal: float | None,
    stretch: float | None,
    profile: bool,
) -> Row:
    """One model in its steady state."""
    rate = read_bytes_s(scale.device)  # while there is room for what it reads
    model = scale.model(scale.config(config))
    prompt, completion = scale.tokens(PROMPT), scale.tokens(COMPLETION)
    most = PROMPT + COMPLETION
    config = scale.config(config)
    batch = scale.requests(_largest_batch(config, model))
    serving = Serving(
        scale,
        config,
        requests=batch,
        cached_tokens=int(SLACK * batch * (prompt + completion / 2)),
        model=model,
        prefill_tokens=CHUNK,
    )
    warm = serving.submit(serving.prompts(1, prompt, seed=1), 10)
    serving.start(warm)  # kernels of prompts, which the first arrival would wait for
    serving.stop(warm)
    ages = [round(completion * (i + 0.5) / batch) for i in range(batch)]
    text = serving.prompts(1, scale.tokens(most))[0]
    running: list[int] = []
    for age in ages:
        (request,) = serving.submit([text[: prompt + age]], completion - age)
        running.append(request.id)
    serving.fill([serving.engine.requests[i] for i in running])
    engine, arrivals, tokens = serving.engine, 0, 0
    prompts = itertools.cycle(serving.prompts(4 + STEPS * batch // COMPLETION, prompt, seed=2))
    keys: list[int] = []
    begin = time.perf_counter()
    for step in range(scale.steps(WARM) + scale.steps(STEPS)):
        if step == scale.steps(WARM):
            begin, arrivals = time.perf_counter(), 0
            tokens = -sum(len(r.ids) for r in engine.requests.values())
        for request_id, done in engine.step().items():
            tokens += len(done.ids)
            running.remove(request_id)
            (request,) = serving.submit([next(prompts)], completion)
            running.append(request.id)
            arrivals += 1
        keys.append(sum(r.num_cached for r in engine.requests.values()))
    seconds, keys = time.perf_counter() - begin, keys[scale.steps(WARM) :]
    tokens += sum(len(r.ids) for r in engine.requests.values())
    value = tokens / seconds
    distinct = serving.distinct_experts(batch)
    moved = step_bytes(
        config,
        requests=batch,
        cached_tokens=sum(keys) / len(keys),
        distinct_experts=distinct,
    )
    limit = batch * rate / moved.total
    row = Row(
        work=work,
        value=value,
        unit="tokens/s",
        goal=goal,
        ours=value,
        limit=f"{limit:,.0f} tokens/s ({value / limit:.0%}) at {rate / 1e12:.2f} TB/s: {moved}"
        + (f"; {distinct:.1f} experts a layer" if distinct else "")
        + "; prefill of arrivals not in it",
        reps=len(keys),
        reason=f"batch {batch}, {arrivals} arrivals of {prompt} tokens in {len(keys)} steps, "
        f"{seconds / len(keys) * 1e3:.1f} ms a step; caches filled with random numbers, positions and pages as "
        "after a real prefill" + (f"; stretch {stretch:,.0f}" if stretch else ""),
    )
    print(row.work, f"{value:,.0f}", row.limit, row.reason, flush=True)
    if profile:
        print_steps(serving, work)
    del model, engine
    serving.close()
    return row


def _largest_batch(config: ModelConfig, model: Decoder) -> int:
    """Requests of mean length that fit beside the weights."""
    if model.device.type != "cuda":
        return 3
    state = state_bytes(config)
    each = state.ssm + state.conv + SLACK * state.kv_per_token * (PROMPT + COMPLETION / 2)
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    return int((free - SPARE_BYTES) / each)
