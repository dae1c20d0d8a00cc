"""The race: the limit and all contestants in turns, each in a process of its own, its result read back and compared."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import cpu, peers
from benchmarks.cpu import Measured
from benchmarks.lineitem import Place

NO_DAYS = "one file, no days"
HERE = (sys.executable, "-W", "ignore", "-m", "benchmarks.extract_ours")


@dataclass(frozen=True)
class Contestant:
    """One way from the table to Parquet: what runs it, on how many cores, and what to know of its result."""

    name: str
    label: str
    function: str
    words: Mapping[str, Any]
    cores: int | None = None
    peer: str = ""
    note: str = ""
    kinds: Sequence[str] = ("postgres", "mariadb")


@dataclass(frozen=True)
class Line:
    """What the rounds of one contestant gave; `failure` in place of figures."""

    label: str
    rounds: Sequence[Measured]
    files: int = 0
    bytes: int = 0
    note: str = ""
    failure: str = ""
    is_ours: bool = False


def contestants() -> list[Contestant]:
    """All of them, ours first."""
    ours = [
        Contestant(f"ours-{cores}", f"Watershed, {words}", "loaded", {}, cores, note="raw and processed, committed")
        for cores, words in ((1, "one core"), (2, "two cores"))
    ]
    duckdb = [
        Contestant(f"duckdb-{how}", f"DuckDB scanner, {words}", "scanned", {"how": how})
        for how, words in (
            ("plain", "as it comes"),
            ("ordered", "ORDER BY day"),
            ("buffered", "all held back, 1 thread"),
        )
    ]
    dlt = [
        Contestant(f"dlt-{way}", f"dlt, {words}", f"dlt_{way}", {}, peer="dlt", note=NO_DAYS)
        for way, words in (("connectorx", "ConnectorX"), ("stream", "ConnectorX stream"), ("pyarrow", "pyarrow"))
    ]
    return [
        *ours,
        *duckdb,
        Contestant("connectorx", "ConnectorX + pyarrow", "connectorx", {}, peer="connectorx"),
        Contestant("adbc", "ADBC + pyarrow", "adbc", {}, peer="adbc", note="decimals as text", kinds=("postgres",)),
        *dlt,
        Contestant("sling", "Sling", "sling", {}, peer="sling", note=NO_DAYS),
        Contestant("ingestr", "ingestr", "ingestr", {}, peer="ingestr", note=NO_DAYS),
    ]


def race(place: Place, chosen: Sequence[Contestant], rounds: int, scratch: Path) -> list[Line]:
    """The limit and all contestants in turns, each round beginning with another one; the limit's line first."""
    runs: dict[str, list[Measured]] = {"limit": [], **{one.name: [] for one in chosen}}
    results: dict[str, Mapping[str, Any]] = {}
    tools = {one.peer: peers.installed(one.peer) for one in chosen if one.peer and place.kind in one.kinds}
    for number in range(rounds):
        runs["limit"].append(child(place, "copied", {"kind": place.kind}, scratch))
        _told(place, number, "limit", runs["limit"][-1])
        turn = number % max(len(chosen), 1)
        for one in [*chosen[turn:], *chosen[:turn]]:
            failed = any(run.failure for run in runs[one.name])
            if place.kind not in one.kinds or failed:
                continue
            folder = scratch / f"{place.kind}-{one.name}"
            run = _once(place, one, tools, folder, scratch)
            runs[one.name].append(run)
            _told(place, number, one.name, run)
            if not run.failure:
                results[one.name] = child(place, "checked", {"where": str(folder)}, scratch).answer
                if wrong := _wrong(place, results[one.name]):
                    runs[one.name][-1] = replace(run, failure=f"its result is wrong: {wrong}")
            for left in scratch.glob(f"{folder.name}*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    way = runs["limit"][0].answer.get("way", "")
    lines = [Line(f"limit: {way}", runs["limit"], failure=runs["limit"][0].failure)]
    return [*lines, *(_line(place, one, runs[one.name], results.get(one.name, {}), tools) for one in chosen)]


def child(
    place: Place,
    function: str,
    words: Mapping[str, Any],
    scratch: Path,
    *,
    cores: int | None = None,
    watch: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Run one of `extract_ours`' functions as a process of its own and measure it."""
    command = [*HERE, function, json.dumps(words)]
    return cpu.measured(command, _environment(place, scratch), place.port, cores=cores, watch=watch)


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


def _once(place: Place, one: Contestant, tools: Mapping[str, peers.Peer], folder: Path, scratch: Path) -> Measured:
    if not one.peer:
        target = {"root": str(folder)} if one.function == "loaded" else {"folder": str(folder)}
        return child(place, one.function, {"kind": place.kind, **target, **one.words}, scratch, cores=one.cores)
    tool = tools[one.peer]
    if tool.failure:
        return Measured(0, 0, 0, 0, 0, failure=tool.failure)
    script = str(cpu.PROJECT / "benchmarks" / "extract_peers.py")
    command = [str(tool.python), "-W", "ignore", script, one.function, json.dumps({"folder": str(folder)})]
    return cpu.measured(command, _environment(place, scratch), place.port, cores=one.cores)


def _environment(place: Place, scratch: Path) -> dict[str, str]:
    # Bytecode is kept: else each process would compile its imports again, which no user's does.
    given = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ours = {"BENCH_DSN": place.dsn, "WATERSHED_HOME": str(scratch), "WATERSHED_STAGING": str(scratch / "staging")}
    return {**given, **ours, "TMPDIR": str(scratch)}


def _line(
    place: Place, one: Contestant, runs: Sequence[Measured], result: Mapping[str, Any], tools: Mapping[str, peers.Peer]
) -> Line:
    version = tools[one.peer].version if one.peer in tools else ""
    note = ", ".join(part for part in (one.note, version) if part)
    is_ours = not one.peer and one.function == "loaded"
    failures = [run.failure for run in runs if run.failure]
    if place.kind not in one.kinds:
        failures = [f"has no driver for {place.kind}"]
    if failures:
        return Line(one.label, [], note=note, failure=failures[0], is_ours=is_ours)
    return Line(one.label, runs, result["files"], result["bytes"], note, is_ours=is_ours)


def _wrong(place: Place, result: Mapping[str, Any]) -> str:
    wanted = {"rows": place.rows, "keys": place.keys, "price": place.price}
    return ", ".join(
        f"{name} {result.get(name)}, not {value}" for name, value in wanted.items() if result.get(name) != value
    )


def _told(place: Place, number: int, name: str, run: Measured) -> None:
    what = run.failure or f"{run.cpu_s:.1f} CPU-s, {run.wall_s:.1f} s, {run.peak_bytes / 1e6:,.0f} MB"
    say(f"{place.kind}, round {number + 1}, {name}: {what}")
    if run.failure and name.startswith("ours"):
        say(run.said)
