"""AdamW over flat memory against float64 torch and against the plain reference, on any device."""

import torch

from nautiloid.ops.adamw import Scalars, reference

HOST = Scalars(lr=1e-2, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, key=12345)
MODES = ("masters", "masters-bf16-moments", "stochastic", "float32")


def make(mode, count, device, seed=0):
    """Parameter, gradient, moments, device scalars and copy (or None) of a mode."""
    generator = torch.Generator().manual_seed(seed)

    def draw(scale=1.0):
        return (torch.randn(count, generator=generator) * scale).to(device)

    moments = torch.bfloat16 if mode in ("masters-bf16-moments", "stochastic") else torch.float32
    param = draw().to(torch.bfloat16 if mode == "stochastic" else torch.float32)
    copy = torch.full((count,), torch.nan, dtype=torch.bfloat16, device=device)
    device_scalars = torch.tensor([0.5, 1.0, 1 / (1 - 0.9**3), (1 - 0.95**3) ** -0.5])
    return (
        param,
        draw(),
        draw(0.1).to(moments),
        draw(0.1).square().to(moments),
        device_scalars.to(device),
        copy if mode.startswith("masters") else None,
    )


def exact(param, grad, m, v):
    """Parameter and moments after the step in float64."""
    p, g, m, v = (t.double() for t in (param, grad, m, v))
    g = g * 0.5
    m = HOST.beta1 * m + (1 - HOST.beta1) * g
    v = HOST.beta2 * v + (1 - HOST.beta2) * g * g
    step = m / (1 - 0.9**3) / ((v / (1 - 0.95**3)).sqrt() + HOST.eps)
    return p * (1 - HOST.lr * HOST.weight_decay) - HOST.lr * step, m, v


def check_update(update, mode, device, count=5003):
    """Values, rounding, copy and the cleared gradient."""
    param, grad, m, v, device_scalars, copy = make(mode, count, device)
    expected = exact(param, grad, m, v)
    twins = [t.clone() for t in (param, grad, m, v)]
    update(param, grad, m, v, device_scalars, HOST, copy)
    assert not grad.any()
    for new, wanted in zip((param, m, v), expected, strict=True):
        rel = 2**-7 if new.dtype == torch.bfloat16 else 2e-6
        torch.testing.assert_close(new.double(), wanted, rtol=rel, atol=1e-7)
        if new.dtype == torch.bfloat16:  # rounding at random has no bias: far below half an ulp
            bias = ((new.double() - wanted) / wanted.abs().clamp(min=1e-3)).mean()
            assert abs(bias) < 2e-4, bias
    if copy is not None:
        if param.is_cuda or update is reference.update:
            assert torch.equal(copy, param.bfloat16())
        else:  # Triton's interpreter cuts off instead of rounding to nearest
            torch.testing.assert_close(copy.float(), param, rtol=2**-7, atol=0)
    reference.update(*twins, device_scalars, HOST, None)
    for new, twin in zip((param, m, v), (twins[0], twins[2], twins[3]), strict=True):
        if new.dtype == torch.bfloat16:  # same random bits: differs only where fp32 did
            assert (new != twin).float().mean() < 1e-2
        torch.testing.assert_close(new, twin, rtol=2**-7, atol=1e-6)


def check_skip(update, mode, device):
    """A poisoned gradient leaves everything but itself as it was."""
    param, grad, m, v, device_scalars, copy = make(mode, 3001, device)
    grad[7] = torch.nan
    device_scalars[0] = torch.nan
    device_scalars[1] = 0.0
    before = [t.clone() for t in (param, m, v)]
    if copy is not None:
        copy.copy_(param)
    update(param, grad, m, v, device_scalars, HOST, copy)
    assert all(torch.equal(a, b) for a, b in zip(before, (param, m, v), strict=True))
    assert not grad.any()


def check_square_sum(square_sum, device, count=100_003):
    """Against float64."""
    grad = torch.randn(count, generator=torch.Generator().manual_seed(3)).to(device)
    torch.testing.assert_close(square_sum(grad), grad.double().square().sum(), rtol=1e-6, atol=0)
