"""Rule: the same bits, whatever else is in the batch (design decision 9)."""

from __future__ import annotations

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.model import exact
from nautiloid.model.blocks.attention import AttentionConfig
from nautiloid.model.blocks.mamba import MambaConfig
from nautiloid.model.blocks.mlp import MLPConfig
from nautiloid.model.blocks.moe import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.decoder import Decoder
from nautiloid.model.states import StateStore


def hybrid(**moe: object) -> Decoder:
    config = ModelConfig(
        vocab_size=97,
        hidden_size=48,
        pattern="ME*-ME",
        blocks={
            "M": MambaConfig(mamba_num_heads=4, mamba_head_dim=16, n_groups=2, ssm_state_size=16),
            "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=16),
            "-": MLPConfig(intermediate_size=72),
            "E": MoEConfig(
                n_routed_experts=6,
                num_experts_per_tok=2,
                moe_intermediate_size=40,
                moe_shared_expert_intermediate_size=56,
                **moe,
            ),
        },
    )
    model = Decoder(config)
    model.init_weights(Seed(3))
    return model


@pytest.fixture(scope="module")
def model() -> Decoder:
    return hybrid()


def ids_of(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(97, (length,), generator=torch.Generator().manual_seed(seed))


LENGTHS = (1, 63, 64, 65, 150)


def test_log_probabilities_are_those_of_the_plain_forward(model: Decoder):
    ids = ids_of(150)
    logits = model(ids[None])[0]
    expected = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
    with torch.no_grad():
        found = exact.logprobs(model, ids, (150,))
    torch.testing.assert_close(found[:-1], expected, rtol=0, atol=1e-4)
    assert found[-1] == 0


def test_packing_does_not_change_a_bit(model: Decoder):
    parts = [ids_of(n, n) for n in LENGTHS]
    with torch.no_grad():
        together = exact.logprobs(model, torch.cat(parts), LENGTHS).split(LENGTHS)
        for ids, found in zip(parts, together, strict=True):
            assert torch.equal(exact.logprobs(model, ids, (len(ids),)), found)


def test_what_follows_does_not_change_a_bit(model: Decoder):
    ids, other = ids_of(150), ids_of(150, 1)
    for length in (3, 64, 70):
        mixed = torch.cat([ids[: length + 1], other[length + 1 :]])
        with torch.no_grad():
            a = exact.logprobs(model, ids, (150,))[:length]
            b = exact.logprobs(model, mixed, (150,))[:length]
            c = exact.logprobs(model, ids[: length + 1], (length + 1,))[:length]
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_training_and_scoring_give_the_same_bits_and_gradients_are_those_of_the_plain_forward(
    model: Decoder,
):
    ids = ids_of(130)
    with torch.no_grad():
        scored = exact.logprobs(model, ids, (130,))
    trained = exact.logprobs(model, ids, (130,))
    assert torch.equal(trained.detach(), scored)
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(trained.sum(), weights)
    logits = model(ids[None])[0]
    plain = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None]).sum()
    expected = torch.autograd.grad(plain, weights)
    for name, a, b in zip(names, found, expected, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6, name


def test_states_survive_the_store(model: Decoder):
    store = StateStore(model.config, num_slots=3, num_pages=4, page_tokens=48)
    ids = ids_of(128)
    carry = exact.Carry()
    with torch.no_grad():
        exact.piece(model, ids[:64], carry)
        carry.save(store.view([1], [(3, 1, 2)], [0]))
        again = exact.Carry.load(store.view([1], [(3, 1, 2)], [64]))
        a = exact.piece(model, ids[64:], carry)
        b = exact.piece(model, ids[64:], again)
    assert torch.equal(a, b)


def test_a_fork_leaves_the_states_alone(model: Decoder):
    ids = ids_of(90)
    carry = exact.Carry()
    with torch.no_grad():
        exact.piece(model, ids[:64], carry)
        first = exact.piece(model, ids[64:], carry.fork())
        second = exact.piece(model, ids[64:], carry.fork())
    assert carry.past_tokens == 64
    assert torch.equal(first, second)


@pytest.mark.parametrize("count", [0, 65])
def test_pieces_of_other_lengths_are_refused(model: Decoder, count: int):
    with pytest.raises(InputError, match="use 1 to 64"):
        exact.piece(model, ids_of(count), exact.Carry())


def test_lengths_must_add_up(model: Decoder):
    with pytest.raises(InputError, match="lengths"):
        exact.logprobs(model, ids_of(5), (3,))
