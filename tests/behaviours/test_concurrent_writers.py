"""Loads beside writers that commit late, roll back and stay open: nothing is lost, nothing is doubled.

The same minutes are polled the naive way, `cursor > last`, which must lose rows: else the test could not fail.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
import trial_source
from trial_source import on_folder

from ingestion.connectors import postgres_horizon
from ingestion.connectors.postgres_horizon import commit_horizon, commit_window, horizon

WRITERS, EVENTS = 8, 800
READER = "watershed-reader"
SCHEMA = """create table events (
    event_id bigint primary key, happened_at timestamptz not null default now(),
    committed xid8 not null default pg_current_xact_id(), payload text)"""


@dataclass
class Trade:
    """Several sessions that insert events; `kept` are the ids of those whose transaction was committed."""

    dsn: str
    kept: set[int] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        jobs = [(self._trade, number) for number in range(WRITERS)] + [(self._stay_open, WRITERS)]
        self.threads = [threading.Thread(target=self._guarded, args=job) for job in jobs]
        for thread in self.threads:
            thread.start()

    @property
    def is_open(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def _guarded(self, job: Any, number: int) -> None:
        try:
            with psycopg.connect(self.dsn) as connection:
                job(connection, number)
        except BaseException as error:  # shown by the test: a thread that died must not pass for one that was done
            self.failures.append(error)

    def _trade(self, connection: psycopg.Connection, number: int) -> None:
        chance = random.Random(number)
        left = list(range(number * EVENTS, (number + 1) * EVENTS))
        while left:
            some, left = left[: (size := chance.randint(1, 6))], left[size:]
            self._insert(connection, some)
            time.sleep(chance.choice([0, 0.005, 0.02, 0.08]))
            if chance.random() < 0.1:
                connection.rollback()
            else:
                connection.commit()
                self.kept |= set(some)

    def _stay_open(self, connection: psycopg.Connection, number: int) -> None:
        """One transaction over most of the test, which writes at its start and just before its end."""
        first = number * EVENTS
        self._insert(connection, [first, first + 1])
        while sum(thread.is_alive() for thread in self.threads) > WRITERS // 2:
            time.sleep(0.02)
        self._insert(connection, [first + 2])
        connection.commit()
        self.kept |= {first, first + 1, first + 2}

    def _insert(self, connection: psycopg.Connection, numbers: list[int]) -> None:
        query = "insert into events (event_id, payload) select n, repeat('x', 40) from unnest(%s::bigint[]) n"
        connection.execute(query, [numbers])


@dataclass
class Naive:
    """What most tools do: remember the highest cursor, ask for what is above it."""

    last: Any = None
    seen: set[int] = field(default_factory=set)

    def poll(self, session: psycopg.Connection) -> None:
        query = "select event_id, happened_at from events where %s::timestamptz is null or happened_at > %s"
        for number, at in session.execute(query, [self.last, self.last]).fetchall():
            self.seen.add(number)
            self.last = max(self.last or at, at)


@dataclass
class ByCommit:
    """Windows in commit order; `seen` counts how often each event was read."""

    after: str | None = None
    seen: Counter[int] = field(default_factory=Counter)

    def poll(self, session: psycopg.Connection) -> None:
        before = commit_horizon(session)
        condition = commit_window("committed", self.after, before)
        self.seen.update(number for (number,) in session.execute(f"select event_id from events where {condition}"))
        self.after = before


@pytest.fixture
def events(operational_dsn: str, lake_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[trial_source.Trial]:
    monkeypatch.setenv(trial_source.VARIABLE, operational_dsn)
    declared = {"name": "events", "key": ["event_id"], "cursor": "happened_at", "load": "append"}
    with trial_source.trial(operational_dsn, lake_root, SCHEMA, **declared, partition=None, deletes="ignore") as it:
        yield it


@on_folder
@pytest.mark.parametrize("cursor", ["happened_at", "committed"])
def test_loads_beside_writers_that_commit_late_lose_none_and_double_none(events, operational_dsn, cursor):
    events.declare(cursor=cursor)
    trade, naive, loads = Trade(operational_dsn), Naive(), []
    with psycopg.connect(operational_dsn, autocommit=True, application_name=READER) as session:
        trade.start()
        while trade.is_open:
            naive.poll(session)
            loads.append(events.run())
        naive.poll(session)
        loads.append(events.run())
    assert not trade.failures
    assert len(trade.kept) >= 5_000
    assert trade.kept - naive.seen, "the naive reader lost nothing: this test cannot fail"
    assert [number for (number,) in events.rows("event_id")] == sorted(trade.kept)
    assert sum(load.taken.inserted for load in loads) == len(trade.kept)
    assert sum(load.taken.updated + load.taken.deleted + load.taken.quarantined for load in loads) == 0
    assert Counter(events.rows("event_id", "raw")).most_common(1)[0][1] == 1


def test_windows_in_commit_order_read_each_row_exactly_once(operational_dsn):
    trade, naive, ordered = Trade(operational_dsn), Naive(), ByCommit()
    with psycopg.connect(operational_dsn, autocommit=True, application_name=READER) as session:
        session.execute(SCHEMA)
        trade.start()
        while trade.is_open:
            naive.poll(session)
            ordered.poll(session)
            time.sleep(0.05)
        naive.poll(session)
        ordered.poll(session)
    assert not trade.failures
    assert len(trade.kept) >= 5_000
    assert trade.kept - naive.seen, "the naive reader lost nothing: this test cannot fail"
    assert ordered.seen == Counter(trade.kept)


@pytest.fixture
def session(operational_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(operational_dsn, autocommit=True, application_name=READER) as connection:
        connection.execute(SCHEMA)
        yield connection


def test_the_horizon_is_the_start_of_the_oldest_open_transaction_also_of_one_that_has_not_written(
    session, operational_dsn
):
    before = session.execute("select clock_timestamp()").fetchone()[0]
    with psycopg.connect(operational_dsn) as writer:
        (started,) = writer.execute("select now()").fetchone()
        session.execute("insert into events (event_id) values (1)")
        assert horizon(session, "events", reader=READER) == started
    assert before < started < horizon(session, "events", reader=READER)


def test_an_aborted_transaction_still_counts_because_a_savepoint_may_bring_it_back(session, operational_dsn):
    with psycopg.connect(operational_dsn) as writer:
        (started,) = writer.execute("select now()").fetchone()
        writer.execute("savepoint here")
        with pytest.raises(psycopg.errors.DivisionByZero):
            writer.execute("select 1 / 0")
        assert horizon(session, "events", reader=READER) == started
        writer.execute("rollback to savepoint here")
        writer.execute("insert into events (event_id) values (1)")


def test_the_platforms_own_readers_do_not_hold_the_horizon_back(session, operational_dsn):
    with psycopg.connect(operational_dsn, application_name=READER) as own:
        (started,) = own.execute("select now()").fetchone()
        assert horizon(session, "events", reader=READER) > started


def test_a_transaction_that_ends_while_the_clock_settles_is_below_the_horizon_and_visible(session, operational_dsn):
    with psycopg.connect(operational_dsn) as writer:
        (started,) = writer.execute("insert into events (event_id) values (1) returning happened_at").fetchone()
        found = horizon(session, "events", reader=READER, sleep=lambda _: writer.commit())
    assert started < found
    assert session.execute("select count(*) from events").fetchone() == (1,)


def test_a_row_without_a_number_is_in_every_window_if_it_may_be_missing(session):
    session.execute("alter table events alter column committed drop not null")
    session.execute("insert into events (event_id, committed) values (1, null)")
    last = commit_horizon(session)
    condition = commit_window("committed", last, last, may_be_null=True)
    assert session.execute(f"select event_id from events where {condition}").fetchall() == [(1,)]


def test_numbers_that_went_back_stop_the_load_with_a_sentence(session):
    with pytest.raises(postgres_horizon.PermanentError, match="transaction numbers went back from 999999999999 to"):
        commit_window("committed", "999999999999", commit_horizon(session))


def test_a_quoted_column_is_quoted(session):
    session.execute('create table "odd table" ("the ""number""" xid8 default pg_current_xact_id(), n int)')
    session.execute('insert into "odd table" (n) values (7)')
    condition = commit_window('the "number"', None, commit_horizon(session))
    assert session.execute(f'select n from "odd table" where {condition}').fetchall() == [(7,)]
    assert horizon(session, '"odd table"', reader=READER) > postgres_horizon.NEVER
