"""Rule: the same bits in the trainer and in another process's copy, whatever is packed together."""

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.gpu_steps import CONFIG, MODES, batch, make

from nautiloid.model import exact
from nautiloid.model.decoder import Decoder

pytestmark = pytest.mark.gpu

LENGTHS = (1, 63, 64, 65, 300, 129)


def parts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(CONFIG.vocab_size, (n,), generator=generator).cuda() for n in LENGTHS]


@pytest.fixture(scope="module", params=MODES[:1] + MODES[2:], ids="-".join)
def trainer(request: pytest.FixtureRequest):
    made = make(request.param)
    for seed in range(2):
        made.step([batch(seed)])
    return made


def test_packing_and_training_do_not_change_a_bit(trainer):
    ids = parts()
    with torch.no_grad():
        scored = exact.logprobs(trainer.model, torch.cat(ids), LENGTHS)
        for tokens, found in zip(ids, scored.split(LENGTHS), strict=True):
            assert torch.equal(exact.logprobs(trainer.model, tokens, (len(tokens),)), found)
    trained = exact.logprobs(trainer.model, torch.cat(ids), LENGTHS)
    assert torch.equal(trained.detach(), scored)
    trained.sum().backward()
    assert scored.isfinite().all()
    assert scored.min() < 0


def test_a_copy_of_the_weights_gives_the_same_bits(trainer):
    model = trainer.model
    copy = Decoder(model.config, device="cuda", dtype=model.dtype)
    copy.load_state_dict(model.state_dict())
    ids = parts()
    with torch.no_grad():
        a = exact.logprobs(model, torch.cat(ids), LENGTHS)
        b = exact.logprobs(copy, torch.cat(ids), LENGTHS)
    assert torch.equal(a, b)


def test_log_probabilities_are_those_of_the_plain_forward(trainer):
    ids = parts()[4]
    with torch.no_grad():
        logits = trainer.model(ids[None])[0].float()
        expected = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
        found = exact.logprobs(trainer.model, ids, (len(ids),))[:-1]
    assert (found - expected).abs().mean() < 0.02
