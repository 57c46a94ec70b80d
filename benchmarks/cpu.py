"""Training and decoding of a small hybrid MoE on a CPU, against transformers in the same run.

    python benchmarks/cpu.py

Both sides hold the same float32 weights and see the same tokens. Repetitions alternate between the
two. Logits, loss and greedy tokens are compared before anything is timed.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import NemotronHForCausalLM

from nautiloid.core.seed import Seed
from nautiloid.core.types import SamplingParams
from nautiloid.data.batch import Batch
from nautiloid.engine.engine import Engine
from nautiloid.model.blocks.attention import AttentionConfig
from nautiloid.model.blocks.mamba import MambaConfig
from nautiloid.model.blocks.moe import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.costs import (
    decode_flops,
    experts_touched,
    parameters,
    state_bytes,
    train_flops_per_token,
)
from nautiloid.model.decoder import Decoder
from nautiloid.model.weights import save
from nautiloid.train.config import AdamWConfig, LossConfig, TrainerConfig
from nautiloid.train.losses import LanguageModelLoss
from nautiloid.train.schedule import ScheduleConfig
from nautiloid.train.trainer import Trainer
from results_file import Row, write_results

THREADS = 2
REPS = 7
PROMPT, FEW, MANY = 32, 8, 72

CONFIG = ModelConfig(
    vocab_size=4096,
    hidden_size=384,
    pattern="MEMEM*EME",
    blocks={
        "M": MambaConfig(mamba_num_heads=12, mamba_head_dim=64, n_groups=2, ssm_state_size=64),
        "*": AttentionConfig(num_attention_heads=6, num_key_value_heads=2, head_dim=64),
        "E": MoEConfig(
            n_routed_experts=32,
            num_experts_per_tok=4,
            moe_intermediate_size=256,
            moe_shared_expert_intermediate_size=512,
            routed_scaling_factor=2.5,
        ),
    },
    dtype="float32",
)


def main() -> None:
    """Check, time, print, write."""
    torch.set_num_threads(THREADS)
    ours = Decoder(CONFIG)
    ours.init_weights(Seed(0))
    with tempfile.TemporaryDirectory() as folder:
        save(ours, Path(folder) / "model")
        peer = load_peer(Path(folder) / "model")
        gemm, bandwidth = ceilings()
        check(ours, peer)
        rows = [train_row(ours, peer, gemm)]
        fresh = Decoder(CONFIG)
        fresh.init_weights(Seed(0))
        peer = load_peer(Path(folder) / "model")
        rows += [
            decode_row(fresh, peer, batch, goal, bandwidth) for batch, goal in ((1, 3.0), (16, 4.0))
        ]
    write_results(
        "cpu",
        rows,
        notes={"threads": THREADS, "gemm_gflops": gemm / 1e9, "copy_gb_s": bandwidth / 1e9},
    )


def load_peer(folder: Path) -> Any:
    """transformers' model of the same folder, with the step-size floor of 5.18 to 5.23 removed."""
    peer: Any = NemotronHForCausalLM.from_pretrained(folder, dtype=torch.float32)
    module: Any
    for module in peer.modules():
        if hasattr(module, "time_step_limit"):
            module.time_step_limit = (0.0, float("inf"))
    return peer


def ceilings() -> tuple[float, float]:
    """FLOP/s of a large matrix product and bytes/s (read + written) of a large copy."""
    a = torch.randn(1536, 1536)
    b = torch.randn(64 << 20)
    c = torch.empty_like(b)
    product = min(timed(lambda: a @ a) for _ in range(10))
    copy = min(timed(lambda: c.copy_(b)) for _ in range(5))
    return 2 * 1536**3 / product, 2 * b.nbytes / copy


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def check(ours: Decoder, peer: Any) -> None:
    """Logits, loss and 32 greedy tokens agree."""
    ids = tokens(4, 512)
    with torch.no_grad():
        expected, found = peer(input_ids=ids, use_cache=False).logits, ours(ids)
    error = float((found - expected).norm() / expected.norm())
    assert error < 1e-5, f"logits differ by {error:.2e}"
    prompt = ids[:1, :PROMPT]
    greedy = peer.generate(prompt, max_new_tokens=32, min_new_tokens=32, do_sample=False)[
        0, PROMPT:
    ]
    engine = Engine(ours, max_batch=1, stop_ids=())
    answer = engine.generate([prompt[0].tolist()], SamplingParams(temperature=0, max_tokens=32))[0]
    assert list(answer.ids) == greedy.tolist(), "greedy tokens differ"
    print(f"logits agree to {error:.1e}, 32 greedy tokens are equal")


def tokens(rows: int, length: int) -> Tensor:
    """Random ids without the special ones."""
    return torch.randint(
        3, CONFIG.vocab_size, (rows, length), generator=torch.Generator().manual_seed(0)
    )


