"""The GPU kernels that draw tokens, in Triton's interpreter where there is no GPU."""

import pytest
import torch

from nautiloid.ops.sampling.counters import uniforms
from nautiloid.ops.sampling.draw import Filters

pytest.importorskip("triton")

from tests.suites.interpreter import allow_loaded_bounds

from nautiloid.ops.sampling import cuda as gpu
from nautiloid.ops.sampling import filter_logits, reference

allow_loaded_bounds()

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def logits_of(rows, vocabulary, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, vocabulary, generator=generator) * 2).to(DEVICE, dtype)


def settings(rows, temperature=1.0, min_p=0.0, top_k=0, top_p=1.0):
    return (
        torch.full((rows,), temperature, device=DEVICE),
        torch.full((rows,), min_p, device=DEVICE),
        torch.full((rows,), top_k, dtype=torch.int32, device=DEVICE),
        torch.full((rows,), top_p, device=DEVICE),
    )


def counters(rows, seed=1):
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator).to(DEVICE)
    return seeds, torch.arange(rows, dtype=torch.int32, device=DEVICE)


@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 5), (7, 4096), (5, 9001)])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.5])
def test_draws_are_those_of_the_reference(rows, vocabulary, temperature):
    logits = logits_of(rows, vocabulary)
    seeds, positions = counters(rows)
    t, _, top_k, top_p = settings(rows, temperature)
    out = gpu.sample(logits, t, seeds, positions)
    u = uniforms(seeds.cpu(), positions.long().cpu()).to(DEVICE)
    ids, logprobs = reference.sample(logits, t, top_k, top_p, 0 * t, u)
    assert out.ids_B.tolist() == ids.tolist()
    torch.testing.assert_close(out.logprobs_B, logprobs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "chosen",
    [
        {"top_k": 1},
        {"top_k": 7},
        {"top_p": 0.6},
        {"min_p": 0.05},
        {"min_p": 0.01, "top_k": 50, "top_p": 0.9, "temperature": 0.8},
        {"top_k": 10_000, "top_p": 1e-6},
    ],
)
def test_floors_keep_what_the_reference_keeps(chosen):
    rows, vocabulary = 2, 5003
    logits = logits_of(rows, vocabulary, seed=2)
    t, min_p, top_k, top_p = settings(rows, **chosen)
    floor = gpu.floors(logits, t, Filters(min_p, top_k, top_p))
    kept = filter_logits(logits, t, top_k, top_p, min_p).isfinite()
    assert torch.equal((logits * (1 / t[:, None])) >= floor[:, None], kept)
    seeds, positions = counters(rows)
    out = gpu.sample(logits, t, seeds, positions, floor_B=floor)
    u = uniforms(seeds.cpu(), positions.long().cpu()).to(DEVICE)
    ids, logprobs = reference.sample(logits, t, top_k, top_p, min_p, u)
    assert out.ids_B.tolist() == ids.tolist()
    torch.testing.assert_close(out.logprobs_B, logprobs, rtol=1e-5, atol=2e-5)


def test_a_row_does_not_depend_on_the_batch():
    logits, (seeds, positions) = logits_of(3, 4500), counters(3)
    t = settings(3, 0.9)[0]
    whole = gpu.sample(logits, t, seeds, positions)
    for row in range(3):
        at = slice(row, row + 1)
        alone = gpu.sample(logits[at], t[at], seeds[at], positions[at])
        assert alone.ids_B.tolist() == whole.ids_B[at].tolist()
        assert alone.logprobs_B.tolist() == whole.logprobs_B[at].tolist()


def test_draws_follow_the_distribution():
    rows, vocabulary = (4000 if DEVICE == "cuda" else 90), 4
    logits = logits_of(1, vocabulary).expand(rows, -1)
    seeds = torch.full((rows,), 5, device=DEVICE)
    t = settings(rows, 0.7)[0]
    positions = torch.arange(rows, dtype=torch.int32, device=DEVICE)
    ids = gpu.sample(logits, t, seeds, positions).ids_B
    expected = (logits[0].double() / 0.7).softmax(-1).cpu() * rows
    counts = torch.bincount(ids.cpu().long(), minlength=vocabulary).double()
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # 99.9 %, 3 degrees of freedom


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_are_not_finite_are_marked(bad, temperature):
    logits, (seeds, positions) = logits_of(3, 5000), counters(3)
    logits[1, 4999] = bad
    out = gpu.sample(logits, settings(3, temperature)[0], seeds, positions)
    assert out.logprobs_B.isnan().tolist() == [False, True, False]
    assert 0 <= out.ids_B[1] < 5000


def test_excluded_tokens_are_never_drawn_and_the_first_of_equals_wins():
    logits = torch.full((2, 4200), float("-inf"), device=DEVICE)
    logits[:, [3, 4100]] = 1.0
    seeds, positions = counters(2)
    out = gpu.sample(logits, settings(2, 0.0)[0], seeds, positions)
    assert out.ids_B.tolist() == [3, 3]
    out = gpu.sample(logits, settings(2)[0], seeds, positions)
    assert set(out.ids_B.tolist()) <= {3, 4100}
    none = torch.full((1, 10), float("-inf"), device=DEVICE)
    out = gpu.sample(none, settings(1)[0], seeds[:1], positions[:1])
    assert out.logprobs_B.isnan().all()


def test_tokens_go_to_their_slots():
    logits, (seeds, positions) = logits_of(2, 100), counters(2)
    newest = torch.full((5,), -7, dtype=torch.int32, device=DEVICE)
    slots = torch.tensor([4, 1], dtype=torch.int32, device=DEVICE)
    target = gpu.sample(logits, settings(2)[0], seeds, positions, None, newest, slots)
    assert newest[[4, 1]].tolist() == target.ids_B.tolist()
    assert newest[[0, 2, 3]].tolist() == [-7] * 3
