"""Nemotron-CC-Math's pipeline with our extraction: pages to documents that keep their formulas.

    nautiloid curate curate/cc_math --input pages/
    nautiloid curate curate/cc_math --input pages/ --preset debug      # small shards, one process

The order is the paper's: extract, clean, score, remove near duplicates (24-grams of characters, 20 bands of
13). Without a model cleaning and scores are by rules; `Clean` and `Score` take an endpoint, a classifier folder
or a scorer of your own (`nautiloid curate curate/quality`) instead.
"""

from __future__ import annotations

from dataclasses import replace

from nautiloid.curate.dedup.exact import Exact
from nautiloid.curate.dedup.minhash import nemotron
from nautiloid.curate.executors.local import Local
from nautiloid.curate.extract.dom import Dom
from nautiloid.curate.filters.clean import Clean
from nautiloid.curate.filters.gopher_repetition import GopherRepetition
from nautiloid.curate.filters.language import Language
from nautiloid.curate.filters.length import Length
from nautiloid.curate.filters.licence import Licence
from nautiloid.curate.filters.pii import Pii
from nautiloid.curate.filters.score import Score
from nautiloid.curate.filters.url import Url
from nautiloid.curate.readers.files import Files
from nautiloid.curate.recipe import CurateRecipe, Subset
from nautiloid.curate.shards import ShardConfig


def recipe() -> CurateRecipe:
    return CurateRecipe(
        name="curate-cc-math",
        source=Files(),
        extractor=Dom(),
        stages=(
            Url(),
            Clean(),
            Length(min_chars=200, max_chars=900_000),
            Language(languages=("en",), keeps_little_prose=True),
            GopherRepetition(top_grams={}, all_grams={}),  # formal mathematics repeats its phrases
            Pii(),
            Licence(),
            Score(),
        ),
        dedup=(Exact(), nemotron()),
        subsets=(Subset(name="3plus", min_int_score=3), Subset(name="4plus", min_int_score=4)),
        shards=ShardConfig(formats=("parquet",)),
    )


def debug() -> CurateRecipe:
    base = recipe()
    return replace(
        base,
        name="curate-cc-math-debug",
        shards=ShardConfig(formats=("parquet", "jsonl"), shard_bytes=1 << 20),
        executor=Local(processes=1),
    )
