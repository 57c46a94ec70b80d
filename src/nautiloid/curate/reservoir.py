"""A few documents for each stage and reason, the same ones in every run."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from nautiloid.core.types import Document

SAMPLES = 8
SAMPLE_CHARS = 4000
KEPT = "kept"


class Samples:
    """A few documents for each step and reason: those with the smallest hash of the id.

    Which ones these are depends on the set of documents alone, so samples of units merge into the
    samples of the whole.
    """

    def __init__(self, most: int = SAMPLES):
        self.most = most
        self._heaps: dict[tuple[str, str], list[tuple[int, str, dict[str, Any]]]] = {}

    def wants(self, stage: str, reason: str, id: str) -> bool:
        """Whether a document would be among the samples as they are now."""
        heap = self._heaps.get((stage, reason), [])
        return len(heap) < self.most or -_rank(id) > heap[0][0]

    def add(self, record: Mapping[str, Any]) -> None:
        """Offer a record with `stage`, `reason` and `id`."""
        heap = self._heaps.setdefault((record["stage"], record["reason"]), [])
        entry = (-_rank(record["id"]), record["id"], dict(record))
        if len(heap) < self.most:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)

    def records(self) -> list[dict[str, Any]]:
        """By stage and reason, the smallest hash first."""
        return [
            record
            for key in sorted(self._heaps)
            for *_, record in sorted(self._heaps[key], key=lambda entry: -entry[0])
        ]


def _rank(id: str) -> int:
    digest = blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def sample_of(document: Document, stage: str, reason: str = "", detail: str = "") -> dict[str, Any]:
    """The record of a sample."""
    return {
        "stage": stage,
        "reason": reason,
        "detail": detail,
        "id": document.id,
        "url": document.meta.get("url"),
        "title": document.meta.get("title"),
        "text": document.text[:SAMPLE_CHARS],
    }
