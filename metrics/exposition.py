"""The platform's own figures in the words of Prometheus, read from the metrics store when it is scraped.

Each group of figures is one short query in a read-only transaction; a group that fails is missing and says so in
`watershed_collector_success`, a store that does not answer is `watershed_metrics_store_up 0`. Names, units and types
keep to Prometheus' conventions; labels take their values from what is declared (assets, tables, hypertables, servers),
never from what a row says.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from wsgiref.simple_server import WSGIServer

import psycopg
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from psycopg import sql

from lake.errors import Busy, PermanentError, PlatformError
from metrics.server import Connection, edition, explained, table
from metrics.spec import SCHEMA, Spec

KEPT_S = 5.0  # two servers that scrape at once cost the store one reading
WATCHED_S = 60.0  # the watchdog asks several questions for each hypertable
PATIENCE_S = 3  # of one query
ENOUGH_S = 5.0  # what was not begun by then is left out: Prometheus waits 10 s for everything
MOST = 1000  # series of one group; more are left out, and the group is not called whole
SCRAPED = "the metrics store, scraped"

Watch = Callable[[], Iterable[tuple[str, str, bool]]]  # (check, hypertable, passes)
Family = CounterMetricFamily | GaugeMetricFamily
Query = LiteralString | sql.Composed


@dataclass(frozen=True)
class Group:
    """Figures of one query: it answers its labels first, then one column for each figure (name, help)."""

    name: str
    query: Query
    labels: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]


@dataclass(eq=False)
class Figures:
    """A collector for a registry of prometheus-client; errors of the store are told to `say` when they come and go.

    `watch` answers whether the watchdog's checks pass. Answers are kept for `kept_s` seconds of `ticks`, those of the
    watchdog for a minute.
    """

    dsn: str
    spec: Spec
    watch: Watch | None = None
    say: Callable[[str], None] = lambda _: None
    kept_s: float = KEPT_S
    enough_s: float = ENOUGH_S
    ticks: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _kept: tuple[float, list[Metric]] | None = field(default=None, init=False)
    _trouble: str | None = field(default=None, init=False)
    _seen: tuple[float, list[Metric], bool] | None = field(default=None, init=False)

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would read the store to learn the names."""
        return []

    def collect(self) -> list[Metric]:
        """All families; never raises for a store that is down, slow or half set up."""
        with self._lock:
            if self._kept is None or self.ticks() - self._kept[0] >= self.kept_s:
                self._kept = (self.ticks(), list(self._families()))
            return self._kept[1]

    def _families(self) -> Iterator[Metric]:
        started = time.monotonic()
        found: list[Metric] = []
        whole: dict[str, bool] = {}
        trouble = None
        try:
            with explained(SCRAPED), _reading(self.dsn) as connection:
                found.append(_info(connection))
                for group in groups(connection, self.spec):
                    is_late = time.monotonic() - started > self.enough_s
                    families, whole[group.name] = ([], False) if is_late else _answered(connection, group)
                    found += families
        except PlatformError as error:
            found, trouble = [], str(error)
        self._tell(trouble)
        if self.watch is not None and trouble is None:
            if self._seen is None or self.ticks() - self._seen[0] >= WATCHED_S:
                self._seen = (self.ticks(), *_watched(self.watch))
            _, families, whole["watch"] = self._seen
            found += families
        yield gauge("watershed_up", "Whether the exporter itself works: 1, always.", 1)
        yield gauge("watershed_metrics_store_up", "Whether the metrics store answered.", int(trouble is None))
        lasted = time.monotonic() - started
        yield gauge("watershed_collection_duration_seconds", "Time that reading the metrics store took.", lasted)
        success = GaugeMetricFamily(
            "watershed_collector_success",
            "Whether a group of figures is whole: its query answered, with no more series than are given.",
            labels=["collector"],
        )
        for name, is_whole in whole.items():
            success.add_metric([name], int(is_whole))
        yield success
        yield from found

    def _tell(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self.say(trouble or f"{SCRAPED}: answers again")
        self._trouble = trouble


def serve(figures: Figures, host: str, port: int) -> WSGIServer:
    """Answer `/metrics` on (host, port) in threads of its own, and return the server.

    Raises Busy if something listens there already, PermanentError if this machine has no such address.
    """
    registry = CollectorRegistry()
    registry.register(figures)
    where = f"{host}:{port}"
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        if error.errno == 98:  # EADDRINUSE
            mend = f"end what listens there, or choose another with `--port {port + 1}`"
            raise Busy(where, "the port is taken; perhaps it is served already", mend) from None
        raise PermanentError(where, f"cannot be listened on ({error.strerror})", "choose another address") from None
    return server


def gauge(name: str, said: str, value: float) -> Metric:
    """A family of one sample."""
    return GaugeMetricFamily(name, said, value=value)


def groups(connection: Connection, spec: Spec) -> Iterator[Group]:
    """All groups of figures that this store can answer."""
    yield from (RUNS, FRESHNESS, CHECKS, SERVERS, HYPERTABLES)
    if edition(connection) == "apache":  # the community edition keeps its own books of what is out of date
        yield _rollups(spec)
    present = [it for it in spec.hypertables if _exists(connection, it.name)]
    if present:
        newest = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, extract(epoch FROM max({})) FROM {}").format(
                it.name, sql.Identifier(it.time), table(it.name)
            )
            for it in present
        )
        said = (("watershed_hypertable_newest_timestamp_seconds", "Time of the newest row."),)
        yield Group("newest", newest, ("hypertable",), said)


