"""The community edition's continuous aggregates and columnstore around a change of the table they stand on.

A column's type cannot change under a continuous aggregate nor under compressed chunks, and a continuous aggregate
cannot change its columns: they are taken away first and put back after, in the same transaction. Buckets whose rows are
no longer there are carried over.
"""

from collections.abc import Iterator, Sequence

from psycopg import sql

from metrics import native
from metrics.change import Change
from metrics.migration import beyond_rows, oldest_bucket
from metrics.rollup import finest_first, rollup_columns
from metrics.server import Connection, listed, one, table
from metrics.shape import Shape, commenting, declared_rollup, found
from metrics.spec import BUCKETS, SCHEMA, Bucket, Hypertable


def around(connection: Connection, hypertable: Hypertable, steps: Sequence[Change]) -> Iterator[Change]:
    """`steps`, and what native policies and continuous aggregates need before and after them."""
    rows = found(connection, hypertable.name)
    is_structural = any(step.is_structural for step in steps) or _is_bound(connection, hypertable)
    standing = _standing(connection, hypertable)
    stale = [name for bucket, name in hypertable.rollup_names.items() if _differs(connection, hypertable, bucket)]
    taken = {bucket: name for bucket, name in standing.items() if is_structural or stale}
    anew = set(taken.values())
    if rows and taken:
        yield from _away(connection, hypertable, rows, taken)
    if rows and is_structural:
        yield _plain(hypertable)
        anew.add(hypertable.name)
    yield from steps
    for name, what, statements in native.steps(connection, hypertable, anew):
        yield Change(f"{SCHEMA}.{name}", what, statements)
    for name, what, removal in native.strangers(connection, hypertable):
        yield Change(f"{SCHEMA}.{name}", what, mend=f"`{removal}` if nobody needs it")
    for bucket in finest_first(hypertable):
        if rows and bucket in taken and (back := _back(connection, hypertable, rows, bucket)):
            yield back
        yield from _comments(connection, hypertable, bucket, hypertable.rollup_names[bucket] in anew)


def _is_bound(connection: Connection, hypertable: Hypertable) -> bool:
    """Whether compressed chunks are grouped or ordered by a column that is no longer declared."""
    segments, order = native.columnstore(connection, hypertable.name) or ("", "")
    bound = [part.split()[0] for part in f"{segments},{order}".split(",") if part]
    return any(column not in hypertable.columns for column in bound)


def _standing(connection: Connection, hypertable: Hypertable) -> dict[Bucket, str]:
    """The continuous aggregates over the hypertable, also those no longer declared; the finest first."""
    names: dict[Bucket, str] = {bucket: f"{hypertable.name}_{bucket}" for bucket in BUCKETS}
    there = {row[0] for row in connection.execute(_AGGREGATES, (SCHEMA, list(names.values()))).fetchall()}
    return {bucket: name for bucket, name in names.items() if name in there}


def _differs(connection: Connection, hypertable: Hypertable, bucket: Bucket) -> bool:
    """Whether the continuous aggregate is there with other columns than declared."""
    have = _columns(connection, hypertable.rollup_names[bucket])
    return bool(have) and have != {column.name: column.type for column in rollup_columns(hypertable)}


def _away(connection: Connection, hypertable: Hypertable, rows: Shape, taken: dict[Bucket, str]) -> Iterator[Change]:
    """Hold what cannot be summed up again, then drop: the coarser ones first, for they stand on the finer ones."""
    for bucket, name in reversed(taken.items()):
        hold = sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT * FROM {} WHERE bucket_at < {}").format(
            sql.Identifier(f"held_{name}"), table(name), oldest_bucket(bucket, rows)
        )
        drop = sql.SQL("DROP MATERIALIZED VIEW {}").format(table(name))
        lost = _lost(connection, hypertable, rows, bucket, name)
        yield Change(f"{SCHEMA}.{name}", "take the continuous aggregate away, to make it anew", (hold, drop), lost)


def _lost(connection: Connection, hypertable: Hypertable, rows: Shape, bucket: Bucket, name: str) -> str:
    if bucket not in hypertable.rollup_names:
        return "it, for it is no longer declared"
    beyond = beyond_rows(connection, name, bucket, rows)
    if _carried(connection, hypertable, rows, name) is None:
        return beyond
    gone = sorted(_columns(connection, name).keys() - {column.name for column in rollup_columns(hypertable)})
    return f"{', '.join(gone)} of {beyond}" if gone and beyond else ""


