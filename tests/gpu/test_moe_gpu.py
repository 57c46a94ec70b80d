import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites import experts as suite

from nautiloid.ops.moe import balance, cuda, layout, products

pytestmark = pytest.mark.gpu

# dims in multiples of 64, which the Hopper kernels serve: every width of the last column tile
HOPPER = {
    "tails 64 and 128": (300, 8, 2, 384, 320, False, "relu2"),
    "tails 192 and 256": (500, 5, 3, 448, 512, False, "relu2"),
    "one column tile": (70, 3, 1, 64, 128, False, "relu2"),
    "gated on Hopper": (300, 8, 2, 384, 320, True, "silu"),
    "one token on Hopper": (1, 8, 2, 384, 320, False, "relu2"),
}
# routing weights of one token alone have gradients that cancel, so their relative error is large
TOLERANCE = 3e-2


@pytest.mark.parametrize(
    "shape", [*suite.SHAPES.values(), *HOPPER.values()], ids=[*suite.SHAPES, *HOPPER]
)
def test_experts_equal_token_by_token(shape):
    suite.check_experts(
        cuda.experts, shape, device="cuda", dtype=torch.bfloat16, tolerance=TOLERANCE
    )


@pytest.mark.parametrize("name", ["odd", "gated"])
def test_experts_in_float32(name):
    shape = suite.SHAPES[name]
    suite.check_experts(cuda.experts, shape, device="cuda", dtype=torch.float32, tolerance=1e-5)


def test_hopper_kernels_run_where_they_should():
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs Hopper")
    weight = torch.empty(2, 256, 64, device="cuda", dtype=torch.bfloat16)
    assert products.fits_hopper(weight[0], weight)
    assert not products.fits_hopper(weight[0], weight[:, :40])


@pytest.mark.parametrize("name", ["tails 64 and 128", "tails 192 and 256", "one column tile"])
def test_gradients_add_to_main_grad(name):
    suite.check_experts(
        cuda.experts,
        HOPPER[name],
        device="cuda",
        dtype=torch.bfloat16,
        tolerance=TOLERANCE,
        has_main_grad=True,
    )


def test_one_expert_may_take_every_token():
    suite.check_experts(
        cuda.experts,
        (700, 4, 1, 384, 320, False, "relu2"),
        device="cuda",
        dtype=torch.bfloat16,
        tolerance=TOLERANCE,
        routes=torch.full((700, 1), 2),
    )


@pytest.mark.parametrize("shape", suite.ROUTES.values(), ids=suite.ROUTES)
def test_router_equals_the_formula(shape):
    suite.check_route(cuda.route, shape, device="cuda", dtype=torch.bfloat16, tolerance=1e-2)


@pytest.mark.parametrize("shape", suite.BALANCES.values(), ids=suite.BALANCES)
def test_balance_loss_and_counts_equal_the_formula(shape):
    suite.check_balance(balance.balance_loss, layout.expert_counts, shape, device="cuda")


def test_experts_do_not_wait_for_the_device():
    x = torch.randn(64, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    up = torch.randn(8, 192, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    down = torch.randn(8, 128, 192, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(8, 128, device="cuda", dtype=torch.bfloat16, requires_grad=True)

    def step():
        routing = cuda.route(x, weight, None, 2)
        out = cuda.experts(x, routing.experts_TK, routing.weights_TK, up, down)
        loss = out.float().sum() + balance.balance_loss(routing.scores_TE, 2, (40, 24))
        layout.expert_counts(routing.experts_TK, 8)
        torch.autograd.grad(loss, (x, up, down, weight))

    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
