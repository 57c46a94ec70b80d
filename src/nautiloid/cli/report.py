"""`nautiloid report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from nautiloid.cli import flags
from nautiloid.core.errors import InputError

TEXT = """
One self-contained HTML page about one or several runs: loss and throughput, expert load, scores,
sample chats, settings, environment and checksums. A folder of runs takes all of them. Of a curation:
the funnel, reasons, yield, speed, and documents kept and dropped side by side.

examples:
  nautiloid report runs/pretrain-debug
  nautiloid report runs/quickstart --out report.html
"""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of the verb.

    Args:
        runs: Run folders, or folders that hold some.
        out: The file; report.html in the first folder when not given.
        title: Headline; the name of the run or folder when not given.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path | None = None
    title: str | None = None


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    options = flags.parse(ReportOptions, argv, prog="nautiloid report", description=TEXT)
    if not options.runs:
        raise InputError("nautiloid report", None, "name a run folder")
    from nautiloid.core.report.run_record import is_run, read_record
    from nautiloid.core.report.run_report import CURATION, write_report

    out = options.out or options.runs[0] / "report.html"
    first = options.runs[0]
    if len(options.runs) == 1 and is_run(first) and read_record(first).kind == CURATION:
        from nautiloid.curate import report

        report.write_report(first, out, title=options.title)
    else:
        write_report(options.runs, out, title=options.title)
    print(out)
    return 0
