"""What analysts may rely on: only tested builds, never a gap, never a change under their feet."""

import resource
import signal
import subprocess
import sys

import duckdb
import pytest
from warehouse_lakes import at, line, order, small_shop

from lake.errors import BuildFailed, PermanentError
from warehouse import access, build, publish
from warehouse.versions import current

COUNT = "select count(*) from fct_sales"


def test_nothing_published_is_said_with_the_way_out(place):
    with pytest.raises(PermanentError, match="no warehouse has been published yet; run `make run` first"):
        access.connect()
    with pytest.raises(BuildFailed, match="not all models and tests have passed"):
        publish.publish()


@pytest.fixture(scope="module")
def published(built):
    publish.publish()
    return built


def test_a_version_holds_marts_and_metrics_as_tables_readable_without_lake_or_extension(published):
    with duckdb.connect(str(current().path), read_only=True) as connection:
        found = connection.execute("select table_schema, table_name, table_type from information_schema.tables")
        assert {(schema, kind) for schema, _, kind in found.fetchall()} == {
            ("marts", "BASE TABLE"),
            ("metrics", "BASE TABLE"),
        }
        assert connection.execute("select count(*) from metrics.metric_sensor_readings").fetchone() == (6,)
    assert published.layout.pointer.is_symlink()
    assert current().path.stat().st_mode & 0o777 == 0o444


def test_tables_need_no_schema_and_nothing_can_be_written(published):
    assert published.published(COUNT) == [(7,)]
    with access.connect() as connection:
        for statement in ("drop table fct_sales", "create table t as select 1", "delete from dim_store"):
            with pytest.raises(duckdb.Error, match="read-only"):
                connection.execute(statement)


def test_a_long_reader_keeps_the_version_it_began_with(published):
    with access.connect() as connection:
        publish.publish(keep=1)
        publish.publish(keep=1)
        assert connection.execute(COUNT).fetchone() == (7,)


def test_a_failed_test_leaves_the_published_version_as_it_was(rebuilt):
    place = rebuilt
    before = publish.publish()
    place.write(order_items=[*small_shop()["order_items"], line(1, 1, 1, "2.50", at(5))])  # a key twice
    with pytest.raises(BuildFailed, match="fct_sales_sale_key_is_unique"):
        build.run(unit_tests=False)
    with pytest.raises(BuildFailed, match=r"not all models and tests have passed: .*; build again first"):
        publish.publish()
    build.run(select=["dim_store"])  # a part that passes vouches for nothing else
    with pytest.raises(BuildFailed, match="fct_sales"):
        publish.publish()
    assert current() == before
    assert place.published(COUNT) == [(7,)]
    place.write(orders=[order(1, 1, 1, at(5))], order_items=[line(1, 1, 1, "2.50", at(5))])
    build.run(unit_tests=False)
    publish.publish()
    assert place.published(COUNT) == [(1,)]


def test_a_full_disk_leaves_the_version_in_force(rebuilt):
    place = rebuilt
    before = publish.publish()
    fill = (
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nfrom warehouse import publish\npublish.publish()"
    )
    limit = before.bytes // 2
    done = subprocess.run(
        [sys.executable, "-c", fill],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the version in force stays" in done.stderr.strip().splitlines()[-1]
    assert signal.SIGXFSZ.value != -done.returncode
    assert current() == before
    assert list(place.layout.published.glob("*.d*")) == [before.path]
    assert place.published(COUNT) == [(7,)]
