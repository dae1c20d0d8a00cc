"""The community edition's own policies: columnstore, retention, continuous aggregates. Judged by their effects.

A policy's `last_run_status` is not looked at: on some minors of PostgreSQL every job records a failure although its
work is committed.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

from psycopg import sql

from metrics.rollup import finer, finest_first, selection
from metrics.server import Connection, one, table
from metrics.shape import differs
from metrics.spec import BUCKETS, SCHEMA, Bucket, Hypertable
from metrics.words import counted, span

Step = tuple[str, str, tuple[sql.Composable, ...]]  # relation, what, statements

GRACE = timedelta(days=2)  # the server looks once a day; what is twice as late is overdue
MARGIN = timedelta(days=1)  # for which a row that came in at the last moment stays, so that the roll-ups take it in
_COMPRESSION = ("policy_compression", "policy_columnstore")
_RETENTION = ("policy_retention",)
_REFRESH = ("policy_refresh_continuous_aggregate",)


def steps(connection: Connection, hypertable: Hypertable, anew: Collection[str] = ()) -> Iterator[Step]:
    """What is missing of the declared policies and continuous aggregates, with the statements that add it.

    `anew`: relations that will have been taken away, with their policies, when these statements are run.
    """
    yield from _columnstore(connection, hypertable, hypertable.name in anew)
    if not hypertable.tier:
        life = row_life(hypertable)
        yield from _retention(connection, hypertable.name, hypertable.drop_after, life, hypertable.name in anew)
    elif hypertable.name not in anew:
        yield from _without_retention(connection, hypertable)
    for bucket in finest_first(hypertable):
        yield from _aggregate(connection, hypertable, bucket, hypertable.rollup_names[bucket] in anew)


def strangers(connection: Connection, hypertable: Hypertable) -> Iterator[tuple[str, str, str]]:
    """Policies that somebody added and nobody declared: (relation, sentence, what would remove it)."""
    known = [*_COMPRESSION, *_RETENTION, *_REFRESH]
    for name in (hypertable.name, *hypertable.rollup_names.values()):
        for job, procedure in connection.execute(_STRANGERS, (SCHEMA, name, SCHEMA, name, known)).fetchall():
            what = f"has a policy that is not declared, {procedure.removeprefix('policy_')} (job {job})"
            yield name, what, f"SELECT delete_job({job})"


def effects(connection: Connection, hypertable: Hypertable) -> Iterator[tuple[str, str, int]]:
    """What the policies have left undone, by the server's clock: (relation, sentence, chunks).

    No policy drops rows that go to the lake first: of those tiering tells.
    """
    overdue, raw = connection.execute(
        _BACKLOG, (row_life(hypertable) + GRACE, hypertable.compress_after + GRACE, SCHEMA, hypertable.name)
    ).fetchone() or (0, 0)
    name = f"{SCHEMA}.{hypertable.name}"
    late, loose = int(overdue), int(raw)
    if not hypertable.tier:
        yield name, f"native retention after {span(hypertable.drop_after)}: {counted(late, 'chunk')} overdue", late
    yield (
        name,
        f"native columnstore after {span(hypertable.compress_after)}: {counted(loose, 'chunk')} overdue",
        loose,
    )


def columnstore(connection: Connection, name: str) -> tuple[str, str] | None:
    """By which columns the hypertable's compressed rows are grouped, and ordered; None without a columnstore."""
    return connection.execute(_SETTINGS, (f"{SCHEMA}.{name}",)).fetchone()


def policies(connection: Connection, hypertable: Hypertable) -> Iterator[str]:
    """One line per policy, with what it has left undone."""
    if hypertable.tier:
        yield f"to the lake after {span(hypertable.drop_after)}, then dropped by the server's job drop_copied"
    for _, sentence, _ in effects(connection, hypertable):
        yield sentence
    for bucket, name in hypertable.rollup_names.items():
        state = "with" if _job(connection, name, _REFRESH, ()) is not None else "WITHOUT"
        yield f"roll-up {bucket}: continuous aggregate {state} a refresh policy"


