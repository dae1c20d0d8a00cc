"""A streaming replica beside its primary, both started here: where to read, and up to where a table is read then.

The pair also has what the shared server has not: prepared transactions, and a role that cannot see others' sessions.
"""

import datetime
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import services
from ingestion.connectors.postgres_horizon import NEVER, UNSEEN, horizon
from ingestion.connectors.replica import lag, reading
from ingestion.spec import Source
from lake.errors import AccessDenied, PermanentError, SourceUnavailable, SpecError
from services import postgres, record
from services.cluster import Cluster
from services.process import run
from services.tree import Tree

PROJECT = Path(__file__).resolve().parents[2]
TREE = PROJECT / ".services" / "root"
BIN = "/usr/lib/postgresql/17/bin"
READER = "watershed-reader"
GIVEN = ("SHOP_DSN", "METRICS_DSN")


@dataclass
class Pair:
    """A primary and its standby: connections of the superuser and of a role that sees its own sessions only."""

    primary: str
    standby: str
    blind: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    saved = {key: os.environ.pop(key) for key in GIVEN if key in os.environ}
    home, beside = tmp_path_factory.mktemp("primary"), tmp_path_factory.mktemp("standby")
    standby = _cluster(beside)
    try:
        postgres.up(home, lambda _: None, root=TREE)
        with psycopg.connect(record.state(home)["POSTGRES_ADMIN_DSN"], autocommit=True) as admin:
            admin.execute("alter system set max_prepared_transactions = 5")
            admin.execute("create role blind login password 'blind'")
        services.down(home, lambda _: None)
        shop = postgres.up(home, lambda _: None, root=TREE)["SHOP_DSN"]
        primary = make_conninfo(record.state(home)["POSTGRES_ADMIN_DSN"], dbname="shop")
        with psycopg.connect(shop, autocommit=True) as connection:
            connection.execute("create table orders (id bigserial primary key, at timestamptz not null default now())")
            connection.execute("create table others (id bigint)")
            connection.execute("grant all on orders, others, orders_id_seq to blind")
        replicated = _start_standby(standby, primary)
        yield Pair(primary, replicated, make_conninfo(primary, user="blind", password="blind"))
    finally:
        standby.stop()
        services.down(home, lambda _: None)
        os.environ.update(saved)


def _cluster(beside: Path) -> Cluster:
    inside = Tree(TREE, beside / "pg")
    inside.own_folder()
    return Cluster(beside / "pg", "/srv", lambda name, *words: inside.command(f"{BIN}/{name}", *words))


def _start_standby(standby: Cluster, primary: str) -> str:
    copy = standby.command("pg_basebackup", "-d", primary, "-D", "/srv/data", "-R", "-X", "stream", "-c", "fast")
    run(copy, "the standby", "look at its log")
    port = record.free_port()
    standby.start(port)
    dsn = make_conninfo(primary, port=port)
    standby.answer(dsn)
    return dsn


@contextmanager
def session(dsn: str, **options: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True, **options) as connection:
        yield connection


@contextmanager
def held_back(pair: Pair) -> Iterator[None]:
    """The standby receives, but shows nothing new."""
    with session(pair.standby) as connection:
        connection.execute("select pg_wal_replay_pause()")
        while connection.execute("select pg_get_wal_replay_pause_state()").fetchone() != ("paused",):
            time.sleep(0.01)
        try:
            yield
        finally:
            connection.execute("select pg_wal_replay_resume()")


def write(dsn: str, count: int = 1) -> None:
    with session(dsn) as connection:
        connection.execute("insert into orders (at) select now() from generate_series(1, %s)", [count])


def level(pair: Pair) -> None:
    """Wait until the standby has replayed what the primary has written."""
    with session(pair.primary) as primary, session(pair.standby) as standby:
        horizon(standby, "orders", reader=READER, primary=primary, patience_s=60)


def source(**declared: Any) -> Source:
    replica = {"dsn": "COPY_DSN", "max_lag_s": 0.001} | declared
    table = {"name": "orders", "key": ["id"], "cursor": "at"}
    return Source(
        name="trial",
        connector="postgres",
        connection="TRIAL_DSN",
        replica=replica,
        statement_timeout_s=5,
        tables=[table],
    )


