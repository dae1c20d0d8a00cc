"""A load that is cut anywhere leaves nothing half done, says so in a sentence, and is exact when it is run again."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from cut_line import CutLine
from metrics_rows import NOW, Readings, all_rows, fresh_database

from lake import quarantine as zone
from lake.errors import ContractBroken, TransientError
from lake.layout import Lake
from metrics import quarantine, spec, state, upkeep
from metrics.load import load
from metrics.server import connected
from services import postgres, record

START = NOW - timedelta(days=5)
SEED = int(os.environ.get("METRICS_FAULTS_SEED", "7"))


def plain(table: pa.Table) -> list[tuple[object, ...]]:
    return sorted(tuple(row.values()) for row in table.to_pylist())


def rollups_are_exact(dsn: str, declared: spec.Spec) -> bool:
    """Whether, after upkeep, the hourly roll-up says what the rows say."""
    upkeep.run(dsn, declared, NOW)
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM metrics.sensor_readings_1h AS rolled FULL JOIN (SELECT time_bucket('1 hour', read_at)"
            " AS bucket_at, device_id, store_id, count(temperature_celsius) AS number FROM metrics.sensor_readings"
            " GROUP BY 1, 2, 3) AS plain USING (bucket_at, device_id, store_id)"
            " WHERE temperature_celsius_count IS DISTINCT FROM number"
        ).fetchone()
    return row == (0,)


@pytest.mark.parametrize("sent", [700, 20_000, 3_000_000])
@pytest.mark.parametrize("way", ["straight", "upsert"])
def test_a_connection_cut_in_the_middle_of_copy_loads_nothing_and_is_mended_by_a_rerun(
    store: str, readings: Readings, sent: int, way: str
) -> None:
    table = readings.table(START, 22_000, step=timedelta(seconds=15))
    if way == "upsert":
        load(store, readings.hypertable, readings.table(START, 300, shift=1.0).to_reader(), now=NOW)
    held = all_rows(store, "sensor_readings")
    with CutLine(store, sent) as line, pytest.raises(TransientError, match=r"^metrics server 127\.0\.0\.1:\d+/"):
        load(line.dsn, readings.hypertable, table.to_reader(), now=NOW)
    assert all_rows(store, "sensor_readings") == held
    load(store, readings.hypertable, table.to_reader(), now=NOW)
    keys = set(zip(table["read_at"].to_pylist(), table["device_id"].to_pylist(), strict=True))
    assert all_rows(store, "sensor_readings") == sorted(plain(table) + [row for row in held if row[:2] not in keys])


LOADER = """
    import sys
    from datetime import datetime, timedelta
    sys.path.insert(0, sys.argv[1])
    from metrics_rows import NOW, Readings
    from metrics import spec, upkeep
    from metrics.load import load
    import pyarrow as pa

    dsn, work, number = sys.argv[2], sys.argv[3], int(sys.argv[4])
    declared = spec.read()
    readings = Readings(declared["sensor_readings"])
    print("ready", flush=True)
    if work == "keep":
        while True:
            upkeep.run(dsn, declared, NOW)
    table = readings.table(NOW - timedelta(days=5), 8000, step=timedelta(minutes=1), shift=float(number))
    order = pa.array(range(table.num_rows)[:: -1 if number % 2 else 1])
    for _ in range(int(sys.argv[5])):
        load(dsn, readings.hypertable, table.take(order).to_reader(max_chunksize=3000), now=NOW)
