"""The community edition's own policies: columnstore, retention, continuous aggregates. Judged by their effects.

A policy's `last_run_status` is not looked at: on some minors of PostgreSQL every job records a failure although its
work is committed.
"""

from collections.abc import Iterator
from datetime import timedelta

from psycopg import sql

from metrics.rollup import rollup_columns, selection
from metrics.server import Connection, one, table
from metrics.shape import differs
from metrics.spec import BUCKETS, SCHEMA, Bucket, Hypertable
from metrics.words import counted, span

Step = tuple[str, str, tuple[sql.Composable, ...]]  # relation, what, statements

GRACE = timedelta(days=2)  # the server looks once a day; what is twice as late is overdue
_COMPRESSION = ("policy_compression", "policy_columnstore")
_RETENTION = ("policy_retention",)
_REFRESH = ("policy_refresh_continuous_aggregate",)


def steps(connection: Connection, hypertable: Hypertable) -> Iterator[Step]:
    """What is missing of the declared policies and continuous aggregates, with the statements that add it."""
    yield from _compression(connection, hypertable)
    yield from _retention(connection, hypertable.name, hypertable.drop_after)
    for bucket in hypertable.rollup_names:
        yield from _aggregate(connection, hypertable, bucket)


def effects(connection: Connection, hypertable: Hypertable) -> Iterator[tuple[str, str, int]]:
    """What the policies have left undone, by the server's clock: (relation, sentence, chunks)."""
    overdue, raw = connection.execute(
        _BACKLOG, (hypertable.drop_after + GRACE, hypertable.compress_after + GRACE, SCHEMA, hypertable.name)
    ).fetchone() or (0, 0)
    name = f"{SCHEMA}.{hypertable.name}"
    late, loose = int(overdue), int(raw)
    yield name, f"native retention after {span(hypertable.drop_after)}: {counted(late, 'chunk')} overdue", late
    yield (
        name,
        f"native columnstore after {span(hypertable.compress_after)}: {counted(loose, 'chunk')} overdue",
        loose,
    )


def policies(connection: Connection, hypertable: Hypertable) -> Iterator[str]:
    """One line per policy, with what it has left undone."""
    for _, sentence, _ in effects(connection, hypertable):
        yield sentence
    for bucket, name in hypertable.rollup_names.items():
        state = "with" if _job(connection, name, _REFRESH) else "WITHOUT"
        yield f"roll-up {bucket}: continuous aggregate {state} a refresh policy"


def _compression(connection: Connection, hypertable: Hypertable) -> Iterator[Step]:
    name, after = f"{SCHEMA}.{hypertable.name}", hypertable.compress_after
    statements: list[sql.Composable] = []
    if not one(connection, _IS_COLUMNSTORE, (SCHEMA, hypertable.name)):
        statements.append(
            sql.SQL(
                "ALTER TABLE {} SET (timescaledb.enable_columnstore, timescaledb.segmentby = {},"
                " timescaledb.orderby = {})"
            ).format(table(hypertable.name), ", ".join(hypertable.segment_by), f"{hypertable.time} DESC")
        )
    held = _job(connection, hypertable.name, _COMPRESSION, "compress_after")
    if held is not None and held != after:
        statements.append(sql.SQL("CALL remove_columnstore_policy({})").format(name))
    if held != after:
        statements.append(sql.SQL("CALL add_columnstore_policy({}, after => {})").format(name, after))
    if statements:
        yield hypertable.name, f"compress rows older than {span(after)} (columnstore policy)", tuple(statements)


def _retention(connection: Connection, name: str, after: timedelta) -> Iterator[Step]:
    held = _job(connection, name, _RETENTION, "drop_after")
    if held == after:
        return
    where = f"{SCHEMA}.{name}"
    removal = [sql.SQL("SELECT remove_retention_policy({})").format(where)] if held is not None else []
    addition = sql.SQL("SELECT add_retention_policy({}, drop_after => {})").format(where, after)
    yield name, f"drop rows older than {span(after)} (retention policy)", (*removal, addition)


def _aggregate(connection: Connection, hypertable: Hypertable, bucket: Bucket) -> Iterator[Step]:
    if hypertable.rollups is None:
        return
    name = hypertable.rollup_names[bucket]
    exists = one(connection, "SELECT to_regclass(%s)", (f"{SCHEMA}.{name}",)) is not None
    if not exists:
        create = sql.SQL(
            "CREATE MATERIALIZED VIEW {} WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS {}"
            " WITH NO DATA"
        ).format(table(name), selection(hypertable, bucket))
        yield name, f"create continuous aggregate in buckets of {bucket}", (create,)
    else:
        _refuse_other(connection, hypertable, name)
    if not exists or not _job(connection, name, _REFRESH):
        # Not further back than retention leaves rows, else it would sum up to nothing what has been dropped.
        start = hypertable.drop_after
        policy = sql.SQL(
            "SELECT add_continuous_aggregate_policy({}, start_offset => {}, end_offset => {}, schedule_interval => {})"
        ).format(f"{SCHEMA}.{name}", start, BUCKETS[bucket], BUCKETS["1h"])
        yield name, "refresh every hour (continuous aggregate policy)", (policy,)
    yield from _retention(connection, name, hypertable.rollups.every[bucket].drop_after)


def _refuse_other(connection: Connection, hypertable: Hypertable, name: str) -> None:
    if not one(connection, _IS_AGGREGATE, (SCHEMA, name)):
        raise differs(name, "is kept by the platform's own jobs (Apache-2 edition), but this is the community edition")
    rows = connection.execute(_VIEW_COLUMNS, (f"{SCHEMA}.{name}",)).fetchall()
    if [row[0] for row in rows] != [column.name for column in rollup_columns(hypertable)]:
        raise differs(name, "is a continuous aggregate with other columns than declared")


def _job(connection: Connection, name: str, procedures: tuple[str, ...], setting: str = "") -> timedelta | bool | None:
    """The setting of the job that serves hypertable or aggregate `name`, True without `setting`, None if none does."""
    row = connection.execute(_JOB, (setting, SCHEMA, name, SCHEMA, name, list(procedures))).fetchone()
    if row is None:
        return None
    return row[0] if setting else True


_IS_COLUMNSTORE = """
    SELECT compression_enabled FROM timescaledb_information.hypertables
    WHERE hypertable_schema = %s AND hypertable_name = %s
"""
_IS_AGGREGATE = """
    SELECT true FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s
"""
_VIEW_COLUMNS = """
    SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_BACKLOG = """
    SELECT count(*) FILTER (WHERE range_end <= now() - %s),
           count(*) FILTER (WHERE range_end <= now() - %s AND NOT is_compressed)
    FROM timescaledb_information.chunks WHERE hypertable_schema = %s AND hypertable_name = %s
"""
# Some releases name the aggregate in the jobs view, others the hypertable that holds it.
_JOB = """
    SELECT (config ->> %s)::interval FROM timescaledb_information.jobs AS job
    WHERE ((hypertable_schema = %s AND hypertable_name = %s) OR (hypertable_schema, hypertable_name) IN (
        SELECT materialization_hypertable_schema, materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s))
      AND proc_name = ANY (%s)
"""
