from collections import Counter
from dataclasses import replace

import pytest

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Message, Sample
from nautiloid.data.mixing import mix
from nautiloid.data.sources.environment import EnvironmentSource
from nautiloid.envs.sums import Sums
from nautiloid.train.modes import ModesConfig, assign_mode, with_modes


def sample(number, reasoning: str | None = "one two three four"):
    turns = (Message("user", "q"), Message("assistant", "a", reasoning=reasoning))
    return Sample(id=str(number), source="test", messages=turns)


def test_shares_are_met_and_draws_depend_on_the_sample_alone():
    modes = ModesConfig(off_share=0.25, budget_share=0.25)
    drawn = [assign_mode(sample(i), modes, Seed(0)) for i in range(2000)]
    share = Counter(s.mode for s in drawn)
    assert share["off"] == pytest.approx(500, abs=60)
    assert share["budget"] == pytest.approx(500, abs=60)
    assert {s.budget_tokens for s in drawn if s.mode == "budget"} == {1, 2, 3, 4, 5, 6}
    assert drawn[7] == assign_mode(sample(7), modes, Seed(0))


def test_samples_without_reasoning_or_of_another_mode_stay():
    modes = ModesConfig(off_share=1.0)
    plain, chosen = sample(1, reasoning=None), replace(sample(2), mode="budget", budget_tokens=3)
    text = Sample(id="t", source="test", text="words")
    for kept in (plain, chosen, text):
        assert assign_mode(kept, modes, Seed(0)) is kept


def test_sources_of_a_mixture_are_wrapped_and_resume_in_the_middle():
    mixture = mix(
        EnvironmentSource(environment=Sums(), count=20, modes={"on": 1.0}, licence="CC0-1.0")
    )
    assert with_modes(mixture, ModesConfig(), 0) is mixture
    (part,) = with_modes(mixture, ModesConfig(off_share=0.5), 0).parts.values()
    whole = list(part.source.read())
    assert {s.mode for s in whole} == {"on", "off"}
    assert list(part.source.read(5)) == whole[5:]
    assert part.source.licence == "CC0-1.0"


def test_shares_above_one_are_refused():
    with pytest.raises(InputError, match=r"modes.off_share"):
        ModesConfig(off_share=0.8, budget_share=0.4)