def train_row(ours: Decoder, peer: Any, gemm: float) -> Row:
    """Tokens a second of whole optimizer steps on 4 rows of 512."""
    ids = tokens(4, 513)
    batch = Batch(
        tokens_T=ids[:, :-1].reshape(-1),
        targets_T=ids[:, 1:].reshape(-1),
        weight_T=torch.ones(4 * 512),
        positions_T=torch.arange(512).repeat(4),
        lengths=(512,) * 4,
        row_lengths=(512,) * 4,
        sample_T=torch.arange(4, dtype=torch.int32).repeat_interleave(512),
    )
    config = TrainerConfig(
        num_steps=1000,
        optim=AdamWConfig(lr=1e-4),
        schedule=ScheduleConfig(warmup_steps=0),
        loss=LossConfig(balance_weight=0.0),
        bias_rate=0.0,
    )
    trainer = Trainer(ours, config, LanguageModelLoss(config.loss))
    optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    losses: dict[str, float] = {}

    def our_step() -> None:
        losses.setdefault("ours", trainer.step([batch]).figures["loss"])

    def peer_step() -> None:
        logits = peer(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.setdefault("peer", float(loss.detach()))

    our_s, peer_s = alternate(our_step, peer_step)
    assert abs(losses["ours"] - losses["peer"]) < 1e-4, losses
    flops = train_flops_per_token(CONFIG, 512) * 4 * 512
    rate = 4 * 512 / statistics.median(our_s)
    share = flops / statistics.median(our_s) / gemm
    return ratio_row(
        "train_4x512",
        1.6,
        rate,
        4 * 512 / statistics.median(peer_s),
        our_s,
        peer_s,
        f"{share:.0%} of the GEMM rate",
    )


def decode_row(ours: Decoder, peer: Any, batch: int, goal: float, bandwidth: float) -> Row:
    """Greedy tokens a second with a cache, prefill left out by difference of two lengths."""
    prompts = tokens(batch, PROMPT)
    engine = Engine(ours, max_batch=batch, stop_ids=())
    rows = prompts.tolist()

    def our_run(count: int) -> None:
        engine.generate(rows, SamplingParams(temperature=0, max_tokens=count))

    def peer_run(count: int) -> None:
        peer.generate(prompts, max_new_tokens=count, min_new_tokens=count, do_sample=False)

    def step_s(run: Callable[[int], None]) -> float:
        short = timed(lambda: run(FEW))
        return (timed(lambda: run(MANY)) - short) / (MANY - FEW)

    our_s: list[float] = []
    peer_s: list[float] = []
    our_run(FEW)
    peer_run(FEW)
    for _ in range(REPS):
        our_s.append(step_s(our_run))
        peer_s.append(step_s(peer_run))
    ours_rate, peer_rate = (batch / statistics.median(s) for s in (our_s, peer_s))
    read = bytes_a_step(batch)
    share = read / statistics.median(our_s) / bandwidth
    flops = decode_flops(CONFIG, PROMPT + MANY) * batch / statistics.median(our_s)
    limit = f"{share:.0%} of the copy bandwidth, {flops / 1e9:.0f} GFLOP/s"
    return ratio_row(f"decode_b{batch}", goal, ours_rate, peer_rate, our_s, peer_s, limit)


def bytes_a_step(batch: int) -> float:
    """Weights touched by one step (experts drawn uniformly) and states read and written."""
    sizes = parameters(CONFIG)
    experts = sum(
        s.shape[0] * s.shape[1] * s.shape[2] for s in CONFIG.tensors().values() if s.active < 1
    )
    touched = experts_touched(32, 4, batch) / 32
    dense = sizes.total - experts - CONFIG.vocab_size * CONFIG.hidden_size
    state = state_bytes(CONFIG, dtype="float32")
    return 4 * (dense + touched * experts) + 2 * batch * state.ssm


def alternate(
    first: Callable[[], None], second: Callable[[], None]
) -> tuple[list[float], list[float]]:
    """Seconds of each call, `REPS` times, taking turns after two calls that warm up."""
    for _ in range(2):
        first()
        second()
    pairs = [(timed(first), timed(second)) for _ in range(REPS)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio_row(
    work: str,
    goal: float,
    ours: float,
    peer: float,
    our_s: list[float],
    peer_s: list[float],
    limit: str,
) -> Row:
    """Our rate over the peer's, with the spread of the paired repetitions."""
    ratios = [b / a for a, b in zip(our_s, peer_s, strict=True)]
    return Row(
        work=work,
        value=ours / peer,
        unit="ratio of tokens/s to transformers",
        goal=goal,
        ours=ours,
        peer=peer,
        limit=limit,
        reps=REPS,
        spread=(min(ratios), max(ratios)),
    )


if __name__ == "__main__":
    main()
