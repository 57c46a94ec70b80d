"""Cases of the head kernels."""

from __future__ import annotations

from functools import partial

import torch
from tests.suites.kernels import DEVICE, check_kernel, normal, relative_error

from nautiloid.ops.head import cuda, reference


class Case:
    """Tokens that fill no whole chunk, a vocabulary that fills no whole block."""

    def __init__(self, tokens: int = 21, width: int = 16, vocabulary: int = 301, chunk: int = 8):
        generator = torch.Generator().manual_seed(1)
        self.inputs = [normal(tokens, width), normal(vocabulary, width, scale=width**-0.5)]
        targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
        targets[0], targets[1] = 0, vocabulary - 1
        self.targets = targets.to(DEVICE)
        self.weight = torch.rand(tokens, generator=generator).to(DEVICE)
        self.weight[::3] = 0
        self.teacher = normal(tokens, 8).to(DEVICE), normal(vocabulary, 8, scale=0.3).to(DEVICE)
        best = normal(tokens, vocabulary, seed=4).log_softmax(-1).topk(5)
        self.best, self.ids = best.values.to(DEVICE), best.indices.to(DEVICE)
        self.chunk = chunk


def check_cross_entropy(case: Case, z_loss: float, dtype: torch.dtype) -> None:
    """Cross-entropy plus z-loss and the gradients of hidden states and head."""
    check_kernel(
        lambda h, w: sum(
            reference.cross_entropy(h, w, case.targets, case.weight.double(), z_loss),
            start=h.new_zeros(()),
        ),
        lambda h, w: (
            cuda.cross_entropy(
                h, w, case.targets, case.weight, z_loss=z_loss, chunk_tokens=case.chunk
            ).total
        ),
        case.inputs,
        dtype,
    )


def check_logprobs(case: Case, temperature: float, dtype: torch.dtype) -> None:
    """Log probabilities and entropies with gradients into both."""
    check_kernel(
        lambda h, w: reference.logprobs(h, w, case.targets, temperature),
        lambda h, w: cuda.logprobs(h, w, case.targets, temperature, chunk_tokens=case.chunk),
        case.inputs,
        dtype,
    )


def check_kl(case: Case, direction: str, dtype: torch.dtype) -> None:
    """KL to a teacher's full distribution."""
    teacher = [x.to(dtype) for x in case.teacher]
    check_kernel(
        lambda h, w: reference.kl(
            h, w, *(x.double() for x in teacher), case.weight.double(), direction, 1.5
        ),
        partial(_kl, case, teacher, direction),
        case.inputs,
        dtype,
    )


def _kl(case, teacher, direction, h, w):
    return cuda.kl(
        h, w, *teacher, case.weight, direction=direction, temperature=1.5, chunk_tokens=case.chunk
    )


def check_kl_top(case: Case, direction: str, dtype: torch.dtype) -> None:
    """KL to a teacher's best tokens."""
    check_kernel(
        lambda h, w: reference.kl_top(
            h, w, case.ids, case.best, case.weight.double(), direction, 1.5
        ),
        lambda h, w: cuda.kl_top(
            h,
            w,
            case.ids,
            case.best.float(),
            case.weight,
            direction=direction,
            temperature=1.5,
            chunk_tokens=case.chunk,
        ),
        case.inputs,
        dtype,
    )


def check_promised_scale(case: Case, dtype: torch.dtype) -> None:
    """With a promised scale the head's gradient is in main_grad; a broken promise makes it NaN."""
    hidden, head = (x.to(DEVICE, dtype).requires_grad_() for x in case.inputs)
    exact = [x.detach().double().requires_grad_() for x in (hidden, head)]
    total, _ = reference.cross_entropy(*exact, case.targets, case.weight.double())
    expected = torch.autograd.grad(total / 7, exact)

    def run(scale: float | None, factor: float) -> None:
        hidden.grad = None
        head.main_grad = torch.ones(head.shape, device=DEVICE)
        loss = cuda.cross_entropy(
            hidden, head, case.targets, case.weight, chunk_tokens=case.chunk, grad_scale=scale
        ).total
        (loss * factor).backward()
        assert head.grad is None

    bound = 1e-5 if dtype == torch.float32 else 2e-2
    for scale in (None, 1 / 7):
        run(scale, 1 / 7)
        assert relative_error(head.main_grad - 1, expected[1]) < bound
        assert relative_error(hidden.grad, expected[0]) < bound
    run(1 / 7, 1 / 5)
    assert bool(head.main_grad.isnan().any())