"""


def started(store: str, work: str, number: int = 0, times: int = 1) -> "subprocess.Popen[str]":
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", textwrap.dedent(LOADER), here, store, work, str(number), str(times)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_killed_loader_leaves_all_or_nothing_and_a_rerun_is_exact(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    chance, seen = random.Random(SEED), set[int]()
    for _ in range(3):
        process = started(store, "load", times=50)
        time.sleep(chance.uniform(0.02, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen.add(len(all_rows(store, "sensor_readings")))
        assert seen <= {0, 24_000}, f"METRICS_FAULTS_SEED={SEED}"
    table = readings.table(START, 8000, step=timedelta(minutes=1))
    load(store, readings.hypertable, table.to_reader(), now=NOW)
    assert all_rows(store, "sensor_readings") == plain(table)
    assert rollups_are_exact(store, declared)


def test_processes_that_load_the_same_keys_in_different_order_beside_upkeep_do_not_deadlock(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    keeper = started(store, "keep")
    loaders = [started(store, "load", number, times=2) for number in range(3)]
    said = [loader.communicate(timeout=300)[1] for loader in loaders]
    assert [loader.returncode for loader in loaders] == [0, 0, 0], said
    assert keeper.poll() is None, keeper.communicate()
    keeper.kill()
    keeper.communicate()
    table = readings.table(START, 8000, step=timedelta(minutes=1))
    base = [row[3] for row in plain(table)]
    shifts = {
        round(float(str(row[3])) - float(str(was)), 6)
        for row, was in zip(all_rows(store, "sensor_readings"), base, strict=True)
    }
    assert len(shifts) == 1  # one load's rows as a whole
    assert rollups_are_exact(store, declared)


def test_late_and_unordered_rows_end_in_the_roll_ups_as_if_they_had_come_in_time(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    table = readings.table(START, 1000)
    chance = random.Random(SEED)
    parts = [table.slice(start, 150) for start in range(0, table.num_rows, 150)]
    chance.shuffle(parts)
    for part in parts:
        places = list(range(part.num_rows))
        chance.shuffle(places)
        load(store, readings.hypertable, part.take(pa.array(places)).to_reader(max_chunksize=40), now=NOW)
        if chance.random() < 0.3:
            upkeep.run(store, declared, NOW)
    assert all_rows(store, "sensor_readings") == plain(table)
    assert rollups_are_exact(store, declared)


def test_one_load_of_new_late_and_doubled_rows_ends_as_its_last_rows_say(store: str, readings: Readings) -> None:
    """All ways in one load: straight in, by staging beside it, and from the first doubled key on by staging alone."""
    load(store, readings.hypertable, readings.table(START, 100).to_reader(), now=NOW)
    late = readings.table(START + timedelta(minutes=5), 50, shift=2.0)
    newer, again = (
        readings.table(START + timedelta(days=1), 100),
        readings.table(START + timedelta(days=1), 60, shift=3.0),
    )
    parts = [newer, late, again, readings.table(START + timedelta(days=2), 10)]
    load(store, readings.hypertable, pa.concat_tables(parts).to_reader(max_chunksize=170), now=NOW)
    expected = {row[:2]: row for part in (readings.table(START, 100), *parts) for row in plain(part)}
    assert all_rows(store, "sensor_readings") == sorted(expected.values())


def test_rows_that_break_the_declaration_are_set_aside_once_with_the_reason(
    store: str, readings: Readings, tmp_path: Path
) -> None:
    limited = _limited(readings.hypertable)
    infinity, far = float("inf"), NOW + timedelta(days=400)
    table = readings.rows(
        (NOW, 1, 1, 20.0, 50.0, 1000.0), (NOW, 2, 1, 86.0, 50.0, 1000.0), (NOW, 3, 1, 85.0, None, -40.0),
        (NOW, None, 1, 1.0, 1.0, 1.0), (far, 4, 1, 1.0, 1.0, 1.0), (NOW, 5, 1, infinity, 1.0, 1.0),
        (None, 6, 1, 1.0, 1.0, 1.0),
    )  # fmt: skip
    lake = Lake(str(tmp_path / "lake"))
    for attempt in range(2):
        done = load(store, limited, table.to_reader(max_chunksize=3), now=NOW + timedelta(hours=attempt), lake=lake)
        assert (done.rows, done.set_aside) == (2, 5)
        assert done.reasons == {
            "temperature_celsius is outside of -40 to 85 °C": 1, "device_id is NULL, but part of the key": 1,
            "read_at is more than a year ahead of the clock": 1, "temperature_celsius is infinite": 1,
            "read_at is NULL, but part of the key": 1,
        }  # fmt: skip
    held = zone.summary(lake, quarantine.address("sensor_readings"))
    assert {one.reason: one.rows for one in held} == done.reasons
    assert [row[1] for row in all_rows(store, "sensor_readings")] == [1, 3]
    with pytest.raises(ContractBroken, match=r"row 2: temperature_celsius is outside of -40 to 85 °C; nothing was"):
        load(store, limited, table.to_reader(), now=NOW)


def test_a_load_cut_after_its_quarantine_sets_nothing_aside_twice(
    store: str, readings: Readings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = readings.rows((NOW, 1, 1, 20.0, 50.0, 1000.0), (None, 2, 1, 20.0, 50.0, 1000.0))
    lake, keep = Lake(str(tmp_path / "lake")), quarantine.Aside.keep

    def cut(self: quarantine.Aside, now: object) -> None:
        keep(self, NOW)
        with psycopg.connect(store, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'watershed'"
            )

    with monkeypatch.context() as patched:
        patched.setattr(quarantine.Aside, "keep", cut)
        with pytest.raises(TransientError):
            load(store, readings.hypertable, table.to_reader(), now=NOW, lake=lake)
    assert all_rows(store, "sensor_readings") == []
    load(store, readings.hypertable, table.to_reader(), now=NOW, lake=lake)
    assert len(all_rows(store, "sensor_readings")) == 1
    assert [one.rows for one in zone.summary(lake, quarantine.address("sensor_readings"))] == [1]


def _limited(hypertable: spec.Hypertable) -> spec.Hypertable:
    column = hypertable.columns["temperature_celsius"].model_copy(update={"range": (-40.0, 85.0)})
    return hypertable.model_copy(update={"columns": {**hypertable.columns, "temperature_celsius": column}})


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A home with a server of its own, whose files lie on a small file system, and what brings that up."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    home = tmp_path_factory.mktemp("home")
    tree = Path(__file__).parents[2] / ".services" / "root"
    given = {name: os.environ.pop(name) for name in ("SHOP_DSN", "METRICS_DSN") if name in os.environ}
    disk = _disk(home)
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(disk)], check=True)

    def up() -> None:
        postgres.up(home, lambda _: None, tree)

    try:
        up()
        yield home, up
    finally:
        postgres.down(home, lambda _: None)
        subprocess.run(["umount", "-l", str(disk)], check=True)
        os.environ.update(given)


def _disk(home: Path) -> Path:
    return record.folder(home) / "pg"


@pytest.fixture
def own_store(own_server: tuple[Path, Callable[[], None]], declared: spec.Spec) -> Iterator[str]:
    for dsn in fresh_database(record.state(own_server[0])["POSTGRES_ADMIN_DSN"]):
        with connected(dsn) as connection:
            state.apply(connection, declared)
        yield dsn


@contextmanager
def full(home: Path, dsn: str) -> Iterator[None]:
    """The server's disk but for a few MB; segments for its log of transactions are there already."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 60000)")
        connection.execute("DROP TABLE ballast")
        connection.execute("CHECKPOINT")
    free = os.statvfs(_disk(home))
    ballast = _disk(home) / "ballast"
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 6_000_000))
    yield
    ballast.unlink()


