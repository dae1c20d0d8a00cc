"""Build and test the warehouse: `dbt build` in this process, into the private build file.

Publishing what was built is the business of `warehouse.publish`.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lake import duck
from lake import layout as lake_layout
from lake.errors import BuildFailed, PlatformError
from warehouse import calendar, lock, news, proof, recover, release, runner, verdicts
from warehouse.layout import Layout, layout
from warehouse.report import REUSED, BuildReport, NodeResult, Progress


@dataclass(frozen=True)
class Relation:
    """A table or view of the build: rows, bytes (0 for a view), and (name, DuckDB type) of each column."""

    schema: str
    name: str
    kind: str
    rows: int
    bytes: int
    columns: tuple[tuple[str, str], ...]


def run(
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    *,
    state: Path | None = None,
    full_refresh: bool = False,
    unit_tests: bool = True,
    must_pass: bool = True,
    reuse: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    wait_s: float = 0.0,
    root: Layout | Path | str | None = None,
) -> BuildReport:
    """Build the selected models (all by default), and test each before what depends on it.

    `select` and `exclude` are dbt selectors; `state` is the folder of another build's manifest, for `state:modified+`.
    Of the whole project only that is built and tested of which there is news; the rest is reported as `reused`. All is
    built without `reuse`, with `full_refresh`, and with unit tests.
    Afterwards no handle on the build file is open in this process.
    Raises SpecError for holidays that nobody knows, Busy if another build still runs after `wait_s` seconds, and,
    unless `must_pass` is off, BuildFailed if a model or test failed.
    """
    calendar.check()
    place = layout(root)
    began = time.monotonic()
    with lock.held(place.lock, wait_s):
        notes = [_finished(place), recover.sound_build_file(place)]
        before = proof.withdraw(place)
        if before.doubtful:
            notes.append(recover.take_back(place, before.doubtful, manifest(root)["nodes"]))
        proof.trust(place)
        project = manifest(root)
        everything = full_refresh or unit_tests or not reuse
        plan = None if select or exclude or state else news.plan(place, before, project, everything=everything)
        command = _command(_named(plan, project["nodes"]) or select, exclude, full_refresh, unit_tests, state)
        found, views = ([], None) if plan and not plan.build else _built(place, command, on_progress)
        extents = _extents(place.build, views)
        results = tuple(_result(result, extents) for result in found)
        if plan:
            stamp = news.stamp(place) if found else before.stamp
            proof.record(place, plan.kept(before), results, project, plan.basis, stamp)
        else:
            proof.record(place, before, results, project)
        verdicts.record(place, results)
        reused = _reused(place, plan, project["nodes"], extents) if plan else ()
        results = (*reused, *results)
    report = BuildReport(results, time.monotonic() - began, " ".join(note for note in notes if note) or None)
    if must_pass and not report.is_ok:
        raise report.failure(place)
    return report


def parse(root: Layout | Path | str | None = None) -> Path:
    """The path of dbt's manifest.json, parsed anew only if the project, the lake's root or dbt has changed."""
    return runner.parse(layout(root))


def relations(root: Path | str | None = None) -> dict[str, Relation]:
    """Every table and view of the build, as `schema.name`; rows of all of them are counted in one query."""
    place = layout(root)
    with lock.held(place.lock, wait_s=60.0):
        found = _relations(place.build)
    return {f"{it.schema}.{it.name}": it for it in found}


def table_rows(path: Path) -> dict[str, int]:
    """Rows of every table (views left out) in the DuckDB file at `path`, as `schema.name`, counted in one query."""
    with duck.connect(path, read_only=True) as connection:
        return counted(connection)


def counted(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str] = ()) -> dict[str, int]:
    """Rows of every table in the connection's own database, or in some of its schemas, as `schema.name`."""
    names = connection.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = current_database() order by all"
    ).fetchall()
    # not as parameters of the query: the first one lets DuckDB import pandas, which costs 0.7 CPU-seconds
    names = [(schema, name) for schema, name in names if not schemas or schema in schemas]
    counts = _counts(connection, names)
    return {f"{schema}.{name}": count for (schema, name), count in zip(names, counts, strict=True)}


