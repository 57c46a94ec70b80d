"""Serving a small hybrid MoE on a CPU: against transformers in the same run, exactness, 8-bit weights.

    python benchmarks/serve_cpu.py                                # 8-bit weights of the quickstart's model
    python benchmarks/serve_cpu.py --model runs/mine/model        # of another one

The peer is transformers with the same float32 weights and the same ids. It has no continuous batching
for models with Mamba layers (`continuous_batching` keeps keys and values only), so its fastest fair way
through many requests is whole batches, padded on the left. The requests are sorted by the length of their
output first, which it profits from most: a batch runs as long as its longest output. Greedy tokens
of both sides are compared by the near-tie rule.

Without `runs/quickstart`, a model of the quickstart's debug preset is made, which knows nothing.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from cpu import CONFIG, FEW, MANY, PROMPT, THREADS, load_peer, timed, tokens
from nautiloid.core.seed import Seed
from nautiloid.core.types import Message, SamplingParams
from nautiloid.engine.engine import Engine
from nautiloid.model.decoder import Decoder
from nautiloid.model.quantize import pack_weights, weight_bytes
from nautiloid.model.weights import load, save
from results_file import Row, write_results

REPS, BATCH_REPS = 7, 3
STREAM_PROMPT, STREAM_OUTPUT = 128, 128
REQUESTS, BATCH = 64, 16
SHORTEST, LONGEST = 16, 256
QUICKSTART = Path("runs/quickstart/sft/model")
TASKS, ANSWER = 64, 96
# logits so close that two correct programs may choose differently
TIE = 1e-4


@dataclass(frozen=True)
class Work:
    """One request: its prompt and how many tokens it wants."""

    prompt: list[int]
    output: int


def main() -> None:
    """Check, time, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder for the rows of 8-bit weights")
    parts = ("peer", "exact", "int8")
    parser.add_argument("--only", nargs="*", choices=parts, help="print some parts, write nothing")
    options = parser.parse_args()
    wanted = options.only or parts
    torch.set_num_threads(THREADS)
    model = Decoder(CONFIG)
    model.init_weights(Seed(0))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "model")
        if "peer" in wanted:
            peer = load_peer(Path(folder) / "model")
            rows += [stream_row(model, peer), batch_row(model, peer)]
        if "exact" in wanted:
            rows += exact_rows(model)
        if "int8" in wanted:
            rows += int8_rows(options.model or quickstart(Path(folder)))
            rows += [int8_speed(Path(folder) / "model", "hybrid", batch) for batch in (1, BATCH)]
    write_results("serve_cpu", rows, notes={"threads": THREADS}, to_file=not options.only)


