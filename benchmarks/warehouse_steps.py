"""What runs in a process of its own when the warehouse is measured: building by the platform, and the same SQL plainly.

`python -m benchmarks.warehouse_steps <step> '<its words as JSON>'`; each answers what the measuring process is to know.
LAKE_ROOT and WAREHOUSE_ROOT come from the environment, as for every command of the platform.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import cpu, warehouse_lake
from lake import duck
from lake.layout import Lake

NODE = re.compile(r'"node_id": "([^"]+)"')
SETTINGS = "SET memory_limit = '4GB'; SET threads = 2; SET preserve_insertion_order = false"
# Parts of a build that are the platform's own; a part that another one contains is taken out of it.
OURS = {
    "project unchanged?": ("warehouse.runner", "project_key"),
    "dbt": ("warehouse.runner", "_dbt"),
    "rows and bytes counted": ("warehouse.build", "_extents"),
    "what has news": ("warehouse.news", "plan"),
    "proof": ("warehouse.proof", "record"),
    "build file opened": ("warehouse.recover", "sound_build_file"),
    "handles closed": ("warehouse.runner", "close_handles"),
}


def made(file: str, scale: float) -> Mapping[str, Any]:
    """TPC-H in a DuckDB file."""
    return {"bytes": warehouse_lake.generated(Path(file), scale).stat().st_size}


def shop(file: str, root: str, days: int) -> Mapping[str, Any]:
    """The lake of a shop with the orders of so many days."""
    warehouse_lake.shop(Path(file), Lake(root), days=days)
    return {}


def next_day(file: str, root: str, day: int) -> Mapping[str, Any]:
    """One more day of orders in the lake."""
    warehouse_lake.next_day(Path(file), Lake(root), day)
    return {}


def parsed() -> Mapping[str, Any]:
    """The manifest of dbt, made if the project has changed."""
    from warehouse import build

    return {"manifest": str(build.parse())}


def built(full_refresh: bool) -> Mapping[str, Any]:
    """`warehouse.build.run`, as the main job runs it; CPU-seconds of its parts."""
    parts = {"start of Python": time.process_time()}
    with _told(parts, "imports"):
        from dbt.cli.main import dbtRunner  # noqa: F401  what a build needs anyway, told apart

        from warehouse import build
    with _watched(parts), _told(parts, "the rest"):
        report = build.run(full_refresh=full_refresh, unit_tests=False)
    parts["the rest"] -= sum(used for part, used in parts.items() if part in OURS)
    rows = {result.name: result.rows for result in report.results if result.rows is not None}
    nodes = {result.unique_id: result.seconds for result in report.results}
    return {"parts": parts, "rows": rows, "nodes": nodes}


def profiled(full_refresh: bool) -> Mapping[str, Any]:
    """The same build on one thread of dbt, so that CPU can be told apart: (seconds, CPU, statements) of each node.

    dbt's own work between statements is the node's only where it is on the way; the rest stands under `dbt`.
    """
    from dbt.adapters.duckdb.environments import local

    from warehouse import build, runner

    found: dict[str, list[float]] = {}
    statements: list[tuple[float, str]] = []
    cursor: Any = local.DuckDBCursorWrapper
    execute = cursor.execute

    def timed(self: Any, sql: str, bindings: Any = None) -> Any:
        began, used = time.perf_counter(), time.process_time()
        try:
            return execute(self, sql, bindings)
        finally:
            seconds, taken = time.perf_counter() - began, time.process_time() - used
            match = NODE.search(sql)
            entry = found.setdefault(match[1] if match else "no node", [0.0, 0.0, 0])
            entry[0], entry[1], entry[2] = entry[0] + seconds, entry[1] + taken, entry[2] + 1
            statements.append((taken, " ".join(sql.split())[:400]))

    dbt: Any = runner
    plain = dbt._dbt
    cursor.execute = timed
    dbt._dbt = lambda place, command, *more: plain(
        place, [*command, "--threads", "1"] if command[0] == "build" else command, *more
    )
    used = time.process_time()
    build.run(full_refresh=full_refresh, unit_tests=False)
    whole = time.process_time() - used
    return {"nodes": found, "cpu_s": whole, "costly": sorted(statements, reverse=True)[:40]}


def compiled(full_refresh: bool = True) -> Mapping[str, Any]:
    """The SQL of every model, seed and test as dbt compiles it, in the order in which dbt would run it."""
    from warehouse import runner
    from warehouse.layout import layout

    place = layout()
    outcome = runner.invoke(place, ["compile", *(["--full-refresh"] if full_refresh else [])])
    if not outcome.success:
        raise SystemExit(runner.one_line(outcome.exception))
    nodes = [one.node for one in outcome.result.results if str(one.node.resource_type) in ("model", "test", "seed")]
    # What is not SQL (the holidays, of a Python package) is given to the plain process as the platform has built it.
    return {"steps": [_given(node, place.build) if _is_given(node) else _step(node) for node in nodes]}


def _is_given(node: Any) -> bool:
    return str(node.resource_type) == "seed" or str(getattr(node, "language", "sql")) != "sql"


def _given(node: Any, build: Path) -> dict[str, Any]:
    file = build.parent.parent / f"{node.name}.parquet"
    with duck.connect(build, read_only=True) as connection:
        connection.execute(f"COPY {node.schema}.{node.name} TO {duck.literal(str(file))} (FORMAT parquet)")
    return {"name": node.name, "schema": node.schema, "kind": "given", "sql": str(file)}


def _step(node: Any) -> dict[str, Any]:
    kind = "test" if str(node.resource_type) == "test" else "view" if node.config.materialized == "view" else "table"
    has_contract = kind != "test" and node.config.contract.enforced
    contract = {name: column.data_type for name, column in node.columns.items()} if has_contract else {}
    return {
        "name": node.name,
        "schema": node.schema,
        "kind": kind,
        "sql": node.compiled_code,
        "columns": contract,
    }


def plainly(file: str, steps: str, tests: bool) -> Mapping[str, Any]:
    """The compiled SQL in one DuckDB process: models, and tests if asked for; rows of each, CPU-seconds of each."""
    rows: dict[str, int] = {}
    taken: dict[str, float] = {}
    with duck.connect(file, extensions=("delta",)) as connection:
        connection.execute(SETTINGS)
        for step in json.loads(Path(steps).read_text()):
            if step["kind"] == "test" and not tests:
                continue
            used = time.process_time()
            for statement in _statements(step):
                answer = connection.execute(statement).fetchone()
            taken[step["name"]] = time.process_time() - used
            if step["kind"] == "test" and answer and answer[0]:
                raise SystemExit(f"{step['name']}: {answer[0]} rows fail")
        connection.execute("CHECKPOINT")
        for schema, name in connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
            row = connection.execute(f"SELECT count(*) FROM {duck.quoted(schema)}.{duck.quoted(name)}").fetchone()
            rows[name] = row[0] if row else 0
    return {"rows": rows, "taken": taken}


def _statements(step: Mapping[str, Any]) -> Iterator[str]:
    name = f"{duck.quoted(step['schema'])}.{duck.quoted(step['name'])}"
    if step["kind"] == "test":
        yield f"SELECT count(*) FROM ({step['sql']})"
        return
    yield f"CREATE SCHEMA IF NOT EXISTS {duck.quoted(step['schema'])}"
    if step["kind"] == "view":
        yield f"CREATE VIEW {name} AS {step['sql']}"
    elif step["kind"] == "given":
        yield f"CREATE TABLE {name} AS FROM read_parquet({duck.literal(step['sql'])})"
    elif step["columns"]:
        casts = ", ".join(
            f"cast({duck.quoted(one)} AS {kind}) AS {duck.quoted(one)}" for one, kind in step["columns"].items()
        )
        yield f"CREATE TABLE {name} AS SELECT {casts} FROM ({step['sql']})"
    else:
        yield f"CREATE TABLE {name} AS {step['sql']}"


@contextmanager
def _told(parts: dict[str, float], name: str) -> Iterator[None]:
    used = time.process_time()
    try:
        yield
    finally:
        parts[name] = parts.get(name, 0.0) + time.process_time() - used


@contextmanager
def _watched(parts: dict[str, float]) -> Iterator[None]:
    """CPU-seconds of the platform's own parts go into `parts`."""
    import importlib

    for part, (module_name, function) in OURS.items():
        module = importlib.import_module(module_name)
        setattr(module, function, _wrapped(parts, part, getattr(module, function)))
    yield


def _wrapped(parts: dict[str, float], part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*words: Any, **named: Any) -> Any:
        with _told(parts, part):
            return function(*words, **named)

    return timed


STEPS = {step.__name__: step for step in (made, shop, next_day, parsed, built, profiled, compiled, plainly)}

if __name__ == "__main__":
    cpu.answer(STEPS[sys.argv[1]](**json.loads(sys.argv[2])))
