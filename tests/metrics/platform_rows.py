"""A store in which the platform has worked for some days: rows of every hypertable that a dashboard shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pyarrow as pa
from fix_servers import PROJECT
from metrics_rows import Address
from psycopg.conninfo import conninfo_to_dict

from metrics import readers, spec, upkeep
from metrics.batches import arrow_schema
from metrics.load import load
from metrics.server import connected
from services import databases, record

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAYS = 5


def now() -> datetime:
    """The top of the present hour: the community edition's policies go by the server's clock, not by a made-up one."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def fill(dsn: str, declared: spec.Spec, until: datetime) -> None:
    """Rows of the last days before `until` in every hypertable; roll-ups up to date but for one late row."""
    for name, rows in _rows(until).items():
        _load(dsn, declared[name], rows, until)
    upkeep.run(dsn, declared, until)
    late = [_reading(until - DAY + timedelta(minutes=7), device=1, temperature=35.0)]
    _load(dsn, declared["sensor_readings"], late, until)
    with connected(dsn) as connection, connection.transaction():
        connection.execute(
            "INSERT INTO metrics._cold (hypertable, range_start, range_end, rows, checksum, columns, bytes,"
            " delta_version, copied_at) VALUES ('sensor_readings', %s, %s, 10, 1, '{read_at}', 1000, 0, %s)",
            (until - 40 * DAY, until - 39 * DAY, until),
        )
        # What retention has overlooked; a load would not take it in any more.
        connection.execute(
            "INSERT INTO metrics.server_stats (measured_at, server, kind, is_up) VALUES (%s, 'shop', 'postgres', true)",
            (until - 40 * DAY,),
        )
        connection.execute(
            "INSERT INTO metrics._incidents (cause, first_at, last_at, ended_at, series)"
            " VALUES ('sensor_readings', %s, %s, NULL, '[{}, {}]'), ('sales_hourly', %s, %s, %s, '[{}]')",
            (until - DAY, until - HOUR, until - 3 * DAY, until - 2 * DAY, until - DAY),
        )


@contextmanager
def reading(dsn: str) -> Iterator[str]:
    """The DSN of the role that analysts read the store with."""
    known = record.state(PROJECT)
    here = conninfo_to_dict(dsn)
    admin = known.get("POSTGRES_ADMIN_DSN", "")
    if str(here["port"]) != known.get("POSTGRES_PORT"):
        admin = dsn  # the community server's role may make others
    password = "r-" + "a1b2" * 4
    if admin == dsn:
        databases.ensure_reader(admin, password)
    else:
        from services import postgres

        password = conninfo_to_dict(postgres.reader(PROJECT, "metrics") or "")["password"]  # type: ignore[assignment]
    host = f"{databases.READER}:{quote(password, safe='')}@{here['host']}:{here['port']}"
    reader = urlunsplit(("postgresql", host, f"/{here['dbname']}", "", ""))
    assert urlsplit(reader).username == databases.READER
    with connected(dsn) as connection:
        readers.allow(connection, reader)
    yield Address(reader)


def forbids_writing(reader: str) -> bool:
    with psycopg.connect(reader, options="-c default_transaction_read_only=off") as connection:
        try:
            connection.execute("DELETE FROM metrics.pipeline_runs")
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


def _load(dsn: str, hypertable: spec.Hypertable, rows: list[dict[str, object]], until: datetime) -> None:
    load(dsn, hypertable, pa.Table.from_pylist(rows, schema=arrow_schema(hypertable)).to_reader(), now=until)


def _rows(until: datetime) -> dict[str, list[dict[str, object]]]:
    days = [until - DAY * back - HOUR for back in range(DAYS)]
    hours = [until - HOUR * back for back in range(1, DAYS * 24)]
    return {
        "sensor_readings": [
            _reading(at + timedelta(minutes=20 * part), device, 16 + device + 4 * ((at.hour + part) % 12) / 12)
            for at in hours
            for part in range(2)
            for device in range(1, 5)
        ],
        "sales_hourly": [
            {"sold_at": at, "store_id": store, "order_count": 3 + at.hour % 5, "line_count": 9, "quantity": 14,
             "sales_amount": 100 + at.hour, "discount_amount": 5, "net_amount": 95 + at.hour}
            for at in hours if 8 <= at.hour < 20 for store in (1, 2)
        ],
        "pipeline_runs": [
            {"finished_at": at, "asset": asset, "run_id": f"{at:%d}", "row_count": 100, "bytes": 4096,
             "duration_s": seconds * (1 + at.day % 3), "is_success": not (asset.startswith("w") and at.day % 4 == 0)}
            for at in days
            for asset, seconds in (("raw/shop/orders", 2.0), ("marts/fct_sales", 4.5), ("warehouse/published", 1.5))
        ],
        "lake_tables": [
            {"kept_at": at, "zone": zone, "source": "shop", "table_name": "orders", "files": 12, "files_before": 20,
             "bytes": 5_000_000 + 100_000 * at.day, "bytes_before": 6_000_000, "small_files": 2, "row_count": 900,
             "versions": 40, "removed_files": 8, "removed_bytes": 1_000_000}
            for at in days for zone in ("raw", "processed")
        ],
        "table_freshness": [
            {"measured_at": at, "source": "shop", "table_name": table, "newest_at": at - lag, "loaded_at": at - lag,
             "lag_s": lag.total_seconds(), "allowed_lag_s": allowed, "row_count": 900, "is_fresh": fresh}
            for at in days
            for table, lag, allowed, fresh in (
                ("orders", HOUR, 129_600.0, True), ("items", 2 * DAY, 129_600.0, False), ("stores", 9 * DAY, None, None)
            )
        ],
        "check_results": [
            {"finished_at": at, "asset": asset, "check_name": check, "run_id": f"{at:%d}",
             "is_passed": passed, "severity": severity, "duration_s": 0.2,
             "message": "" if passed else "12 rows differ"}
            for at in days
            for asset, check, severity, passed in (
                ("marts/fct_sales", "unique", "ERROR", True), ("marts/fct_sales", "in_range", "WARN", False),
                ("metrics/rollups", "roll_ups_in_time", "ERROR", True),
                ("metrics/rollups", "no_backlog", "ERROR", at.day % 2 == 0),
            )
        ],
        "server_stats": [
            {"measured_at": at, "server": server, "kind": kind, "is_up": up, "response_s": 0.02, "connections": used,
             "max_connections": 100 if used else None, "queries": 1000 + 50 * number if used else None,
             "query_time_s": 10.0 + number if used else None, "cache_hit_ratio": 0.97 if used else None,
             "disk_bytes": 10**9 + number * 10**6 if up else None, "disk_free_bytes": 5 * 10**10 if up else None,
             "problem": None if up else "does not answer"}
            for number, at in enumerate(reversed(hours))
            for server, kind, up, used in (
                ("shop", "postgres", True, 4), ("metrics", "postgres", True, 7), ("lake", "s3", False, None)
            )
        ],
        **{
            name: [{"measured_at": at, "series": f"{name}_{number}", "value": float(number + at.hour)}
                   for at in hours for number in (1, 2)]
            for name in ("host_metrics", "web_metrics")
        },
    }  # fmt: skip


def _reading(at: datetime, device: int, temperature: float) -> dict[str, object]:
    return {
        "read_at": at,
        "device_id": device,
        "store_id": 1 + device % 2,
        "temperature_celsius": temperature,
        "humidity_percent": 40.0 + device,
        "pressure_hpa": 1013.25,
    }