def row_life(hypertable: Hypertable) -> timedelta:
    """How long the server keeps rows: somewhat longer than declared where there are roll-ups.

    A load takes rows in back to the start of the widest bucket that `drop_after` reaches into. Such a row must be in
    the roll-ups before its chunk goes, and a refresh that reached back beyond the oldest chunk would empty the buckets
    of dropped rows. Where chunks go to the lake, `metrics.tier` drops them, and sums them up itself before.
    """
    if not hypertable.rollups or hypertable.tier:
        return hypertable.drop_after
    lag = max(kept.refresh_lag for kept in hypertable.rollups.every.values())
    return hypertable.drop_after + BUCKETS[finest_first(hypertable)[-1]] + max(lag, MARGIN)


def rollup_life(hypertable: Hypertable, bucket: Bucket) -> timedelta:
    """How long the server keeps a roll-up's buckets: as declared, and as long as a coarser one is summed up of them."""
    if not hypertable.rollups:
        raise ValueError(f"{hypertable.name} has no roll-ups")
    above = [reach(hypertable, one) for one in finest_first(hypertable) if finer(hypertable, one) == bucket]
    return max([hypertable.rollups.every[bucket].drop_after, *above])


def reach(hypertable: Hypertable, bucket: Bucket) -> timedelta:
    """How far back a roll-up's refresh policy looks for changes: all that a load may still change.

    Of a hypertable whose chunks go to the lake somewhat less: a policy must not look at a range that is being dropped,
    and `metrics.tier` sums it up before.
    """
    if below := finer(hypertable, bucket):
        return reach(hypertable, below) + BUCKETS[bucket]
    life = row_life(hypertable)
    return life - min(MARGIN, life / 2) if hypertable.tier else life


def pace(hypertable: Hypertable, bucket: Bucket) -> timedelta:
    """How often a roll-up is refreshed: so that a change is through all finer ones within `refresh_lag`."""
    if not hypertable.rollups:
        raise ValueError(f"{hypertable.name} has no roll-ups")
    return hypertable.rollups.every[bucket].refresh_lag / (len(hypertable.rollups.every) + 1)


def _columnstore(connection: Connection, hypertable: Hypertable, is_anew: bool) -> Iterator[Step]:
    name, after = f"{SCHEMA}.{hypertable.name}", hypertable.compress_after
    segments = ",".join(hypertable.segment_by)
    order = ",".join(column if way == "asc" else f"{column} DESC" for column, way in hypertable.ordering)
    held = None if is_anew else columnstore(connection, hypertable.name)
    if held != (segments, order):
        setting = sql.SQL(
            "ALTER TABLE {} SET (timescaledb.enable_columnstore, timescaledb.segmentby = {}, timescaledb.orderby = {})"
        ).format(table(hypertable.name), segments, order)
        since = ", of chunks compressed from now on" if held else ""
        yield hypertable.name, f"columnstore by ({segments}) in the order ({order}){since}", (setting,)
    yield from _policy(
        connection,
        hypertable.name,
        f"compress rows older than {span(after)} (columnstore policy)",
        _COMPRESSION,
        {"compress_after": after},
        sql.SQL("CALL remove_columnstore_policy({})").format(name),
        sql.SQL("CALL add_columnstore_policy({}, after => {})").format(name, after),
        is_anew,
    )


def _retention(
    connection: Connection, name: str, declared: timedelta, life: timedelta, is_anew: bool
) -> Iterator[Step]:
    where = f"{SCHEMA}.{name}"
    late = f", {span(life - declared)} late so that all is summed up" if life > declared else ""
    yield from _policy(
        connection,
        name,
        f"drop rows older than {span(declared)} (retention policy{late})",
        _RETENTION,
        {"drop_after": life},
        sql.SQL("SELECT remove_retention_policy({})").format(where),
        sql.SQL("SELECT add_retention_policy({}, drop_after => {})").format(where, life),
        is_anew,
    )


def _without_retention(connection: Connection, hypertable: Hypertable) -> Iterator[Step]:
    """The server's own policy would drop chunks that are not in the lake yet."""
    if _job(connection, hypertable.name, _RETENTION, ("drop_after",)) is not None:
        removal = sql.SQL("SELECT remove_retention_policy({})").format(f"{SCHEMA}.{hypertable.name}")
        yield hypertable.name, "no retention policy: chunks are dropped once they are in the lake", (removal,)


