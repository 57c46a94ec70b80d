"""The line of waiting requests: by priority, then those that ran before, then clients in turn."""

from __future__ import annotations

import bisect
from collections import OrderedDict, deque
from collections.abc import Iterator

from nautiloid.engine.request import Request


class Lane:
    """Requests of one priority.

    Attributes:
        resumed: Requests that were taken out of the cache, by their turn; they go first.
        clients: New requests of each client in order; the client whose turn it is comes first.
    """

    def __init__(self) -> None:
        self.resumed: list[Request] = []
        self.clients: OrderedDict[str, deque[Request]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.resumed) + sum(map(len, self.clients.values()))

    def __iter__(self) -> Iterator[Request]:
        yield from self.resumed
        for line in self.clients.values():
            yield from line


class Queue:
    """Waiting requests.

    Within a priority the clients take turns, one request each, so that none waits for all requests of
    another; requests of one client keep their order.
    """

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Request]:
        for priority in sorted(self.lanes):
            yield from self.lanes[priority]

    def push(self, request: Request) -> None:
        """Put a request at the end of its client's line, or among those that ran before by its turn."""
        lane = self.lanes.setdefault(request.priority, Lane())
        if request.turn is not None:
            bisect.insort(lane.resumed, request, key=_turn)
        else:
            lane.clients.setdefault(request.client, deque()).append(request)
        self.size += 1

    def pop(self) -> Request:
        """The next request; its client goes to the end of the round."""
        priority = min(self.lanes)
        lane = self.lanes[priority]
        if lane.resumed:
            request = lane.resumed.pop(0)
        else:
            client, line = next(iter(lane.clients.items()))
            request = line.popleft()
            lane.clients.move_to_end(client)
        self._shrink(request)
        return request

    def unpop(self, request: Request) -> None:
        """Undo the latest `pop` that was not undone."""
        if request.turn is not None:
            self.push(request)
            return
        lane = self.lanes.setdefault(request.priority, Lane())
        lane.clients.setdefault(request.client, deque()).appendleft(request)
        lane.clients.move_to_end(request.client, last=False)
        self.size += 1

    def remove(self, request: Request) -> None:
        """Take a request out of the line."""
        lane = self.lanes[request.priority]
        line = lane.resumed if request.turn is not None else lane.clients[request.client]
        line.remove(request)
        self._shrink(request)

    def _shrink(self, request: Request) -> None:
        self.size -= 1
        lane = self.lanes[request.priority]
        line = lane.clients.get(request.client)
        if line is not None and not line:
            del lane.clients[request.client]
        if not lane.resumed and not lane.clients:
            del self.lanes[request.priority]


def _turn(request: Request) -> int:
    assert request.turn is not None
    return request.turn
