"""256 requests that share a prompt of 8,192 tokens: time to all first tokens, with and without the cache."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results_file import Row
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.model.presets import preset

SHARED, OWN, REQUESTS = 8192, 128, 256
# requests that are timed without sharing; all of them take so many times as long
FEW = 32


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """One row, the same work without sharing as its peer."""
    scale = Scale(tiny)
    config = preset("nemotron-3-nano-30b-a3b")
    model, taken = None, dict[bool, float]()
    for is_shared in (True, False):
        serving = Serving(
            scale,
            config,
            requests=REQUESTS,
            cached_tokens=scale.tokens(FEW * (SHARED + OWN + 64) + REQUESTS * (OWN + 64)),
            model=model,
            prefix_cache=is_shared,
            prefill_tokens=16384,
        )
        model = serving.model
        warm = serving.submit(serving.prompts(2, scale.tokens(SHARED), seed=9), 4)
        serving.start(warm)  # loads kernels
        serving.stop(warm)
        head = serving.prompts(1, scale.tokens(SHARED))[0]
        count = scale.requests(REQUESTS if is_shared else FEW)
        tails = serving.prompts(count, scale.tokens(OWN), seed=1)
        # the first request brings the shared part; the others come once it is there
        first = serving.submit([[*head, *tails[0]]], 1000)
        taken[is_shared] = serving.start(first)
        rest = serving.submit([[*head, *tail] for tail in tails[1:]], 1000)
        taken[is_shared] += serving.start(rest)
        taken[is_shared] *= scale.requests(REQUESTS) / count
        serving.stop([*first, *rest])
        del serving.engine, serving
    yield Row(
        work="shared_prefix_8k",
        value=taken[True],
        unit="s to all first tokens",
        better="lower",
        ours=taken[True],
        peer=taken[False],
        limit=f"{REQUESTS} x ({SHARED} shared + {OWN} own) tokens; "
        f"peer: this engine without a prefix cache ({FEW} requests, times {REQUESTS // FEW})",
        reps=1,
        reason=f"{taken[False] / taken[True]:.1f} times faster",
    )
