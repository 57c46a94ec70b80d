"""Recurrent states in 16 bits, rounded at random, against float32."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results_file import Row
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.presets import preset

DTYPE = "float16"


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """One row."""
    serving = Serving(
        Scale(tiny),
        preset("nemotron-3-nano-30b-a3b"),
        requests=256,
        cached_tokens=400_000,
        ssm_dtype=DTYPE,
    )
    measured = serving.decode(256, 1024, 200)
    yield serving.decode_row(
        "state16_256x1024", measured, ssm_dtype=DTYPE, note=f"{DTYPE}, rounded at random"
    )
