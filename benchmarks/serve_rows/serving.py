"""One engine over a random model, and what the rows measure with it."""

from __future__ import annotations

import contextlib
import gc
import itertools
import statistics
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from benchmarks.results_file import Row
from benchmarks.serve_rows.limits import StepBytes, read_bytes_s, step_bytes
from benchmarks.serve_rows.scale import Scale
from torch import Tensor

from nautiloid.core.types import SamplingParams
from nautiloid.engine.budget import Sizes, activation_bytes
from nautiloid.engine.engine import PREFILL_TOKENS_GPU, Engine
from nautiloid.engine.request import Request
from nautiloid.engine.speculation import Speculation, draft_specs
from nautiloid.model.blocks.moe.config import MoEConfig
from nautiloid.model.config import ModelConfig
from nautiloid.model.context import Context, Output
from nautiloid.model.decoder import Decoder
from nautiloid.model.states import StateTypes
from nautiloid.model.weights import dtype_of

PAGE_TOKENS = 64
# steps between two looks at the clock: the host runs ahead of the device by one
BLOCK = 10
# tokens of one forward while caches are filled without running the model
FILL_TOKENS = 1 << 22


@dataclass(frozen=True)
class Steps:
    """Decoding steps of one batch.

    Args:
        requests: Rows of every step.
        step_s: Seconds of a step, one figure for each block of steps.
        tokens: Generated in all of them.
        seconds: All of them.
        cached_tokens: Keys of all requests together, mean over the steps.
        prefill_s: From the first submission to the last first token.
    """

    requests: int
    step_s: tuple[float, ...]
    tokens: int
    seconds: float
    cached_tokens: float
    prefill_s: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens of a step over the median step."""
        return self.tokens / self.steps / statistics.median(self.step_s)

    @property
    def steps(self) -> int:
        """Steps that were timed."""
        return len(self.step_s) * BLOCK

    @property
    def spread(self) -> tuple[float, float]:
        """Tokens a second of the slowest and the fastest block."""
        each = self.tokens / self.steps
        return each / max(self.step_s), each / min(self.step_s)


class Serving:
    """A model and an engine on it.

    Args:
        scale: Full size or tiny.
        config: Model at full size.
        requests: Most at a time.
        cached_tokens: Prompt and completion tokens of all requests together.
        options: Of the engine.
    """

    def __init__(
        self,
        scale: Scale,
        config: ModelConfig,
        *,
        requests: int,
        cached_tokens: int,
        model: Decoder | None = None,
        **options: Any,
    ):
        self.scale = scale
        read_bytes_s(scale.device)  # while there is room for what it reads
        self.config = scale.config(config)
        self.model = scale.model(self.config) if model is None else model
        self.options = {"routing": "uniform", "prefix_cache": False, **options}
        self.engine = Engine(
            self.model,
            max_batch=scale.requests(requests),
            memory_bytes=self._room(scale.requests(requests), cached_tokens),
            **self.options,
        )

    def _room(self, requests: int, cached_tokens: int) -> int:
        """Bytes of the states: every request ends in a page of its own, some slots and pages are spare."""
        speculation: Speculation | None = self.options.get("speculation")
        config = self.config if speculation else replace(self.config, mtp=None)
        sizes = Sizes.of(
            config,
            PAGE_TOKENS,
            StateTypes(self.model.dtype),
            draft_specs(config, speculation) if speculation else None,
            has_tables=True,
        )
        pages = cached_tokens // PAGE_TOKENS + 2 * requests + 16
        held = (requests + 4) * (sizes.slot_bytes + sizes.table_bytes) + pages * sizes.page_bytes
        if self.model.device.type == "cpu":
            return held
        return held + activation_bytes(
            self.config,
            tokens=self.options.get("prefill_tokens") or PREFILL_TOKENS_GPU,
            rows=requests,
            itemsize=self.model.dtype.itemsize,
        )

    def close(self) -> None:
        """Free everything that is on the device."""
        del self.engine, self.model
        gc.collect()
        if not self.scale.is_tiny:
            torch.cuda.empty_cache()

    def prompts(self, count: int, tokens: int, seed: int = 0) -> list[list[int]]:
        """Random ids."""
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, self.config.vocab_size, (count, tokens), generator=generator)
        return ids.tolist()

    def submit(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[Request]:
        """Put prompts in line; completions end at `max_tokens` only."""
        params = SamplingParams(temperature=1.0, max_tokens=max_tokens, ignore_stop=True)
        return [self.engine.requests[self.engine.submit(list(p), params)] for p in prompts]

    @contextlib.contextmanager
    def filled(self, *, is_real: bool = False) -> Generator[None, None, None]:
        """Prompts run inside cost nothing, unless `is_real`: slots, pages and positions are those of a
        real prefill, the states stay what they are. A step on top then does the same work as after one.
        """
        if is_real:
            yield
            return
        width = self.config.hidden_size
        nothing = torch.zeros(1, width, dtype=self.model.dtype, device=self.model.device)
        run = self.model.hidden

        def hidden(tokens_T: Tensor, ctx: Context, mtp_tokens: Sequence[Tensor] = ()) -> Output:
            if max(ctx.lengths) == 1:  # a decoding step, perhaps one that is being recorded
                return run(tokens_T, ctx, mtp_tokens)
            if ctx.state is not None:
                ctx.state.prepare(ctx.lengths)
            return Output(nothing.expand(tokens_T.shape[0], width))

        self.model.hidden = hidden
        try:
            yield
        finally:
            del self.model.hidden

    def fill(self, requests: Sequence[Request]) -> float:
        """Bring requests to their first token without running their prompts; states are random.

        Returns:
            0 seconds, since nothing was run.
        """
        chunk = self.engine.scheduler.prefill_tokens
        self.engine.scheduler.prefill_tokens = FILL_TOKENS
        with self.filled():
            self.start(requests)
        self.engine.scheduler.prefill_tokens = chunk
        store = self.engine.pool.store
        for tensors in (*store.slots.values(), *store.pages.values()):
            for tensor in tensors.values():
                if tensor.is_floating_point():
                    tensor.normal_(0, 0.1)
        return 0.0

    def start(self, requests: Sequence[Request]) -> float:
        """Run until every request has a token; seconds."""
        begin = time.perf_counter()
        while not all(r.ids for r in requests):
            self.engine.step()
        self.scale.wait()
        return time.perf_counter() - begin

    def stop(self, requests: Sequence[Request]) -> None:
        """Abort what still runs."""
        for request in requests:
            self.engine.abort(request.id)
        self.scale.wait()

    def decode(
        self, count: int, prompt_tokens: int, steps: int, *, warm: int = 20, is_filled: bool = False
    ) -> Steps:
        """Prefill a batch and time steady steps of it, from the calls of `Engine.step` alone.

        Args:
            count: Requests.
            prompt_tokens: Of each.
            steps: To time.
            warm: Steps before them.
            is_filled: Put random states where the prompts would have left theirs.
        """
        count, prompt_tokens = self.scale.requests(count), self.scale.tokens(prompt_tokens)
        steps, warm = self.scale.steps(steps), self.scale.steps(warm)
        requests = self.submit(self.prompts(count, prompt_tokens), 4 * (steps + warm + BLOCK))
        prefill_s = self.fill(requests) if is_filled else self.start(requests)
        result = self.time_steps(requests, steps, warm=warm)
        self.stop(requests)
        return replace(result, prefill_s=prefill_s)

    def time_steps(self, requests: Sequence[Request], steps: int, *, warm: int) -> Steps:
        """Time steps of running requests, whole blocks of them."""
        for _ in range(warm):
            self.engine.step()
        before = [len(r.ids) for r in requests]
        marks = [time.perf_counter()]
        for _ in range(-(-steps // BLOCK)):
            for _ in range(BLOCK):
                self.engine.step()
            marks.append(time.perf_counter())
        tokens = sum(len(r.ids) for r in requests) - sum(before)
        cached = sum(len(r.prompt_ids) + len(r.ids) for r in requests) - tokens / 2
        times = tuple((b - a) / BLOCK for a, b in itertools.pairwise(marks))
        return Steps(len(requests), times, tokens, marks[-1] - marks[0], cached, 0.0)

    def distinct_experts(self, rows: int) -> float | None:
        """Experts of a layer that some row of a step chooses: mean over layers and a few steps of the
        routes that are forced.
        """
        routes = self.engine.runner.routes
        experts = [b.n_routed_experts for b in self.config.layers() if isinstance(b, MoEConfig)]
        if routes is None or not experts:
            return None
        layers_LTK = routes.layers_LTK
        steps = min(16, layers_LTK.shape[1] // rows)
        chosen = layers_LTK[:, : steps * rows].reshape(len(layers_LTK), steps, -1).long()
        hit = torch.zeros(*chosen.shape[:2], experts[0], device=chosen.device)
        return float(hit.scatter_(2, chosen, 1.0).sum(2).mean())

    def bytes_of(self, steps: Steps, *, ssm_dtype: str = "float32", drafts: int = 0) -> StepBytes:
        """What one of the steps had to move."""
        return step_bytes(
            self.config,
            requests=steps.requests,
            cached_tokens=steps.cached_tokens,
            distinct_experts=self.distinct_experts(steps.requests * (1 + drafts)),
            ssm_dtype=ssm_dtype,
            drafts=drafts,
        )

    def decode_row(
        self,
        work: str,
        steps: Steps,
        *,
        goal: float | None = None,
        stretch: float | None = None,
        peer: float | None = None,
        ssm_dtype: str = "float32",
        drafts: int = 0,
        note: str = "",
    ) -> Row:
        """Tokens a second beside what the bytes allow; `drafts` more rows a request cost their experts."""
        moved = self.bytes_of(steps, ssm_dtype=ssm_dtype, drafts=drafts)
        rate = read_bytes_s(self.scale.device)
        most = steps.tokens / steps.steps * rate / moved.total
        experts = self.distinct_experts(steps.requests * (1 + drafts))
        found = f"{most:,.0f} tokens/s ({steps.tokens_per_s / most:.0%}) at {rate / 1e12:.2f} TB/s: {moved}"
        if experts is not None:
            found += f"; {experts:.1f} experts a layer"
        notes = [
            f"step {statistics.median(steps.step_s) * 1e3:.3f} ms",
            f"first tokens after {steps.prefill_s:.2f} s" if steps.prefill_s else "",
            f"stretch {stretch:,.0f}" if stretch else "",
            note,
        ]
        return Row(
            work=work,
            value=steps.tokens_per_s,
            unit="tokens/s",
            goal=goal,
            ours=steps.tokens_per_s,
            peer=peer,
            limit=found,
            reps=len(steps.step_s),
            spread=steps.spread,
            reason="; ".join(n for n in notes if n),
        )

    def check(self, count: int = 4, prompt_tokens: int = 700, tokens: int = 24) -> str:
        """Decoding agrees with one forward over the whole sequence.

        Every layer sends all tokens to the same few experts here: the scores of random routers nearly
        tie, and a choice that tips by a rounding error would hide everything else.

        Returns:
            What was found, for the notes of a row.
        """
        prompts = self.prompts(count, self.scale.tokens(prompt_tokens), seed=1)
        room = self._room(count, sum(len(p) + tokens for p in prompts))
        options = {**self.options, "routing": None}
        engine = Engine(self.model, max_batch=count, memory_bytes=room, **options)
        params = SamplingParams(temperature=1.0, max_tokens=tokens, ignore_stop=True)
        with self._steered():
            done = engine.generate(prompts, params)
            again = engine.score([[*c.prompt_ids, *c.ids] for c in done])
        pairs = [
            (a, b)
            for c, row in zip(done, again, strict=True)
            for a, b in zip(c.logprobs, row[-len(c.ids) :], strict=True)
        ]
        gaps = torch.tensor([a - b for a, b in pairs], dtype=torch.float64)
        k3 = float((gaps.neg().exp() - 1 + gaps).mean())
        middle, largest = float(gaps.abs().median()), float(gaps.abs().max())
        bound = 1e-4 if dtype_of(self.config.dtype).itemsize == 4 else 0.1
        found = f"decode against prefill: k3 {k3:.1e}, gaps {middle:.1e}, at most {largest:.1e}"
        if not (middle < bound and largest < 10 * bound):
            found += f", MORE THAN ROUNDING (bound {bound})"
        print(found, flush=True)
        del engine
        gc.collect()
        return found

    @contextlib.contextmanager
    def _steered(self) -> Generator[None, None, None]:
        """Routers choose the same experts for every token, others in every layer."""
        biases = [layer.router.e_score_correction_bias for layer in self.model.moe_layers()]
        generator = torch.Generator().manual_seed(0)
        for bias in biases:
            if bias is not None:
                order = torch.randperm(len(bias), generator=generator)
                bias.copy_(10.0 * order.to(bias))
        yield
        for bias in biases:
            if bias is not None:
                bias.zero_()
