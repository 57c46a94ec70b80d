"""One prompt of 262,144 and one of 1,048,576 tokens: prefill, then decoding at that length."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.results_file import Row
from benchmarks.serve_rows.limits import prefill_limit
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.presets import preset

# tokens, and how many of the forwards of the prompt are run and timed; those between are interpolated,
# since the time of a forward grows evenly with what lies before it
CASES = {"one_256k": (1 << 18, 16), "one_1m": (1 << 20, 4)}
CHUNK, SPARE = 16384, 4096


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """Two rows a length."""
    scale = Scale(tiny)
    most = max(tokens for tokens, _ in CASES.values()) + SPARE
    config = replace(preset("nemotron-3-nano-30b-a3b"), max_position_embeddings=most)
    chunk = scale.tokens(CHUNK)
    serving = Serving(scale, config, requests=1, cached_tokens=most, prefill_tokens=chunk)
    warm = serving.submit(serving.prompts(1, 2 * chunk, seed=1), 10)  # loads kernels
    serving.start(warm)
    serving.stop(warm)
    for name, (tokens, timed) in CASES.items():
        length = scale.tokens(tokens)
        chunks = length // chunk
        chosen = sorted({round(i * (chunks - 1) / (timed - 1)) for i in range(timed)})
        requests = serving.submit(serving.prompts(1, length), 4 * SPARE)
        times: list[float] = []
        for at in range(chunks):
            with serving.filled(is_real=at in chosen):
                begin = time.perf_counter()
                serving.engine.step()
                serving.scale.wait()
                times.append(time.perf_counter() - begin)
        serving.start(requests)
        seconds = _total(times, chosen)
        rate, limit = length / seconds, prefill_limit(serving.config, length)
        yield Row(
            work=f"{name}_prefill",
            value=rate,
            unit="tokens/s",
            ours=seconds,
            limit=f"{limit:,.0f} tokens/s ({rate / limit:.0%}) at 793 TFLOP/s",
            reps=1,
            reason=f"{seconds:.1f} s in forwards of {chunk} tokens, {len(chosen)} of {chunks} run and timed; "
            f"all states {serving.engine.pool.store.nbytes / 1e9:.2f} GB",
        )
        measured = serving.time_steps(requests, scale.steps(100), warm=scale.steps(20))
        serving.stop(requests)
        yield serving.decode_row(f"{name}_decode", measured)


def _total(times: list[float], chosen: list[int]) -> float:
    """Seconds of all forwards; those not run lie on the line between their neighbours."""
    total = times[chosen[0]]
    for a, b in itertools.pairwise(chosen):
        steps = b - a
        total += sum(times[a] + (times[b] - times[a]) * i / steps for i in range(1, steps + 1))
    return total
