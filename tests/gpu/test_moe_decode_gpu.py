import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites import experts as suite

from nautiloid.ops.moe import decode

pytestmark = pytest.mark.gpu

SHAPES = {
    **suite.FEW,
    "hybrid, one token": (1, 16, 6, 2688, 1856, False, "relu2", 2),
    "hybrid, 8 tokens": (8, 16, 6, 2688, 1856, False, "relu2", 2),
    "hybrid, several blocks": (40, 4, 3, 2688, 1856, False, "relu2", 2),
    "gated, 33 tokens": (33, 16, 8, 2048, 768, True, "silu", 0),
    "gated, one token": (1, 16, 8, 2048, 768, True, "silu", 0),
    "latent, 9 tokens": (9, 48, 22, 1024, 2688, False, "relu2", 0),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_experts_equal_token_by_token(shape):
    suite.check_few(decode.experts, shape, device="cuda", dtype=torch.bfloat16, tolerance=1e-2)


@pytest.mark.parametrize("name", ["odd", "gated", "several blocks an expert"])
def test_experts_in_float32(name):
    shape = suite.FEW[name]
    suite.check_few(decode.experts, shape, device="cuda", dtype=torch.float32, tolerance=1e-5)


@pytest.mark.parametrize("tokens", [1, 5, 200])
def test_one_expert_may_take_every_token(tokens):
    suite.check_few(
        decode.experts,
        (tokens, 3, 2, 256, 192, False, "relu2", 0),
        device="cuda",
        dtype=torch.bfloat16,
        tolerance=1e-2,
        routes=torch.full((tokens, 2), 2),
    )


@pytest.mark.parametrize("shape", suite.ROUTES.values(), ids=suite.ROUTES)
def test_router_equals_the_formula(shape):
    suite.check_few_routes(decode.route, shape, device="cuda", dtype=torch.bfloat16)


def test_a_recorded_layer_follows_its_input():
    """Chained kernels in a graph: each replay reads what the copy before it wrote."""
    x = torch.zeros(4, 256, device="cuda", dtype=torch.bfloat16)
    router = torch.randn(16, 256, device="cuda", dtype=torch.bfloat16)
    up = torch.randn(16, 128, 256, device="cuda", dtype=torch.bfloat16) / 16
    down = torch.randn(16, 256, 128, device="cuda", dtype=torch.bfloat16) / 16
    inputs = [torch.randn_like(x) for _ in range(20)]

    @torch.no_grad()
    def layers():
        h = x
        for _ in range(3):
            routing = decode.route(h, router, None, 4)
            h = decode.experts(h, routing.experts_TK, routing.weights_TK, up, down)
        return h

    layers()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = layers()
    found = []
    for value in inputs:
        x.copy_(value)
        graph.replay()
        found.append(out.clone())
    for value, there in zip(inputs, found, strict=True):
        x.copy_(value)
        torch.cuda.synchronize()
        assert torch.equal(layers(), there)