def _aggregate(connection: Connection, hypertable: Hypertable, bucket: Bucket, is_anew: bool) -> Iterator[Step]:
    if hypertable.rollups is None:
        return
    name = hypertable.rollup_names[bucket]
    if is_anew or one(connection, "SELECT to_regclass(%s)", (f"{SCHEMA}.{name}",)) is None:
        create = sql.SQL(
            "CREATE MATERIALIZED VIEW {} WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS {}"
            " WITH NO DATA"
        ).format(table(name), selection(hypertable, bucket))
        yield name, f"create continuous aggregate in buckets of {bucket}", (create,)
    else:
        _refuse_table(connection, name)
    every = pace(hypertable, bucket)
    window = {"start_offset": reach(hypertable, bucket), "end_offset": BUCKETS[bucket]}
    yield from _policy(
        connection,
        name,
        f"refresh every {span(every)} (continuous aggregate policy)",
        _REFRESH,
        window | {"schedule_interval": every},
        sql.SQL("SELECT remove_continuous_aggregate_policy({})").format(f"{SCHEMA}.{name}"),
        sql.SQL(
            "SELECT add_continuous_aggregate_policy({}, start_offset => {}, end_offset => {}, schedule_interval => {})"
        ).format(f"{SCHEMA}.{name}", *window.values(), every),
        is_anew,
    )
    kept = hypertable.rollups.every[bucket].drop_after
    yield from _retention(connection, name, kept, rollup_life(hypertable, bucket), is_anew)


def _policy(
    connection: Connection,
    name: str,
    what: str,
    procedures: tuple[str, ...],
    settings: Mapping[str, timedelta],
    removal: sql.Composable,
    addition: sql.Composable,
    is_anew: bool,
) -> Iterator[Step]:
    held = None if is_anew else _job(connection, name, procedures, tuple(settings))
    if held != tuple(settings.values()):
        yield name, what, (*([removal] if held is not None else []), addition)


def _refuse_table(connection: Connection, name: str) -> None:
    if not one(connection, _IS_AGGREGATE, (SCHEMA, name)):
        raise differs(name, "is kept by the platform's own jobs (Apache-2 edition), but this is the community edition")


def _job(
    connection: Connection, name: str, procedures: tuple[str, ...], settings: tuple[str, ...]
) -> tuple[timedelta | None, ...] | None:
    """These settings of the job that serves the hypertable or aggregate `name`, None if there is no such job."""
    row = connection.execute(_JOB, (SCHEMA, name, SCHEMA, name, list(procedures))).fetchone()
    if row is None:
        return None
    held = {str(key): value for key, value in zip(*row[1:], strict=True)} | {"schedule_interval": row[0]}
    return tuple(held.get(setting) for setting in settings)


_SETTINGS = """
    SELECT coalesce(segmentby, ''), coalesce(orderby, '')
    FROM timescaledb_information.hypertable_columnstore_settings WHERE hypertable = to_regclass(%s)
"""
_IS_AGGREGATE = """
    SELECT true FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s
"""
_BACKLOG = """
    SELECT count(*) FILTER (WHERE range_end <= now() - %s),
           count(*) FILTER (WHERE range_end <= now() - %s AND NOT is_compressed)
    FROM timescaledb_information.chunks WHERE hypertable_schema = %s AND hypertable_name = %s
"""
_STRANGERS = """
    SELECT job_id, proc_name FROM timescaledb_information.jobs
    WHERE ((hypertable_schema = %s AND hypertable_name = %s) OR (hypertable_schema, hypertable_name) IN (
        SELECT materialization_hypertable_schema, materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s))
      AND proc_name <> ALL (%s)
"""
# Some releases name the aggregate in the jobs view, others the hypertable that holds it.
_JOB = """
    SELECT schedule_interval, array_agg(key), array_agg(value::interval)
    FROM timescaledb_information.jobs AS job, jsonb_each_text(config)
    WHERE ((hypertable_schema = %s AND hypertable_name = %s) OR (hypertable_schema, hypertable_name) IN (
        SELECT materialization_hypertable_schema, materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s))
      AND proc_name = ANY (%s) AND key IN ('compress_after', 'drop_after', 'start_offset', 'end_offset')
    GROUP BY job_id, schedule_interval
"""
