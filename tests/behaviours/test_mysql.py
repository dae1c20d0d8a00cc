"""The connector for MySQL and MariaDB, on a real server: what it reads, in which snapshot, and what it says."""

import datetime
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import fix_servers
import pyarrow as pa
import pytest
from trial_source import SALT, VARIABLE

from ingestion.connectors import Chunk, Window
from ingestion.connectors.mysql import MySQL
from ingestion.connectors.mysql_session import Server
from ingestion.spec import Source, Table
from lake.errors import AccessDenied, PermanentError, PlatformError, SchemaDrift, SourceUnavailable, SpecError

UTC = datetime.UTC
Run = Callable[..., list[Any]]


@pytest.fixture
def run(mysql_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs one statement in the empty database and answers its rows."""
    monkeypatch.setenv(VARIABLE, mysql_dsn)
    with fix_servers.mysql(mysql_dsn) as connection:

        def statement(text: str, values: Any = None) -> list[Any]:
            with connection.cursor() as cursor:
                cursor.execute(text, values)
                return list(cursor.fetchall())

        yield statement


@contextmanager
def opened(table: Table, **more: Any) -> Iterator[MySQL]:
    """A connector for one declared table."""
    connector = MySQL(Source(name="trial", connector="mysql", connection=VARIABLE, tables=[table], **more))
    try:
        yield connector
    finally:
        connector.close()


def declared(**keys: Any) -> Table:
    return Table(**{"name": "t", "key": ["id"], "load": "replace"} | keys)


def all_rows(connector: MySQL, table: Table, window: Window | None = None, rows: int = 100) -> list[dict[str, Any]]:
    """What reading all chunks of a window answers."""
    window, shape = window or Window(), connector.shape(table)
    found = []
    for chunk in connector.chunks(table, shape, window, rows):
        for batch in connector.read(table, shape, window, chunk):
            found += batch.to_pylist()
    return found


@contextmanager
def limited(rights: str) -> Iterator[str]:
    """The address of a user who has only `rights` (`{}`: the trial's database)."""
    dsn, user, password = os.environ[VARIABLE], f"u{secrets.token_hex(5)}", secrets.token_urlsafe(12)
    parts = urlsplit(dsn)
    name = parts.path.strip("/")
    pattern = name.replace("_", r"\_")
    with fix_servers.mysql(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"create user {user} identified by %s", [password])
        try:
            for right in filter(None, rights.split(";")):
                place = f"`{pattern if '{}.*' in right else name}`"
                cursor.execute(f"grant {right.format(place)} to {user}")
            yield f"mysql://{user}:{password}@{parts.hostname}:{parts.port}{parts.path}"
        finally:
            cursor.execute(f"drop user {user}")


def numbers(run: Run, count: int) -> None:
    run("create table t (id int primary key, v int not null)")
    run(f"insert into t select seq, seq * 2 from seq_1_to_{count}")


def in_thread(act: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


# --- shape


def test_columns_come_in_the_servers_order_generated_and_invisible_ones_too(run: Run) -> None:
    run(
        """create table t (b int, id bigint unsigned primary key, total int as (b * 2) stored, twice int as (b + b)
        virtual, hidden int invisible)"""
    )
    run("insert into t (b, id, hidden) values (4, 1, 7)")
    with opened(declared()) as connector:
        shape = connector.shape(declared())
        assert shape.schema.names == ["b", "id", "total", "twice", "hidden"]
        assert shape.schema.field("id").type == pa.decimal128(20, 0)
        assert shape.native_types["id"].endswith("unsigned")
        assert all_rows(connector, declared()) == [{"b": 4, "id": 1, "total": 8, "twice": 8, "hidden": 7}]


def test_names_with_quotes_spaces_keywords_and_unicode_are_read(run: Run) -> None:
    odd = ["select", "a b", "Ünïcödé ☃", "'q' \"d\"", "back`tick", "dot.ted", "{brace}", "per%cent", "semi;--"]
    columns = ", ".join("`" + name.replace("`", "``") + "` int" for name in odd)
    run(f"create table t (id int primary key, {columns})")
    run(f"insert into t values (1{', 5' * len(odd)})".replace("%", "%%"))
    with opened(declared()) as connector:
        assert all_rows(connector, declared()) == [{"id": 1} | dict.fromkeys(odd, 5)]


@pytest.mark.parametrize(
    ("keys", "is_enforced"),
    [
        ("primary key (id)", True),
        ("unique (id)", False),
        ("key (id)", False),
        ("unique (id, v)", False),
        ("primary key (v), unique (id)", False),
    ],
)
def test_a_key_is_enforced_by_a_unique_index_without_nulls(run: Run, keys: str, is_enforced: bool) -> None:
    run(f"create table t (id int, v int, {keys})")
    with opened(declared()) as connector:
        assert connector.shape(declared()).key_is_enforced is is_enforced


def test_a_cursor_that_may_be_null_is_told_of(run: Run) -> None:
    run("create table t (id int primary key, a datetime, b datetime not null)")
    for column, may_be_null in (("a", True), ("b", False)):
        with opened(table := declared(cursor=column)) as connector:
            assert connector.shape(table).cursor_may_be_null is may_be_null


def test_a_missing_table_and_a_missing_column_are_drift(run: Run) -> None:
    with opened(declared()) as connector, pytest.raises(SchemaDrift, match=r"there is no table t_\w+\.t at the source"):
        connector.shape(declared())
    run("create table t (id int primary key)")
    with opened(declared()) as connector, pytest.raises(SchemaDrift, match='column "gone" is declared but missing'):
        connector.shape(declared(drop=["gone"]))


def test_a_column_with_the_name_of_a_platform_column_is_refused(run: Run) -> None:
    run("create table t (id int primary key, _misfit int)")
    with opened(declared()) as connector, pytest.raises(SchemaDrift, match=r"_misfit.* a column of the lake's own"):
        connector.shape(declared())


def test_a_cursor_that_is_no_time_is_refused(run: Run) -> None:
    run("create table t (id int primary key)")
    table = declared(cursor="id")
    with (
        opened(table) as connector,
        pytest.raises(SpecError, match=r"cursor column .id. is int.*datetime or timestamp"),
    ):
        connector.shape(table)


# --- chunks and pages


@pytest.mark.parametrize(
    "table",
    [
        "create table t (id int primary key, v int) select seq id, seq v from seq_1_to_5000",
        "create table t (id bigint unsigned primary key, v int) "
        "select seq + 18446744073709540000 id, seq v from seq_1_to_5000",
        "create table t (id int primary key, v int) select seq * seq - 9000000.0 id, seq v from seq_1_to_5000",
        "create table t (id varchar(20) primary key, v int) select concat('k', seq) id, seq v from seq_1_to_5000",
        "create table t (id varchar(20) character set latin1 primary key, v int) "
        "select concat('é', seq) id, seq v from seq_1_to_5000",
        "create table t (id binary(16) primary key, v int) select unhex(md5(seq)) id, seq v from seq_1_to_5000",
        "create table t (id uuid primary key, v int) select uuid() id, seq v from seq_1_to_5000",
        "create table t (id decimal(30, 5) primary key, v int) select seq / 7 id, seq v from seq_1_to_5000",
        "create table t (id datetime(6) primary key, v int) "
        "select '2024-01-01' + interval seq * 0.000001 second id, seq v from seq_1_to_5000",
        "create table t (id int, v int, primary key (id, v)) select seq div 1000 id, seq v from seq_1_to_5000",
        "create table t (id int, v int, primary key (id, v)) select 1 id, seq v from seq_1_to_5000",
        "create table t (id varchar(9), v int, primary key (id, v)) select 'same' id, seq v from seq_1_to_5000",
        "create table t (id int, w int, v int, primary key (id, w, v)) "
        "select seq mod 3 id, seq mod 5 w, seq v from seq_1_to_5000",
        "create table t (id int, v int) select seq id, seq v from seq_1_to_5000",
        "create table t (id int, v int, unique (id)) select nullif(seq, 1) id, seq v from seq_1_to_5000",
        "create table t (id double primary key, v int) select seq / 7 id, seq v from seq_1_to_5000",
        "create table t (id enum('b', 'a'), v int, primary key (id, v)) select 'a' id, seq v from seq_1_to_5000",
    ],
    ids=lambda text: text.partition("(")[2].partition(" select")[0],
)
@pytest.mark.parametrize("page", [333, 7])
def test_all_chunks_together_hold_each_row_once(
    run: Run, table: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(table)
    run("analyze table t")
    monkeypatch.setattr("ingestion.connectors.mysql_chunks.Grain.page", page)
    if page == 7:
        run("delete from t where v > 500")
    with opened(declared()) as connector:
        connector.begin()
        found = all_rows(connector, declared(), rows=700)
    assert sorted(row["v"] for row in found) == [row[0] for row in run("select v from t order by v")]


def test_a_table_is_cut_where_its_numbers_are_dense(run: Run) -> None:
    run("create table t (id bigint primary key)")
    run("insert into t select seq from seq_1_to_20000 union all select 1000000000000 + seq from seq_1_to_20000")
    run("analyze table t")
    with opened(declared()) as connector:
        shape = connector.shape(declared())
        chunks = connector.chunks(declared(), shape, Window(), 10_000)
        sizes = [
            sum(batch.num_rows for batch in connector.read(declared(), shape, Window(), chunk)) for chunk in chunks
        ]
    assert sum(sizes) == 40_000
    assert max(sizes) <= 20_000


def test_an_empty_table_has_a_shape_and_no_rows(run: Run) -> None:
    run("create table t (id int primary key)")
    table = declared(partition="day(d)")
    run("alter table t add d date")
    with opened(table) as connector:
        connector.begin()
        assert all_rows(connector, table) == []
        assert list(connector.keys(table, connector.shape(table))) in (
            [],
            [*connector.keys(table, connector.shape(table))],
        )
        assert connector.extent(table) is None


def test_rows_of_five_megabytes_are_read_with_bounded_memory(run: Run) -> None:
    run("create table t (id int primary key, v longblob)")
    for number in range(40):
        run("insert into t values (%s, repeat('x', 5000000))", [number])
    run("analyze table t")
    with opened(declared()) as connector:
        connector.begin()
        shape = connector.shape(declared())
        chunks = connector.chunks(declared(), shape, Window(), 1000)
        widest = rows = 0
        for chunk in chunks:
            for batch in connector.read(declared(), shape, Window(), chunk):
                widest, rows = max(widest, batch.nbytes), rows + batch.num_rows
    assert rows == 40
    assert widest < 64 << 20


# --- windows


def test_a_window_behind_a_cursor_holds_what_is_above_it_and_rows_without_one(run: Run) -> None:
    run("create table t (id int primary key, at timestamp(6) null)")
    run("insert into t values (1, '2024-01-01 00:00:00'), (2, '2024-01-01 00:00:00.000001')")
    run("insert into t values (3, null), (4, '2024-06-01')")
    table = declared(cursor="at")
    with opened(table) as connector:
        after = Window(after="2024-01-01T00:00:00+00:00")
        assert {row["id"] for row in all_rows(connector, table, after)} == {2, 3, 4}
        since = Window(since="2024-01-01T02:00:00.000001+02:00")
        assert {row["id"] for row in all_rows(connector, table, since)} == {2, 3, 4}


@pytest.mark.parametrize("kind", ["date", "datetime(6)", "timestamp(6) null"])
def test_a_window_of_days_holds_these_days_and_no_other(run: Run, kind: str) -> None:
    run(f"create table t (id int primary key, at {kind})")
    run("insert into t values (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-03'), (4, '2024-01-04'), (5, null)")
    table = declared(partition="day(at)")
    with opened(table) as connector:
        days = Window(first=datetime.date(2024, 1, 2), last=datetime.date(2024, 1, 3))
        assert {row["id"] for row in all_rows(connector, table, days)} == {2, 3}
        assert connector.extent(table) == (datetime.date(2024, 1, 1), datetime.date(2024, 1, 4))


def test_the_extent_of_a_table_with_dates_that_are_none_is_that_of_days_beside_them(run: Run) -> None:
    run("set sql_mode = 'ALLOW_INVALID_DATES'")
    run("create table t (id int primary key, at date)")
    run("insert into t values (1, '0000-00-00'), (2, '2024-02-30'), (3, '2024-00-00'), (4, null)")
    table = declared(partition="day(at)")
    with opened(table) as connector:
        assert connector.extent(table) == (datetime.date(2024, 1, 1), datetime.date(2024, 2, 28))


def test_the_keys_have_the_types_of_the_shape(run: Run) -> None:
    run("create table t (id bigint unsigned, at datetime(6), v text, primary key (id, at))")
    run("insert into t values (18446744073709551615, '2024-01-01 10:00:00.5', 'x')")
    table = declared(key=["at", "id"])
    with opened(table) as connector:
        connector.begin()
        (batch,) = connector.keys(table, shape := connector.shape(table))
        assert batch.schema == pa.schema([shape.schema.field("at"), shape.schema.field("id")])
        assert batch.to_pylist() == [
            {"at": datetime.datetime.fromisoformat("2024-01-01 10:00:00.5"), "id": 18446744073709551615}
        ]


# --- snapshot


WAYS = {
    "select on {}.*; process on *.*": "position in the binary log",
    "select on {}.*": "position in the binary log",
}


def changing(run: Run, stop: threading.Event, pause_s: float) -> threading.Thread:
    """Transactions that move an amount between two accounts far apart, so that the sum stays."""
    dsn = os.environ[VARIABLE]

    def writer() -> None:
        with fix_servers.mysql(dsn) as connection, connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                cursor.execute("start transaction")
                cursor.execute("update t set v = v - 1 where id = %s", [number % 500 + 1])
                cursor.execute("update t set v = v + 1 where id = %s", [9500 - number % 500])
                cursor.execute("commit")
                time.sleep(pause_s)

    return in_thread(writer)


@pytest.mark.parametrize("way", ["position", "lock", "one"])
def test_all_chunks_on_all_connections_see_one_instant_while_others_write(
    run: Run, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers(run, 10_000)
    run("update t set v = 0")
    run("analyze table t")
    if way != "position":
        monkeypatch.setattr(MySQL, "_keeps_positions", lambda self: False)
    if way == "one":
        monkeypatch.setattr(MySQL, "_by_lock", lambda self: False)
    stop = threading.Event()
    thread = changing(run, stop, 0.002)
    try:
        with opened(declared(), max_connections=3) as connector:
            for _ in range(5):
                connector.begin()
                rows = all_rows(connector, declared(), rows=1000)
                assert (len(rows), sum(row["v"] for row in rows)) == (10_000, 0)
            assert connector.snapshot_by.startswith(
                ("position", "a read lock") if way == "position" else {"lock": "a read", "one": "one"}[way]
            )
    finally:
        stop.set()
        thread.join()
    assert run("select count(*) from t where v <> 0")[0][0] > 0


def test_a_snapshot_lasts_over_chunks_read_by_several_threads(run: Run) -> None:
    numbers(run, 10_000)
    run("analyze table t")
    with opened(declared(), max_connections=3) as connector:
        connector.begin()
        run("update t set v = -1")
        run("delete from t where id > 5000")
        shape = connector.shape(declared())
        found: list[int] = []

        def one(chunk: Chunk) -> None:
            for batch in connector.read(declared(), shape, Window(), chunk):
                found.extend(batch.column("v").to_pylist())

        chunks = [Chunk(n, {"from": str(n * 1000 + 1), "to": str(n * 1000 + 1001)}) for n in range(10)]
        threads = [in_thread(lambda chunk=chunk: one(chunk)) for chunk in chunks]  # type: ignore[misc]
        for thread in threads:
            thread.join()
        assert sorted(found) == [n * 2 for n in range(1, 10_001)]


def test_without_hold_each_page_sees_its_own_time(run: Run) -> None:
    numbers(run, 100)
    with opened(declared()) as connector:
        connector.begin(hold=False)
        run("update t set v = -1")
        shape, chunk = connector.shape(declared()), Chunk(0, {"from": None, "to": None})
        (batch,) = connector.read(declared(), shape, Window(), chunk)
        assert set(batch.column("v").to_pylist()) == {-1}


def test_a_connection_lost_between_two_pages_ends_the_reading_and_mixes_no_snapshots(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers(run, 1000)
    monkeypatch.setattr("ingestion.connectors.mysql_chunks.Grain.page", 100)
    with opened(declared(), max_connections=1) as connector:
        connector.begin()
        batches = connector.read(
            declared(), connector.shape(declared()), Window(), Chunk(0, {"from": None, "to": None})
        )
        next(batches)
        mine = connector.readers[0].rows("select connection_id()")[0][0]
        run(f"kill {mine}")
        with pytest.raises(SourceUnavailable):
            list(batches)


def test_a_connection_lost_in_a_stream_is_no_end_of_the_rows(run: Run) -> None:
    run("create table t (id int, v varchar(1000)) select seq id, repeat('x', 1000) v from seq_1_to_150000")
    run("analyze table t")
    with opened(declared()) as connector:
        batches = connector.read(declared(), connector.shape(declared()), Window(), Chunk(0))
        next(batches)
        for number, what in run("select id, info from information_schema.processlist where user = 'watershed'"):
            if what and "max_statement_time" in what and "processlist" not in what:
                run(f"kill {number}")
        with pytest.raises(SourceUnavailable, match="the server ended"):
            list(batches)


def test_nothing_can_be_written_through_the_connector(run: Run) -> None:
    numbers(run, 10)
    with opened(declared()) as connector:
        connector.begin()
        with pytest.raises(PlatformError, match="READ ONLY"):
            connector.readers[0].do(f"delete from {connector.schema}.t")


# --- horizon


def test_the_horizon_is_near_now_when_nothing_is_open(run: Run) -> None:
    numbers(run, 10)
    with opened(declared()) as connector:
        connector.begin()  # sessions of its own do not hold it back
        behind = datetime.datetime.now(UTC) - connector.horizon(declared())
    assert datetime.timedelta(seconds=0.5) < behind < datetime.timedelta(seconds=30)


@pytest.mark.parametrize("zone", ["SYSTEM", "+05:45"])
def test_the_horizon_stays_below_the_start_of_a_transaction_that_may_yet_write(run: Run, zone: str) -> None:
    numbers(run, 10)
    with fix_servers.mysql(os.environ[VARIABLE]) as other, other.cursor() as cursor, opened(declared()) as connector:
        cursor.execute("set time_zone = %s", [zone])
        cursor.execute("start transaction")
        cursor.execute("select count(*) from t")
        began = datetime.datetime.now(UTC)
        time.sleep(3)
        assert connector.horizon(declared()) <= began
        cursor.execute("rollback")
        time.sleep(0.2)
        assert connector.horizon(declared()) > began


def test_the_horizon_passes_transactions_that_are_read_only(run: Run) -> None:
    numbers(run, 10)
    with fix_servers.mysql(os.environ[VARIABLE]) as other, other.cursor() as cursor, opened(declared()) as connector:
        cursor.execute("start transaction with consistent snapshot, read only")
        began = datetime.datetime.now(UTC)
        time.sleep(3)
        assert connector.horizon(declared()) > began


def test_the_horizon_stays_below_a_statement_that_waits_before_its_transaction_begins(run: Run) -> None:
    numbers(run, 10)
    dsn = os.environ[VARIABLE]
    with fix_servers.mysql(dsn) as holder, holder.cursor() as holding, opened(declared()) as connector:
        holding.execute("lock tables t write")
        began = datetime.datetime.now(UTC)

        def write() -> None:
            with fix_servers.mysql(dsn) as other, other.cursor() as cursor:
                cursor.execute("insert into t values (100, 1)")

        thread = in_thread(write)
        time.sleep(3)
        assert connector.horizon(declared()) <= began + datetime.timedelta(seconds=0.5)
        holding.execute("unlock tables")
        thread.join()


def test_without_the_right_to_see_others_the_horizon_is_an_hour_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers(run, 10)
    with limited("select on {}.*") as dsn:
        monkeypatch.setenv(VARIABLE, dsn)
        with opened(declared()) as connector:
            behind = datetime.datetime.now(UTC) - connector.horizon(declared())
    assert datetime.timedelta(minutes=59) < behind < datetime.timedelta(minutes=62)


# --- rights, faults, secrets


def test_a_user_with_no_more_than_select_reads_a_snapshot(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers(run, 5000)
    run("analyze table t")
    with limited("select on {}.*") as dsn:
        monkeypatch.setenv(VARIABLE, dsn)
        with opened(declared()) as connector:
            connector.begin()
            assert len(all_rows(connector, declared(), rows=500)) == 5000
            assert connector.snapshot_by == "position in the binary log"


def test_a_table_that_may_not_be_read_is_told_in_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers(run, 10)
    run("create table other (id int primary key)")
    with limited("select on {}.other") as dsn:
        monkeypatch.setenv(VARIABLE, dsn)
        with opened(declared()) as connector, pytest.raises(AccessDenied, match=r"may not read t_\w+\.t"):
            connector.shape(declared())
        with opened(other := declared(name="other")) as connector:
            assert connector.shape(other).schema.names == ["id"]


def test_columns_that_may_not_be_read_are_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("create table t (id int primary key, secret int)")
    run("insert into t values (1, 2)")
    with limited("select (id) on {}.t") as dsn:
        monkeypatch.setenv(VARIABLE, dsn)
        with opened(declared()) as connector:
            assert all_rows(connector, declared()) == [{"id": 1}]


def free_port() -> int:
    from services import record

    return record.free_port()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda dsn: dsn.replace("watershed:", "watershed:wrong"), AccessDenied, "refuses the user or its password"),
        (lambda dsn: dsn.replace("watershed:", "nobody:"), AccessDenied, "refuses the user or its password"),
        (lambda dsn: dsn.rpartition("/")[0] + "/t_nowhere", PermanentError, "Unknown database"),
        (lambda dsn: f"mysql://a:S3cretWord@127.0.0.1:{free_port()}/x", SourceUnavailable, "does not answer"),
        (lambda dsn: "mysql://a:S3cretWord@host.invalid/x", SourceUnavailable, "does not answer"),
        (lambda dsn: "postgresql://a:S3cretWord@host/x", SpecError, "no connection URI"),
        (lambda dsn: "mysql://a:S3cretWord@host:port/x", SpecError, "no connection URI"),
        (lambda dsn: "mysql://a:S3cretWord@host", SpecError, "no connection URI"),
        (lambda dsn: dsn + "?ssl-mod=required", SpecError, "unknown option 'ssl_mod'"),
        (lambda dsn: dsn + "?ssl-mode=maybe", SpecError, "write disabled, preferred"),
        (lambda dsn: "", SpecError, "is not set"),
    ],
    ids=["password", "user", "database", "down", "host", "scheme", "port", "no database", "option", "mode", "unset"],
)
def test_each_fault_of_a_connection_is_one_sentence_without_a_secret(
    run: Run, change: Callable[[str], str], error: type[PlatformError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = change(os.environ[VARIABLE])
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(error, match=words) as raised, opened(declared()) as connector:
        connector.shape(declared())
    told = str(raised.value)
    assert "\n" not in told
    password = urlsplit(wrong.replace(":port", "")).password
    assert not password or password not in told


def test_a_password_with_odd_characters_is_taken_as_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.parse import quote

    odd = "p w'\"\\;=&#@:/?ü"
    user = f"u{secrets.token_hex(5)}"
    run(f"create user {user} identified by %s", [odd])
    try:
        parts = urlsplit(os.environ[VARIABLE])
        server = f"{parts.hostname}:{parts.port}"
        monkeypatch.setenv(VARIABLE, f"mysql://{user}:{quote(odd, safe='')}@{server}/information_schema")
        with opened(declared()) as connector:
            assert connector.session.rows("select 1") == [(1,)]
    finally:
        run(f"drop user {user}")


def test_a_query_that_takes_too_long_is_ended_by_the_server(run: Run) -> None:
    numbers(run, 10)
    run("create view slow as select id, sleep(2) v from t")
    table = declared(name="slow")
    with opened(table, statement_timeout_s=1) as connector:
        with pytest.raises(SourceUnavailable, match="statement_timeout_s"):
            all_rows(connector, table)
        assert connector.session.rows("select 1") == [(1,)]


@pytest.mark.parametrize(
    ("mode", "is_encrypted"), [("", True), ("?ssl-mode=disabled", False), ("?ssl-mode=required", True)]
)
def test_tls_is_used_as_the_uri_says(run: Run, mode: str, is_encrypted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, os.environ[VARIABLE] + mode)
    server = Server(Source(name="trial", connector="mysql", connection=VARIABLE, tables=[declared()]))
    try:
        assert bool(server.session().rows("show status like 'ssl_cipher'")[0][1]) is is_encrypted
    finally:
        server.close()


def test_a_certificate_of_another_authority_is_refused_where_the_uri_names_one(
    run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate\n")
    monkeypatch.setenv(
        VARIABLE,
        f"{os.environ[VARIABLE]}?ssl-mode=verify-ca&ssl-ca={tmp_path}/ca.pem".replace("verify-ca", "verify_ca"),
    )
    with pytest.raises(PermanentError, match="no TLS connection"), opened(declared()):
        pass


# --- protection


def test_dropped_columns_are_not_asked_for_and_masked_ones_come_as_salted_digests(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hashlib import sha256

    monkeypatch.setenv("WATERSHED_MASK_SALT", SALT)
    run(
        """create table t (id int primary key, email varchar(50) character set latin1, born date, raw varbinary(9),
        card text)"""
    )
    run("insert into t values (1, 'é@x', '2000-01-02', X'00', '4111'), (2, null, null, null, null)")
    table = declared(mask=dict.fromkeys(("email", "born", "raw"), "sha256"), drop=["card"])
    with opened(table) as connector:
        shape = connector.shape(table)
        assert shape.schema.names == ["id", "email", "born", "raw"]
        assert SALT not in repr(shape)
        first, second = all_rows(connector, table)
    told = {"email": "é@x", "born": "2000-01-02", "raw": "\\x00"}
    assert first == {"id": 1} | {name: sha256((SALT + text).encode()).hexdigest() for name, text in told.items()}
    assert second == {"id": 2, "email": None, "born": None, "raw": None}


def test_a_mask_without_a_salt_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATERSHED_MASK_SALT", raising=False)
    numbers(run, 1)
    with opened(table := declared(mask={"v": "sha256"})) as connector, pytest.raises(SpecError, match="MASK_SALT"):
        connector.shape(table)
