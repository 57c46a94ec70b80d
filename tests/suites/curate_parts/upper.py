"""A stage that works in batches."""

import time
from dataclasses import dataclass

from nautiloid.core.types import Document
from nautiloid.curate.stage import Stage, stage


@stage("upper")
@dataclass(frozen=True, kw_only=True)
class Upper(Stage):
    """Capitals, in batches; hangs over a word."""

    size: int = 4

    @property
    def batch_size(self):
        return self.size

    def apply(self, document, tools):
        if "STALL" in document.text:
            time.sleep(3600)
        return Document(document.id, document.text.upper(), (), document.licence, document.meta)
