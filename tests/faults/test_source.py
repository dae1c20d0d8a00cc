"""A source that is down, closed to us, slow or cut off: the right kind of error, one sentence, no secret."""

import socket
import threading
import time

import psycopg
import pytest
import trial_source
from psycopg.conninfo import conninfo_to_dict
from trial_source import Trial

from lake.errors import AccessDenied, PermanentError, PlatformError, SourceUnavailable

WORDS = "start it, or correct TRIAL_DSN"


def _uri(dsn: str, **changes: object) -> str:
    parts = conninfo_to_dict(dsn) | {key: str(value) for key, value in changes.items()}
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)


def _refused(trial: Trial, kind: type[PlatformError], sentence: str, password: str) -> None:
    before = trial.versions()
    with pytest.raises(kind) as raised:
        trial.run()
    assert str(raised.value) == sentence
    assert password not in str(raised.value)
    assert trial.versions() == before


@pytest.fixture
def password(operational_dsn: str) -> str:
    return str(conninfo_to_dict(operational_dsn)["password"])


def test_a_source_that_is_down_is_told(
    trial: Trial, operational_dsn: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.orders(5)
    trial.run()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(trial_source.VARIABLE, _uri(operational_dsn, port=free.getsockname()[1]))
    _refused(trial, SourceUnavailable, f"source trial: the server does not answer; {WORDS}", password)


def test_a_host_that_does_not_exist_is_told(
    trial: Trial, operational_dsn: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trial_source.VARIABLE, _uri(operational_dsn, host="no-such-host.invalid"))
    _refused(trial, SourceUnavailable, f"source trial: the server does not answer; {WORDS}", password)


def test_a_wrong_password_is_told_and_not_printed(
    trial: Trial, operational_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trial_source.VARIABLE, _uri(operational_dsn, password="wr0ng-p4ss"))
    sentence = "source trial: the server refuses the user or its password; correct TRIAL_DSN"
    _refused(trial, AccessDenied, sentence, "wr0ng-p4ss")


def test_an_unknown_database_is_named(
    trial: Trial, operational_dsn: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trial_source.VARIABLE, _uri(operational_dsn, dbname="no_such_database"))
    sentence = 'source trial: database "no_such_database" does not exist; correct TRIAL_DSN'
    _refused(trial, PermanentError, sentence, password)


def test_a_table_without_the_right_to_select_is_named(trial: Trial, password: str) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("revoke select on orders from current_user")
    sentence = "source trial: permission denied for table orders; grant select to the platform's user"
    _refused(trial, AccessDenied, sentence, password)
    trial.sql("grant select on orders to current_user")
    trial.run()


SLOW = """create view orders as select order_id, customer_email, amount, ordered_at, updated_at
    from orders_behind, lateral (select pg_sleep(0.02 + 0 * order_id)) slow"""


def _slow_down(trial: Trial) -> None:
    trial.sql("alter table orders rename to orders_behind")
    trial.sql(SLOW)


def test_a_source_cut_off_in_the_middle_is_told(trial: Trial, operational_dsn: str, password: str) -> None:
    trial.orders(200)
    _slow_down(trial)

    def cut() -> None:
        with psycopg.connect(operational_dsn, autocommit=True) as connection:
            for _ in range(300):
                ended = connection.execute(
                    """select pg_terminate_backend(pid) from pg_stat_activity
                       where datname = current_database() and state = 'active' and query ilike 'copy%%orders%%'"""
                ).fetchall()
                if ended:
                    return
                time.sleep(0.02)

    thread = threading.Thread(target=cut)
    thread.start()
    _refused(trial, SourceUnavailable, f"source trial: the server does not answer; {WORDS}", password)
    thread.join()


def test_a_query_beyond_its_time_is_told(trial: Trial, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.orders(200)
    _slow_down(trial)
    whole = Trial.source.fget(trial)  # type: ignore[attr-defined]
    monkeypatch.setattr(Trial, "source", whole.model_copy(update={"statement_timeout_s": 1}))
    sentence = "source trial: a query took too long; raise statement_timeout_s, or index the cursor"
    _refused(trial, SourceUnavailable, sentence, password)


def test_a_value_that_a_declared_type_cannot_hold_stops_no_table_and_is_kept(trial: Trial) -> None:
    trial.sql("alter table orders alter amount type numeric")
    trial.declare(columns={"amount": "decimal(5, 2)"})
    trial.order(1, amount=123456)
    trial.order(2, amount=12)
    loaded = trial.run()
    assert loaded.taken.values_quarantined == 1
    assert trial.rows("order_id, amount::text") == [(1, None), (2, "12.00")]
    assert trial.rows("order_id, _column, _value", zone="quarantine") == [(1, "amount", "123456")]
