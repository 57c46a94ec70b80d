"""The GPU router and experts in Triton's interpreter."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import experts as suite
from tests.suites import interpreter
from tests.suites.ops import poisoned_memory

from nautiloid.ops.moe import balance, cuda, layout

interpreter.allow_loaded_bounds()

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU suite covers it")


@on_cpu
@pytest.mark.parametrize("shape", suite.SHAPES.values(), ids=suite.SHAPES)
def test_experts_equal_token_by_token(shape):
    with poisoned_memory():
        suite.check_experts(cuda.experts, shape, device="cpu", dtype=torch.float32, tolerance=5e-6)


@on_cpu
def test_experts_in_half_precision_and_into_main_grad():
    shape = suite.SHAPES["odd"]
    with poisoned_memory():
        suite.check_experts(cuda.experts, shape, device="cpu", dtype=torch.float16, tolerance=2e-3)
        suite.check_experts(
            cuda.experts,
            suite.SHAPES["gated relu2"],
            device="cpu",
            dtype=torch.float32,
            tolerance=5e-6,
            has_main_grad=True,
        )


@on_cpu
def test_one_expert_may_take_every_token():
    with poisoned_memory():
        suite.check_experts(
            cuda.experts,
            (70, 3, 1, 16, 24, False, "relu2"),
            device="cpu",
            dtype=torch.float32,
            tolerance=5e-6,
            routes=torch.full((70, 1), 2),
        )


@on_cpu
@pytest.mark.parametrize("shape", suite.ROUTES.values(), ids=suite.ROUTES)
def test_router_equals_the_formula(shape):
    with poisoned_memory():
        suite.check_route(cuda.route, shape, device="cpu", dtype=torch.float32, tolerance=5e-6)


@on_cpu
@pytest.mark.parametrize("shape", suite.BALANCES.values(), ids=suite.BALANCES)
def test_balance_loss_and_counts_equal_the_formula(shape):
    with poisoned_memory():
        suite.check_balance(balance.balance_loss, layout.expert_counts, shape, device="cpu")


@on_cpu
@pytest.mark.parametrize("align", [1, 16, 32, 64, 128])
def test_layout_sorts_stably_and_pads_every_expert(align):
    index = suite.choices(70, 6, 3)
    weights = suite.random(70, 3).float()
    found = layout.arrange(index, weights, 6, align)
    totals = torch.bincount(index.flatten(), minlength=6)
    assert torch.equal(found.totals_E.long(), totals)
    padded = (totals + align - 1) // align * align
    starts = torch.nn.functional.pad(padded.cumsum(0), (1, 0))
    assert torch.equal(found.starts.long(), starts)
    assert starts[-1] <= found.rows
    order = torch.argsort(index.flatten(), stable=True)
    rank = torch.arange(210) - (totals.cumsum(0) - totals)[index.flatten()[order]]
    place = torch.empty(210, dtype=torch.long)
    place[order] = starts[index.flatten()[order]] + rank
    assert torch.equal(found.place_TK.flatten().long(), place)
    assert torch.equal(found.weights_R[place], weights.flatten())
    blocks = found.table[: int(found.used)].tolist()
    covered = [(expert, row + i) for row, expert, rows in blocks for i in range(rows)]
    assert covered == [(e, r) for e in range(6) for r in range(int(starts[e]), int(starts[e + 1]))]


@on_cpu
def test_no_tokens_give_no_rows():
    x, weights = torch.zeros(0, 16), torch.zeros(0, 2)
    index = torch.zeros(0, 2, dtype=torch.long)
    assert cuda.experts(x, index, weights, torch.ones(4, 8, 16), torch.ones(4, 16, 8)).shape == (
        0,
        16,
    )
    assert cuda.route(x, torch.ones(4, 16), None, 2).experts_TK.shape == (0, 2)
