import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from nautiloid.core.errors import InputError
from nautiloid.model.context import Context
from nautiloid.train.config import DistillationConfig, LossConfig
from nautiloid.train.distillation import DistillationLoss
from nautiloid.train.losses import LanguageModelLoss, token_weights


def step(objective, model, batches):
    """Loss, figures and gradients of one optimizer step, micro-batches accumulated."""
    model.zero_grad()
    totals = objective.totals(model, batches)
    figures = {}
    loss = 0.0
    for batch in batches:
        terms = objective(model, batch, totals)
        terms.loss.backward()
        loss += terms.loss.item()
        for name, value in terms.figures.items():
            figures[name] = figures.get(name, 0.0) + value.item()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss, figures, gradients


def cross_entropies(model, hidden_TD, targets_T):
    return F.cross_entropy(model.logits(hidden_TD), targets_T, reduction="none")


def naive_mtp(model, batch, weight_T):
    """specs/architecture 4.1 and 4.2 by plain loops over sequences: CE of each depth over its own tokens."""
    depth = model.config.mtp.depth
    starts = [0, *torch.tensor(batch.lengths).cumsum(0).tolist()]
    token = torch.cat([batch.tokens_T, batch.targets_T[-1:]])
    inputs, targets, weights = [], [], []
    for j in range(1, depth + 1):
        ids, ahead, weight = (torch.zeros_like(batch.tokens_T) for _ in range(3))
        weight = weight.float()
        for a, b in itertools.pairwise(starts):
            for t in range(a, b):
                # tokens up to b (the last target) exist; token[b] is the next token after the sequence
                if t + j <= b:
                    ids[t] = token[t + j] if t + j < b else batch.targets_T[b - 1]
                if t + j < b:
                    ahead[t] = batch.targets_T[t + j]
                    weight[t] = weight_T[t + j]
        inputs.append(ids)
        targets.append(ahead)
        weights.append(weight)
    ctx = Context.packed(batch.lengths, row_lengths=batch.row_lengths)
    hidden = model.hidden(batch.tokens_T, ctx, inputs).mtp
    losses = [
        (w * cross_entropies(model, h, t)).sum() / w.sum()
        for h, t, w in zip(hidden, targets, weights, strict=True)
    ]
    return sum(losses) / depth


def test_all_terms_equal_the_plain_formula(make_model, make_batch):
    model, batch = make_model(), make_batch()
    config = LossConfig(mtp_weight=0.3, balance_weight=0.01, z_loss=0.1)
    bytes_of = list(range(48))
    loss, figures, gradients = step(LanguageModelLoss(config, bytes_of), model, [batch])

    model.zero_grad()
    w = batch.weight_T
    ctx = Context.packed(batch.lengths, row_lengths=batch.row_lengths, collect_aux=True)
    output = model.hidden(batch.tokens_T, ctx)
    logits = model.logits(output.hidden_TD)
    ce = (w * F.cross_entropy(logits, batch.targets_T, reduction="none")).sum() / w.sum()
    z = 0.1 * (w * logits.logsumexp(-1).square()).sum() / w.sum()
    mtp = naive_mtp(model, batch, w)
    assert figures["loss"] == pytest.approx(ce.item(), rel=1e-5)
    assert figures["z_loss"] == pytest.approx(z.item(), rel=1e-5)
    assert figures["mtp_loss"] == pytest.approx(mtp.item(), rel=1e-5)
    bits = (w * F.cross_entropy(logits, batch.targets_T, reduction="none")).sum() / math.log(2)
    assert figures["bits_per_byte"] == pytest.approx(
        (bits / (w * batch.targets_T).sum()).item(), rel=1e-5
    )

    # the balance loss of the MTP layer needs its forward, so only its share of the total is checked
    balance = figures["balance_loss"] * 3  # one trunk layer, one MTP layer run twice
    assert loss == pytest.approx((ce + z + 0.3 * mtp).item() + 0.01 * balance, rel=1e-5)
    (ce + z + 0.3 * mtp).backward()
    for name in ("lm_head.weight", "mtp.layers.0.eh_proj.weight", "embeddings.weight"):
        grad = dict(model.named_parameters())[name].grad
        torch.testing.assert_close(gradients[name], grad, atol=2e-3, rtol=2e-2)


