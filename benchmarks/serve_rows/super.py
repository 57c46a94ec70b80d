"""Twelve layers of Nemotron-3-Super-120B-A12B: 512 latent experts, 22 a token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.results_file import Row
from benchmarks.serve_rows.kernels_shown import print_profile
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.presets import preset

LAYERS = 12


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """One row."""
    whole = preset("nemotron-3-super-120b-a12b")
    config = replace(whole, pattern=whole.pattern[:LAYERS], mtp=None)
    serving = Serving(Scale(tiny), config, requests=64, cached_tokens=120_000)
    checked = serving.check()
    measured = serving.decode(64, 1024, 200)
    yield serving.decode_row("decode_super12_64x1024", measured, note=checked)
    if profile:
        print_profile(serving, 64, 1024)
