"""What every stage of curation must hold; called by the unit tests of each."""

import doctest
import importlib
import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace

from nautiloid.core.config import from_json, to_json
from nautiloid.core.types import Document
from nautiloid.curate.stage import Dropped, Filter, Stage

HOSTILE = (
    "",
    " \n\t\n ",
    "\x00" * 50,
    "$" * 5_000,
    "`" * 5_000,
    "$a " * 3_000,
    "``` \n" * 2_000,
    "[" * 3_000 + "](" * 1_000,
    "#" * 5_000,
    "| - " * 2_000,
    "\\(" * 2_000,
    "word" * 20_000,
    "1 " * 10_000,
    "1" * 20_000,
    "a@" * 5_000,
    "a.b" * 5_000 + "@",
    ":" * 10_000,
    "+1 " * 5_000,
    "\ufdd0" + "7\ufdd1" * 100,
    "\ud7ff\U0010ffff \u202e\u0301" * 500,
    "x\u0301" * 5_000,
    "-----BEGIN PRIVATE KEY-----" * 300,
    "eyJaaaaaaaaaaa." * 500,
    "creativecommons.org/licenses/" * 500,
    "\u00c3\u00a9" * 3_000,
)
SLOWEST_S = 1.0


def check_stage(stage: Stage, *, keeps=(), drops=None, ids_only=False) -> None:
    """Run the whole suite.

    Args:
        stage: The stage with the settings that the examples are made for.
        keeps: Documents, or texts, that stay.
        drops: For each reason, a document or text that goes for it.
        ids_only: The stage looks at ids and meta alone: hostile text tells nothing.
    """
    keeps = [_document(given, i) for i, given in enumerate(keeps)]
    drops = {reason: _document(given, reason) for reason, given in (drops or {}).items()}
    check_record(stage)
    check_doctests(stage)
    check_examples(stage, keeps, drops)
    documents = [*keeps, *drops.values()]
    check_purity(stage, documents)
    if not ids_only:
        check_hostile(stage)
    print_speed(stage, documents)


def check_record(stage):
    assert from_json(Stage, to_json(stage)) == stage
    assert from_json(Stage, json.loads(json.dumps(to_json(stage)))) == stage


def check_doctests(stage):
    """The examples in its docstring, of which there must be some."""
    module = importlib.import_module(type(stage).__module__)
    finder = doctest.DocTestFinder(recurse=False)
    tests = finder.find(type(stage), type(stage).__name__, module)
    examples = sum(len(test.examples) for test in tests)
    assert examples, f"{type(stage).__name__} shows no example"
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


def check_examples(stage, keeps, drops):
    with stage.open() as tools:
        for document in keeps:
            result = stage.apply(document, tools)
            assert isinstance(result, Document), result
            assert result.id == document.id
        for reason, document in drops.items():
            result = stage.apply(document, tools)
            assert isinstance(result, Dropped), (reason, result)
            assert result.reason == reason
            assert result.detail
            assert "\n" not in result.detail
            assert replace(result.document, meta={}) == replace(document, meta={})


def check_purity(stage, documents):
    """The same answer again, in another order, from another instance and in batches; nothing is changed in place."""
    before = deepcopy(documents)
    with stage.open() as tools:
        first = [stage.apply(document, tools) for document in documents]
        again = [stage.apply(document, tools) for document in reversed(documents)][::-1]
        batched = list(stage.apply_batch(documents, tools))
    other = replace(stage)
    with other.open() as tools:
        fresh = [other.apply(document, tools) for document in documents]
    assert first == again == fresh == batched
    assert documents == before
    if isinstance(stage, Filter):
        assert all(r is d for r, d in zip(first, documents, strict=True) if isinstance(r, Document))


def check_hostile(stage):
    with stage.open() as tools:
        for text in HOSTILE:
            start = time.process_time()
            result = stage.apply(Document("hostile", text, meta={"url": text[:5_000]}), tools)
            spent = time.process_time() - start
            assert isinstance(result, Document | Dropped)
            assert spent < SLOWEST_S, (text[:20], spent)


def print_speed(stage, documents, seconds=0.05):
    """Documents a second on one core, for a person; machines differ too much to assert it."""
    count, start = 0, time.process_time()
    with stage.open() as tools:
        start = time.process_time()
        while documents and time.process_time() - start < seconds:
            for document in documents:
                stage.apply(replace(document, text=document.text + " " * (count % 7)), tools)
                count += 1
    spent = time.process_time() - start
    if count:
        print(f"{type(stage).__kind__}: {count / spent:,.0f} documents/s")


def results_elsewhere(stages, documents, *, hash_seed):
    """Results of stages in a fresh process with another hash seed, as text to compare."""
    payload = json.dumps([to_json(list(stages)), [[d.id, d.text, dict(d.meta)] for d in documents]])
    code = (
        "import json, sys\n"
        "from nautiloid.core.config import from_json\n"
        "from nautiloid.core.types import Document\n"
        "from nautiloid.curate.stage import Stage\n"
        "stages, documents = json.load(sys.stdin)\n"
        "documents = [Document(i, t, meta=m) for i, t, m in documents]\n"
        "for stage in stages:\n"
        "    stage = from_json(Stage, stage)\n"
        "    with stage.open() as tools:\n"
        "        print(json.dumps([repr(stage.apply(d, tools)) for d in documents]))\n"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=payload,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def results_here(stages, documents):
    """The same results in this process."""
    lines = []
    for stage in stages:
        with stage.open() as tools:
            lines.append(json.dumps([repr(stage.apply(d, tools)) for d in documents]) + "\n")
    return "".join(lines)


def _document(given, name):
    return given if isinstance(given, Document) else Document(f"example-{name}", given)
