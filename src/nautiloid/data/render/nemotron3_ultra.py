"""The grammar of Nemotron 3 Ultra and 3.5 Lightning: Nemotron 3 without newlines around `</think>`."""

from __future__ import annotations

from nautiloid.data.render.base import Renderer
from nautiloid.data.render.nemotron3 import Nemotron3


@Renderer.registry("nemotron3_ultra")
class Nemotron3Ultra(Nemotron3):
    """Differs in the newlines around the closing think tag and in the effort level."""

    marks = (*Nemotron3.marks, "medium_effort")
    efforts = {"medium": "efficient"}
    breaks_around_close = False

    def chat_template(self) -> str:
        """The template of Nemotron 3 with its switches set."""
        switches = "{%- set is_ultra = true -%}\n"
        switches += "{%- set is_medium = medium_effort | default(false) -%}\n"
        return switches + super().chat_template()
