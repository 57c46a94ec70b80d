import pytest
import torch
from tests.suites.ops import check_same, leaf

from nautiloid.ops.norm import fused, reference


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8), (1, 8)])
def test_rms_norm(shape):
    args = [leaf(*shape), leaf(8)]
    check_same(
        lambda x, w: reference.rms_norm(x, w, 1e-5), lambda x, w: fused.rms_norm(x, w, 1e-5), args
    )


def test_add_rms_norm():
    args = [leaf(5, 8), leaf(5, 8, seed=1), leaf(8)]
    check_same(
        lambda *a: reference.add_rms_norm(*a, 1e-5), lambda *a: fused.add_rms_norm(*a, 1e-5), args
    )


@pytest.mark.parametrize("used", [0, 1])
def test_add_rms_norm_with_one_output_used(used):
    args = [leaf(5, 8), leaf(5, 8, seed=1)]
    w = leaf(8).detach()
    check_same(
        lambda *a: reference.add_rms_norm(*a, w, 1e-5)[used],
        lambda *a: fused.add_rms_norm(*a, w, 1e-5)[used],
        args,
    )


def test_main_grad_takes_the_gradient_of_the_weight():
    x, delta, w = leaf(5, 8), leaf(5, 8, seed=1), leaf(8)
    calls = (
        lambda: fused.rms_norm(x, w, 1e-5),
        lambda: fused.add_rms_norm(x, delta, w, 1e-5)[1],
        lambda: fused.gated_group_norm(x, delta, w, 2, 1e-5),
    )
    for call in calls:
        (plain,) = torch.autograd.grad(call().square().sum(), [w])
        w.main_grad = torch.ones_like(w)
        call().square().sum().backward()
        torch.testing.assert_close(w.main_grad - 1, plain)
        assert w.grad is None
        del w.main_grad


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_gated_group_norm(groups):
    args = [leaf(5, 8), leaf(5, 8, seed=1), leaf(8)]
    check_same(
        lambda *a: reference.gated_group_norm(*a, groups, 1e-5),
        lambda *a: fused.gated_group_norm(*a, groups, 1e-5),
        args,
    )


def test_without_gradients_the_values_are_the_same_bit_for_bit():
    x, z, w = leaf(5, 8), leaf(5, 8, seed=1), leaf(8)
    with torch.no_grad():
        norm, gated = fused.rms_norm(x, w, 1e-5), fused.gated_group_norm(x, z, w, 2, 1e-5)
    assert torch.equal(norm, fused.rms_norm(x, w, 1e-5))
    assert torch.equal(gated, fused.gated_group_norm(x, z, w, 2, 1e-5))


def test_bfloat16_is_rounded_once_at_the_end():
    x, w = leaf(4, 64).detach().bfloat16(), leaf(64).detach().bfloat16()
    exact = reference.rms_norm(x.double(), w.double(), 1e-5)
    assert torch.equal(fused.rms_norm(x, w, 1e-5), exact.bfloat16())