@pytest.fixture
def addresses(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("TRIAL_DSN", pair.primary)
    monkeypatch.setenv("COPY_DSN", pair.standby)
    return pair


class Clock:
    """Seconds that pass by sleeping; `then` happens in the first sleep."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.now, self.then = 0.0, then

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then()
        self.then = lambda: None


# Where to read


def test_a_replica_that_has_replayed_everything_is_read_however_long_ago_the_last_commit_was(addresses):
    write(addresses.primary)
    level(addresses)
    found = reading(source())
    assert (found.variable, found.is_replica, found.lag_s, found.dsn) == ("COPY_DSN", True, 0.0, addresses.standby)


def test_a_replica_that_is_behind_gives_way_to_the_primary(addresses):
    level(addresses)
    with held_back(addresses):
        write(addresses.primary)
        _await_received(addresses)
        found = reading(source())
    assert (found.variable, found.is_replica) == ("TRIAL_DSN", False)
    assert "behind, 0.001 s are allowed; read from the primary" in found.why


def test_a_replica_within_the_declared_lag_is_read(addresses):
    level(addresses)
    with held_back(addresses):
        write(addresses.primary)
        found = reading(source(max_lag_s=3_600))
    assert found.is_replica


def test_a_replica_that_is_behind_is_waited_for_where_that_is_declared(addresses):
    level(addresses)

    def resume() -> None:
        with session(addresses.standby) as connection:
            connection.execute("select pg_wal_replay_resume()")
        level(addresses)

    clock = Clock(resume)
    with held_back(addresses):
        write(addresses.primary)
        _await_received(addresses)
        found = reading(source(when_behind="wait"), clock=clock, sleep=clock.sleep)
    assert (found.is_replica, clock.now) == (True, 0.5)


def test_waiting_for_a_replica_ends_with_a_sentence(addresses):
    level(addresses)
    clock = Clock()
    with held_back(addresses):
        write(addresses.primary)
        _await_received(addresses)
        with pytest.raises(SourceUnavailable) as error:
            reading(source(when_behind="wait"), clock=clock, sleep=clock.sleep)
    assert clock.now == 5
    assert str(error.value).startswith("source trial: the replica is")
    assert str(error.value).endswith(
        "s behind, 0.001 s are allowed, after 5 s; mend replication, raise max_lag_s, or declare `when_behind: primary`"
    )


def test_a_replica_that_does_not_answer_gives_way_to_the_primary(addresses, monkeypatch):
    monkeypatch.setenv("COPY_DSN", make_conninfo(addresses.standby, port=record.free_port()))
    found = reading(source())
    assert (found.variable, found.why) == ("TRIAL_DSN", "the replica does not answer; read from the primary")


def test_a_replica_that_refuses_the_password_is_an_error_that_does_not_show_it(addresses, monkeypatch):
    monkeypatch.setenv("COPY_DSN", make_conninfo(addresses.standby, password="open sesame"))
    with pytest.raises(AccessDenied, match="source trial, replica: the server refuses the user or its password") as it:
        reading(source())
    assert "sesame" not in str(it.value)


def test_a_primary_in_the_place_of_a_replica_is_an_error(addresses, monkeypatch):
    monkeypatch.setenv("COPY_DSN", addresses.primary)
    with pytest.raises(PermanentError, match="COPY_DSN leads to a server that is no replica"):
        reading(source())


def test_a_replica_whose_variable_is_not_set_is_an_error(addresses, monkeypatch):
    monkeypatch.delenv("COPY_DSN")
    with pytest.raises(SpecError, match="COPY_DSN is not set"):
        reading(source())


def test_a_source_without_a_replica_is_read_from_its_connection(addresses):
    plain = source().model_copy(update={"replica": None})
    assert (reading(plain).variable, reading(plain).is_replica) == ("TRIAL_DSN", False)


def test_a_primary_has_no_lag(pair):
    with session(pair.primary) as primary, session(pair.standby) as standby:
        assert lag(primary) is None
        assert lag(standby) is not None


# Up to where


def test_the_horizon_on_a_standby_is_the_primarys_and_all_below_it_is_there(pair):
    with session(pair.primary) as primary, session(pair.standby) as standby, psycopg.connect(pair.primary) as writer:
        (started,) = writer.execute("select now()").fetchone()
        write(pair.primary, 1_000)
        there = primary.execute("select count(*) from orders").fetchone()
        assert horizon(standby, "orders", reader=READER, primary=primary, patience_s=60) == started
        assert standby.execute("select count(*) from orders").fetchone() == there


def test_a_standby_that_does_not_come_to_the_primarys_horizon_is_an_error(pair):
    level(pair)
    with session(pair.primary) as primary, session(pair.standby) as standby, held_back(pair):
        write(pair.primary)
        with pytest.raises(SourceUnavailable, match="source's replica: has not come to"):
            horizon(standby, "orders", reader=READER, primary=primary, patience_s=0.2)


def test_a_standby_on_its_own_allows_an_hour_for_what_its_primary_has_open(pair):
    write(pair.primary)
    level(pair)
    with session(pair.standby) as standby:
        (last,) = standby.execute("select pg_last_xact_replay_timestamp()").fetchone()
        assert horizon(standby, "orders", reader=READER) == last - UNSEEN


def test_a_prepared_transaction_holds_the_cursor_of_the_tables_it_wrote_and_of_no_other(pair):
    with session(pair.primary) as watcher:
        with session(pair.primary) as writer:
            writer.execute("begin; insert into orders default values")
            writer.execute("prepare transaction 'trial'")
        try:
            assert horizon(watcher, "orders", reader=READER) == NEVER
            assert horizon(watcher, "others", reader=READER) > NEVER
        finally:
            watcher.execute("commit prepared 'trial'")
        assert horizon(watcher, "orders", reader=READER) > NEVER


def test_a_prepared_transaction_on_a_partition_holds_the_cursor_of_the_whole_table(pair):
    with session(pair.primary) as watcher, session(pair.primary) as writer:
        watcher.execute("create table days (id bigint, at timestamptz) partition by range (at)")
        watcher.execute("create table days_2026 partition of days for values from ('2026-01-01') to ('2027-01-01')")
        watcher.execute("create view those_days as select * from days")
        writer.execute("begin; insert into days_2026 values (1, '2026-05-05')")
        writer.execute("prepare transaction 'trial'")
        try:
            assert horizon(watcher, "days", reader=READER) == NEVER
            assert horizon(watcher, "those_days", reader=READER) == NEVER
        finally:
            watcher.execute("rollback prepared 'trial'")
            watcher.execute("drop table days cascade")


def test_a_hidden_transaction_is_waited_for(pair):
    with session(pair.blind) as blind, psycopg.connect(pair.primary) as writer:
        writer.execute("insert into orders default values")
        (before,) = blind.execute("select clock_timestamp()").fetchone()
        found = horizon(blind, "orders", reader=READER, patience_s=60, sleep=lambda _: writer.commit())
        assert found > before


def test_a_hidden_transaction_that_stays_is_allowed_an_hour(pair):
    with session(pair.blind) as blind, psycopg.connect(pair.primary) as writer:
        writer.execute("insert into others values (1)")
        (now,) = blind.execute("select clock_timestamp()").fetchone()
        found = horizon(blind, "orders", reader=READER, patience_s=0.1)
        assert now - UNSEEN <= found < now - UNSEEN + datetime.timedelta(minutes=10)


def test_a_hidden_transaction_that_wrote_to_the_table_holds_its_cursor(pair):
    with session(pair.blind) as blind, psycopg.connect(pair.primary) as writer:
        writer.execute("insert into orders default values")
        assert horizon(blind, "orders", reader=READER, patience_s=0.1) == NEVER
        writer.rollback()
        assert horizon(blind, "orders", reader=READER, patience_s=0.1) > NEVER


def test_hidden_sessions_that_are_in_no_transaction_hold_nothing_back(pair):
    with session(pair.blind) as blind, session(pair.primary) as idle:
        idle.execute("select 1")
        (now,) = blind.execute("select clock_timestamp()").fetchone()
        assert horizon(blind, "orders", reader=READER, patience_s=60) >= now


def _await_received(pair: Pair) -> None:
    """Until the standby holds something that it does not show."""
    query = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
    with session(pair.standby) as standby:
        while standby.execute(query).fetchone() != (True,):
            time.sleep(0.01)
