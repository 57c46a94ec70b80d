"""A reader of pages in lines of JSON."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from nautiloid.curate.page import Fault, Page
from nautiloid.curate.reader import Reader, Unit, reader


@reader("pages")
@dataclass(frozen=True, kw_only=True)
class Pages(Reader):
    """Lines of JSON: `{"id", "html"}`; a line that is none is a fault. One file a unit."""

    def units(self):
        files = sorted(path for folder in self.paths for path in Path(folder).glob("*.jsonl"))
        return [Unit(name=f.name, path=str(f), size_bytes=f.stat().st_size) for f in files]

    def read(self, unit, limits):
        with open(unit.path) as lines:
            for number, line in enumerate(lines):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    yield Fault(f"{unit.name}:{number + 1}", "corrupt_record")
                    continue
                if row["html"] == "READER HANGS":
                    time.sleep(3600)
                yield Page(row["id"], row["html"].encode(), mime="text/html", licence="CC0-1.0")
