"""What every data source must hold; called by the unit tests of each."""

import json
import os
import subprocess
import sys
from itertools import islice

from nautiloid.core.config import from_json, to_json
from nautiloid.core.types import Sample
from nautiloid.data.source import Source


def check_source(source: Source, *, limit: int = 200) -> list[Sample]:
    """Run the whole suite and return the first samples."""
    samples = check_determinism(source, limit)
    check_resume(source, samples)
    check_schema(source, samples)
    check_record(source)
    return samples


def check_determinism(source: Source, limit: int) -> list[Sample]:
    first = list(islice(source.read(), limit))
    assert first
    assert list(islice(source.read(), limit)) == first
    assert source.fingerprint() == source.fingerprint()
    return first


def check_resume(source: Source, samples: list[Sample]) -> None:
    for start in sorted({1, 2, len(samples) // 2, len(samples) - 1, len(samples)}):
        rest = list(islice(source.read(start), max(0, len(samples) - start)))
        assert rest == samples[start:], start


def check_schema(source: Source, samples: list[Sample]) -> None:
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.source == source.kind
        assert sample.licence is None or isinstance(sample.licence, str)
        for ids in (sample.tokens or ()), (sample.trains or ()):
            assert all(isinstance(i, int) for i in ids)


def check_record(source: Source) -> None:
    """The settings survive JSON, and the fingerprint with them."""
    data = json.loads(json.dumps(to_json(source)))
    again = from_json(Source, data)
    assert again == source
    assert again.fingerprint() == source.fingerprint()


def check_torch_free(*modules: str) -> None:
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
