import itertools
import math

import pytest

from nautiloid.core.errors import InputError
from nautiloid.train.config import AdamWConfig, TrainerConfig
from nautiloid.train.schedule import ScheduleConfig, lr_ratio


def course(num_steps, **settings):
    config = ScheduleConfig(**settings)
    return [lr_ratio(config, step, num_steps) for step in range(num_steps)]


def test_warmup_rises_to_the_peak():
    assert course(10, warmup_steps=4, decay_share=0.0)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("shape", ["linear", "minus-sqrt", "cosine"])
def test_wsd_holds_then_decays_to_the_final_ratio(shape):
    rates = course(100, warmup_steps=10, decay_share=0.3, decay_shape=shape, final_ratio=0.1)
    assert rates[10:70] == [1.0] * 60
    assert rates[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(rates[70:]))


def test_minus_sqrt_formula():
    # specs/architecture 7.2: lr = min + (1 - sqrt(r)) (max - min)
    rates = course(8, decay_share=0.5, decay_shape="minus-sqrt", final_ratio=0.2)
    assert rates[4] == pytest.approx(0.2 + (1 - math.sqrt(0.25)) * 0.8)


def test_cosine_and_constant():
    rates = course(11, kind="cosine", warmup_steps=1, final_ratio=0.0)
    assert rates[5] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0.0)
    assert course(5, kind="constant", warmup_steps=2) == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_decay_never_cuts_into_the_warmup():
    rates = course(10, warmup_steps=8, decay_share=1.0, final_ratio=0.0)
    assert rates[7] == 1.0
    assert rates[9] == 0.0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ScheduleConfig(decay_share=1.5), "trainer.schedule.decay_share"),
        (lambda: ScheduleConfig(warmup_steps=-1), "trainer.schedule.warmup_steps"),
        (lambda: AdamWConfig(lr=0.0), "trainer.optim.lr"),
        (lambda: AdamWConfig(betas=(0.9, 1.0)), "trainer.optim.betas"),
        (lambda: TrainerConfig(num_steps=0), "trainer.num_steps"),
        (
            lambda: TrainerConfig(num_steps=5, schedule=ScheduleConfig(warmup_steps=6)),
            "trainer.schedule.warmup_steps",
        ),
    ],
)
def test_bad_settings_name_their_field(make, field):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.field == field
