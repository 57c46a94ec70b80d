"""A stage that drops."""

from dataclasses import dataclass

from nautiloid.curate.stage import Dropped, Stage, stage


@stage("short")
@dataclass(frozen=True, kw_only=True)
class Short(Stage):
    """Drops what has few words."""

    words: int = 8

    def apply(self, document, tools):
        count = len(document.text.split())
        return document if count >= self.words else Dropped("short", f"{count} words", document)
