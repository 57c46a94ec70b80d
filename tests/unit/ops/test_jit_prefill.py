"""The mixer kernel for prompts against the kernel for one token, token by token."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nautiloid.ops import compiled

if not compiled.is_available():
    pytest.skip("compiled kernels need numba and torch's OpenMP", allow_module_level=True)

from nautiloid.ops.mamba import jit, jit_prefill

LIMIT = (0.0, float("inf"))


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    pasts=st.lists(st.sampled_from([0, 3]), min_size=4, max_size=4),
    shape=st.sampled_from([(4, 16, 2, 32), (2, 32, 1, 16), (2, 5, 2, 7), (3, 16, 3, 8)]),
    taps=st.integers(2, 4),
    has_bias=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_prompts_equal_their_tokens_one_by_one(lengths, pasts, shape, taps, has_bias, seed):
    """Tolerance: float32 sums of another order."""
    heads, width, groups, size = shape
    inner = heads * width
    channels = inner + 2 * groups * size
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes):
        return torch.randn(*sizes, generator=generator)

    count, tokens, past = len(lengths), sum(lengths), pasts[: len(lengths)]
    weights = (
        draw(channels, taps), draw(channels) if has_bias else None, draw(heads), draw(heads),
        draw(heads), draw(inner),
    )  # fmt: skip
    projected = draw(tokens, inner + channels + heads)
    conv, ssm = draw(count, taps - 1, channels), draw(count, heads, width, size)
    expected_conv, expected_ssm = conv.clone(), ssm.clone()
    outputs = []
    with torch.inference_mode():
        y = jit_prefill.prefill(
            projected, conv, *weights, ssm, groups, 1e-5, LIMIT, lengths, past
        )  # fmt: skip
        for s, rows in enumerate(projected.split(lengths)):
            states = expected_conv[s : s + 1], expected_ssm[s : s + 1]
            if past[s] == 0:
                states[0].zero_()
                states[1].zero_()
            outputs += [
                jit.step(row[None], states[0], *weights, states[1], groups, 1e-5, LIMIT)
                for row in rows
            ]
    torch.testing.assert_close(y, torch.cat(outputs), atol=2e-4, rtol=2e-4)
    assert torch.equal(conv, expected_conv)
    torch.testing.assert_close(ssm, expected_ssm, atol=1e-5, rtol=1e-5)


def test_a_nan_stays_in_its_sequence():
    shape = (2, 16, 1, 16)
    heads, width, groups, size = shape
    channels = heads * width + 2 * groups * size
    projected = torch.zeros(6, heads * width + channels + heads)
    projected[1] = float("nan")
    zeros = [torch.zeros(channels, 4), None, *torch.ones(3, heads), torch.ones(heads * width)]
    conv, ssm = torch.zeros(2, 3, channels), torch.zeros(2, heads, width, size)
    with torch.inference_mode():
        y = jit_prefill.prefill(
            projected, conv, *zeros, ssm, groups, 1e-5, LIMIT, [3, 3], [0, 0]
        )  # fmt: skip
    assert y[1:3].isnan().any()
    assert y[3:].isfinite().all()
    assert ssm[0].isnan().any()
    assert ssm[1].isfinite().all()
