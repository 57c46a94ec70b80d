"""Self-drafting by the model's multi-token prediction head, with acceptance forced to given rates."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results_file import Row
from benchmarks.serve_rows.scale import Scale
from benchmarks.serve_rows.serving import Serving

from nautiloid.engine.speculation import Speculation
from nautiloid.model.presets import preset

DRAFT_TOKENS = 1
RATES = (0.0, 0.5, 0.7, 0.9)


def rows(tiny: bool = False, profile: bool = False) -> Iterator[Row]:
    """One row a batch and rate; the peer is the same batch without drafts."""
    scale = Scale(tiny)
    config = preset("nemotron-3.5-lightning-30b-a3b")
    plain: dict[int, float] = {}
    model = None
    for rate in (None, *RATES):
        speculation = None
        if rate is not None:
            speculation = Speculation(kind="mtp", num_tokens=DRAFT_TOKENS, forced_acceptance=rate)
        serving = Serving(
            scale,
            config,
            requests=32,
            cached_tokens=100_000,
            model=model,
            speculation=speculation,
        )
        model = serving.model
        for count in (1, 32):
            measured = serving.decode(count, 1024, 100)
            value = measured.tokens_per_s
            if rate is None:
                plain[count] = value
                continue
            overhead = measured.seconds / measured.steps * plain[count] / measured.requests - 1
            note = f"{DRAFT_TOKENS} drafted, {rate:.0%} accepted; a step takes {overhead:+.0%}"
            yield serving.decode_row(
                f"mtp_{count}_{rate:.1f}",
                measured,
                peer=plain[count],
                drafts=DRAFT_TOKENS,
                note=note,
            )
        del serving.engine, serving
