"""Batched generation from one model: prompts in, completions out."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.core.types import Completion, DraftCounts, Message, SamplingParams
from nautiloid.data.tokenizer import Tokenizer
from nautiloid.engine.budget import activation_bytes, cap_of
from nautiloid.engine.cache import CachePool, state_dtype
from nautiloid.engine.exact import ExactLoop, score
from nautiloid.engine.intake import Intake, Options, Tools
from nautiloid.engine.loop import Loop
from nautiloid.engine.output import Output
from nautiloid.engine.places import Preemption
from nautiloid.engine.prompt import Prompt, encode_prompt
from nautiloid.engine.request import Delta, Request
from nautiloid.engine.routes import UniformRoutes
from nautiloid.engine.runner import Runner
from nautiloid.engine.sampler import Sampler
from nautiloid.engine.scheduler import Scheduler
from nautiloid.engine.speculation import Speculation, draft_specs
from nautiloid.engine.verify import Speculator
from nautiloid.engine.weights import check_weights, copy_weights
from nautiloid.model.decoder import Decoder
from nautiloid.model.quantize import check_format, pack_weights
from nautiloid.model.weights import dtype_name, load

# most tokens of a step when nothing is asked for
PREFILL_TOKENS = 2048
PREFILL_TOKENS_GPU = 16_384


class Engine:
    """Generates with a model, many requests at a time.

    Args:
        path_or_model: A checkpoint folder, or a model that is used as it is.
        tokenizer: Replaces the folder's; without any, prompts are token ids.
        max_batch: Most requests that run at a time; more wait in line.
        memory_bytes: Cap on everything beside the weights; None makes room for `max_batch` usual
            requests on a CPU, and takes nine tenths of what is free on a GPU. There logits, recorded
            steps and the activations of a forward come out of it first.
        kv_dtype: Of cached keys and values; None is that of the weights.
        ssm_dtype: Of SSM states; None is what the model names.
        prefill_tokens: Most tokens of a step; longer prompts go in pieces between decodes.
        prefix_cache: Whether prompts may start from states that earlier requests left.
        snapshots: States of prefixes kept at a time; None takes an eighth of the room.
        snapshot_every_tokens: Also keep states at multiples of this within prompts.
        preemption: What happens to a request that gives way when memory runs out: `recompute` its
            states later, or `swap` them to host memory.
        max_waiting: Most requests in line before `submit` and `stream` refuse more; None is no limit.
        page_tokens: Tokens a page of keys and values.
        dtype: Of the weights loaded from a folder; None keeps the folder's.
        seed: Root of the random numbers of requests without a seed of their own.
        stop_ids: Ids that end every completion; None takes those of grammar and model.
        speculation: How tokens are drafted; None decodes them one by one.
        deterministic: Make every bit of what a request gets independent of the requests beside it, and
            its log probabilities the trainer's (`model.exact`); slow.
        weight_format: `int8` stores the weights of a folder in 8 bits (`model.quantize`), on a CPU.
        routing: `uniform` forces random experts in place of those the routers choose; the text is
            then wrong: only benchmarks with random weights need it.
    """

    def __init__(
        self,
        path_or_model: str | os.PathLike[str] | Decoder,
        *,
        tokenizer: Tokenizer | None = None,
        max_batch: int = 32,
        memory_bytes: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        seed: int = 0,
        stop_ids: Sequence[int] | None = None,
        speculation: Speculation | None = None,
        kv_dtype: torch.dtype | str | None = None,
        ssm_dtype: torch.dtype | str | None = None,
        prefill_tokens: int | None = None,
        prefix_cache: bool = False,
        snapshots: int | None = None,
        snapshot_every_tokens: int | None = None,
        preemption: Preemption = "recompute",
        max_waiting: int | None = None,
        page_tokens: int = 64,
        deterministic: bool = False,
        weight_format: Literal["int8"] | None = None,
        routing: Literal["uniform"] | None = None,
    ):
        if deterministic and weight_format is not None:
            raise InputError("deterministic", True, "goes without weight_format")
        if deterministic and (speculation is not None or prefix_cache or routing is not None):
            remedy = "goes without speculation, prefix_cache and routing"
            raise InputError("deterministic", True, remedy)
        if routing not in (None, "uniform"):
            raise InputError("routing", routing, "use None or uniform")
        if max_batch < 1:
            raise InputError("max_batch", max_batch, "use at least 1")
        if snapshots is not None and (snapshots < 1 or not prefix_cache):
            raise InputError("snapshots", snapshots, "use at least 1, with prefix_cache")
        every = snapshot_every_tokens
        if every is not None and (every < 1 or not prefix_cache):
            raise InputError("snapshot_every_tokens", every, "use at least 1, with prefix_cache")
        if page_tokens < 1:
            raise InputError("page_tokens", page_tokens, "use at least 1")
        if isinstance(path_or_model, Decoder):
            if weight_format is not None:
                remedy = "give a folder, or pack the model with model.quantize.pack_weights"
                raise InputError("weight_format", weight_format, remedy)
            self.model = path_or_model
        else:
            folder = Path(path_or_model)
            if weight_format is not None:
                check_format(weight_format, device)
            self.model = load(folder, device=device, dtype=dtype)
            if weight_format is not None:
                pack_weights(self.model, weight_format)
            if tokenizer is None and (folder / "tokenizer.json").is_file():
                tokenizer = Tokenizer.load(folder)
        self.config = self.model.config
        if tokenizer is not None and tokenizer.vocab_size > self.config.vocab_size:
            raise InputError(
                "tokenizer",
                f"{tokenizer.vocab_size} ids",
                f"the model knows {self.config.vocab_size}; use the tokenizer it was trained with",
            )
        self.tokenizer = tokenizer
        self.device = self.model.device
        self.speculation = speculation
        if speculation is not None:
            speculation.check(self.config)
        if prefill_tokens is None:
            prefill_tokens = PREFILL_TOKENS if self.device.type == "cpu" else PREFILL_TOKENS_GPU
        reserved = 0
        if self.device.type == "cuda":
            if memory_bytes is None:
                memory_bytes = cap_of(torch.cuda.mem_get_info(self.device)[0])
            reserved = activation_bytes(
                self.config,
                tokens=prefill_tokens,
                rows=max_batch,
                itemsize=self.model.dtype.itemsize,
            )
        self.pool = CachePool(
            self.config,
            max_batch=max_batch,
            memory_bytes=memory_bytes,
            page_tokens=page_tokens,
            device=self.device,
            dtype=self.model.dtype,
            kv_dtype=state_dtype("kv_dtype", kv_dtype),
            ssm_dtype=state_dtype("ssm_dtype", ssm_dtype),
            reserved_bytes=reserved,
            has_prefixes=prefix_cache,
            snapshots=snapshots,
            extra=draft_specs(self.config, speculation) if speculation else None,
        )
        self.scheduler = Scheduler(
            self.pool,
            prefill_tokens=prefill_tokens,
            preemption=preemption,
            snapshot_every_tokens=every,
        )
        self.scheduler.steps_prompts = speculation is None
        self.max_waiting = max_waiting
        routes = UniformRoutes(self.model, Seed(seed)) if routing else None
        self.runner = Runner(self.model, self.pool, self.device, routes)
        self.sampler = Sampler(self.device)
        self.is_deterministic = deterministic
        make = ExactLoop if deterministic else Loop
        self.loop = make(self.scheduler, self.runner, self.sampler)
        if speculation is not None:
            self.loop.speculator = Speculator(speculation, self.loop)
        self.output = Output(self.config, tokenizer)
        self.intake = Intake(self.output, Seed(seed), stop_ids, speculation)
        self.requests: dict[int, Request] = {}
        self.finished: dict[int, Completion] = {}
        # requests of `generate` and `stream`, which `step` does not report
        self.owned: set[int] = set()
        self.is_paused = False
        self.is_draining = False
        self.is_torn = False

    @property
    def version(self) -> int:
        """Counts the weights; `load_weights` sets it."""
        return self.loop.version

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end every completion."""
        return self.intake.stop_ids

    @property
    def draft_counts(self) -> DraftCounts | None:
        """Drafts of all requests so far; None without speculation."""
        return self.loop.speculator.counts if self.loop.speculator else None

    @property
    def max_context_tokens(self) -> int:
        """Longest prompt and completion together."""
        held = self.pool.most_tokens
        longest = self.config.max_position_embeddings
        return longest if held is None else min(longest, held)

    def generate(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        thinking: bool = True,
        tools: Tools = (),
        priority: int = 0,
        client: str = "",
        salt: str | None = "",
    ) -> list[Completion]:
        """Complete every prompt.

        Args:
            prompts: Texts, lists of ids or lists of messages, mixed as you like.
            params: One for all prompts or one a prompt.
            thinking: Whether the model thinks before it answers messages.
            tools: Tool declarations shown with messages.
            priority: Lower ones run first, and take the place of others when memory runs out.
            client: Requests of the same priority take turns by client.
            salt: Only requests with the same one share cached prefixes; None shares with nobody.

        Returns:
            `n` completions of the first prompt, then those of the second, and so on.

        Raises:
            InputError: A prompt or setting cannot be honoured; nothing was generated.
        """
        if isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], int | Message)):
            raise InputError("prompts", None, "give a list of prompts, one prompt inside a list")
        each = (
            [params or SamplingParams()] * len(prompts)
            if not isinstance(params, Sequence)
            else params
        )
        if len(each) != len(prompts):
            raise InputError(
                "params", len(each), f"give one, or one for each of {len(prompts)} prompts"
            )
        self._check_ready()
        self._check_open()
        options = Options(thinking, tools, priority, client, salt)
        made = [
            self.intake.request(prompt, setting, index, options, self.max_context_tokens)
            for prompt, setting in zip(prompts, each, strict=True)
            for index in range(setting.n)
        ]
        # the longest first, so that the end of a large batch is not one long request alone
        for request in sorted(made, key=lambda request: -request.max_tokens):
            self._enter(request, owned=True)
        mine, done = {request.id for request in made}, dict[int, Completion]()
        if self.device.type == "cpu":
            self.scheduler.gather = max(1, self.pool.num_slots // 4)
        try:
            while len(done) < len(made):
                self._advance()
                for request_id in mine.intersection(self.finished):
                    done[request_id] = self.finished.pop(request_id)
        finally:
            self.scheduler.gather = 1
            for request in made:
                self.abort(request.id)
        return [done[request.id] for request in made]

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        thinking: bool = True,
        tools: Tools = (),
        priority: int = 0,
        client: str = "",
        salt: str | None = "",
    ) -> Generator[Delta, None, None]:
        """Complete one prompt piece by piece; the last piece carries the whole completion.

        Closing the iterator early aborts the request.
        """
        self._check_ready()
        self._check_open(1)
        options = Options(thinking, tools, priority, client, salt)
        request = self.intake.single(prompt, params, options, self.max_context_tokens)
        if request.text is None and self.tokenizer is not None:
            request.text = self.output.text(())
        return self._deltas(request)

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        thinking: bool = True,
        tools: Tools = (),
        priority: int = 0,
        client: str = "",
        salt: str | None = "",
    ) -> int:
        """Put one request in line and return its id; `step` does the work."""
        self._check_open(1)
        options = Options(thinking, tools, priority, client, salt)
        request = self.intake.single(prompt, params, options, self.max_context_tokens)
        self._enter(request)
        return request.id

    def abort(self, request_id: int) -> Completion | None:
        """Stop a request and free what it holds; None when there is no such request any more."""
        self.owned.discard(request_id)
        self.finished.pop(request_id, None)
        request = self.requests.get(request_id)
        if request is None:
            return None
        request.finish_reason = "abort"
        return self._leave(request)

    def step(self) -> dict[int, Completion]:
        """Advance every running request by a token; what finished of those submitted, by id."""
        self._advance()
        reported = [i for i in self.finished if i not in self.owned]
        return {request_id: self.finished.pop(request_id) for request_id in reported}

    def score(
        self, sequences: Sequence[Sequence[int]], *, temperature: float = 1.0
    ) -> list[list[float]]:
        """Log probability of each token given those before it, from the second token on.

        Raises:
            InputError: A sequence has fewer than two tokens, more than the model allows, or bad ids.
        """
        for ids in sequences:
            if not 2 <= len(ids) <= self.config.max_position_embeddings:
                most = self.config.max_position_embeddings
                raise InputError("score", f"{len(ids)} tokens", f"give 2 to {most} tokens")
            encode_prompt(ids, self.config, None, thinking=False, tools=())
        if self.is_deterministic:
            return [score(self.model, ids, temperature) for ids in sequences]
        with torch.inference_mode():
            groups = _groups(sequences, self.scheduler.prefill_tokens)
            return [row for group in groups for row in self.runner.score(group, temperature)]

    def load_weights(self, stream: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Replace every weight; name, shape and dtype of each tensor are checked.

        Args:
            stream: Names and tensors. A collection is checked as a whole before anything is changed;
                an iterator can only be checked on the way.

        Raises:
            InputError: Requests are running, or a tensor is unknown, missing or of another shape or
                dtype. Where that came to light on the way, the engine refuses to work until a whole
                set of weights has arrived.
        """
        if self.scheduler.running:
            raise InputError(
                "load_weights", f"{len(self.scheduler.running)} requests run", "pause first"
            )
        if self.model.embeddings.is_packed:
            remedy = "make a new Engine from a folder with these weights"
            raise InputError("load_weights", "the weights are packed in 8 bits", remedy)
        if isinstance(stream, Collection):
            check_weights(self.model, stream)
        self.scheduler.forget()
        self.is_torn = True
        copy_weights(self.model, stream)
        self.is_torn = False
        self.loop.version = version

    def facts(self) -> dict[str, Any]:
        """What scores depend on beside prompts and sampling, for their provenance."""
        types = self.pool.types
        return {
            "engine": "nautiloid",
            "grammar": self.tokenizer.grammar if self.tokenizer else None,
            "dtype": dtype_name(self.model.dtype),
            "weight_format": "int8" if self.model.embeddings.is_packed else None,
            "device": self.device.type,
            "kv_dtype": types.kv and dtype_name(types.kv),
            "ssm_dtype": types.ssm and dtype_name(types.ssm),
            "max_batch": self.pool.num_slots,
            "weights_version": self.version,
            "speculation": asdict(self.speculation) if self.speculation else None,
        }

    def status(self) -> dict[str, Any]:
        """What memory is used for, how many requests wait, run and gave way, and what was drafted."""
        drafts = self.draft_counts
        return {
            "memory": self.pool.facts(),
            "requests": self.scheduler.facts(),
            "drafts": asdict(drafts) if drafts else None,
        }

    def pause(self) -> None:
        """Take every running request out of the cache; its tokens stay, its states are computed anew."""
        self.loop.settle()
        self._collect(self.loop.ended())
        self.scheduler.preempt_all()
        self.is_paused = True

    def resume(self) -> None:
        """Go on after `pause` or `drain`."""
        self.is_paused = self.is_draining = False

    def drain(self) -> dict[int, Completion]:
        """Take no new requests and finish those in hand; what finished of those submitted, by id."""
        self.is_draining = True
        done: dict[int, Completion] = {}
        while self.requests:
            done |= self.step()
        return done | self.step()

    def _check_open(self, count: int = 0) -> None:
        """Whether so many requests may get in line."""
        if self.is_draining:
            raise InputError("engine", "draining", "it takes no new requests; call resume first")
        waiting = len(self.scheduler.waiting)
        if count and self.max_waiting is not None and waiting + count > self.max_waiting:
            raise InputError("engine", f"{waiting} requests wait", "try again later")

    def _check_ready(self) -> None:
        if self.is_paused:
            raise InputError("engine", "paused", "call resume first")
        if self.is_torn:
            raise InputError(
                "engine", "its last load_weights failed", "load a whole set of weights"
            )

    def _enter(self, request: Request, *, owned: bool = False) -> None:
        self.requests[request.id] = request
        self.scheduler.add(request)
        if owned:
            self.owned.add(request.id)

    def _advance(self) -> None:
        self._check_ready()
        self._collect(self.loop.advance())

    def _collect(self, ended: Iterable[Request]) -> None:
        for request in ended:
            self.finished[request.id] = self._leave(request)

    def _leave(self, request: Request) -> Completion:
        self.scheduler.remove(request)
        self.sampler.forget(request)
        del self.requests[request.id]
        return self.output.completion(request)

    def _deltas(self, request: Request) -> Generator[Delta, None, None]:
        self._enter(request, owned=True)  # here, so that an iterator never started holds nothing
        split = self.output.split(request)
        sent = 0
        try:
            completion: Completion | None = None
            while completion is None:
                self._advance()
                completion = self.finished.pop(request.id, None)
                piece = request.text.take() if request.text else ""
                reasoning, content = split.feed(piece, last=completion is not None)
                if len(request.ids) > sent or completion:
                    yield Delta(
                        ids=tuple(request.ids[sent:]),
                        logprobs=tuple(request.logprobs[sent:]),
                        text=piece,
                        reasoning=reasoning,
                        content=content,
                        reasoning_tokens=request.span.num_tokens if request.span else 0,
                        completion=completion,
                    )
                    sent = len(request.ids)
        finally:
            self.abort(request.id)


def _groups(sequences: Sequence[Sequence[int]], most_tokens: int) -> Iterator[list[Sequence[int]]]:
    """Consecutive sequences of at most so many tokens together, or a single longer one."""
    group: list[Sequence[int]] = []
    for ids in sequences:
        if group and sum(map(len, group)) + len(ids) > most_tokens:
            yield group
            group = []
        group.append(ids)
    if group:
        yield group
