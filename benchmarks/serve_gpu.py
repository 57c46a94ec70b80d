"""Serving on one GPU, through the engine as users call it, against byte limits and vLLM.

    python benchmarks/serve_gpu.py                   # everything: results/serve_gpu.json
    python benchmarks/serve_gpu.py decode prefill    # some parts, printed only
    python benchmarks/serve_gpu.py decode --merge    # some parts, their rows renewed

Nemotron-3-Nano-30B-A3B dims unless a row says otherwise: bfloat16 weights made at random on the GPU,
float32 SSM state, experts drawn uniformly for every token and layer, temperature 1, completions that no
token ends. Every part is a file of `serve_rows/`; it first compares decoding with prefill. The limit of
a row is what its bytes need at the read bandwidth measured in the same process; the peer is vLLM 0.24 at
the same work on the same kind of GPU, measured once.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.parts import Parts  # noqa: E402

PARTS = Parts(
    script=__file__,
    results="serve_gpu",
    folder="serve_rows",
    last=("steady", "long", "start"),
    flags=("tiny", "profile"),
)

if __name__ == "__main__":
    raise SystemExit(PARTS.main(__doc__))
