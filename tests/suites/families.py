"""Parity of a family with transformers on random weights, shared by the parity tests.

`check_family` writes a folder with transformers, loads it here, compares logits and gradients on
ragged rows (left-padded there, packed here), then writes the folder back and loads it there.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM

import nautiloid.model.context as context
from nautiloid.model.family import family
from nautiloid.model.states import StateStore
from nautiloid.model.weights import load, save

LOGITS_RTOL, GRADIENTS_RTOL, NEAR_TIE = 1e-5, 1e-4, 1e-4


def release_dt_floor(model):
    """Undo transformers' floor on the step size, which these models were not trained with."""
    for module in model.modules():
        if hasattr(module, "time_step_limit"):
            module.time_step_limit = (0.0, math.inf)
    return model.eval()


def make_reference(config, folder: Path, seed: int):
    """A transformers model of our config with weights that would reveal an error, saved to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data = family(config.family).write_config(config)
    (folder / "config.json").write_text(json.dumps(data))
    hf_config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(
        hf_config, attn_implementation="eager", dtype=torch.float32
    )
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, mean=0.0, std=1.0):
        tensor.copy_(mean + std * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            last = name.rpartition(".")[2]
            if last == "dt_bias":
                tensor.uniform_(-4.6, 2.0, generator=generator)
            elif last == "A_log":
                tensor.uniform_(0.0, math.log(16), generator=generator)
            elif last == "e_score_correction_bias" or name.endswith("conv1d.bias"):
                normal(tensor, 0.0, 0.1)
            elif last == "inv_freq" or last == "original_inv_freq":
                continue
            elif tensor.dim() == 1:
                normal(tensor, 1.0, 0.1)
            elif "embed" in name:
                normal(tensor)
            else:
                normal(tensor, 0.0, tensor.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    return release_dt_floor(model)


def relative(found, expected):
    """Relative L2 distance."""
    return float((found - expected).detach().norm() / expected.detach().norm())


def padded(rows):
    """Left-padded ids, mask and positions of ragged rows."""
    width = max(len(row) for row in rows)
    ids = torch.stack([F.pad(row, (width - len(row), 0)) for row in rows])
    mask = torch.stack([F.pad(torch.ones_like(row), (width - len(row), 0)) for row in rows])
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def reference_logits(model, rows):
    """Logits of transformers at the real tokens, rows laid end to end."""
    ids, mask, positions = padded(rows)
    out = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return torch.cat([line[-len(row) :] for line, row in zip(out, rows, strict=True)])


def loss_of(logits, rows):
    """Mean next-token cross entropy over all rows."""
    total, start = logits.new_zeros(()), 0
    for row in rows:
        part = logits[start : start + len(row)]
        total = total + F.cross_entropy(part[:-1], row[1:], reduction="sum")
        start += len(row)
    return total / sum(len(row) - 1 for row in rows)


def reference_gradients(model, config):
    """Gradients of a transformers model under our names."""
    own = family(config.family)
    stored = {s.name: s for s in own.layout(config, per_expert=False)}
    found = {}
    for name, parameter in model.named_parameters():
        grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        for part in stored[own.canonical(name)].parts:
            piece = grad
            if part.stop is not None:
                piece = grad.narrow(part.axis, part.start, part.stop - part.start)
            found[part.name] = piece.reshape(config.tensors()[part.name].shape)
    return found


def check_gradients(ours, expected, folder: Path, rows):
    """Every tensor within the bound; where transformers' own rounding exceeds it, float64 decides.

    A gradient that is a sum of terms that all but cancel is only known to the rounding of its
    terms. Such a tensor is compared with float64 instead.
    """
    found = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in ours.named_parameters()
    }
    scale = math.sqrt(sum(float(g.square().sum()) for g in expected.values()))
    errors = {name: float((found[name] - expected[name]).norm()) for name in found}
    assert math.sqrt(sum(e**2 for e in errors.values())) <= 0.3 * GRADIENTS_RTOL * scale
    doubtful = [
        name
        for name, error in errors.items()
        if error > GRADIENTS_RTOL * max(float(expected[name].norm()), 1e-3 * scale)
    ]
    if doubtful:
        exact = load(folder, dtype="float64")
        starts = [0, *torch.tensor([len(row) for row in rows]).cumsum(0).tolist()]
        loss_of(exact(torch.cat(rows), starts), rows).backward()
        gradients = {name: p.grad for name, p in exact.named_parameters()}
        for name in doubtful:
            mine = relative(found[name], gradients[name])
            theirs = relative(expected[name], gradients[name])
            assert theirs < 10 * GRADIENTS_RTOL, (name, theirs)
            assert mine <= max(3 * GRADIENTS_RTOL, theirs), (name, mine, theirs)


def check_family(config, folder: Path, *, seed: int, lengths):
    """The whole comparison; returns both models."""
    theirs = make_reference(config, folder / "theirs", seed)
    ours = load(folder / "theirs")
    generator = torch.Generator().manual_seed(seed + 1)
    rows = [torch.randint(config.vocab_size, (n,), generator=generator) for n in lengths]
    starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]

    expected = reference_logits(theirs, rows)
    found = ours(torch.cat(rows), starts)
    assert relative(found, expected) < LOGITS_RTOL, relative(found, expected)

    loss_of(expected, rows).backward()
    loss_of(found, rows).backward()
    check_gradients(ours, reference_gradients(theirs, config), folder / "theirs", rows)

    for kind, per_expert in (("single", True), ("stacked", False)):
        save(ours, folder / kind, per_expert=per_expert, max_shard_bytes=20_000)
        if per_expert:
            again = AutoModelForCausalLM.from_pretrained(folder / kind, attn_implementation="eager")
            with torch.no_grad():
                assert relative(reference_logits(release_dt_floor(again), rows), expected) < 1e-6
        with torch.no_grad():
            again = load(folder / kind)(torch.cat(rows), starts)
            assert relative(again, ours(torch.cat(rows), starts)) < 1e-6
    return ours, theirs


@torch.no_grad()
def check_greedy(ours, theirs, prompt, *, count: int = 64):
    """Greedy ids agree up to the first near tie."""
    out = theirs.generate(
        prompt[None], attention_mask=torch.ones_like(prompt)[None], do_sample=False,
        max_new_tokens=count, min_new_tokens=count, eos_token_id=None, pad_token_id=0,
    )[0, len(prompt) :]  # fmt: skip
    store = StateStore(ours.config, num_slots=1, num_pages=4)
    ids, past, found = prompt, 0, []
    for _ in range(count):
        positions = torch.arange(past, past + len(ids))
        state = store.view([0], [range(4)], [past])
        ctx = context.Context((len(ids),), positions, state=state)
        hidden = ours.hidden(ids, ctx).hidden_TD[-1:]
        past += len(ids)
        ids = ours.logits(hidden)[0].argmax()[None]
        found.append(int(ids))
    for i, (a, b) in enumerate(zip(found, out.tolist(), strict=True)):
        if a != b:
            best = reference_logits(theirs, [torch.cat([prompt, out[:i]])])[-1].topk(2).values
            assert float(best[0] - best[1]) < NEAR_TIE, (i, a, b, best)
            break