def _carried(connection: Connection, hypertable: Hypertable, rows: Shape, name: str) -> list[str] | None:
    """The columns that old buckets have in common with new ones; None if they would be other buckets altogether."""
    have, want = _columns(connection, name), {column.name: column.type for column in rollup_columns(hypertable)}
    by = hypertable.rollups.by if hypertable.rollups else ()
    grouped = list(have)[1 : list(have).index("sample_count")] if "sample_count" in have else []
    if rows.time != hypertable.time or set(grouped) != set(by):
        return None
    return [column for column in want if column in have]


def _plain(hypertable: Hypertable) -> Change:
    """The table without compressed chunks, so that its columns may change."""
    name = f"{SCHEMA}.{hypertable.name}"
    statements = (
        sql.SQL("CALL remove_columnstore_policy({}, if_exists => true)").format(name),
        sql.SQL("SELECT remove_retention_policy({}, if_exists => true)").format(name),
        sql.SQL("SELECT count(decompress_chunk(chunk, if_compressed => true)) FROM show_chunks({}) AS chunk").format(
            name
        ),
        sql.SQL("ALTER TABLE {} SET (timescaledb.enable_columnstore = false)").format(table(hypertable.name)),
    )
    return Change(name, "decompress its chunks, whose columns cannot change otherwise", statements)


def _back(connection: Connection, hypertable: Hypertable, rows: Shape, bucket: Bucket) -> Change | None:
    """Put the held buckets into the new continuous aggregate; None if there are none, or not of the same kind."""
    name = hypertable.rollup_names[bucket]
    columns, beyond = _carried(connection, hypertable, rows, name), beyond_rows(connection, name, bucket, rows)
    if columns is None or not beyond:
        return None
    kinds = {column.name: column.type for column in rollup_columns(hypertable)}
    targets = listed(columns)
    values = sql.SQL(", ").join(
        sql.SQL("{}::{}").format(sql.Identifier(column), sql.SQL(kinds[column])) for column in columns
    )
    held = sql.Identifier(f"held_{name}")
    insert = sql.SQL("({}) SELECT {} FROM {}").format(targets, values, held).as_string(connection)
    fill = sql.SQL(_FILL).format(schema=SCHEMA, name=name, insert=insert)
    since = one(connection, sql.SQL("SELECT max(bucket_at) FROM {} WHERE bucket_at < {}").format(
        table(name), oldest_bucket(bucket, rows)
    ))  # fmt: skip
    refresh = sql.SQL("CALL refresh_continuous_aggregate({}, {}, NULL)").format(
        f"{SCHEMA}.{name}", since + BUCKETS[bucket]
    )
    # The server shows materialized buckets only up to the newest that a refresh has summed up from rows.
    has_rows = one(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table(hypertable.name)))
    seen = "" if has_rows else "; they are seen again once new rows are summed up"
    return Change(f"{SCHEMA}.{name}", f"carry over {beyond}{seen}", (fill,), after=(refresh,))


def _comments(connection: Connection, hypertable: Hypertable, bucket: Bucket, is_anew: bool) -> Iterator[Change]:
    want = declared_rollup(hypertable, bucket)
    have = {str(row[0]): row[1] for row in connection.execute(_COMMENTS, (f"{SCHEMA}.{want.name}",)).fetchall()}
    if is_anew or have != {"": want.description, **want.comments}:
        yield Change(f"{SCHEMA}.{want.name}", "write descriptions and units", tuple(commenting(want, "VIEW")))


def _columns(connection: Connection, name: str) -> dict[str, str]:
    return {str(row[0]): str(row[1]) for row in connection.execute(_COLUMNS, (f"{SCHEMA}.{name}",)).fetchall()}


_AGGREGATES = """
    SELECT view_name FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = ANY (%s)
"""
_COLUMNS = """
    SELECT attname, replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz')
    FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_COMMENTS = """
    SELECT coalesce(attname, ''), description FROM pg_description
    LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND attnum > 0
    WHERE classoid = 'pg_class'::regclass AND objoid = to_regclass(%s)
"""
# The table behind a continuous aggregate has its name only once it is there.
_FILL = """
    DO $carry$ DECLARE behind text; BEGIN
        SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) INTO behind
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = {schema} AND view_name = {name};
        EXECUTE 'INSERT INTO ' || behind || {insert};
    END $carry$
"""
