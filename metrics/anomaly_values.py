"""The values that a watch judges, read from the metrics store: what is long past from the roll-up, the rest from rows.

A roll-up may be behind its rows, so it is not asked for what is to be judged now.
"""

import io
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from psycopg import sql
from pyarrow import csv

from metrics import anomaly
from metrics.anomaly_spec import Watch
from metrics.rollup import rollup_columns
from metrics.server import Connection, listed, one, table
from metrics.spec import BUCKETS, Hypertable

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FRESH = timedelta(days=2)  # so far back the rows are asked
_COLUMNS = {"series": pa.string(), "name": pa.string(), "micros": pa.int64(), "value": pa.float64()}


def horizon(connection: Connection, hypertable: Hypertable, watch: Watch, now: datetime) -> datetime | None:
    """Up to where values can be judged, None without any row: a bucket that may still fill is not.

    Goes by the newest row, not by the clock alone: where nothing has come in nothing can be said.
    """
    query = sql.SQL("SELECT max({0}) FROM {1} WHERE {0} <= %s").format(
        sql.Identifier(hypertable.time), table(hypertable.name)
    )
    newest = one(connection, query, (now,))
    if newest is None or watch.every is None:
        return None if newest is None else now
    at: datetime = newest
    return at - (at - _EPOCH) % BUCKETS[watch.every]


def values(connection: Connection, hypertable: Hypertable, watch: Watch, since: datetime, until: datetime) -> pa.Table:
    """The watch's values from `since` up to, not including, `until`, as `anomaly.VALUES`; series as a JSON object."""
    query = _of_buckets(hypertable, watch, since, until) if watch.every else _of_rows(hypertable, watch, since, until)
    pairs = sql.SQL(", ").join(
        sql.SQL("({}, {}::double precision)").format(name, sql.Identifier(name)) for name in watch.values
    )
    names = sql.SQL(", ").join(sql.SQL("{}, {}").format(name, sql.Identifier(name)) for name in watch.by(hypertable))
    copy_out = sql.SQL(
        "COPY (SELECT jsonb_build_object({names})::text, name, (extract(epoch FROM measured_at) * 1000000)::bigint,"
        " value FROM ({query}) AS taken CROSS JOIN LATERAL (VALUES {pairs}) AS told (name, value)) TO STDOUT"
        " (FORMAT csv)"
    ).format(names=names, query=query, pairs=pairs)
    sink = io.BytesIO()
    with connection.cursor().copy(copy_out) as copy:
        for block in copy:
            sink.write(block)
    if not sink.tell():
        return anomaly.VALUES.empty_table()
    reading = csv.ReadOptions(column_names=list(_COLUMNS))
    found = csv.read_csv(
        io.BytesIO(sink.getvalue()), read_options=reading, convert_options=csv.ConvertOptions(column_types=_COLUMNS)
    )
    instants = found["micros"].cast(anomaly.VALUES.field("measured_at").type)
    whole = pa.table([found["series"], found["name"], instants, found["value"]], schema=anomaly.VALUES)
    return anomaly.filled(whole, watch, until)


def _of_rows(hypertable: Hypertable, watch: Watch, since: datetime, until: datetime) -> sql.Composed:
    return sql.SQL(
        "SELECT {columns}, {time} AS measured_at FROM {table} WHERE {time} >= {since} AND {time} < {until}"
    ).format(
        columns=listed((*watch.by(hypertable), *watch.values)),
        time=sql.Identifier(hypertable.time),
        table=table(hypertable.name),
        since=since,
        until=until,
    )


def _of_buckets(hypertable: Hypertable, watch: Watch, since: datetime, until: datetime) -> sql.Composed:
    if watch.every is None:
        raise ValueError(f"the watch of {hypertable.name} is of rows")
    fresh = until - _FRESH
    fresh -= (fresh - _EPOCH) % timedelta(days=1)
    by, width = watch.by(hypertable), BUCKETS[watch.every]
    found = {column.name: column.of_rows for column in rollup_columns(hypertable)}
    return sql.SQL(
        "SELECT {columns}, bucket_at AS measured_at FROM {rollup} WHERE bucket_at >= {since} AND bucket_at < {fresh}"
        " UNION ALL SELECT {taken}, time_bucket({width}, {time}) FROM {rows}"
        " WHERE {time} >= {start} AND {time} < {until} GROUP BY {groups}"
    ).format(
        columns=listed((*by, *watch.values)),
        rollup=table(hypertable.rollup_names[watch.every]),
        since=since,
        fresh=fresh,
        taken=sql.SQL(", ").join([*map(sql.Identifier, by), *(found[name] for name in watch.values)]),
        width=width,
        time=sql.Identifier(hypertable.time),
        rows=table(hypertable.name),
        start=max(since, fresh),
        until=until,
        groups=sql.SQL(", ").join(map(sql.Literal, [*range(1, len(by) + 1), len(by) + len(watch.values) + 1])),
    )
