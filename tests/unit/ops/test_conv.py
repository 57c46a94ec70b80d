import pytest
import torch
from tests.suites.ops import check_same, leaf

from nautiloid.ops.conv import conv_silu_step, reference, shifted


@pytest.mark.parametrize("lengths", [[8, 8], [1, 5, 2, 9], [7], [1, 1, 1]])
@pytest.mark.parametrize("has_context", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("taps", [2, 4])
def test_shifted_equals_the_convolution(lengths, has_context, has_bias, taps):
    args = [leaf(sum(lengths), 6), leaf(6, taps)]
    args += [leaf(6)] if has_bias else []
    args += [leaf(len(lengths), taps - 1, 6)] if has_context else []

    def run(fn):
        def call(x, weight, *rest):
            bias = rest[0] if has_bias else None
            context = rest[-1] if has_context else None
            return fn(x, weight, bias, lengths, context)

        return call

    check_same(run(reference.conv_silu), run(shifted.conv_silu), args)


def test_single_steps_equal_the_convolution():
    x, weight, bias = leaf(9, 3).detach(), leaf(3, 4).detach(), leaf(3).detach()
    whole, last = reference.conv_silu(x, weight, bias, [9])
    state = torch.zeros(1, 3, 3, dtype=torch.float64)
    steps = [conv_silu_step(state, x[t : t + 1], weight.t(), bias) for t in range(9)]
    torch.testing.assert_close(torch.cat(steps), whole)
    torch.testing.assert_close(state, last)
