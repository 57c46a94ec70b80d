"""An extractor that takes pages as they are, and orders to misbehave from some of them."""

import ctypes
import os
from collections import deque
from dataclasses import dataclass
from itertools import repeat

from nautiloid.core.types import Document
from nautiloid.curate.stage import Dropped, Extractor, extractor


@extractor("text")
@dataclass(frozen=True, kw_only=True)
class Text(Extractor):
    """The content as it is; some contents are orders to misbehave."""

    def extract(self, page):
        text = page.content.decode()
        if text == "HANG":
            while True:
                pass
        if text == "DEAF":
            deque(repeat(None), maxlen=0)  # compiled code that never looks at signals
        if text == "CRASH":
            ctypes.string_at(0)
        if text == "ABORT":
            os.abort()
        if text == "EAT":
            hoard = []
            while True:
                hoard.append(bytearray(64 << 20))
        if text == "RAISE":
            raise ValueError("no one foresaw this")
        if text == "NEST":
            return self.extract(page)
        if not text:
            return Dropped("empty")
        score = len(text) % 50 / 10
        meta = {"url": f"https://x.test/{page.id}", "score": score, "int_score": round(score)}
        return Document(page.id, text, licence=page.licence, meta=meta)
