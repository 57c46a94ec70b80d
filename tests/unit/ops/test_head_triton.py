import pytest
import torch
from tests.suites.head import (
    Case,
    check_cross_entropy,
    check_kl,
    check_kl_top,
    check_logprobs,
    check_promised_scale,
)

CASE = Case()


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_cross_entropy(z_loss):
    check_cross_entropy(CASE, z_loss, torch.float32)


def test_logprobs_and_entropy():
    check_logprobs(CASE, 0.7, torch.float32)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl(direction):
    check_kl(CASE, direction, torch.float32)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl_of_the_best_tokens(direction):
    check_kl_top(CASE, direction, torch.float32)


def test_half_precision():
    check_cross_entropy(CASE, 0.1, torch.float16)
    check_logprobs(CASE, 1.3, torch.float16)


def test_promised_scale():
    check_promised_scale(CASE, torch.float32)
