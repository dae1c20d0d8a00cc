"""A hypertable with every measure and all three roll-ups, rows for it, and plain SQL that says what roll-ups hold."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import make_conninfo

from metrics import spec, upkeep
from metrics.batches import arrow_schema
from metrics.load import Loaded, load
from metrics.rollup import finest_first
from metrics.server import connected, edition

NOW = datetime.now(UTC).replace(microsecond=0)  # the community edition's policies go by the server's clock
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
UNITS: dict[spec.Bucket, str] = {"1m": "minute", "1h": "hour", "1d": "day"}
PROBE = spec.Hypertable.model_validate(
    {
        "name": "probe",
        "description": "One row per port and instant.",
        "time": "seen_at",
        "key": ["seen_at", "machine", "port"],
        "segment_by": ["machine"],
        "order_by": ["port", "seen_at desc"],
        "chunk_interval": "1 day",
        "compress_after": "7 days",
        "drop_after": "30 days",
        "columns": {
            "seen_at": {"type": "timestamptz", "description": "Instant."},
            "machine": {"type": "text", "description": "Which machine."},
            "port": {"type": "integer", "description": "Which of its ports."},
            "pull": {"type": "double precision", "unit": "N", "description": "How hard."},
            "hits": {"type": "bigint", "description": "How often."},
            "cost": {"type": "numeric(18,2)", "description": "How dear."},
            "is_up": {"type": "boolean", "description": "Whether it was up."},
        },
        "rollups": {
            "by": ["machine"],
            "measures": {
                "pull": ["avg", "sum", "count", "min", "max", "first", "last", "percentiles"],
                "hits": ["avg", "last", "percentiles"],
                "cost": ["sum", "avg", "max"],
                "is_up": ["count_true", "first"],
            },
            # In an order that is not that of their widths.
            "every": {
                "1d": {"drop_after": "1200 days"},
                "1m": {"drop_after": "30 days", "refresh_lag": "20 minutes"},
                "1h": {"drop_after": "400 days"},
            },
        },
    }
)
DECLARED = spec.Spec(hypertables=(PROBE,))
SCHEMA = arrow_schema(PROBE)
COLUMNS = (
    "sample_count, pull_avg, pull_sum, pull_count, pull_min, pull_max, pull_first, pull_last, hits_avg, hits_last,"
    " cost_sum, cost_avg, cost_max, is_up_count_true, is_up_first, pull_sketch, hits_sketch"
)
PLAIN = """
    SELECT date_trunc('{unit}', seen_at, 'UTC'), machine, count(*), avg(pull), sum(pull), count(pull), min(pull),
        max(pull), (array_agg(pull ORDER BY seen_at, port) FILTER (WHERE pull IS NOT NULL))[1],
        (array_agg(pull ORDER BY seen_at DESC, port DESC) FILTER (WHERE pull IS NOT NULL))[1],
        avg(hits)::double precision, (array_agg(hits ORDER BY seen_at DESC, port DESC))[1], sum(cost),
        avg(cost)::double precision, max(cost), count(*) FILTER (WHERE is_up),
        (array_agg(is_up ORDER BY seen_at, port))[1],
        metrics.sketch(metrics.bin(pull)), metrics.sketch(metrics.bin(hits))
    FROM metrics.probe GROUP BY 1, 2 ORDER BY 1, 2
"""


def rows(first: datetime, count: int, step: timedelta, seed: int = 1) -> pa.Table:
    """Rows of two machines with two ports each, at every step; some values are missing, negative or zero."""
    chance = random.Random(seed)
    values = [
        (
            first + step * tick,
            machine,
            port,
            chance.choice([None, 0.0, -chance.lognormvariate(0, 2), *[chance.lognormvariate(3, 1)] * 7]),
            chance.randrange(1000),
            Decimal(chance.randrange(10**6)).scaleb(-2),
            chance.random() < 0.9,
        )
        for tick in range(count)
        for machine in ("anna", "berta")
        for port in (1, 2)
    ]
    return table(*values)


def table(*values: tuple[object, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in values], SCHEMA)


def put(dsn: str, source: pa.Table, now: datetime = NOW) -> Loaded:
    return load(dsn, PROBE, source.to_reader(), now=now)


def keep(dsn: str, now: datetime = NOW) -> None:
    """What a schedule does: the platform's jobs on the Apache-2 edition, the server's own on the community edition."""
    with connected(dsn) as connection:
        kind = edition(connection)
    if kind == "apache":
        upkeep.run(dsn, DECLARED, now)
        return
    for bucket in finest_first(PROBE):
        run_job(dsn, "policy_refresh_continuous_aggregate", PROBE.rollup_names[bucket])
    for procedure in ("policy_compression", "policy_retention"):
        run_job(dsn, procedure, "probe")
    for name in PROBE.rollup_names.values():
        run_job(dsn, "policy_retention", name)


def run_job(dsn: str, procedure: str, relation: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        ((job,),) = connection.execute(_JOB, (procedure, relation, relation)).fetchall()
        connection.execute("CALL run_job(%s)", (job,))


def asked(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(make_conninfo(dsn, options="-c timezone=UTC")) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def plain(dsn: str, bucket: spec.Bucket) -> list[tuple[object, ...]]:
    return asked(dsn, PLAIN.format(unit=UNITS[bucket]))


def rolled(dsn: str, bucket: spec.Bucket) -> list[tuple[object, ...]]:
    return asked(dsn, f"SELECT bucket_at, machine, {COLUMNS} FROM metrics.probe_{bucket} ORDER BY 1, 2")


def written(dsn: str, bucket: spec.Bucket) -> Iterator[tuple[datetime, str, str]]:
    """Bucket, machine and the transaction that wrote it, of what a roll-up holds as rows of its own."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(_HELD, (f"probe_{bucket}",)).fetchone()
        held = sql.Identifier(*found) if found else sql.Identifier("metrics", f"probe_{bucket}")
        yield from connection.execute(sql.SQL("SELECT bucket_at, machine, xmin::text FROM {}").format(held)).fetchall()


_JOB = """
    SELECT job_id FROM timescaledb_information.jobs
    WHERE proc_name = %s AND (hypertable_name = %s OR hypertable_name IN (
        SELECT materialization_hypertable_name FROM timescaledb_information.continuous_aggregates WHERE view_name = %s))
"""
_HELD = """
    SELECT materialization_hypertable_schema, materialization_hypertable_name
    FROM timescaledb_information.continuous_aggregates WHERE view_schema = 'metrics' AND view_name = %s
"""
