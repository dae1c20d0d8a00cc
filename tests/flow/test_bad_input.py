"""What a person sees when something is wrong: one sentence, exit code not 0, and what was published stays readable."""

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from fix_servers import S3_NAMES, address
from fix_site import (
    Running,
    Said,
    Site,
    assert_clear_refusal,
    assert_lake_equals_source,
    assert_sales_equal_source,
    event,
    opened,
    password,
)
from psycopg.conninfo import conninfo_to_dict

from ingestion.spec import SOURCES
from shop import retail

COUNT = "select count(*) from marts.fct_sales"


# Before any work


@pytest.mark.parametrize("arguments", [("run",), ("run", "--no-trade")])
def test_a_source_that_is_down(site, arguments):
    said = site.watershed(*arguments, SHOP_DSN=at(site.shop_dsn, port="1"))
    refused(site, said, "the server does not answer", "correct SHOP_DSN")


@pytest.mark.parametrize("arguments", [("run",), ("run", "--no-trade")])
def test_a_wrong_password(site, arguments):
    said = site.watershed(*arguments, SHOP_DSN=at(site.shop_dsn, password="pass-me-not"))
    refused(site, said, "refuse", "password", "correct SHOP_DSN")


def test_a_source_address_that_is_none(site):
    said = site.watershed("run", SHOP_DSN="postgresql://u:pass-me-not@[::1")
    refused(site, said, "SHOP_DSN", "no PostgreSQL address")


def test_a_lake_where_no_folder_can_be(site, tmp_path):
    (tmp_path / "file").touch()
    said = site.watershed("run", "--no-trade", LAKE_ROOT=str(tmp_path / "file"))
    refused(site, said, "is no folder", "set LAKE_ROOT")


def test_a_relative_lake(site):
    refused(site, site.watershed("run", "--no-trade", LAKE_ROOT="lake"), "LAKE_ROOT", "is relative")


def test_a_read_only_lake(site, tmp_path):
    with read_only(tmp_path) as folder:
        said = site.watershed("run", "--no-trade", LAKE_ROOT=str(folder / "lake"))
    refused(site, said, str(folder), "set LAKE_ROOT elsewhere")


def test_a_bucket_that_does_not_exist(site):
    said = site.watershed("run", "--no-trade", LAKE_ROOT="s3://no-such-bucket-here/lake", **s3())
    refused(site, said, "bucket no-such-bucket-here does not exist", "create it")