def freshness(root: Path | str | None = None) -> dict[str, str]:
    """Status (pass, warn, error, runtime error) of every source table that declares a freshness."""
    place = layout(root)
    with lock.held(place.lock, wait_s=60.0):
        outcome = runner.invoke(place, ["source", "freshness"])
    # the project's hook (on-run-start) runs here, too, and stands among the results
    found = [it for it in getattr(outcome.result, "results", ()) if str(it.node.resource_type) == "source"]
    return {f"{it.node.source_name}.{it.node.name}": str(it.status) for it in found}


def docs(root: Path | str | None = None) -> Path:
    """Write dbt's documentation as one self-contained page and return its path. Raises BuildFailed."""
    place = layout(root)
    with lock.held(place.lock, wait_s=60.0):
        outcome = runner.invoke(place, ["docs", "generate", "--static"])
    if not outcome.success:
        raise BuildFailed("dbt docs", runner.one_line(outcome.exception), f"see {place.logs / 'dbt.log'}")
    return place.target / "static_index.html"


def _finished(place: Layout) -> str | None:
    """Finish a publish that was killed; a sentence if there was one. What hinders that is no reason not to build."""
    try:
        version = release.finish(place)
    except PlatformError as error:
        return f"A publish that was stopped is not finished yet: {error}."
    return f"Version {version.number}, whose publish was stopped, is in force now." if version else None


def _named(plan: news.Plan | None, nodes: Mapping[str, Any]) -> list[str]:
    """The names of the nodes of which there is news; none if all or a part is to be built, whatever its news."""
    return [nodes[unique_id]["name"] for unique_id in plan.build] if plan and plan.reuse else []


def _built(
    place: Layout, command: list[str], on_progress: Callable[[Progress], None] | None
) -> tuple[list[Any], dict[str, int]]:
    """What dbt says of each node that it built or tested, and the rows of the lake's views."""
    views: dict[str, int] = {}
    listener = _listener(place, on_progress)
    outcome = runner.invoke(place, command, listener, lambda connection: views.update(_view_rows(connection)))
    if outcome.result is None:
        raise BuildFailed("dbt build", runner.one_line(outcome.exception), f"see {place.logs / 'dbt.log'}")
    return list(outcome.result.results), views


def _command(
    select: Sequence[str], exclude: Sequence[str], full_refresh: bool, unit_tests: bool, state: Path | None
) -> list[str]:
    # the manifest lies there already; writing it again after each build would cost half a second
    command = ["build", "--no-write-json", "--exclude-resource-type", "exposure"]
    command += [] if unit_tests else ["--exclude-resource-type", "unit_test"]
    command += ["--full-refresh"] if full_refresh else []
    command += ["--state", str(state)] if state else []
    command += ["--select", *select] if select else []
    return [*command, "--exclude", *exclude] if exclude else command


def _listener(place: Layout, on_progress: Callable[[Progress], None] | None) -> Callable[[runner.Event], None]:
    def listen(event: runner.Event) -> None:
        if event.info.name not in ("NodeStart", "NodeFinished"):
            return
        node = event.data.node_info
        is_start = event.info.name == "NodeStart"
        if is_start and node.materialized in proof.KEEPING:
            proof.touch(place, node.unique_id)
        if on_progress is None:
            return
        status = "started" if is_start else event.data.run_result.status
        seconds = 0.0 if is_start else float(event.data.run_result.execution_time)
        on_progress(Progress(node.unique_id, node.node_name, node.resource_type, status, seconds))

    return listen


def _result(result: Any, built: dict[str, tuple[int, int]]) -> NodeResult:
    node = result.node
    is_built = str(node.resource_type) in ("model", "seed")
    rows, size = built.get(f"{node.schema}.{node.name}", (None, None)) if is_built else (None, None)
    return NodeResult(
        unique_id=node.unique_id,
        name=node.name,
        kind=str(node.resource_type),
        status=str(result.status),
        seconds=float(result.execution_time),
        message=runner.one_line(result.message or ""),
        failures=result.failures,
        rows=rows,
        bytes=size,
    )