def _rollups(spec: Spec) -> Group:
    names = [(it.name, bucket) for it in spec.hypertables for bucket in it.rollup_names]
    query = sql.SQL("""
        SELECT hypertable, rollup, count(bucket_at), extract(epoch FROM min(marked_at))
        FROM (VALUES {}) AS declared (hypertable, rollup) LEFT JOIN metrics._dirty USING (hypertable, rollup)
        GROUP BY 1, 2
    """).format(sql.SQL(", ").join(sql.SQL("({}, {})").format(*pair) for pair in names))
    figures = (
        ("watershed_rollup_waiting_buckets", "Buckets of the roll-up that are out of date."),
        ("watershed_rollup_waiting_since_timestamp_seconds", "When the first change came that the roll-up lacks."),
    )
    return Group("rollups", query, ("hypertable", "rollup"), figures)


def _exists(connection: Connection, name: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.{name}",)).fetchone()
    return bool(row and row[0])


def _reading(dsn: str) -> Connection:
    options = f"-c timezone=UTC -c statement_timeout={PATIENCE_S}s -c client_min_messages=warning"
    connection = psycopg.connect(
        dsn, connect_timeout=PATIENCE_S, options=options, application_name="watershed-scraped", autocommit=True
    )
    connection.read_only = True
    return connection


def _info(connection: Connection) -> Metric:
    """What the store runs on: an info metric of value 1."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    found = InfoMetricFamily("watershed_metrics_store", "The metrics store's server, and its edition of TimescaleDB.")
    said = {"edition": str(edition(connection)), "timescaledb_version": str(row[0]) if row else ""}
    found.add_metric([], said | {"postgresql_version": connection.info.parameter_status("server_version") or ""})
    return found


def _answered(connection: Connection, group: Group) -> tuple[list[Metric], bool]:
    """The group's families, and whether they are whole. A lost connection is raised, an error of the query is not."""
    families = [_family(name, said, group.labels) for name, said in group.figures]
    try:
        rows = connection.execute(group.query).fetchmany(MOST + 1)
    except psycopg.Error:
        if connection.broken:
            raise
        return [], False
    for row in rows[:MOST]:
        _add(families, row, len(group.labels))
    return [*families], len(rows) <= MOST


def _family(name: str, said: str, labels: Sequence[str]) -> Family:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(name, said, labels=labels)


def _add(families: Sequence[Family], row: Sequence[Any], labels: int) -> None:
    said = ["" if value is None else str(value) for value in row[:labels]]
    for family, value in zip(families, row[labels:], strict=True):
        if value is not None:
            family.add_metric(said, float(value))


def _watched(watch: Watch) -> tuple[list[Metric], bool]:
    family = GaugeMetricFamily(
        "watershed_watchdog_check_passed",
        "Whether a check of the watchdog passes; `watershed metrics watch` says why one does not.",
        labels=["check", "hypertable"],
    )
    passed: dict[tuple[str, str], bool] = {}
    try:
        for check, hypertable, is_ok in watch():
            passed[check, hypertable] = passed.get((check, hypertable), True) and is_ok
    except PlatformError:
        return [], False
    for labels, is_ok in passed.items():
        family.add_metric(labels, int(is_ok))
    return [family], True


RUNS = Group(
    "runs",
    """
    SELECT DISTINCT ON (asset) asset, extract(epoch FROM finished_at), is_success::int, duration_s, row_count, bytes
    FROM metrics.pipeline_runs ORDER BY asset, finished_at DESC
    """,
    ("asset",),
    (
        ("watershed_asset_last_run_timestamp_seconds", "When the asset was last materialized."),
        ("watershed_asset_last_run_success", "Whether the asset's last materialization succeeded."),
        ("watershed_asset_last_run_duration_seconds", "How long the asset's last materialization took."),
        ("watershed_asset_last_run_rows", "Rows that the asset's last materialization wrote."),
        ("watershed_asset_last_run_size_bytes", "Bytes that the asset's last materialization wrote."),
    ),
)
FRESHNESS = Group(
    "freshness",
    """
    SELECT DISTINCT ON (source, table_name) source, table_name, extract(epoch FROM measured_at),
           extract(epoch FROM newest_at), extract(epoch FROM loaded_at), lag_s, allowed_lag_s, row_count, is_fresh::int
    FROM metrics.table_freshness ORDER BY source, table_name, measured_at DESC
    """,
    ("source", "table"),
    (
        ("watershed_table_measured_timestamp_seconds", "When the lake's table was last looked at."),
        ("watershed_table_newest_timestamp_seconds", "Time of the table's newest event."),
        ("watershed_table_loaded_timestamp_seconds", "When a load of the table was last committed."),
        ("watershed_table_lag_seconds", "How far the table was behind when it was last looked at."),
        ("watershed_table_allowed_lag_seconds", "How far the table may be behind, by its source file."),
        ("watershed_table_rows", "Rows of the lake's table."),
        ("watershed_table_fresh", "Whether the table is as fresh as its source file asks."),
    ),
)
# Combinations without a check are zero, so that a series does not come and go with the failures.
CHECKS = Group(
    "checks",
    """
    WITH last AS (
        SELECT DISTINCT ON (asset, check_name) lower(severity) AS severity, is_passed
        FROM metrics.check_results ORDER BY asset, check_name, finished_at DESC
    )
    SELECT severity, CASE WHEN passed THEN 'passed' ELSE 'failed' END,
           (SELECT count(*) FROM last WHERE last.severity = known.severity AND is_passed = passed)
    FROM (SELECT DISTINCT severity FROM last) AS known CROSS JOIN (VALUES (true), (false)) AS outcome (passed)
    """,
    ("severity", "outcome"),
    (("watershed_checks", "Checks by severity and by how each ended when it last ran."),),
)
SERVERS = Group(
    "servers",
    """
    SELECT DISTINCT ON (server) server, kind, extract(epoch FROM measured_at), is_up::int, response_s, connections,
           max_connections, queries, query_time_s, cache_hit_ratio, disk_bytes, disk_free_bytes
    FROM metrics.server_stats ORDER BY server, measured_at DESC
    """,
    ("server", "kind"),
    (
        ("watershed_server_measured_timestamp_seconds", "When the server was last looked at."),
        ("watershed_server_up", "Whether the server answered."),
        ("watershed_server_response_seconds", "How long the server took to tell its figures."),
        ("watershed_server_connections", "Client connections that are open."),
        ("watershed_server_max_connections", "Connections that the server allows."),
        ("watershed_server_queries_total", "Statements, or transactions, that the server has run."),
        ("watershed_server_query_seconds_total", "Time that the server has spent in them."),
        ("watershed_server_cache_hit_ratio", "Part of the blocks read that the server's cache held, from 0 to 1."),
        ("watershed_server_disk_bytes", "Bytes that the platform's data take up there."),
        ("watershed_server_disk_free_bytes", "Bytes that are free on its disk."),
    ),
)
HYPERTABLES = Group(
    "hypertables",
    """
    SELECT hypertable.hypertable_name, hypertable.num_chunks, coalesce(packed.chunks, 0),
           hypertable_size(named.relation), approximate_row_count(named.relation)
    FROM timescaledb_information.hypertables AS hypertable
    CROSS JOIN LATERAL (
        SELECT format('%I.%I', hypertable_schema, hypertable_name)::regclass AS relation
    ) AS named
    LEFT JOIN (
        SELECT hypertable_schema, hypertable_name, count(*) FILTER (WHERE is_compressed) AS chunks
        FROM timescaledb_information.chunks GROUP BY 1, 2
    ) AS packed USING (hypertable_schema, hypertable_name)
    WHERE hypertable_schema = 'metrics' ORDER BY 1
    """,
    ("hypertable",),
    (
        ("watershed_hypertable_chunks", "Chunks of the hypertable."),
        ("watershed_hypertable_compressed_chunks", "Chunks that are compressed; none in the Apache-2 edition."),
        ("watershed_hypertable_size_bytes", "Bytes of the hypertable with its indexes."),
        ("watershed_hypertable_rows", "Rows of the hypertable, as the server estimates them."),
    ),
)
