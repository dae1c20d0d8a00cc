"""What analysts may rely on: only tested builds, never a gap, never a change under their feet."""

import resource
import signal
import subprocess
import sys
import threading

import duckdb
import pytest
from warehouse_lakes import at, line, order, small_shop

from lake.errors import BuildFailed, PermanentError
from warehouse import access, build, publish
from warehouse.versions import current, versions

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


def test_the_last_three_versions_stay_and_the_one_before_can_be_put_back(published):
    made = [publish.publish() for _ in range(4)]
    assert [version.number for version in versions()] == [version.number for version in made[1:]]
    assert current() == made[-1]
    assert publish.rollback() == made[-2] == current()
    publish.rollback()
    with pytest.raises(PermanentError, match="there is no older version to go back to"):
        publish.rollback()
    assert publish.publish().number == made[-1].number + 1


def test_readers_see_no_gap_while_versions_come_and_go(published):
    failures, answers, stop = [], [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                answers.extend(published.published(COUNT))
            except Exception as error:
                failures.append(error)

    other = (
        "import sys\nfrom warehouse import access\nwhile sys.stdin.readable():\n"
        f" print(access.connect().execute('{COUNT}').fetchone()[0], flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", other], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(15):
        publish.publish(keep=1)
    stop.set()
    thread.join()
    assert process.poll() is None, process.stderr.read()
    process.kill()
    seen = process.communicate()[0].split()
    assert not failures
    assert set(answers) == {(7,)}
    assert len(seen) > 3
    assert set(seen) == {"7"}


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
    assert [path.name for path in place.layout.published.iterdir()] == [before.path.name]
    assert place.published(COUNT) == [(7,)]
