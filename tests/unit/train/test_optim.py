import pytest
import torch
from torch import nn

from nautiloid.core.errors import InputError
from nautiloid.train.config import AdamWConfig, GroupConfig
from nautiloid.train.optim import AdamW


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))


def grads(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def reference_step(p, g, m, v, t, lr, decay, betas=(0.9, 0.95), eps=1e-8):
    p = p * (1 - lr * decay)
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g * g
    update = (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)
    return p - lr * update, m, v


def test_matches_the_formula_and_spares_vectors_from_decay(model):
    optimizer = AdamW(model, AdamWConfig(lr=0.1, weight_decay=0.5))
    expected = {n: (p.detach().double(), 0.0, 0.0) for n, p in model.named_parameters()}
    for t in (1, 2, 3):
        grads(model, t)
        for n, p in model.named_parameters():
            decay = 0.5 if p.ndim > 1 else 0.0
            expected[n] = reference_step(
                expected[n][0], p.grad.double(), *expected[n][1:], t, 0.1, decay
            )
        optimizer.step(0.1)
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.detach().double(), expected[n][0], atol=1e-5, rtol=1e-5)


def test_groups_and_frozen_parameters(model):
    config = AdamWConfig(
        lr=0.1,
        weight_decay=0.0,
        trainable=("2.*", "1.weight"),
        groups=(GroupConfig(match="2.bias", lr_ratio=0.0),),
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = AdamW(model, config)
    assert list(optimizer.parameters) == ["1.weight", "2.weight", "2.bias"]
    grads(model, 1)
    optimizer.step(0.1)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"1.weight", "2.weight"}


def test_a_glob_without_match_is_refused(model):
    with pytest.raises(
        InputError, match=r"trainer.optim.trainable: nothing.\*: matches no parameter"
    ):
        AdamW(model, AdamWConfig(trainable=("nothing.*",)))


def test_state_continues_bit_for_bit(model):
    import copy

    optimizer = AdamW(model, AdamWConfig())
    assert optimizer.tensors() == {}
    grads(model, 1)
    optimizer.step(1e-2)
    other = copy.deepcopy(model)
    resumed = AdamW(other, AdamWConfig())
    resumed.load_tensors({name: t.clone() for name, t in optimizer.tensors().items()})
    for m, o in ((model, optimizer), (other, resumed)):
        grads(m, 2)
        o.step(1e-2)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
