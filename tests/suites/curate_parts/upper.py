"""A stage that works in batches."""

import time
from dataclasses import dataclass

from nautiloid.core.types import Document
from nautiloid.curate.stage import Stage, stage


@stage("upper")
@dataclass(frozen=True, kw_only=True)
class Upper(Stage):
    """Capitals, in batches; hangs over a word, and takes its time where asked."""

    size: int = 4
    delay_s: float = 0.0

    @property
    def batch_size(self):
        return self.size

    def apply(self, document, tools):
        if "STALL" in document.text:
            time.sleep(3600)
        time.sleep(self.delay_s)
        return Document(document.id, document.text.upper(), (), document.licence, document.meta)
