import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.head import (
    Case,
    check_cross_entropy,
    check_kl,
    check_kl_top,
    check_logprobs,
    check_promised_scale,
)

pytestmark = pytest.mark.gpu
DTYPES = [torch.bfloat16, torch.float32]


@pytest.fixture(scope="module")
def case():
    return Case(tokens=300, width=128, vocabulary=5000, chunk=128)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_cross_entropy(case, z_loss, dtype):
    check_cross_entropy(case, z_loss, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logprobs_and_entropy(case, dtype):
    check_logprobs(case, 0.7, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl(case, direction, dtype):
    check_kl(case, direction, dtype)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl_of_the_best_tokens(case, direction):
    check_kl_top(case, direction, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_promised_scale(case, dtype):
    check_promised_scale(case, dtype)
