"""What the platform writes down of itself: real servers of each kind, a lake's age, the checks of a run."""

import datetime
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pyarrow as pa
import pytest
from fix_servers import PROJECT, address, bucket_on

from ingestion.spec import Source
from lake import commit
from lake.layout import Address, Lake
from lake.parquet import Writer
from metrics import probes, readers, state, watch
from metrics.finding import POLICIES
from metrics.server import connected
from metrics.spec import read
from orchestration import books, servers
from services import postgres

AT = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
ORDERS, STORES = Address("processed", "shop", "orders"), Address("processed", "shop", "stores")


@pytest.fixture
def lake(site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lake:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("WATERSHED_NOW", "2026-01-07T12:00:00+00:00")
    return Lake(str(tmp_path / "lake"))


def load(lake: Lake, address: Address, day: datetime.date | None) -> None:
    writer = Writer(lake, address, "00000001", {"order_id"}, partition=day)
    writer.rows_of(None, [pa.table({"order_id": [1, 2]})])
    schema = pa.schema([("order_id", pa.int64())])
    commit.add(lake, address, schema, writer.written, {"n": 1}, base=None, by_day=day is not None)


def test_each_table_of_the_lake_has_its_age_by_the_platforms_clock(lake):
    load(lake, ORDERS, datetime.date(2026, 1, 5))
    (row,) = books.freshness(AT)
    assert (row.measured_at, row.source, row.table_name, row.row_count) == (AT, "shop", "orders", 2)
    assert row.newest_at == datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
    assert row.lag_s == 60 * 3600
    assert row.allowed_lag_s == 36 * 3600


def test_a_table_that_nobody_promised_fresh_is_neither_fresh_nor_stale(lake):
    load(lake, STORES, None)
    (row,) = books.freshness(AT)
    assert (row.table_name, row.allowed_lag_s, row.is_fresh) == ("stores", None, None)


@dg.asset(check_specs=[dg.AssetCheckSpec("is_whole", asset="some"), dg.AssetCheckSpec("has_key", asset="some")])
def some():
    text = "2 rows differ at postgresql://me:pass-me-not@here/shop"
    return dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(passed=False, check_name="is_whole", description=text, metadata={"duration_s": 0.5}),
            dg.AssetCheckResult(passed=True, check_name="has_key", description="fine"),
        ]
    )


def test_each_check_of_a_run_is_a_row_and_its_message_holds_no_password():
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = dg.materialize([some], instance=instance).run_id
        rows = {row.check_name: row for row in books.checks_of(instance, run_id)}
    broken, good = rows["is_whole"], rows["has_key"]
    assert (broken.asset, broken.run_id, broken.is_passed, broken.severity) == ("some", run_id, False, "ERROR")
    assert (broken.duration_s, broken.message) == (0.5, "2 rows differ at postgresql://me:***@here/shop")
    assert (good.is_passed, good.message) == (True, None)


def test_a_mysql_source_is_asked_as_the_platform_reads_it(site, monkeypatch):
    monkeypatch.setenv("HELPDESK_DSN", address("MYSQL_DSN"))
    tables = [{"name": "tickets", "key": ["id"], "load": "replace"}]
    source = {"name": "helpdesk", "connector": "mysql", "connection": "HELPDESK_DSN", "tables": tables}
    monkeypatch.setattr(servers, "sources", lambda: (Source.model_validate(source),))
    asked = {one.name: one for one in servers.known()}
    (told,) = probes.measure([asked["helpdesk"]], AT)
    assert (told.is_up, told.kind, told.query_source, told.problem) == (True, "mysql", "status", None)
    assert 0 < (told.connections or 0) <= (told.max_connections or 0)
    assert (told.queries or 0) > 0


def test_a_lake_on_s3_tells_its_bytes_and_one_that_is_gone_says_so(site, moto, monkeypatch):
    with bucket_on(moto, monkeypatch) as bucket:
        monkeypatch.setenv("LAKE_ROOT", f"s3://{bucket}/lake")
        load(Lake(f"s3://{bucket}/lake"), STORES, None)
        (asked,) = [one for one in servers.known() if one.name == "lake"]
        (told,) = probes.measure([asked], AT)
        assert (told.is_up, told.kind) == (True, "s3")
        assert (told.disk_bytes or 0) > 500
    (told,) = probes.measure([asked], AT)
    assert not told.is_up
    assert "NoSuchBucket" in (told.problem or "")


def test_a_role_that_may_only_read_the_metrics_can_look_at_everything(site, monkeypatch):
    monkeypatch.delenv("METRICS_DSN")  # else it is taken for a server whose roles are an administrator's
    reader = postgres.reader(PROJECT, urlsplit(site.metrics_dsn).path.strip("/"))
    assert reader, "the servers of the tests are those that `watershed up` starts"
    with connected(site.metrics_dsn) as connection:
        state.apply(connection, read())
        readers.allow(connection, reader)
    found = watch.findings(reader, read(), AT, clock=datetime.datetime.now(datetime.UTC))
    assert [str(one) for one in found if not one.ok] == []
    assert [one.what for one in found if one.check == POLICIES and one.hypertable == "server_stats"] == [
        "upkeep last ran never"
    ]
    figures = probes.postgres(reader)
    assert figures["connections"] > 0
    assert figures["queries"] > 0
