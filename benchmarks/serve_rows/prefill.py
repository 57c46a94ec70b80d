"""Prompts of 8,192 tokens, one after another through chunked prefill: tokens a second against FLOPs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.results_file import Row
from benchmarks.serve_rows.limits import prefill_limit
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.presets import preset

PROMPT, PROMPTS, REPS = 8192, 16, 3
# tokens of one forward: two whole prompts
CHUNK = 16384


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """One row."""
    serving = Serving(
        Scale(tiny),
        preset("nemotron-3-nano-30b-a3b"),
        requests=PROMPTS,
        cached_tokens=PROMPTS * (PROMPT + 1),
        prefill_tokens=CHUNK,
    )
    tokens = serving.scale.tokens(PROMPT)
    count = serving.scale.requests(PROMPTS)
    rates: list[float] = []
    for rep in range(REPS + 1):
        prompts = serving.prompts(count, tokens, seed=rep)
        begin = time.perf_counter()
        requests = serving.submit(prompts, 1)
        while any(r.finish_reason is None for r in requests):
            serving.engine.step()
        serving.scale.wait()
        rates.append(count * tokens / (time.perf_counter() - begin))
    rates = sorted(rates[1:])  # the first one loads kernels
    value, most = rates[len(rates) // 2], prefill_limit(serving.config, tokens)
    yield Row(
        work=f"prefill_{PROMPT}",
        value=value,
        unit="tokens/s",
        goal=80_000,
        ours=value,
        peer=65_700,
        limit=f"{most:,.0f} tokens/s ({value / most:.0%}) at 793 TFLOP/s",
        reps=REPS,
        spread=(rates[0], rates[-1]),
        reason=f"{PROMPTS} prompts, {CHUNK} tokens a forward; stretch 85,000",
    )
