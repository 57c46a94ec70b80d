"""Decoding steps of fixed batch sizes that run from words alone, as CUDA graphs on a GPU.

A step takes what it needs to know from `Words`, finds tokens that only the device knows by slot, runs
the model and draws the next tokens. The host sends the words of the next step while this one runs.
"""

from __future__ import annotations

import gc
import logging
from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nautiloid.engine.checks import Check
from nautiloid.engine.request import Request
from nautiloid.engine.routes import POOL_TOKENS, UniformRoutes
from nautiloid.engine.sampler import Pick
from nautiloid.engine.words import Fetched, Words
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.states import StateStore
from nautiloid.model.views import FixedView, HostNeededError
from nautiloid.ops.batch import begin
from nautiloid.ops.packing import to_device
from nautiloid.ops.sampling.draw import Filters, draw

log = logging.getLogger("nautiloid.engine")


def batch_sizes(most: int) -> list[int]:
    """Sizes that batches are padded to.

    >>> batch_sizes(40)
    [1, 2, 4, 8, 16, 24, 32, 40]
    >>> batch_sizes(100)[-4:]
    [64, 80, 96, 100]
    """
    sizes = [1, 2, 4, *range(8, 65, 8), *range(80, most + 1, 16)]
    return [size for size in sizes if size < most] + [most]