def test_a_full_disk_on_the_server_is_one_sentence_and_a_rerun_after_freeing_it_is_exact(
    own_server: tuple[Path, Callable[[], None]], own_store: str, readings: Readings
) -> None:
    first = readings.table(START, 2000)
    load(own_store, readings.hypertable, first.to_reader(), now=NOW)
    table = readings.table(START, 70_000, step=timedelta(seconds=3))
    with full(own_server[0], own_store):
        with pytest.raises(TransientError, match="No space left on device; free disk, memory or connections on the"):
            load(own_store, readings.hypertable, table.to_reader(), now=NOW)
        assert all_rows(own_store, "sensor_readings") == plain(first)
    load(own_store, readings.hypertable, table.to_reader(), now=NOW)
    kept = {row[:2]: row for part in (first, table) for row in plain(part)}
    assert all_rows(own_store, "sensor_readings") == sorted(kept.values())


def test_a_server_restarted_in_the_middle_of_a_load_takes_it_back(
    own_server: tuple[Path, Callable[[], None]], own_store: str, readings: Readings
) -> None:
    table = readings.table(START, 20_000, step=timedelta(seconds=15))

    def batches() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(table.to_batches(max_chunksize=10_000)):
            if number == 4:
                postgres.down(own_server[0], lambda _: None)
                own_server[1]()
            yield batch

    rows = pa.RecordBatchReader.from_batches(table.schema, batches())
    with pytest.raises(TransientError, match="metrics server 127"):
        load(own_store, readings.hypertable, rows, now=NOW)
    assert all_rows(own_store, "sensor_readings") == []
    load(own_store, readings.hypertable, table.to_reader(), now=NOW)
    assert all_rows(own_store, "sensor_readings") == plain(table)
