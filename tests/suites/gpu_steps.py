"""Whole training steps of a small hybrid on a GPU: no waits, exact resume, same bits with less memory."""

from dataclasses import replace

import torch

from nautiloid.core.seed import Seed
from nautiloid.data.batch import Batch
from nautiloid.model.blocks.attention.config import AttentionConfig
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.mlp.config import MLPConfig
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig, MTPConfig
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.memory_config import MemoryConfig
from nautiloid.train import offload
from nautiloid.train.config import AdamWConfig, LossConfig, TrainerConfig
from nautiloid.train.trainer import Trainer

EXPERTS = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "moe_shared_expert_intermediate_size": 256,
}
CONFIG = ModelConfig(
    vocab_size=1024,
    hidden_size=256,
    pattern="ME*-ML",
    blocks={
        "M": MambaConfig(mamba_num_heads=8, mamba_head_dim=64, n_groups=2, ssm_state_size=64),
        "E": MoEConfig(**EXPERTS),
        "L": MoEConfig(**EXPERTS, moe_latent_size=128),
        "*": AttentionConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=64),
        "-": MLPConfig(intermediate_size=512),
    },
    mtp=MTPConfig(),
)
# torch's attention sums the gradient of queries in the order its programs run: without it, bits repeat
STEADY = replace(CONFIG, pattern="ME-ML", mtp=MTPConfig(pattern="E"))
MODES = (("masters", "float32"), ("masters", "bfloat16"), ("stochastic", "bfloat16"))


def settings(weights, moments, **changes):
    base = TrainerConfig(
        num_steps=100,
        device="cuda",
        weights=weights,
        optim=AdamWConfig(lr=3e-3, moments=moments),
    )
    return replace(base, **changes)


