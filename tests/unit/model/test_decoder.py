from dataclasses import replace

import pytest
import torch
from tests.suites.blocks import BLOCKS, tiny, tokens

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import MediaPart
from nautiloid.model.config import MTPConfig
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.mtp import shift_within
from nautiloid.model.precision import PrecisionConfig, PrecisionRule
from nautiloid.model.states import StateStore


def test_state_dict_has_the_names_and_shapes_of_the_config():
    model = tiny("MEM*L-", mtp=MTPConfig(pattern="*L", depth=2))
    specs = model.config.tensors()
    found = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert found == {name: spec.shape for name, spec in specs.items()}


def test_initialisation_depends_on_the_seed_and_the_name_alone():
    long, short = tiny("MEM*L-"), tiny("MEM*L-")
    assert all(
        torch.equal(a, b) for a, b in zip(long.parameters(), short.parameters(), strict=True)
    )
    other = Decoder(long.config, dtype=torch.float64)
    other.init_weights(Seed(99))
    assert not torch.equal(other.embeddings.weight, long.embeddings.weight)
    mamba = other.layers[0].mixer
    assert float(mamba.A_log.exp().min()) >= 1
    assert float(mamba.A_log.exp().max()) <= 16
    dt = torch.nn.functional.softplus(mamba.dt_bias)
    assert float(dt.min()) >= 1e-4 - 1e-9
    assert float(dt.max()) <= 0.1 + 1e-6


def test_rows_and_packed_sequences_give_the_same_logits():
    model = tiny("ME*-")
    ids = tokens(24).view(3, 8)
    rows = model(ids)
    assert rows.shape == (3, 8, 40)
    assert rows.dtype == torch.float64
    packed = model(ids.flatten(), [0, 8, 16, 24])
    torch.testing.assert_close(packed.view(3, 8, 40), rows, rtol=0, atol=1e-12)


def test_past_tokens_of_an_attention_only_model_may_be_permuted():
    model = tiny("*")
    ids = tokens(9)
    mixed = torch.cat([ids[torch.tensor([3, 1, 0, 2, 5, 4, 7, 6])], ids[8:]])
    torch.testing.assert_close(model(ids)[-1], model(mixed)[-1], rtol=0, atol=1e-12)


def test_adding_a_constant_to_every_router_bias_changes_nothing():
    model = tiny("MEML")
    expected = model(tokens(12))
    for layer in model.moe_layers():
        layer.router.e_score_correction_bias += 0.7
    torch.testing.assert_close(model(tokens(12)), expected, rtol=0, atol=1e-12)


def test_padding_is_as_if_it_were_not_there():
    model = tiny("M-M")
    ids = tokens(10)
    padded = torch.cat([torch.zeros(4, dtype=torch.long), ids])
    valid = torch.arange(14) >= 4
    hidden = model.hidden(padded, Context.packed([14], valid_T=valid)).hidden_TD
    torch.testing.assert_close(hidden[4:], model.hidden(ids, Context.packed([10])).hidden_TD)


@pytest.mark.parametrize(
    ("ids", "starts", "message"),
    [
        (torch.zeros(1, 2, 3, dtype=torch.long), None, "tokens: (1, 2, 3)"),
        (torch.zeros(0, dtype=torch.long), None, "not empty"),
        (torch.tensor([[1, 40]]), None, "tokens: 40: ids must be 0 to 39"),
        (torch.tensor([1, 2]), [0, 3], "cu_seqlens"),
        (torch.tensor([1, 2]), [0, 0, 2], "cu_seqlens"),
        (torch.tensor([[1, 2]]), [0, 2], "nautiloid.pack"),
    ],
)
def test_bad_tokens_are_refused(ids, starts, message):
    with pytest.raises(InputError) as caught:
        tiny("M")(ids, starts)
    assert message in str(caught.value)


def test_media_for_a_text_only_family_are_refused():
    with pytest.raises(InputError, match=r"image cat.png: .*reads text only"):
        tiny("M").config.check_media((MediaPart("image", "cat.png"),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "MX"}, "pattern: X: unknown letter at layer 1"),
        ({"pattern": ""}, "pattern"),
        ({"vocab_size": 0}, "vocab_size: 0"),
        ({"overrides": {5: {}}}, "overrides: 5: layers are 0 to 0"),
        ({"overrides": {0: {"nothing": 1}}}, "overrides.0.nothing"),
        ({"mtp": MTPConfig(pattern="?")}, "mtp.pattern: ?"),
    ],
)
def test_bad_shapes_are_refused_before_any_weight_exists(changes, message):
    with pytest.raises(InputError) as caught:
        replace(tiny("M").config, **changes)
    assert message in str(caught.value)


def test_a_layer_may_differ_from_its_letter():
    config = replace(tiny("--").config, overrides={1: {"intermediate_size": 5}})
    model = Decoder(config)
    assert model.layers[0].mixer.up_proj.weight.shape == (20, 12)
    assert model.layers[1].mixer.up_proj.weight.shape == (5, 12)