class Count(BaseStreamer):
    """Receives every token as it is made."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def put(self, value: Tensor) -> None:
        """The prompt first, then token by token."""
        self.ids += value.flatten().tolist()

    def end(self) -> None:
        """Nothing is left."""


def stream_row(model: Decoder, peer: Any) -> Row:
    """One request, token by token, prompt included."""
    prompt = tokens(1, STREAM_PROMPT)
    engine = Engine(model, max_batch=1, stop_ids=())
    params = SamplingParams(temperature=0, max_tokens=STREAM_OUTPUT)
    found: dict[str, list[int]] = {}

    def ours() -> None:
        deltas = engine.stream(prompt[0].tolist(), params)
        found["ours"] = [token for delta in deltas for token in delta.ids]

    def theirs() -> None:
        streamer = Count()
        peer.generate(
            prompt, streamer=streamer, do_sample=False,
            max_new_tokens=STREAM_OUTPUT, min_new_tokens=STREAM_OUTPUT,
        )  # fmt: skip
        found["peer"] = streamer.ids[STREAM_PROMPT:]

    our_s, peer_s = alternate(ours, theirs, REPS)
    check(model, [Work(prompt[0].tolist(), STREAM_OUTPUT)], [found["ours"]], [found["peer"]])
    return ratio_row("stream_1", 3.0, STREAM_OUTPUT, our_s, peer_s)


def requests() -> list[Work]:
    """Prompts and outputs uniform in 16 to 256 tokens."""
    draw = random.Random(0)
    ids = tokens(REQUESTS, LONGEST).tolist()
    return [
        Work(row[: draw.randint(SHORTEST, LONGEST)], draw.randint(SHORTEST, LONGEST)) for row in ids
    ]


def batch_row(model: Decoder, peer: Any) -> Row:
    """All requests from the first prompt to the last token, 16 at a time."""
    works = requests()
    engine = Engine(model, max_batch=BATCH, stop_ids=())
    found: dict[str, list[list[int]]] = {}

    def ours() -> None:
        params = [SamplingParams(temperature=0, max_tokens=work.output) for work in works]
        done = engine.generate([work.prompt for work in works], params)
        found["ours"] = [list(completion.ids) for completion in done]

    def theirs() -> None:
        order = sorted(range(len(works)), key=lambda i: works[i].output)
        answers: list[list[int]] = [[]] * len(works)
        for start in range(0, len(order), BATCH):
            group = order[start : start + BATCH]
            answered = generate_padded(peer, [works[i] for i in group])
            for i, ids in zip(group, answered, strict=True):
                answers[i] = ids
        found["peer"] = answers

    our_s, peer_s = alternate(ours, theirs, BATCH_REPS)
    check(model, works, found["ours"], found["peer"])
    return ratio_row("batch_64req", 4.0, sum(work.output for work in works), our_s, peer_s)


def generate_padded(peer: Any, works: Sequence[Work]) -> list[list[int]]:
    """One batch of transformers, padded on the left, as long as its longest output."""
    longest, most = max(len(w.prompt) for w in works), max(w.output for w in works)
    ids = torch.zeros(len(works), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, work in enumerate(works):
        ids[row, longest - len(work.prompt) :] = torch.tensor(work.prompt)
        mask[row, longest - len(work.prompt) :] = 1
    out = peer.generate(
        ids, attention_mask=mask, max_new_tokens=most, min_new_tokens=most, do_sample=False
    )
    return [
        row[longest : longest + work.output].tolist() for row, work in zip(out, works, strict=True)
    ]


def check(
    model: Decoder, works: Sequence[Work], ours: list[list[int]], peer: list[list[int]]
) -> None:
    """The near-tie rule: greedy tokens are equal up to a place where two logits are."""
    equal = 0
    for work, mine, theirs in zip(works, ours, peer, strict=True):
        assert len(mine) == len(theirs) == work.output
        at = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b), None)
        if at is None:
            equal += 1
            continue
        with torch.no_grad():
            logits = model(torch.tensor([work.prompt + mine[:at]]))[0, -1]
        gap = float(logits.max() - logits[[mine[at], theirs[at]]].min())
        assert gap < TIE, f"token {at} differs and is no tie: {gap:.1e}"
    print(f"greedy tokens of {equal} of {len(works)} requests are equal, the others part at a tie")


def exact_rows(model: Decoder) -> list[Row]:
    """Log probabilities while sampling against those of one forward over the whole sequence."""
    works = requests()[:BATCH]
    engine = Engine(model, max_batch=BATCH, stop_ids=())
    params = [SamplingParams(temperature=1, max_tokens=work.output, seed=0) for work in works]
    done = engine.generate([work.prompt for work in works], params)
    scores = engine.score([[*w.prompt, *c.ids] for w, c in zip(works, done, strict=True)])
    gaps = [
        whole - step
        for row, completion in zip(scores, done, strict=True)
        for whole, step in zip(row[-len(completion.ids) :], completion.logprobs, strict=True)
    ]
    k3 = statistics.fmean(math.expm1(gap) - gap for gap in gaps)
    unit = f"decode against prefill, {len(gaps)} sampled tokens, float32"
    return [
        Row(work="decode_k3_kl", value=k3, unit=unit, better="lower", goal=1e-8),
        Row(
            work="decode_max_dlogp",
            value=max(map(abs, gaps)),
            unit=unit,
            better="lower",
            goal=1e-4,
        ),
    ]


def quickstart(folder: Path) -> Path:
    """The quickstart's model, or one of its debug preset, made in seconds."""
    if QUICKSTART.is_dir():
        return QUICKSTART
    out = folder / "quickstart"
    command = [sys.executable, "-m", "nautiloid", "quickstart", "--preset", "debug"]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    return out / "sft" / "model"


