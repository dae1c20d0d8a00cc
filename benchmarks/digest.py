"""What digests cost in the lake and at a server: `python -m benchmarks.digest --sf 0.3 --rounds 5`.

In the lake: rows per second of one core, over Parquet files of TPC-H `lineitem` (16 columns) and of made-up orders
(9 columns), beside DuckDB's own `hash` of all columns. At a server: its CPU-seconds per million rows of `lineitem`, as
a multiple of `SELECT count(*), sum(…)` and, at PostgreSQL, of `COPY (FORMAT binary)` of the same rows. Each figure is
the least of some rounds, taken in turns; figures of one run are to be compared, not those of two.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import cpu, lineitem
from benchmarks.race import say
from ingestion.connectors import Window, connector
from ingestion.spec import Source
from lake import digest
from services import record

KEY, DAY = ("l_orderkey", "l_linenumber"), "l_shipdate"
TABLE = {"name": "lineitem", "key": KEY, "load": "replace", "partition": f"day({DAY})"}
PLAIN = "select count(*), sum(l_extendedprice) from {}lineitem"
ORDERS = """
    SELECT n AS order_id, n % 50_000 AS customer_id, n % 40 AS store_id, 'EUR' AS currency,
        ['web', 'store', 'phone'][n % 3 + 1] AS channel, ['paid', 'sent', 'back', 'open'][n % 4 + 1] AS status,
        (n % 100_000 / 100)::DECIMAL(12, 2) AS total_amount,
        TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(n * 31) AS ordered_at,
        TIMESTAMPTZ '2026-01-02 00:00:00+00' + to_seconds(n * 31) AS updated_at
    FROM range({rows}) AS t(n)
"""
VARIABLE = "BENCH_DIGEST_DSN"
Ways = Mapping[str, Callable[[], Any]]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="bench-digest")
    options.add_argument("--sf", type=float, default=0.3, help="TPC-H scale: 1 is six million rows")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--keep", action="store_true", help="leave the databases with lineitem for the next time")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="watershed-bench-") as folder:
        for said in _of_lake(Path(folder), chosen.sf, chosen.rounds):
            say(said)
    for kind, variable in lineitem.VARIABLES.items():
        server = os.environ.get(variable) or record.environment(cpu.PROJECT).get(variable)
        if not server:
            say(f"{kind}: not measured, no server is up ({variable})")
            continue
        try:
            say(_of_server(kind, server, chosen))
        finally:
            if not chosen.keep:
                lineitem.drop(kind, server, chosen.sf)


def _of_lake(folder: Path, scale: float, rounds: int) -> list[str]:
    connection = lineitem.extended("tpch")
    connection.execute(f"SET threads = 1; CALL dbgen(sf = {scale})")
    (rows,) = connection.execute("SELECT count(*) FROM lineitem").fetchone()
    connection.execute(f"CREATE VIEW orders_made AS {ORDERS.format(rows=rows)}")
    said = []
    for origin, key, day in (("lineitem", KEY, DAY), ("orders_made", ("order_id",), "ordered_at")):
        file = folder / f"{origin}.parquet"
        connection.execute(f"COPY (FROM {origin} ORDER BY {day}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")
        columns = {entry.name: entry.type for entry in pq.read_schema(file)}
        spent = _least(rounds, _ways_in_lake(connection, f"'{file}'", columns, key, day), time.process_time)
        said.append(
            f"lake, {origin}: {rows:,} rows of {len(columns)} columns: digests {_speed(rows, spent['digest'])}, "
            f"hash of all columns {_speed(rows, spent['hash'])} "
            f"({spent['digest'] / spent['hash']:.1f} times the CPU)"
        )
    return said


def _ways_in_lake(connection: Any, relation: str, columns: Any, key: tuple[str, ...], day: str) -> Ways:
    hashed = f"SELECT sum(hash({', '.join(columns)})) FROM {relation}"
    return {
        "digest": lambda: digest.of(connection, relation, key=key, columns=columns, day=day),
        "hash": lambda: connection.execute(hashed).fetchall(),
    }


def _of_server(kind: str, server: str, chosen: argparse.Namespace) -> str:
    place = lineitem.place(kind, server, chosen.sf)
    os.environ[VARIABLE] = place.dsn
    named = {"postgres": "postgres", "mariadb": "mysql"}[kind]
    source = Source.model_validate(
        {"name": "bench", "connector": named, "connection": VARIABLE, "tables": [TABLE]},
    )
    session: Any = connector(source)
    try:
        table, shape = source.tables[0], session.shape(source.tables[0])
        columns = {entry.name: entry.type for entry in shape.schema}
        ways = {"digest": lambda: session.digests(table, shape, Window(), columns)}
        if kind == "postgres":
            ways |= {
                "sum": lambda: session.session.execute(PLAIN.format("public.")).fetchall(),
                "copy": lambda: _copied(session.session),
            }
            clock = _backend(place.port, session.session.info.backend_pid)
        else:
            ways["sum"] = lambda: session.session.rows(PLAIN.format(""))
            clock = _server(place.port)
        spent = _least(chosen.rounds, ways, clock)
    finally:
        session.close()
    beside = f", {spent['digest'] / spent['copy']:.1f} times COPY (FORMAT binary)" if "copy" in spent else ""
    return (
        f"{kind}, lineitem: {place.rows:,} rows of {len(columns)} columns in {place.days:,} days: "
        f"{spent['digest'] / place.rows * 1e6:.2f} CPU-seconds of the server per million rows, "
        f"{spent['digest'] / max(spent['sum'], 0.01):.0f} times count and sum{beside}"
    )


def _copied(session: Any) -> None:
    with session.cursor().copy("copy public.lineitem to stdout (format binary)") as rows:
        for _ in rows:
            pass


def _backend(port: int, number: int) -> Callable[[], float]:
    """The CPU-seconds of one session of PostgreSQL, whose number the server may count in a namespace of its own."""
    server = cpu.listener(port)
    for entry in cpu.PROC.glob("[0-9]*/status"):
        words = dict(line.partition(":")[::2] for line in entry.read_text().splitlines())
        if int(words["PPid"]) == server and words.get("NSpid", words["Pid"]).split()[-1] == str(number):
            path = entry.parent / "stat"
            return lambda: sum(map(int, path.read_text().rpartition(")")[2].split()[11:13])) / cpu.TICKS
    raise SystemExit(f"PostgreSQL on port {port}: its session is not on this machine; measure beside the server")


def _server(port: int) -> Callable[[], float]:
    """The CPU-seconds of a whole server."""
    server = cpu.listener(port)
    return lambda: cpu.server_cpu_s(server) or 0.0


def _least(rounds: int, ways: Ways, clock: Callable[[], float]) -> dict[str, float]:
    """The least CPU-seconds that each way took."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = clock()
            way()
            spent[name].append(clock() - began)
    return {name: min(each) for name, each in spent.items()}


def _speed(rows: int, seconds: float) -> str:
    return f"{rows / seconds / 1e6:.2f} M rows/s/core"


if __name__ == "__main__":
    main()