def test_gradients_without_balance_are_exact(make_model, make_batch):
    model, batch = make_model(), make_batch()
    config = LossConfig(mtp_weight=0.3, balance_weight=0.0)
    _, _, gradients = step(LanguageModelLoss(config), model, [batch])
    model.zero_grad()
    ctx = Context.packed(batch.lengths, row_lengths=batch.row_lengths)
    hidden_TD = model.hidden(batch.tokens_T, ctx).hidden_TD
    ce = (
        batch.weight_T * cross_entropies(model, hidden_TD, batch.targets_T)
    ).sum() / batch.weight_T.sum()
    (ce + 0.3 * naive_mtp(model, batch, batch.weight_T)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("mean_over", ["tokens", "samples"])
def test_accumulation_equals_one_batch(make_model, make_batch, mean_over):
    """Micro-batches with different numbers of trained tokens weigh as if they were one batch."""
    model = make_model()
    whole = make_batch(lengths=((5,), (9, 2), (4,)), seed=3)
    # Cut after the first row: samples never span rows here.
    cut = 5
    parts = []
    for rows, span in (((5,), slice(0, cut)), ((11, 4), slice(cut, None))):
        lengths = (5,) if span.start == 0 else (9, 2, 4)
        parts.append(
            type(whole)(
                tokens_T=whole.tokens_T[span],
                targets_T=whole.targets_T[span],
                weight_T=whole.weight_T[span],
                positions_T=whole.positions_T[span],
                lengths=lengths,
                row_lengths=rows,
                sample_T=whole.sample_T[span],
            )
        )
    objective = LanguageModelLoss(LossConfig(mean_over=mean_over, balance_weight=0.0))
    loss, figures, gradients = step(objective, model, [whole])
    loss_2, figures_2, gradients_2 = step(objective, model, parts)
    assert loss_2 == pytest.approx(loss, rel=1e-5)
    assert figures_2["mtp_loss"] == pytest.approx(figures["mtp_loss"], rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_2[name], gradient, atol=1e-6, rtol=1e-4)


def test_sample_mean_follows_its_formula(make_batch):
    batch = make_batch(lengths=((6,), (3, 4)))
    object.__setattr__(batch, "weight_T", (batch.positions_T >= 1).float())
    weight_T = token_weights(batch, "samples")
    for sample, trained in enumerate((5, 2, 3)):
        own = weight_T[batch.sample_T == sample]
        assert own.sum().item() == pytest.approx(1.0)
        assert own[1].item() == pytest.approx(1 / trained)


def test_padding_has_no_part_in_loss_and_counts(make_model, make_batch):
    model, batch = make_model(), make_batch(lengths=((6,), (6,)))
    padded = make_batch(lengths=((6,), (6,)))
    padded.weight_T[6:] = 0
    padded.sample_T[6:] = -1
    objective = LanguageModelLoss(LossConfig())
    terms = objective(model, padded, objective.totals(model, [padded]))
    assert [int(c.sum()) for c in terms.counts] == [
        6 * 2,
        6 * 2 * 2,
    ]  # top 2, the MTP layer runs twice
    full = objective(model, batch, objective.totals(model, [batch]))
    assert [int(c.sum()) for c in full.counts] == [12 * 2, 12 * 2 * 2]


def test_a_batch_without_targets_gives_zero(make_model, make_batch):
    model, batch = make_model(), make_batch()
    batch.weight_T.zero_()
    loss, figures, gradients = step(
        LanguageModelLoss(LossConfig(balance_weight=0.0)), model, [batch]
    )
    assert loss == figures["loss"] == 0.0
    assert all(g.abs().max() == 0 for g in gradients.values())


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_distillation_equals_the_plain_formula(make_model, make_batch, direction):
    student, teacher, batch = make_model(0), make_model(1), make_batch()
    settings = DistillationConfig(
        direction=direction, temperature=2.0, kl_weight=0.7, ce_weight=0.3
    )
    objective = DistillationLoss(
        LossConfig(mtp_weight=0.0, balance_weight=0.0), teacher, student, settings
    )
    loss, figures, gradients = step(objective, student, [batch])
    student.zero_grad()

    ctx = Context.packed(batch.lengths)
    s = student.logits(student.hidden(batch.tokens_T, ctx).hidden_TD)
    with torch.no_grad():
        ctx = Context.packed(batch.lengths)
        t = teacher.logits(teacher.hidden(batch.tokens_T, ctx).hidden_TD)
    log_s, log_t = (s / 2).log_softmax(-1), (t / 2).log_softmax(-1)
    if direction == "forward":
        kl_T = (log_t.exp() * (log_t - log_s)).sum(-1)
    else:
        kl_T = (log_s.exp() * (log_s - log_t)).sum(-1)
    w = batch.weight_T / batch.weight_T.sum()
    kl = 4 * (w * kl_T).sum()
    ce = (w * F.cross_entropy(s, batch.targets_T, reduction="none")).sum()
    assert figures["kl"] == pytest.approx(kl.item(), rel=1e-4)
    assert loss == pytest.approx((0.7 * kl + 0.3 * ce).item(), rel=1e-4)
    (0.7 * kl + 0.3 * ce).backward()
    for name, parameter in student.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-3)
    assert all(p.grad is None for p in teacher.parameters())


def test_a_teacher_with_another_vocabulary_is_refused(make_model):
    with pytest.raises(InputError, match="teacher: vocabulary of 64: the student has 48"):
        DistillationLoss(
            LossConfig(), make_model(vocab_size=64), make_model(), DistillationConfig()
        )
