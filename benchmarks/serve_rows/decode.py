"""Decoding of equal batches, end to end: tokens a second against the bytes of a step."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results_file import Row
from benchmarks.serve_rows.kernels_shown import print_profile
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.presets import preset

# requests, prompt, steps, goal, stretch, vLLM 0.24
CASES = (
    (1, 1024, 200, 430, 500, 326),
    (8, 1024, 200, 1240, 1300, 1141),
    (32, 1024, 200, 2240, 2350, 2084),
    (128, 1024, 200, 6200, 6500, 5308),
    (256, 1024, 200, 10700, 11200, 9733),
    (128, 8192, 100, 6150, 6350, 6027),
)
PROFILED = (1, 32, 256)
FILLED = "caches hold random numbers, pages and positions are those of a real prefill"


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """One row a batch."""
    serving = Serving(
        Scale(tiny),
        preset("nemotron-3-nano-30b-a3b"),
        requests=256,
        cached_tokens=1_200_000,
        prefill_tokens=32_768,  # batches grow in few steps: fewer sizes to record
    )
    checked = serving.check()
    for count, prompt, steps, goal, stretch, peer in CASES:
        is_filled = prompt > 1024
        measured = serving.decode(count, prompt, steps, is_filled=is_filled)
        row = serving.decode_row(
            f"decode_{count}x{prompt}",
            measured,
            goal=goal,
            stretch=stretch,
            peer=peer,
            note=f"{FILLED}; {checked}" if is_filled else checked,
        )
        print(row.work, f"{row.value:,.0f}", row.limit, row.reason, flush=True)
        yield row
        if profile and prompt == 1024 and count in PROFILED:
            print_profile(serving, count, prompt)
