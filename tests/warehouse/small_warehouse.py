"""A published warehouse made by hand: three small tables, for tests that need no build."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from warehouse.layout import layout

TABLES = """
    create schema marts; create schema metrics;
    create table marts.dim_store (store_key varchar not null, store_name varchar, time_zone varchar);
    comment on table marts.dim_store is 'One row per store. And more.';
    comment on column marts.dim_store.time_zone is 'IANA time zone of the store.';
    insert into marts.dim_store values ('1', 'Harbour', 'America/New_York'), ('2', 'Größe „Ginza“', null);
    create table marts.dim_date as select date '2026-01-01' + range::int as date_day from range(31);
    create table marts.fct_sales (order_id bigint, net_amount decimal(12, 2), ordered_at timestamptz);
    insert into marts.fct_sales
        select o, n, timestamptz '2026-01-01 12:00:00.123456+00' + to_days(o::int)
        from (values (1, 2.00), (1, 2.50), (2, 9.99), (3, 1.00), (4, 2.50), (5, 0.00), (6, 2.50)) as t(o, n);
    create table metrics.metric_sensor_readings as select range as device_id from range(3)
"""


def only(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Publish version 1 at `root`, with neither a lake nor a metrics store beside it."""
    monkeypatch.setenv("WAREHOUSE_ROOT", str(root))
    for name in ("LAKE_ROOT", "METRICS_READER_DSN", "WATERSHED_STATE"):
        monkeypatch.delenv(name, raising=False)
    publish(root)
    return root


def publish(root: Path, number: int = 1) -> Path:
    """Publish version `number`: its tables, and `marts.version` with its number. The file is read-only."""
    place = layout(root)
    place.published.mkdir(parents=True, exist_ok=True)
    stamp = (datetime(2026, 11, 1, 6, tzinfo=UTC) + timedelta(hours=number)).strftime("%Y%m%dT%H%M%SZ")
    path = place.published / f"warehouse-{stamp}-{number}.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"{TABLES}; create table marts.version as select {number} as number")
    path.chmod(0o444)
    draft = place.root / "pointer"
    draft.symlink_to(path.relative_to(place.root))
    draft.replace(place.pointer)
    return path