def test_mtp_reads_later_tokens_and_shares_embedding_and_head():
    model = tiny("M*", mtp=MTPConfig(pattern="*E", depth=2))
    ids, lengths = tokens(12), [7, 5]
    ahead = [shift_within(ids, lengths, j) for j in (1, 2)]
    out = model.hidden(ids, Context.packed(lengths), ahead)
    assert [g.shape for g in out.mtp] == [out.hidden_TD.shape] * 2
    apart = [
        model.hidden(
            part, Context.packed([len(part)]), [shift_within(part, [len(part)], j) for j in (1, 2)]
        )
        for part in ids.split(lengths)
    ]
    for depth in (0, 1):
        joined = torch.cat([a.mtp[depth] for a in apart])
        torch.testing.assert_close(out.mtp[depth], joined, rtol=0, atol=1e-11)
    changed = ahead[0].clone()
    changed[6] = 3  # a later token of the first sequence
    other = model.hidden(ids, Context.packed(lengths), [changed, ahead[1]])
    torch.testing.assert_close(other.mtp[0][:6], out.mtp[0][:6], rtol=0, atol=1e-11)
    assert not torch.allclose(other.mtp[0][6], out.mtp[0][6])


def test_mtp_of_a_model_without_it_is_refused():
    with pytest.raises(InputError, match="no multi-token prediction"):
        tiny("M").hidden(tokens(4), Context.packed([4]), [tokens(4)])


def test_shift_within_short_sequences():
    x = torch.arange(1, 7)
    assert shift_within(x, [1, 2, 3], 2).tolist() == [0, 0, 0, 6, 0, 0]
    assert shift_within(x, [6], 0) is x


def test_statistics_are_collected_on_request_alone():
    model = tiny("ME*L", mtp=MTPConfig(pattern="*E"))
    ids = tokens(10)
    plain = model.hidden(ids, Context.packed([10]))
    assert plain.aux is None
    assert plain.routes == ()
    ctx = Context.packed([6, 4], collect_aux=True, collect_routes=True)
    out = model.hidden(ids, ctx, [shift_within(ids, [6, 4], 1)])
    assert out.aux is not None
    assert [int(c.sum()) for c in out.aux.counts] == [30, 20, 30]
    assert [tuple(r.shape) for r in out.routes] == [(10, 3), (10, 2), (10, 3)]
    assert out.routes[0].dtype == torch.int16


def test_precision_rules_round_what_they_match_and_nothing_else():
    exact = tiny("M-")
    rule = PrecisionRule(modules="mixer.up_proj", layers=(1,), weight="bf16", activation="bf16")
    rounded = Decoder(exact.config, dtype=torch.float64, precision=PrecisionConfig(rules=(rule,)))
    rounded.load_state_dict(exact.state_dict())
    difference = (rounded(tokens(6)) - exact(tokens(6))).abs().max()
    assert 1e-6 < difference < 0.5
    rounded(tokens(6)).sum().backward()
    assert rounded.layers[1].mixer.up_proj.weight.grad is not None


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (PrecisionRule(modules="mixer.nothing", weight="bf16"), "matches no linear map"),
        (PrecisionRule(weight="fp3"), "quant: fp3"),
    ],
)
def test_bad_precision_rules_are_refused(rule, message):
    with pytest.raises(InputError) as caught:
        Decoder(tiny("M").config, precision=PrecisionConfig(rules=(rule,)))
    assert message in str(caught.value)


def test_a_snapshot_brings_a_slot_back():
    model = tiny("M*")
    store = StateStore(model.config, num_slots=2, num_pages=4, page_tokens=4, dtype=torch.float64)
    at = torch.arange(3)
    model.hidden(tokens(3), Context((3,), at, state=store.view([1], [[0]], [0])))
    kept = store.snapshot(1)
    store.zero([1])
    assert float(store.slots["layers.0"]["ssm"][1].abs().sum()) == 0
    store.restore(1, kept)
    assert all(
        torch.equal(store.slots["layers.0"][n][1], kept["layers.0"][n]) for n in ("ssm", "conv")
    )


def test_too_few_pages_are_refused():
    model = tiny("*")
    store = StateStore(model.config, num_slots=1, num_pages=1, page_tokens=4, dtype=torch.float64)
    with pytest.raises(InputError, match="pages"):
        model.hidden(tokens(5), Context((5,), torch.arange(5), state=store.view([0], [[0]], [0])))


def test_bytes_of_a_store_are_those_of_the_config():
    config = replace(tiny("M*").config, blocks=BLOCKS)
    store = StateStore(config, num_slots=3, num_pages=2, page_tokens=4)
    ssm, conv, kv = 4 * 6 * 5, 3 * (24 + 2 * 2 * 5), 2 * 6
    assert store.nbytes == (3 + 1) * (ssm + conv) * 4 + 2 * 4 * kv * 2 * 4