def int8_rows(path: Path) -> list[Row]:
    """8-bit weights of a trained model: best tokens, bytes, speed."""
    wide, narrow = load(path), load(path)
    pack_weights(narrow, "int8")
    engine = Engine(path, max_batch=BATCH)
    params = [SamplingParams(temperature=1, max_tokens=ANSWER, seed=i) for i in range(TASKS)]
    done = engine.generate(tasks(), params)
    same = count = 0
    with torch.no_grad():
        for completion in done:
            ids = torch.tensor([*completion.prompt_ids, *completion.ids])[None, :-1]
            best = (
                model(ids)[0, len(completion.prompt_ids) - 1 :].argmax(-1)
                for model in (wide, narrow)
            )
            equal = torch.eq(*best)
            same, count = same + int(equal.sum()), count + equal.numel()
    half = weight_bytes(load(path, dtype="bfloat16"))
    bytes_ = weight_bytes(wide), weight_bytes(narrow)
    name = path.parts[-3] if len(path.parts) > 2 else path.name
    return [
        Row(
            work="int8_agreement",
            value=same / count,
            unit=f"share of {count} tokens of {TASKS} sampled answers whose best next one stays",
            goal=0.95,
        ),
        Row(
            work="int8_bytes",
            value=bytes_[1] / bytes_[0],
            unit="of the bytes of float32 weights",
            better="lower",
            goal=0.5,
            ours=float(bytes_[1]),
            peer=float(bytes_[0]),
            limit=f"{bytes_[1] / half:.2f} of bfloat16",
        ),
        *(int8_speed(path, name, batch) for batch in (1, BATCH)),
    ]


def tasks() -> list[list[Message]]:
    """Questions of the kind that the quickstart's model was tuned on."""
    draw = random.Random(0)
    made: list[list[Message]] = []
    for i in range(TASKS):
        a, b, c, d = (draw.randint(0, 99) for _ in range(4))
        text = f"Calculate {a} - {b} + {c}." if i % 2 else f"Sort {a}, {b}, {c}, {d}"
        made.append([Message("user", text)])
    return made


def int8_speed(path: Path, name: str, batch: int) -> Row:
    """Decoding with 8-bit weights against float32 ones, the shorter of two runs taken off."""
    engines = [
        Engine(path, max_batch=batch, stop_ids=(), weight_format=kind) for kind in ("int8", None)
    ]
    vocabulary = engines[0].config.vocab_size
    prompts = (tokens(batch, PROMPT) % vocabulary).tolist()

    def step_s(engine: Engine) -> float:
        def run(count: int) -> None:
            engine.generate(prompts, SamplingParams(temperature=0, max_tokens=count))

        short = timed(lambda: run(FEW))
        return (timed(lambda: run(MANY)) - short) / (MANY - FEW)

    for engine in engines:
        step_s(engine)
    pairs = [(step_s(engines[0]), step_s(engines[1])) for _ in range(REPS)]
    ours, peer = (statistics.median(s) for s in zip(*pairs, strict=True))
    ratios = [b / a for a, b in pairs]
    return Row(
        work=f"int8_decode_b{batch}_{name}",
        value=peer / ours,
        unit="ratio of tokens/s to float32 weights",
        ours=batch / ours,
        peer=batch / peer,
        reps=REPS,
        spread=(min(ratios), max(ratios)),
    )


def alternate(
    first: Callable[[], None], second: Callable[[], None], reps: int
) -> tuple[list[float], list[float]]:
    """Seconds of each call, taking turns after one call of each that warms up."""
    first()
    second()
    pairs = [(timed(first), timed(second)) for _ in range(reps)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio_row(work: str, goal: float, count: int, our_s: list[float], peer_s: list[float]) -> Row:
    """Generated tokens a second of both sides."""
    ratios = [b / a for a, b in zip(our_s, peer_s, strict=True)]
    return Row(
        work=work,
        value=statistics.median(peer_s) / statistics.median(our_s),
        unit="ratio of generated tokens/s to transformers, prompts included",
        goal=goal,
        ours=count / statistics.median(our_s),
        peer=count / statistics.median(peer_s),
        reps=len(our_s),
        spread=(min(ratios), max(ratios)),
    )


if __name__ == "__main__":
    main()
