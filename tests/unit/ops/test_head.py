import pytest
import torch
from tests.suites.ops import check_same, leaf

from nautiloid.ops.head import chunked, cross_entropy, kl, kl_top, logprobs, reference


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, 30, (200,), generator=generator)
    weight = torch.rand(200, generator=generator, dtype=torch.float64)
    weight[::3] = 0
    return leaf(200, 8), leaf(30, 8), targets, weight


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_cross_entropy(case, z_loss):
    hidden, head, targets, weight = case
    check_same(
        lambda h, w: sum(reference.cross_entropy(h, w, targets, weight, z_loss)),
        lambda h, w: cross_entropy(h, w, targets, weight, z_loss=z_loss, chunk_tokens=64).total,
        (hidden, head),
    )


def test_z_loss_is_reported_apart_and_without_gradient(case):
    hidden, head, targets, weight = case
    out = cross_entropy(hidden, head, targets, weight, z_loss=0.1)
    ce, z = reference.cross_entropy(hidden, head, targets, weight, 0.1)
    torch.testing.assert_close(out.z, z)
    torch.testing.assert_close(out.total - out.z, ce)
    assert not out.z.requires_grad


def test_all_weights_zero_gives_zero_and_zero_gradients(case):
    hidden, head, targets, weight = case
    out = cross_entropy(hidden, head, targets, weight * 0)
    gradients = torch.autograd.grad(out.total, (hidden, head))
    assert float(out.total) == 0
    assert all(float(g.abs().max()) == 0 for g in gradients)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropy(case, temperature):
    hidden, head, targets, _ = case
    check_same(
        lambda h, w: reference.logprobs(h, w, targets, temperature),
        lambda h, w: logprobs(h, w, targets, temperature, chunk_tokens=64),
        (hidden, head),
    )


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_kl(case, direction, temperature):
    hidden, head, _, weight = case
    teacher, teacher_head = leaf(200, 5).detach(), leaf(30, 5).detach()
    check_same(
        lambda h, w: reference.kl(h, w, teacher, teacher_head, weight, direction, temperature),
        lambda h, w: kl(
            h,
            w,
            teacher,
            teacher_head,
            weight,
            direction=direction,
            temperature=temperature,
            chunk_tokens=64,
        ),
        (hidden, head),
    )


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl_of_the_best_tokens(case, direction):
    hidden, head, _, weight = case
    best, ids = leaf(200, 30, seed=1).detach().log_softmax(-1).topk(4)
    check_same(
        lambda h, w: reference.kl_top(h, w, ids, best, weight, direction, 1.5),
        lambda h, w: kl_top(
            h, w, ids, best, weight, direction=direction, temperature=1.5, chunk_tokens=64
        ),
        (hidden, head),
        tolerance=1e-11,
    )


def test_no_tensor_of_tokens_times_vocabulary_exists(monkeypatch):
    hidden, head = leaf(512, 8).float().detach().requires_grad_(), leaf(4096, 8).float().detach()
    targets, weight = torch.zeros(512, dtype=torch.long), torch.ones(512)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    monkeypatch.setattr(chunked, "CHUNK_LOGITS", 1 << 18)
    with Watch():
        cross_entropy(hidden, head, targets, weight).total.backward()
    assert largest <= 1 << 18 < 512 * 4096
