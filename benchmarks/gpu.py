"""Kernels and whole training steps on one GPU, against their byte and FLOP limits and against peers.

    python benchmarks/gpu.py                 # everything: results/gpu.json
    python benchmarks/gpu.py ssd step        # some parts, printed only
    python benchmarks/gpu.py step --merge    # some parts, their rows renewed in results/gpu.json

Every part is a file of `gpu_rows/` with a function `rows()`, which compares with a reference in higher
precision before it measures. A part runs in its own process: one that fails costs its own rows alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.parts import Parts  # noqa: E402

# whole steps need all of the memory
PARTS = Parts(script=__file__, results="gpu", folder="gpu_rows", last=("step",))

if __name__ == "__main__":
    raise SystemExit(PARTS.main(__doc__))
