"""The GPU router and experts for few tokens in Triton's interpreter."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from tests.suites import experts as suite
from tests.suites import interpreter
from tests.suites.ops import poisoned_memory

from nautiloid.ops.moe import decode

interpreter.allow_loaded_bounds()

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU suite covers it")
# what each kernel is launched with here: tiles that the tiny shapes do not fill, and more than one
SMALL = {"BM": 16, "BK": 32, "num_warps": 4, "num_stages": 2}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(
        decode, "tuned", lambda name, **default: {k: SMALL.get(k, default[k]) for k in default}
    )


@pytest.mark.parametrize("shape", suite.FEW.values(), ids=suite.FEW)
def test_experts_equal_token_by_token(shape):
    with poisoned_memory():
        suite.check_few(decode.experts, shape, device="cpu", dtype=torch.float32, tolerance=5e-6)


def test_experts_in_half_precision():
    shape = suite.FEW["gated"]
    with poisoned_memory():
        suite.check_few(decode.experts, shape, device="cpu", dtype=torch.float16, tolerance=3e-3)


@pytest.mark.parametrize("tokens", [1, 20])
def test_one_expert_may_take_every_token(tokens):
    with poisoned_memory():
        suite.check_few(
            decode.experts,
            (tokens, 3, 2, 16, 24, False, "relu2", 0),
            device="cpu",
            dtype=torch.float32,
            tolerance=5e-6,
            routes=torch.full((tokens, 2), 2),
        )


ROUTES = {**suite.ROUTES, "groups": (6, 12, 4, 4, 2, "sigmoid", True, True)}


@pytest.mark.parametrize("shape", ROUTES.values(), ids=ROUTES)
def test_router_equals_the_formula(shape):
    with poisoned_memory():
        suite.check_few_routes(decode.route, shape, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize(("tokens", "experts", "top_k"), [(2, 4, 2), (33, 3, 2), (12, 20, 6)])
def test_blocks_hold_every_assignment_once_in_order(tokens, experts, top_k):
    index = suite.choices(tokens, experts, top_k)
    with poisoned_memory():
        found = decode.arrange(index, experts)
    flat, seen = index.flatten(), []
    for expert, rows in zip(found.experts.tolist(), found.rows.tolist(), strict=True):
        kept = [r for r in rows if r >= 0] if expert >= 0 else []
        assert all(flat[r] == expert for r in kept)
        assert rows[: len(kept)] == kept or expert < 0
        seen += [(expert, r) for r in kept]
    assert seen == sorted((int(e), i) for i, e in enumerate(flat))