def _reused(
    place: Layout, plan: news.Plan, nodes: Mapping[str, Any], built: dict[str, tuple[int, int]]
) -> Iterator[NodeResult]:
    """What is said of nodes that stay as they are: of a table its rows, of a test its last verdict."""
    known = verdicts.verdicts(place) if plan.reuse else {}
    for unique_id in plan.reuse:
        node, verdict = nodes[unique_id], known.get(unique_id)
        kind = str(node["resource_type"])
        extent = built.get(f"{node['schema']}.{node.get('alias') or node['name']}") if kind != "test" else None
        yield NodeResult(
            unique_id=unique_id,
            name=node["name"],
            kind=kind,
            status=REUSED,
            seconds=0.0,
            message=verdict.message if verdict else "",
            failures=verdict.failures if verdict else None,
            rows=extent[0] if extent else None,
            bytes=extent[1] if extent else None,
            was=verdict.status if verdict else None,
        )


def _extents(path: Path, views: Mapping[str, int] | None) -> dict[str, tuple[int, int]]:
    """Rows and bytes of every table and view; the rows of views are counted here if they are not known yet."""
    if not path.exists():
        return {}
    is_on_s3 = lake_layout.from_environment().on_s3
    extensions = () if is_on_s3 or views is not None else duck.EXTENSIONS
    with duck.connect(path, read_only=True, extensions=extensions) as connection:
        views = _view_rows(connection) if views is None else views
        names = connection.execute("select schema_name, table_name from duckdb_tables() order by all").fetchall()
        sizes = [_bytes(connection, schema, name) for schema, name in names]
        counts = _counts(connection, names)
    tables = {f"{schema}.{name}": it for (schema, name), it in zip(names, zip(counts, sizes, strict=True), strict=True)}
    return tables | {name: (rows, 0) for name, rows in views.items()}


def _view_rows(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows of the views that rename a table of the lake, none if that is on S3.

    They are counted by the footers of the lake's files, on S3 by as many requests; a view that joins would be computed
    (3 of 56 CPU-seconds at TPC-H's SF 1).
    """
    if lake_layout.from_environment().on_s3:
        return {}
    query = "select schema_name, view_name from duckdb_views() where schema_name = 'staging' order by all"
    names = connection.execute(query).fetchall()
    return {f"{schema}.{name}": it for (schema, name), it in zip(names, _counts(connection, names), strict=True)}


def _relations(path: Path) -> list[Relation]:
    if not path.exists():
        return []
    with duck.connect(path, read_only=True, extensions=duck.EXTENSIONS) as connection:
        found = connection.execute(
            """
            select table_schema, table_name, table_type, list((column_name, data_type) order by ordinal_position)
            from information_schema.tables
            inner join information_schema.columns using (table_catalog, table_schema, table_name)
            group by all
            order by all
            """
        ).fetchall()
        counts = _counts(connection, [(schema, name) for schema, name, *_ in found])
        sizes = [_bytes(connection, schema, name) if kind == "BASE TABLE" else 0 for schema, name, kind, _ in found]
    return [
        Relation(schema, name, kind, count, size, tuple(map(tuple, columns)))
        for (schema, name, kind, columns), count, size in zip(found, counts, sizes, strict=True)
    ]


def _bytes(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> int:
    # Small tables share blocks, which then count for each of them.
    table = duck.literal(f"{duck.quoted(schema)}.{duck.quoted(name)}")
    query = f"""
        select count(distinct block_id) * (select block_size from pragma_database_size() limit 1)
        from pragma_storage_info({table}) where persistent
    """
    row = connection.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


def _counts(connection: duckdb.DuckDBPyConnection, names: list[tuple[str, str]]) -> list[int]:
    if not names:
        return []
    counts = ", ".join(f"(select count(*) from {duck.quoted(schema)}.{duck.quoted(name)})" for schema, name in names)
    row = connection.execute(f"select {counts}").fetchone()
    return list(row or ())


def manifest(root: Layout | Path | str | None = None) -> dict[str, Any]:
    """The manifest of dbt as a dictionary."""
    loaded: dict[str, Any] = json.loads(parse(root).read_text())
    return loaded
