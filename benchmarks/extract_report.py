"""The figures of `benchmarks.extract` as text, and as the section "Extraction" of the docs."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import section
from benchmarks.cpu import Measured
from benchmarks.lineitem import Place

if TYPE_CHECKING:
    from benchmarks.race import Line

HEADING = "## Extraction"
ABOUT = """\
`make bench-extract` brings TPC-H `lineitem` from PostgreSQL and MariaDB to zstd Parquet, each contestant in a process
of its own, in turns, and prints medians. *CPU* is that of client and server together, *limit* the server's fastest way
to give the same rows to nobody. Watershed writes raw and processed, a folder a day, and commits both; every result is
read back and must hold the same rows, keys and prices. *others* is the CPU that the rest of the machine used in the
meantime: where that is much, seconds by the wall say little. Peak memory is that of the process and its children
(VmHWM). A tool that cannot write a folder a day writes one file, which is much less work."""


def table(place: Place, scale: float, lines: Sequence["Line"]) -> str:
    """One server's race: the limit first, then whoever it was measured for, fastest CPU first."""
    first = lines[0]
    limit = _median(first.rounds, lambda run: run.cpu_s)
    title = f"{place.kind}: lineitem at SF {scale:g}, {place.rows:,} rows of {place.days:,} days"
    if any(run.server_cpu_s is None for run in first.rounds):
        title += "; the server is on another machine, so its CPU is not counted"
    head = f"{'':<44}{'CPU s':>7}{'client':>8}{'server':>8}{'x limit':>9}{'wall s':>8}{'others':>8}{'peak MB':>9}"
    rows = [title, "", f"{head}{'rows/s':>11}{'files':>8}{'MB':>7}  note"]
    measured = sorted(lines[1:], key=lambda line: (not line.rounds, _median(line.rounds, lambda run: run.cpu_s)))
    for line in [first, *measured]:
        if line.failure or not line.rounds:
            rows.append(f"{line.label:<44}{line.failure or 'was not run'}")
            continue
        rows.append(_row(place, line, limit))
    count = len(first.rounds)
    return "\n".join([*rows, "", f"Medians of {count} round{'s' if count > 1 else ''}."])


def _row(place: Place, line: "Line", limit: float) -> str:
    wall = _median(line.rounds, lambda run: run.wall_s)
    total = _median(line.rounds, lambda run: run.cpu_s)
    parts = [
        f"{line.label:<44}{total:>7.1f}",
        f"{_median(line.rounds, lambda run: run.client_cpu_s):>8.1f}",
        f"{_median(line.rounds, lambda run: run.server_cpu_s or 0):>8.1f}",
        f"{total / limit if limit else 0:>9.2f}{wall:>8.1f}",
        f"{_median(line.rounds, lambda run: run.others_cpu_s):>8.1f}",
        f"{_median(line.rounds, lambda run: run.peak_bytes) / 1e6:>9,.0f}{place.rows / wall:>11,.0f}",
        f"{line.files:>8,}{line.bytes / 1e6:>7,.0f}  {line.note}" if line.files else "",
    ]
    return "".join(parts).rstrip()


def sentence(wrong: Sequence[str]) -> str:
    """How it ended."""
    if wrong:
        return f"Measured, but not all of ours is right: {'; '.join(wrong)}."
    return "All is measured, and every result of ours was read back and holds what the source held."


def write(file: Path, text: str) -> None:
    """Put the section into the docs, in place of the one that is there."""
    section.put(file, HEADING, f"{ABOUT}\n\n{section.stamp()}\n\n```text\n{text}\n```")


def _median(runs: Sequence[Measured], of: Callable[[Measured], float]) -> float:
    return statistics.median(of(run) for run in runs) if runs else 0
