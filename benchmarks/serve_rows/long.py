"""One prompt of 262,144 and one of 1,048,576 tokens: prefill, then decoding at that length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.results_file import Row
from benchmarks.serve_rows.limits import prefill_limit
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.presets import preset

CASES = {"one_256k": 1 << 18, "one_1m": 1 << 20}
SPARE = 4096


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """Two rows a length."""
    scale = Scale(tiny)
    most = max(CASES.values()) + SPARE
    config = replace(preset("nemotron-3-nano-30b-a3b"), max_position_embeddings=most)
    serving = Serving(scale, config, requests=1, cached_tokens=most, prefill_tokens=16384)
    for name, tokens in CASES.items():
        serving.decode(1, 20_000, 10)  # loads kernels
        measured = serving.decode(1, tokens, 100)
        length = scale.tokens(tokens)
        rate, limit = length / measured.prefill_s, prefill_limit(serving.config, length)
        yield Row(
            work=f"{name}_prefill",
            value=rate,
            unit="tokens/s",
            ours=measured.prefill_s,
            limit=f"{limit:,.0f} tokens/s ({rate / limit:.0%}) at 793 TFLOP/s",
            reps=1,
            reason=f"{measured.prefill_s:.1f} s; state {serving.engine.pool.store.nbytes / 1e9:.2f} GB",
        )
        yield serving.decode_row(f"{name}_decode", measured)