class Step:
    """The decoding step of one batch size.

    Attributes:
        logits: float32 [size, V] of the last run, until any other step runs.
    """

    def __init__(self, size: int, steps: Steps):
        self.size, self.steps = size, steps
        device = steps.model.device
        self.words = Words(size, steps.store.null_slot, device)
        self.tokens = torch.zeros(size, dtype=torch.long, device=device)
        self.positions = torch.zeros(size, dtype=torch.long, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.logits = torch.empty(0)

    def run(self, requests: Sequence[Request]) -> None:
        """Run the newest token of each request; the words were written."""
        steps = self.steps
        if self.graph is None:
            self.graph = steps.record(lambda: self._forward(self._context()))
        self.words.send()
        if self.graph is None:
            self._forward(steps.host_context(requests, self))
        else:
            self.graph.replay()

    def _context(self) -> Context:
        """What the forward needs where the host stays behind."""
        view = FixedView(self.steps.store, self.words.device["slot"], self.words.device["past"])
        return Context(lengths=(1,) * self.size, positions_T=self.positions, state=view)

    def _forward(self, context: Context) -> None:
        steps, words = self.steps, self.words.device
        begin(
            words["token"], words["slot"], words["past"], words["column"], words["page"],
            steps.newest, steps.store.page_table, self.tokens, self.positions,
        )  # fmt: skip
        if steps.routes is not None:
            context.replay = steps.routes.take(words["route"])
        if steps.store.seed is not None:
            steps.store.seed.add_(1)
        hidden = steps.model.hidden(self.tokens, context).hidden_TD
        self.logits = steps.model.logits(hidden, steps.logits_for(self.size))
        steps.draw(self.logits, self.words)


class Steps:
    """The decoding steps of one engine, made when a batch of their size first comes.

    Args:
        routes: Experts to force; None lets the routers choose.

    Attributes:
        newest: int32, newest token of each slot, where the device drew it.
        obstacle: Why steps cannot be recorded; None while they can.
    """

    def __init__(self, model: Decoder, store: StateStore, routes: UniformRoutes | None = None):
        self.model, self.store, self.routes = model, store, routes
        self.is_gpu = model.device.type == "cuda"
        self.newest = torch.zeros(store.num_slots + 1, dtype=torch.int32, device=model.device)
        self.sizes = batch_sizes(store.num_slots)
        self.steps: dict[int, Step] = {}
        self.checks: dict[tuple[int, int], Check] = {}
        self.obstacle: str | None = None
        self.stream = torch.cuda.Stream(model.device) if self.is_gpu else None
        self.memory = torch.cuda.graph_pool_handle() if self.is_gpu else None
        self.logits: Tensor | None = None
        # pages of each slot as the device knows them
        self.known: list[tuple[int, ...]] = [()] * (store.num_slots + 1)
        self.filters: tuple[tuple[int, ...], Filters | None] | None = None

    def record(self, run: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        """What `run` launches over rows that stand for nothing; None where it cannot be recorded."""
        if self.stream is None or self.obstacle is not None:
            return None
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            try:
                run()  # makes kernels and workspaces
            except HostNeededError as error:
                self.obstacle = str(error)
                log.info("decoding runs one operation at a time: %s", error)
                return None
            # A graph of an engine that nobody holds any more may only be freed between captures.
            was_collecting = gc.isenabled()
            gc.disable()
            graph.capture_begin(pool=self.memory, capture_error_mode="thread_local")
            try:
                run()
            finally:
                graph.capture_end()
                if was_collecting:
                    gc.enable()
        current.wait_stream(self.stream)
        return graph

    def logits_for(self, size: int) -> Tensor | None:
        """Room for logits that all steps share, so that graphs do not hold one each."""
        if not self.is_gpu:
            return None
        if self.logits is None:
            shape = (self.sizes[-1], self.model.config.vocab_size)
            self.logits = torch.empty(shape, dtype=torch.float32, device=self.model.device)
        return self.logits[:size]

    def find(self, count: int) -> Step:
        """The step for so many requests."""
        size = self.sizes[bisect_left(self.sizes, count)]
        if size not in self.steps:
            self.steps[size] = Step(size, self)
        return self.steps[size]

    @torch.inference_mode()
    def prepare(self, sizes: Sequence[int] | None = None) -> None:
        """Record the steps of these batch sizes, or of all, ahead of their use."""
        for size in reversed(self.sizes if sizes is None else sizes):
            self.find(size).run(())

    def launch(self, requests: Sequence[Request]) -> Step:
        """Run the newest token of each request and draw the next ones."""
        step = self.find(len(requests))
        words = step.words
        words.fill(requests)
        self.sync_pages(requests, words)
        if self.routes is not None:
            at = self.routes.next(step.size)
            words.host["route"][:] = [(at + i) % POOL_TOKENS for i in range(step.size)]
        step.run(requests)
        filters = self.filters_of(requests, step.size)
        if filters is not None:
            self.draw(step.logits, words, filters)
        for request in requests:
            request.num_cached += 1
        return step

    def forget_pages(self, slots: Sequence[int]) -> None:
        """A prefill wrote the rows of these slots: what was known of them may be of an earlier user."""
        for slot in slots:
            self.known[slot] = ()

    def check(
        self, requests: Sequence[Request], tokens: Sequence[Sequence[int]], accepted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the newest token of each request and its drafts; nothing is drawn or counted as cached.

        Args:
            tokens: As many for each request.
            accepted: int32 [slots, 1], pending tokens of each slot that count.

        Returns:
            Trunk outputs [B, T, D] and float32 logits [B, T, V], which hold until the next check.
        """
        size = self.sizes[bisect_left(self.sizes, len(requests))]
        key = (size, len(tokens[0]))
        if key not in self.checks:
            self.checks[key] = Check(*key, self, accepted)
        self.sync_pages(requests)
        return self.checks[key].run(requests, tokens)

    def sync_pages(self, requests: Sequence[Request], words: Words | None = None) -> None:
        """Tell the device of pages it does not know: one more goes with the words of a step."""
        known, changed = self.known, list[Request]()
        for i, request in enumerate(requests):
            lease = request.lease
            assert lease is not None
            pages, old = lease.pages, known[lease.slot]
            if pages is old:
                continue
            known[lease.slot] = pages
            count = len(pages)
            if words is not None and count == len(old) + 1 and pages[:-1] == old:
                words.host["column"][i], words.host["page"][i] = count - 1, pages[-1]
            elif pages != old:
                changed.append(request)
        if not changed:
            return
        leases = [r.lease for r in changed if r.lease]
        most = max(len(lease.pages) for lease in leases)
        if most == 0:
            return
        table = torch.zeros(len(leases), most, dtype=torch.int32)
        for row, lease in zip(table, leases, strict=True):
            row[: len(lease.pages)] = torch.tensor(lease.pages, dtype=torch.int32)
        device = self.model.device
        slots = to_device([lease.slot for lease in leases], device, torch.long)
        target = self.store.page_table[:, :most]
        target.index_copy_(0, slots, to_device(table, device, torch.int32))

    def host_context(self, requests: Sequence[Request], step: Step) -> Context:
        """What the forward needs where the host goes along."""
        spare = step.size - len(requests)
        slots = [r.lease.slot if r.lease else 0 for r in requests]
        pages = [r.lease.pages if r.lease else () for r in requests]
        past = [r.num_cached for r in requests]
        null = (0,) if self.store.pages else ()
        view = self.store.view(
            slots + [self.store.null_slot] * spare, pages + [null] * spare, past + [1] * spare
        )
        return Context(lengths=(1,) * step.size, positions_T=step.positions, state=view)

    def filters_of(self, requests: Sequence[Request], size: int) -> Filters | None:
        """The filters of these requests; None when nobody has any."""
        key = (size, *(request.id for request in requests))
        if self.filters is None or self.filters[0] != key:
            params = [request.params for request in requests]
            made = None
            if any(p.has_filters for p in params):
                device, spare = self.model.device, size - len(params)

                def column(values: Sequence[float], rest: float, dtype: torch.dtype) -> Tensor:
                    full = torch.tensor([*values, *[rest] * spare])
                    return to_device(full, device, dtype)

                made = Filters(
                    column([p.min_p for p in params], 0, torch.float32),
                    column([p.top_k for p in params], 0, torch.int32),
                    column([p.top_p for p in params], 1, torch.float32),
                )
            self.filters = (key, made)
        return self.filters[1]

    def draw(self, logits_BV: Tensor, words: Words, filters: Filters | None = None) -> None:
        """Draw a token for each row, to its target and its slot."""
        near = words.device
        settings = (near["temperature"], near["seed"], near["drawn"])
        draw(logits_BV, *settings, words.target, self.newest, near["slot"], filters)

    def draw_prompts(self, logits_BV: Tensor, requests: Sequence[Request]) -> Fetched:
        """Draw the first tokens of these requests."""
        words = Words(len(requests), self.store.null_slot, self.model.device)
        words.fill(requests)
        words.send()
        self.draw(logits_BV, words, self.filters_of(requests, words.size))
        return words.fetch()


def picks(fetched: Fetched, count: int) -> list[tuple[Pick]]:
    """The tokens of the first rows."""
    return [(Pick(i, value),) for i, value in zip(*fetched.read(count), strict=True)]
