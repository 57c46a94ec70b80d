"""One fresh process: from its start to the first token of a short prompt, phase by phase, as JSON.

python -m benchmarks.serve_rows.first_token FOLDER DEVICE STARTED
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Print seconds since `STARTED` (of `time.time`) at the end of every phase."""
    folder, device, started = sys.argv[1], sys.argv[2], float(sys.argv[3])
    marks = {"python": time.time() - started}

    from nautiloid.core.types import SamplingParams
    from nautiloid.engine.engine import Engine
    from nautiloid.model.weights import load

    marks["imports"] = time.time() - started
    model = load(folder, device=device)
    marks["weights"] = time.time() - started
    engine = Engine(model, max_batch=64)
    marks["engine"] = time.time() - started
    ids = list(range(5, 37))
    for delta in engine.stream(ids, SamplingParams(max_tokens=4)):
        assert delta.ids
        marks.setdefault("first_token", time.time() - started)
    marks["all_tokens"] = time.time() - started
    print(json.dumps(marks), flush=True)


if __name__ == "__main__":
    main()