def batch(seed, lengths=(300, 77, 135), padding=0):
    """Packed random sequences of a small part of the vocabulary, the last tokens padding."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    tokens = torch.randint(3, 40, (total + 1,), generator=generator)
    sample_T = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).int()
    if padding:
        sample_T[-padding:] = -1
    return Batch(
        tokens_T=tokens[:-1],
        targets_T=tokens[1:].clone(),
        weight_T=(sample_T >= 0).float(),
        positions_T=torch.cat([torch.arange(n) for n in lengths]),
        lengths=tuple(lengths),
        row_lengths=tuple(lengths),
        sample_T=sample_T,
    )


def make(mode, config=CONFIG, seed=0, **changes):
    model = Decoder(config, device="cuda")
    model.init_weights(Seed(seed))
    return Trainer(model, settings(*mode, **changes), seed=seed)


def everything(trainer):
    state = trainer.state_dict()
    return {
        f"{stem}/{n}": t.clone() for stem, part in state.tensors.items() for n, t in part.items()
    }


def check_no_waits(mode, **changes):
    """After the first steps the host never waits, padding, packing, MTP and accumulation included."""
    trainer = make(mode, **changes)
    steps = [[batch(1), batch(2, padding=9)], [batch(3), batch(4, padding=9)]]
    for batches in steps * 2:
        trainer.launch(batches).result()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        launched = [trainer.launch(batches) for batches in steps * 2]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    losses = [item.result().figures["loss"] for item in launched]
    assert all(loss == loss for loss in losses)


def check_learning(mode):
    """The loss falls to what the small part of the vocabulary allows, and stays finite."""
    trainer = make(mode)
    losses = [trainer.step([batch(s)]).figures["loss"] for s in range(20)]
    assert losses[0] > 5
    assert losses[-1] < 4.2, losses


def check_first_loss():
    """bfloat16 on the GPU against float32 on the CPU."""
    model = Decoder(CONFIG)
    model.init_weights(Seed(0))
    plain = Trainer(model, TrainerConfig(num_steps=100)).step([batch(1, padding=9)]).figures
    ours = make(MODES[0]).step([batch(1, padding=9)]).figures
    for name in ("loss", "mtp_loss", "balance_loss"):
        assert abs(ours[name] - plain[name]) < 5e-3 * abs(plain[name]), (name, ours, plain)
    assert abs(ours["grad_norm"] - plain["grad_norm"]) < 3e-2 * plain["grad_norm"], (ours, plain)


def check_resume(mode):
    """Bit for bit."""
    straight, first = make(mode, STEADY), make(mode, STEADY)
    for s in range(6):
        straight.step([batch(s)])
    for s in range(3):
        first.step([batch(s)])
    second = make(mode, STEADY)
    second.load_state_dict(first.state_dict().copied())
    for s in range(3, 6):
        second.step([batch(s)])
    wanted, found = everything(straight), everything(second)
    different = [name for name in wanted if not torch.equal(wanted[name], found[name])]
    assert not different, different[:5]


def check_skip(mode):
    """The device itself leaves out a step that is not finite; the host learns of it later."""
    trainer = make(mode, STEADY)
    trainer.step([batch(1)])
    before = everything(trainer)
    objective = trainer.objective
    spoiled = {"is_bad": True}

    class Poisoned:
        def totals(self, model, batches):
            return objective.totals(model, batches)

        def __call__(self, model, batch, totals):
            terms = objective(model, batch, totals)
            return replace(terms, loss=terms.loss + (torch.inf * 0 if spoiled["is_bad"] else 0.0))

    trainer.objective = Poisoned()
    launched = trainer.launch([batch(2)])
    spoiled["is_bad"] = False
    after = trainer.launch([batch(3)])
    assert launched.result().is_skipped
    assert not after.result().is_skipped
    assert trainer.guard.skipped == 1
    # the same as never having seen the bad batch
    twin = make(mode, STEADY)
    twin.step([batch(1)])
    assert all(torch.equal(before[n], t) for n, t in everything(twin).items())
    # the schedule and the random bits have moved on by a step
    twin.steps_done += 1
    twin.optimizer.calls += 1
    twin.step([batch(3)])
    a, b = everything(trainer), everything(twin)
    assert all(torch.equal(a[n], b[n]) for n in a)


def gradients(memory, config=STEADY):
    """Gradients and peak bytes of one forward and backward in bfloat16."""
    model = Decoder(config, device="cuda", dtype=torch.bfloat16)
    model.init_weights(Seed(0))
    model.set_memory(memory)
    for parameter in model.parameters():
        parameter.main_grad = torch.zeros_like(parameter, dtype=torch.float32)
    lengths = (3000, 77, 1023)
    tokens = torch.arange(sum(lengths), device="cuda") * 7 % config.vocab_size
    torch.cuda.synchronize()
    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    ctx = Context.packed(lengths, "cuda", collect_aux=True)
    output = model.hidden(tokens, ctx, [tokens.roll(-1)])
    held = torch.cuda.memory_allocated() - base
    (output.hidden_TD.float().square().sum() + output.mtp[0].float().sin().sum()).backward()
    peak = torch.cuda.max_memory_allocated() - base
    found = {
        name: (p.main_grad if p.grad is None else p.main_grad + p.grad)
        for name, p in model.named_parameters()
    }
    return found, held, peak


def check_memory(memory):
    """Same bits, fewer bytes held between forward and backward; returns both."""
    wanted, held, _ = gradients(MemoryConfig())
    found, less, _ = gradients(memory)
    different = [name for name in wanted if not torch.equal(wanted[name], found[name])]
    assert not different, different[:5]
    assert less < held, (less, held)
    return held, less


def check_optimizer_offload():
    """Masters and moments on the host, streamed in many parts, give the same bits."""
    whole, offload.PART = offload.PART, 1 << 16
    try:
        near = make(MODES[0], STEADY)
        far = make(MODES[0], STEADY, memory=MemoryConfig(offload_optimizer=True))
        for s in range(3):
            near.step([batch(s)])
            far.step([batch(s)])
    finally:
        offload.PART = whole
    assert not next(iter(far.optimizer.masters().values())).is_cuda
    wanted, found = everything(near), everything(far)
    different = [name for name in wanted if not torch.equal(wanted[name].cpu(), found[name].cpu())]
    assert not different, different[:5]


def check_loss_terms():
    """Means over samples wait for nothing either."""
    check_no_waits(MODES[0], loss=LossConfig(mean_over="samples", z_loss=1e-4))


CHECKS = {
    "first loss": check_first_loss,
    "loss terms": check_loss_terms,
    "optimizer offload": check_optimizer_offload,
    **{f"no waits {'/'.join(m)}": (lambda m=m: check_no_waits(m)) for m in MODES},
    **{f"learning {'/'.join(m)}": (lambda m=m: check_learning(m)) for m in MODES},
    **{f"resume {'/'.join(m)}": (lambda m=m: check_resume(m)) for m in MODES},
    "skip": lambda: check_skip(MODES[2]),
    **{
        f"recompute {part}": (lambda part=part: check_memory(MemoryConfig(recompute=(part,))))
        for part in ("norm", "activation", "router", "conv", "latent", "block")
    },
    "recompute all": lambda: check_memory(
        MemoryConfig(recompute=("norm", "activation", "router", "conv", "latent"))
    ),
    "offload": lambda: check_memory(MemoryConfig(offload_activations=True, smallest_offload=4096)),
    "offload and norm": lambda: check_memory(
        MemoryConfig(recompute=("norm",), offload_activations=True, smallest_offload=4096)
    ),
}
