import math

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.train.balance import per_layer
from nautiloid.train.config import AdamWConfig, LossConfig, TrainerConfig
from nautiloid.train.losses import LanguageModelLoss, Terms
from nautiloid.train.schedule import ScheduleConfig
from nautiloid.train.trainer import Trainer


def settings(**changes):
    base = {
        "num_steps": 20,
        "optim": AdamWConfig(lr=1e-2),
        "schedule": ScheduleConfig(warmup_steps=2, decay_share=0.5),
        "max_bad_steps": 2,
    }
    return TrainerConfig(**{**base, **changes})


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class Poisoned:
    """The usual objective with the gradient, or the loss, of chosen steps made NaN."""

    def __init__(self, bad_steps, spoils_loss=False):
        self.inner = LanguageModelLoss(LossConfig())
        self.bad_steps = bad_steps
        self.spoils_loss = spoils_loss
        self.step = 0

    def totals(self, model, batches):
        self.step += 1
        return self.inner.totals(model, batches)

    def __call__(self, model, batch, totals):
        terms = self.inner(model, batch, totals)
        if self.step not in self.bad_steps:
            return terms
        if self.spoils_loss:
            return Terms(terms.loss * math.nan, terms.figures, terms.counts)
        weight = model.embeddings.weight
        poison = (weight * 0).sum() * torch.tensor(math.inf)  # value NaN
        return Terms(
            terms.loss + (poison - poison.detach()).nan_to_num(), terms.figures, terms.counts
        )


def test_the_loss_falls_and_figures_are_complete(make_model, make_batch):
    trainer = Trainer(make_model(), settings(loss=LossConfig(z_loss=1e-4)), None)
    batches = [make_batch(seed=1), make_batch(seed=2)]
    results = [trainer.step(batches) for _ in range(20)]
    assert results[-1].figures["loss"] < 0.6 * results[0].figures["loss"]
    assert trainer.is_done
    expected = {
        "loss",
        "mtp_loss",
        "balance_loss",
        "z_loss",
        "lr",
        "grad_norm",
        "tokens",
        "max_vio",
    }
    assert set(results[0].figures) == expected
    assert [r.figures["lr"] for r in results[:3]] == pytest.approx([0.005, 0.01, 0.01])
    assert results[-1].figures["lr"] == pytest.approx(1e-4)
    assert results[-1].figures["tokens"] == 20 * 48


def test_the_bias_moves_after_each_step_by_the_counts_of_all_batches(make_model, make_batch):
    model = make_model()
    trainer = Trainer(model, settings(bias_rate=0.25))
    result = trainer.step([make_batch(seed=1), make_batch(seed=2)])
    for layer, counts in zip(model.moe_layers(), result.counts, strict=True):
        expected = 0.25 * torch.sign(counts.double().mean() - counts)
        torch.testing.assert_close(layer.router.e_score_correction_bias.double(), expected)
    assert [int(c.sum()) for c in result.counts] == [48 * 2, 48 * 2 * 2]


def test_counts_of_depths_on_one_physical_set_are_added(config):
    one, two, three = (torch.tensor([n, 0, 0, 0]) for n in (1, 20, 300))
    assert [c[0].item() for c in per_layer(config, [one, two, three])] == [1, 320]
    assert [c[0].item() for c in per_layer(config, [one])] == [1]


@pytest.mark.parametrize("objective", [Poisoned({2}), Poisoned({2}, spoils_loss=True)])
def test_a_step_that_is_not_finite_changes_nothing(make_model, make_batch, objective):
    model = make_model()
    trainer = Trainer(model, settings(), objective)
    batches = [make_batch()]
    trainer.step(batches)
    before, moments = weights(model), {n: t.clone() for n, t in trainer.optimizer.tensors().items()}
    result = trainer.step(batches)
    assert result.is_skipped
    assert trainer.guard.skipped == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(moments[n], t) for n, t in trainer.optimizer.tensors().items())
    assert not trainer.step(batches).is_skipped
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_divergence_ends_with_step_and_remedy(make_model, make_batch):
    trainer = Trainer(make_model(), settings(), Poisoned({1, 2}, spoils_loss=True))
    trainer.step([make_batch()])
    with pytest.raises(InputError, match=r"step 2: loss nan.*lower trainer.optim.lr"):
        trainer.step([make_batch()])


def test_gradients_are_clipped(make_model, make_batch):
    free, clipped = make_model(), make_model()
    big = Trainer(free, settings(clip_norm=0.0, optim=AdamWConfig(lr=1e-2, eps=1.0)))
    small = Trainer(clipped, settings(clip_norm=1e-3, optim=AdamWConfig(lr=1e-2, eps=1.0)))
    start = weights(free)
    assert (
        big.step([make_batch()]).figures["grad_norm"]
        == small.step([make_batch()]).figures["grad_norm"]
        > 1e-3
    )
    norm_1 = (free.norm_f.weight - start["norm_f.weight"]).norm()
    norm_2 = (clipped.norm_f.weight - start["norm_f.weight"]).norm()
    assert norm_2 < 0.1 * norm_1


def test_a_restored_trainer_goes_on_bit_for_bit(make_model, make_batch):
    batches = [[make_batch(seed=s)] for s in range(6)]
    straight = Trainer(make_model(), settings())
    for batch in batches:
        straight.step(batch)
    first = Trainer(make_model(), settings())
    for batch in batches[:3]:
        first.step(batch)
    state = first.state_dict().copied()
    second = Trainer(make_model(seed=9), settings())
    second.load_state_dict(state)
    for batch in batches[3:]:
        second.step(batch)
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    assert second.state_dict().counters == straight.state_dict().counters


def test_state_of_another_model_is_refused(make_model):
    state = Trainer(make_model(), settings()).state_dict()
    with pytest.raises(InputError, match=r"checkpoint tensor .*: expected \(64, 16\)"):
        Trainer(make_model(vocab_size=64), settings()).load_state_dict(state)


def test_evaluation_leaves_no_trace(make_model, make_batch):
    trainer = Trainer(make_model(), settings())
    before = weights(trainer.model)
    measured = trainer.evaluate([make_batch(seed=1), make_batch(seed=2)], list(range(48)))
    assert set(measured) == {"loss", "bits_per_byte"}
    assert all(p.grad is None for p in trainer.model.parameters())
    assert all(torch.equal(before[n], t) for n, t in trainer.model.state_dict().items())
