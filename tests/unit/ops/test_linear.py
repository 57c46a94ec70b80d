import copy

import pytest
import torch
from tests.suites.ops import check_same, leaf
from torch.nn import functional as F

from nautiloid.model.linear import Segments
from nautiloid.ops.linear import fused_view, linear, segmented_linear


def test_adjacent_weights_run_as_one_product():
    whole = leaf(7, 5).detach()
    parts = [p.requires_grad_() for p in whole.split([2, 4, 1])]
    assert fused_view(parts) is not None
    check_same(
        lambda x, *w: torch.cat([F.linear(x, p) for p in w], -1),
        lambda x, *w: segmented_linear(x, w),
        [leaf(3, 5), *parts],
    )


def test_scattered_weights_run_one_by_one():
    parts = [leaf(2, 5), leaf(4, 5), leaf(1, 5)]
    assert fused_view(parts) is None
    check_same(
        lambda x, *w: torch.cat([F.linear(x, p) for p in w], -1),
        lambda x, *w: segmented_linear(x, w),
        [leaf(3, 5), *parts],
    )


def test_segments_work_after_a_copy_and_after_a_move():
    layer = Segments(5, {"a": 2, "b": 3})
    for p in layer.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(4, 5)
    expected = layer(x)
    torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
    torch.testing.assert_close(layer.double()(x.double()).float(), expected)


def test_an_optimizer_step_reaches_the_fused_weight():
    layer = Segments(3, {"a": 2, "b": 2})
    for p in layer.parameters():
        torch.nn.init.ones_(p)
    layer(torch.ones(1, 3)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=1.0).step()
    assert layer(torch.ones(1, 3)).tolist() == [[0.0, 0.0, 0.0, 0.0]]


def grads_of(run, weights):
    return torch.autograd.grad(run().square().sum(), weights)


def test_main_grad_takes_the_weight_gradient_of_a_linear_map():
    x, w, b = leaf(2, 3, 5), leaf(4, 5), leaf(4)
    plain = grads_of(lambda: linear(x, w, b), [x, w, b])
    w.main_grad = torch.ones(4, 5, dtype=torch.float64)
    linear(x, w, b).square().sum().backward()
    torch.testing.assert_close([x.grad, w.main_grad - 1, b.grad], list(plain))
    assert w.grad is None


@pytest.mark.parametrize("is_adjacent", [True, False])
def test_main_grad_takes_the_weight_gradients_of_segments(is_adjacent):
    x = leaf(3, 5)
    parts = [p.requires_grad_() for p in leaf(7, 5).detach().split([2, 4, 1])]
    plain = grads_of(lambda: segmented_linear(x, parts), [x, *parts])
    sums = torch.ones(7, 5, dtype=torch.float64).split([2, 4, 1])
    for part, total in zip(parts, sums, strict=True):
        part.main_grad = total if is_adjacent else total.clone()
    segmented_linear(x, parts).square().sum().backward()
    torch.testing.assert_close([x.grad, *(p.main_grad - 1 for p in parts)], list(plain))
    assert all(p.grad is None for p in parts)
