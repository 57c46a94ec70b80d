"""The engine as a policy: concurrent callers share its batches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from nautiloid.core.types import Completion, Message, SamplingParams, Turn
from nautiloid.engine.engine import Engine


class EnginePolicy:
    """Answers conversations with an engine; calls that run at the same time are batched.

    The work happens inside the event loop, a step at a time, while anybody waits. The engine's
    `submit` and `step` belong to the policy meanwhile.

    Args:
        params: Used where a call gives none.
    """

    def __init__(self, engine: Engine, params: SamplingParams | None = None):
        self.engine = engine
        self.params = params or SamplingParams()
        self.waiting: dict[int, asyncio.Future[Completion]] = {}
        self.pump: asyncio.Task[None] | None = None

    async def respond(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        thinking: bool = True,
        params: SamplingParams | None = None,
    ) -> Turn:
        """Return the assistant's next turn; cancelling the call aborts its request."""
        loop = asyncio.get_running_loop()
        request_id = self.engine.submit(
            messages, params or self.params, thinking=thinking, tools=tools
        )
        future: asyncio.Future[Completion] = loop.create_future()
        self.waiting[request_id] = future
        if self.pump is None or self.pump.done():
            self.pump = loop.create_task(self._run())
        try:
            return turn_of(await future)
        finally:
            self.waiting.pop(request_id, None)
            self.engine.abort(request_id)

    async def _run(self) -> None:
        while self.waiting:
            # lets every caller that is ready join the batch before the next step
            await asyncio.sleep(0.01 if self.engine.is_paused else 0)
            if self.engine.is_paused:
                continue
            try:
                finished = self.engine.step()
            except Exception as error:
                for future in self.waiting.values():
                    if not future.done():
                        future.set_exception(error)
                return
            for request_id, completion in finished.items():
                future = self.waiting.pop(request_id, None)
                if future is not None and not future.done():
                    future.set_result(completion)


def turn_of(completion: Completion) -> Turn:
    """The turn that a completion of a conversation is."""
    return Turn(
        prompt_ids=completion.prompt_ids,
        ids=completion.ids,
        logprobs=completion.logprobs,
        message=Message(
            "assistant",
            completion.content,
            reasoning=completion.reasoning,
            tool_calls=completion.tool_calls,
        ),
        finish_reason=completion.finish_reason,
        forced=completion.forced,
        version=completion.version,
    )
