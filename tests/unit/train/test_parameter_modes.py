import math
from dataclasses import replace

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.train.config import AdamWConfig, GroupConfig, TrainerConfig
from nautiloid.train.flat import FlatAdamW
from nautiloid.train.losses import LanguageModelLoss, Terms
from nautiloid.train.schedule import ScheduleConfig
from nautiloid.train.trainer import Trainer

MODES = [("masters", "float32"), ("masters", "bfloat16"), ("stochastic", "bfloat16")]


def settings(weights, moments, **changes):
    base = TrainerConfig(
        num_steps=20,
        weights=weights,
        optim=AdamWConfig(lr=1e-2, moments=moments),
        schedule=ScheduleConfig(warmup_steps=2, decay_share=0.5),
        max_bad_steps=2,
    )
    return replace(base, **changes)


def everything(trainer):
    state = trainer.state_dict()
    return {
        f"{stem}/{n}": t.clone() for stem, part in state.tensors.items() for n, t in part.items()
    }


@pytest.mark.parametrize(("weights", "moments"), MODES)
def test_the_loss_falls_in_bfloat16(make_model, make_batch, weights, moments):
    trainer = Trainer(make_model(), settings(weights, moments))
    batches = [make_batch(seed=1), make_batch(seed=2)]
    losses = [trainer.step(batches).figures["loss"] for _ in range(20)]
    assert losses[-1] < 0.6 * losses[0]
    dtypes = {n: p.dtype for n, p in trainer.model.named_parameters()}
    assert dtypes["layers.0.mixer.A_log"] == torch.float32
    assert dtypes["layers.0.mixer.in_proj.x.weight"] == torch.bfloat16
    assert dtypes["layers.0.norm.weight"] == torch.bfloat16
    bias = next(trainer.model.moe_layers()).router.e_score_correction_bias
    assert bias is not None
    assert bias.dtype == torch.float32
    assert bias.any()


def test_masters_follow_the_formula_and_copies_follow_them(make_model, make_batch):
    model = make_model()
    trainer = Trainer(model, settings("masters", "float32", clip_norm=0.0, bias_rate=0.0))
    optimizer = trainer.optimizer
    assert isinstance(optimizer, FlatAdamW)
    name = "layers.0.mixer.out_proj.weight"
    before = optimizer.masters()[name].clone()
    batches = [make_batch(seed=1), make_batch(seed=2)]
    # the same gradient, formed by hand: bfloat16 a micro-batch, added in float32
    objective = trainer.objective
    totals = objective.totals(model, batches)
    total = torch.zeros_like(before)
    for batch in batches:
        objective(model, batch, totals).loss.backward()
        total += optimizer.parameters[name].main_grad
        optimizer.grad_N.zero_()
    trainer.step(batches)
    lr = 1e-2 / 2
    step = total / (total.abs() + 1e-8)
    torch.testing.assert_close(
        optimizer.masters()[name], before * (1 - lr * 0.1) - lr * step, rtol=1e-5, atol=1e-6
    )
    own = dict(model.named_parameters())
    assert all(torch.equal(own[n], m.bfloat16()) for n, m in optimizer.masters().items())
    assert not optimizer.grad_N.any()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("weights", "moments"), MODES)
def test_resuming_is_exact(make_model, make_batch, weights, moments):
    batches = [[make_batch(seed=s)] for s in range(6)]
    straight = Trainer(make_model(), settings(weights, moments), seed=3)
    for batch in batches:
        straight.step(batch)
    first = Trainer(make_model(), settings(weights, moments), seed=3)
    for batch in batches[:3]:
        first.step(batch)
    second = Trainer(make_model(seed=9), settings(weights, moments), seed=3)
    second.load_state_dict(first.state_dict().copied())
    for batch in batches[3:]:
        second.step(batch)
    wanted, found = everything(straight), everything(second)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_state_of_another_mode_is_refused(make_model, make_batch):
    def trained(weights, moments):
        trainer = Trainer(make_model(), settings(weights, moments))
        trainer.step([make_batch()])
        return trainer

    state = trained("masters", "float32").state_dict().copied()
    with pytest.raises(InputError, match=r"trainer.optim.moments: bfloat16.*holds float32"):
        trained("masters", "bfloat16").load_state_dict(state)
    plain = trained("float32", "float32")
    with pytest.raises(InputError, match=r"trainer.weights: float32.*another mode"):
        plain.load_state_dict(state)
    with pytest.raises(InputError, match=r"trainer.weights: masters.*another mode"):
        trained("masters", "float32").load_state_dict(plain.state_dict().copied())


@pytest.mark.parametrize("weights", ["masters", "stochastic"])
def test_a_step_that_is_not_finite_changes_nothing(make_model, make_batch, weights):
    class Poisoned(LanguageModelLoss):
        def __call__(self, model, batch, totals):
            terms = super().__call__(model, batch, totals)
            poison = (model.norm_f.weight * math.inf).sum() * 0 if self.is_bad else 0.0
            return Terms(terms.loss + poison, terms.figures, terms.counts)

    config = settings(weights, "bfloat16")
    objective = Poisoned(config.loss)
    trainer = Trainer(make_model(), config, objective)
    objective.is_bad = False
    trainer.step([make_batch()])
    before = everything(trainer)
    objective.is_bad = True
    assert trainer.step([make_batch()]).is_skipped
    assert all(
        torch.equal(before[n], t) for n, t in everything(trainer).items() if "calls" not in n
    )
    objective.is_bad = False
    assert not trainer.step([make_batch()]).is_skipped


def test_groups_and_frozen_parameters(make_model, make_batch):
    optim = AdamWConfig(
        lr=1e-2,
        trainable=("layers.0.*", "norm_f.weight"),
        groups=(GroupConfig(match="layers.0.norm.weight", lr_ratio=0.0, weight_decay=0.0),),
    )
    trainer = Trainer(make_model(), settings("masters", "float32", optim=optim))
    before = everything(trainer)
    trainer.step([make_batch()])
    moved = {
        n.removeprefix("model/")
        for n, t in everything(trainer).items()
        if n.startswith("model/") and not torch.equal(t, before[n])
    }
    assert "norm_f.weight" in moved
    assert "layers.0.norm.weight" not in moved
    assert all(n.startswith(("layers.0.", "norm_f")) or "correction_bias" in n for n in moved)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"trainer.optim.moments: bfloat16.*masters"):
        TrainerConfig(num_steps=1, optim=AdamWConfig(moments="bfloat16"))
    assert TrainerConfig(num_steps=1).mode == "float32"
    assert TrainerConfig(num_steps=1, device="cuda").mode == "masters"