def test_an_s3_server_that_is_down(site):
    down = {**s3(), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    said = site.watershed("run", "--no-trade", LAKE_ROOT="s3://bucket/lake", **down)
    refused(site, said, "the S3 server does not answer", "correct AWS_ENDPOINT_URL")


def test_refused_keys_of_the_store(site, bucket):
    wrong = {**s3(), "AWS_SECRET_ACCESS_KEY": "pass-me-not"}
    said = site.watershed("run", "--no-trade", LAKE_ROOT=f"s3://{bucket}/lake", **wrong)
    refused(site, said, "refuses these credentials", "AWS_SECRET_ACCESS_KEY")


def test_an_unknown_key_in_a_source_file_is_named_with_the_one_that_was_meant(site, tmp_path):
    (tmp_path / "shop.yml").write_text((SOURCES / "shop.yml").read_text().replace("    load:", "    laod:", 1))
    said = site.watershed("run", "--no-trade", WATERSHED_SOURCES=str(tmp_path))
    refused(site, said, "shop.yml, table customers", 'unknown key "laod"', 'did you mean "load"?')


def test_an_unknown_shop(site):
    said = site.watershed("run", SHOP="grocer")
    refused(site, said, "SHOP", "'grocer' is no shop", "choose one of: retail, completejourney")


def test_a_scale_that_makes_no_shop(tmp_path):
    with opened(tmp_path) as empty:
        said = empty.watershed("run", "--scale", "0")
        assert_clear_refusal(said, "SCALE", "give a number above 0")
        assert empty.source("select count(*) from pg_tables where schemaname = 'public'") == [(0,)]


def test_a_grocer_without_files(tmp_path):
    with opened(tmp_path, shop="completejourney") as empty:
        assert_clear_refusal(empty.watershed("run"), "DATA", "is not set", "give the folder")
        missing = empty.watershed("run", "--data", str(tmp_path / "nowhere"))
        assert_clear_refusal(missing, "DATA", "there is no folder", "name the folder")


@pytest.mark.parametrize("command", [("sql", "-c", "select 1")])
def test_asking_before_anything_was_published(tmp_path, command):
    with opened(tmp_path) as empty:
        assert_clear_refusal(empty.watershed(*command), "no warehouse has been published yet", "run `make run` first")


# Within the run


def test_changed_and_missing_tables_and_columns_are_each_told_in_a_sentence(site):
    with changed(
        site,
        "alter table stores alter opened_date type text",
        "alter table devices rename to gadgets",
        "alter table orders rename status_code to state",
        undo=(
            "alter table stores alter opened_date type date using opened_date::date",
            "alter table gadgets rename to devices",
            "alter table orders rename state to status_code",
        ),
    ):
        said = site.watershed("run", "--no-trade")
    refused(site, said, 'table stores: column "opened_date" was date', "is now text", "change it back")
    refused(site, said, "there is no table public.devices at the source", "create it, or remove it")
    refused(site, said, 'column "status_code" is declared but missing at the source', "bring it back")
    assert len(told(said)) == 3, said.text
    assert "The warehouse stays as it was" in said.out


def test_null_and_duplicate_keys_are_set_aside_and_a_metrics_store_that_is_down_is_told_once(site):
    """Neither keeps the other rows from the warehouse, which is published all the same."""
    version = site.warehouse_version()
    device = "select * from devices where device_id = 1"
    with changed(
        site,
        "alter table devices drop constraint devices_pkey",
        "alter table devices alter device_id drop not null",
        f"insert into devices {device.replace('*', COLUMNS.format('null'))}",
        f"insert into devices {device.replace('*', COLUMNS.format('device_id'))}",
        undo=(
            "delete from devices where device_id is null",
            "delete from devices where ctid in (select max(ctid) from devices group by device_id having count(*) > 1)",
            "alter table devices add primary key (device_id)",
        ),
    ):
        said = site.watershed("run", "--no-trade", METRICS_DSN=at(site.metrics_dsn, port="1"))
    refused(site, said, "shop.devices: 2 rows set aside", "device_id (key) is NULL: 1", "is not unique: 1")
    refused(site, said, "metrics server 127.0.0.1:1", "does not answer", "start the server or check METRICS_DSN")
    assert len(told(said)) == 2, said.text
    assert_lake_equals_source(site)
    assert site.warehouse_version() == version + 1
    assert f"The warehouse was published before that: {site.place}" in said.out


def test_a_value_that_breaks_a_rule_keeps_the_warehouse_of_before(site):
    (order,) = site.source("select max(order_id) from orders")[0]
    check = site.source(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'orders_status_code_check'"
    )[0][0]
    (status,) = site.source(f"select status_code from orders where order_id = {order}")[0]
    before = site.warehouse("select order_id, status_code, _loaded_at from marts.fct_sales order by all")
    touch = "updated_at = clock + interval '{} milliseconds' from shop_clock.state where order_id = " + str(order)
    with changed(
        site,
        "alter table orders drop constraint orders_status_code_check",
        f"update orders set status_code = 'lost', {touch.format(1)}",
        undo=(
            f"update orders set status_code = '{status}', {touch.format(2)}",
            event("corrected", f"order_id = {order}", "clock + interval '2 milliseconds'"),
            f"alter table orders add constraint orders_status_code_check {check}",
        ),
    ):
        said = site.watershed("run", "--no-trade")
    refused(site, said, "shop.orders: 1 of ", "status_code", "(e.g. lost)", "correct the rows at the source")
    assert len(told(said)) == 1, said.text
    assert "The warehouse stays as it was" in said.out
    assert "models built" not in said.out
    assert site.warehouse("select order_id, status_code, _loaded_at from marts.fct_sales order by all") == before


# Killed


def test_a_run_killed_in_the_middle_of_a_load_is_made_good_by_the_next_also_a_day_without_orders(site):
    day = trade(site)
    site.source(event("purged", f"ordered_at::date = '{day}'"))
    site.source(f"delete from orders where ordered_at::date = '{day}'")
    run = site.begin("run", "--no-trade", until="raw/shop/devices")
    run.kill()
    readable(site)
    assert_recovers(site)
    assert site.warehouse(f"{COUNT} where ordered_at::date = '{day}'") == [(0,)]
    assert statuses(site)[:2] == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def test_a_second_run_is_told_who_runs_and_one_killed_in_the_middle_of_the_dbt_build_is_made_good_by_the_next(site):
    trade(site)
    version = site.warehouse_version()
    run = site.begin("run", "--no-trade", until="raw/shop/customers")
    second = site.watershed("run", "--no-trade")
    refused(site, second, f"process {run.process.pid} (since ", "is running already", "wait until it has ended")
    run.until("building and testing")
    wait_for_a_model(site, run)
    run.kill()
    assert site.warehouse_version() == version
    readable(site)
    assert_recovers(site)


# No room


@pytest.mark.parametrize("left", [0, 400_000])
def test_a_full_disk(site, left):
    trade(site)
    version = site.warehouse_version()
    with filled(site.home, left):
        said = site.watershed("run", "--no-trade")
    refused(site, said, "the disk is full", "free some space")
    assert site.warehouse_version() == version


def test_a_disk_that_fills_up_late_in_the_run_after_which_room_is_all_it_takes(site):
    trade(site)
    version = site.warehouse_version()
    with filled(site.home, 9_000_000):
        said = site.watershed("run", "--no-trade")
    refused(site, said, "the disk is full", "free some space")
    assert site.warehouse_version() == version
    assert_recovers(site)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A shop of three weeks, on a small disk, that was run once, well."""
    with small_disk(tmp_path_factory.mktemp("bad")) as home, opened(home) as site:
        until = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=12)
        retail.create(site.shop_dsn, scale=0.05, until=until, days=21, say=lambda _: None)
        said = site.watershed("run")
        assert said.code == 0, said.text
        yield site


COLUMNS = "{}, store_id, device_code, model_name, installed_at, is_active, created_at, updated_at"


def trade(site: Site) -> datetime.date:
    """Let a day of trade happen, and return it."""
    now = datetime.datetime.now(datetime.UTC)
    traded = retail.trade_day(site.shop_dsn, now=now, say=lambda _: None)
    assert traded
    return traded.day


def wait_for_a_model(site: Site, run: Running) -> None:
    """Wait until the build has begun, and then until it is writing a model."""
    build, deadline = site.place / "warehouse" / "build", time.monotonic() + 300
    while json.loads((build / "proven.json").read_text())["passed"] or not (build / "warehouse.duckdb.wal").exists():
        assert run.process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refused(site: Site, said: Said, *words: str) -> None:
    """A clear refusal without any secret, after which the published warehouse is there as before."""
    secrets = (password(site.shop_dsn), "pass-me-not", os.environ.get("AWS_SECRET_ACCESS_KEY") or "pass-me-not")
    assert_clear_refusal(said, *words, secrets=secrets)
    readable(site)


def readable(site: Site) -> None:
    assert site.warehouse(COUNT)[0][0] > 0


def told(said: Said) -> list[str]:
    """The lines that tell of a fault."""
    return [line for line in said.text.splitlines() if line.startswith("failed ")]


def assert_recovers(site: Site) -> None:
    """A further run ends well, and everything equals the source.

    Of what was it says at most that models begin again from the version in force: it depends on how far the build got.
    """
    said = site.watershed("run", "--no-trade")
    assert said.code == 0, said.text
    assert said.err == ""
    assert "Traceback" not in said.out
    warnings = [line for line in said.out.splitlines() if "  !  " in line]
    assert [line for line in warnings if "begins again from version" not in line] == []
    assert_lake_equals_source(site)
    assert_sales_equal_source(site)


def at(dsn: str, **parts: str) -> str:
    """The same URI with another port or password."""
    known = {**conninfo_to_dict(dsn), **parts}
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**known)


def s3() -> dict[str, str]:
    return {name: address(name) for name in S3_NAMES}


def statuses(site: Site) -> list[dg.DagsterRunStatus]:
    with dg.DagsterInstance.from_config(str(site.place / "dagster")) as instance:
        return [run.status for run in instance.get_runs()]


@contextlib.contextmanager
def changed(site: Site, *changes: str, undo: tuple[str, ...]) -> Iterator[None]:
    """The source with something wrong in it."""
    for change in changes:
        site.source(change)
    try:
        yield
    finally:
        for change in undo:
            site.source(change)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A folder into which this user cannot write; root can write everywhere but to a read-only file system."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    with mounted(folder, "size=1m,ro"):
        yield folder


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, small enough to be filled; a plain folder for who may not mount one."""
    if os.geteuid() != 0:
        yield folder
        return
    with mounted(folder, "size=200m"):
        yield folder


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def filled(folder: Path, left: int) -> Iterator[None]:
    """All but `left` bytes of a file system taken."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk that is small enough to be filled")
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - left)
    try:
        yield
    finally:
        ballast.unlink()
