"""What runs in a process of its own when what was published is measured: TPC-H's 22 queries, and publishing itself.

`python -m benchmarks.warehouse_queries <step> '<its words as JSON>'`; LAKE_ROOT and WAREHOUSE_ROOT come from the
environment. TPC-H's tables stand in the build file's schema marts beside the models, so that what publishes them is
the platform's own way, with its audit.
"""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks import cpu, lineitem, warehouse_lake
from lake import duck, read
from lake.layout import Address, Lake

MEMORY, THREADS = "2GB", 2
BALLAST_ROWS = 4_000_000


def tables(file: str, root: str) -> Mapping[str, Any]:
    """TPC-H's eight tables in the lake, as the lake writes tables."""
    warehouse_lake.tables(Path(file), Lake(root))
    return {}


def put_in(file: str) -> Mapping[str, Any]:
    """TPC-H's eight tables beside the marts in the build file."""
    from warehouse.layout import layout

    with duck.connect(layout().build) as connection:
        connection.execute(f"SET memory_limit = '4GB'; ATTACH {duck.literal(file)} AS tpch (READ_ONLY)")
        for table in warehouse_lake.TPCH_TABLES:
            connection.execute(f"CREATE OR REPLACE TABLE marts.{table} AS FROM tpch.{table}")
        connection.execute("DETACH tpch; CHECKPOINT")
    return {}


def filled(gigabytes: float) -> Mapping[str, Any]:
    """The build file grown to a size by a table of noise beside the marts."""
    from warehouse.layout import layout

    file = layout().build
    with duck.connect(file) as connection:
        connection.execute("SET memory_limit = '2GB'; SET preserve_insertion_order = false")
        connection.execute("CREATE TABLE IF NOT EXISTS marts.ballast (a UBIGINT, b UBIGINT, c UBIGINT, d UBIGINT)")
        while file.stat().st_size < gigabytes * 1e9:
            row = connection.execute("SELECT count(*) FROM marts.ballast").fetchone()
            start = row[0] if row else 0
            rows = min(BALLAST_ROWS, int(gigabytes * 1e9 - file.stat().st_size) // 32 + 130_000)
            noise = ", ".join(f"hash(i, {seed})" for seed in range(4))
            connection.execute(f"INSERT INTO marts.ballast SELECT {noise} FROM range({start}, {start + rows}) t(i)")
            connection.execute("CHECKPOINT")
    return {"bytes": file.stat().st_size}


def published() -> Mapping[str, Any]:
    """`warehouse.publish.publish`, without its imports: seconds, CPU-seconds, bytes of the version, its path.

    Not measured is the export to the lake, which writes what differs as Parquet: decision 0025.
    """
    from warehouse import build, publish

    build.manifest()
    began, used = time.perf_counter(), time.process_time()
    version = publish.publish(keep=1, curated=False)
    taken = {"s": time.perf_counter() - began, "cpu_s": time.process_time() - used}
    return {**taken, "bytes": version.bytes, "path": str(version.path)}


def copied(source: str, target: str) -> Mapping[str, Any]:
    """A plain copy of a file, synced to disk as a published one is: seconds, CPU-seconds."""
    from warehouse import clone

    began, used = time.perf_counter(), time.process_time()
    clone.copy(Path(source), Path(target))
    clone.sync(Path(target))
    return {"s": time.perf_counter() - began, "cpu_s": time.process_time() - used}


def answered(way: str, file: str, root: str, scale: float, times: int) -> Mapping[str, Any]:
    """The 22 queries on plain tables, on the lake or on the published file: seconds and CPU of each, and what is wrong.

    `seconds` and `cpu` are the least of so many `times`; `wrong` names queries that did not give the published answer.
    """
    with closing(lineitem.extended("tpch")) as known:
        queries = dict(known.execute("SELECT query_nr, query FROM tpch_queries()").fetchall())
        answers = dict(
            known.execute("SELECT query_nr, answer FROM tpch_answers() WHERE scale_factor = ?", [scale]).fetchall()
        )
    connection = _opened(way, file, root)
    seconds: dict[int, float] = {}
    cpu_seconds: dict[int, float] = {}
    wrong = []
    for number, query in queries.items():
        found: list[tuple[float, float]] = []
        for _ in range(times):
            began, used = time.perf_counter(), time.process_time()
            rows = connection.execute(query).fetchall()
            found.append((time.perf_counter() - began, time.process_time() - used))
        seconds[number], cpu_seconds[number] = (min(kind) for kind in zip(*found, strict=True))
        if answers and not is_answer(rows, answers[number]):
            wrong.append(number)
    return {"seconds": seconds, "cpu": cpu_seconds, "wrong": wrong, "compared": len(answers)}


def is_answer(rows: Sequence[Sequence[Any]], answer: str) -> bool:
    """Whether `rows` are the published answer: a line of names, then a line a row, values separated by bars."""
    wanted = [line.split("|") for line in answer.removesuffix("\n").split("\n")[1:]]
    return len(rows) == len(wanted) and all(
        len(row) == len(line) and all(_is_same(value, text) for value, text in zip(row, line, strict=True))
        for row, line in zip(rows, wanted, strict=True)
    )


def _is_same(value: Any, text: str) -> bool:
    if isinstance(value, float):
        return math.isclose(value, float(text), rel_tol=1e-9)
    if isinstance(value, Decimal):
        return value == Decimal(text)
    return text in ("NULL", "") if value is None else str(value) == text


def _opened(way: str, file: str, root: str) -> Any:
    if way == "published":
        from warehouse import access

        return access.connect(memory_limit=MEMORY, threads=THREADS)
    if way == "plain":
        connection = duck.connect(file, read_only=True)
    else:
        connection = duck.connect(extensions=("delta",))
        for table in warehouse_lake.TPCH_TABLES:
            relation = read.relation(Lake(root), Address("processed", "tpch", table))
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {relation}")
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}")
    return connection


STEPS = {step.__name__: step for step in (tables, put_in, filled, published, copied, answered)}

if __name__ == "__main__":
    cpu.answer(STEPS[sys.argv[1]](**json.loads(sys.argv[2])))
