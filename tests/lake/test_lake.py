"""Names, conditions, commits and messages of the lake, on a folder."""

import datetime
import errno
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from lake import access, commit, layout, read
from lake.errors import (
    AccessDenied,
    Busy,
    LakeUnavailable,
    PermanentError,
    PlatformError,
    SpecError,
    TransientError,
    redact,
)
from lake.layout import Address, Lake

ORDERS = Address("processed", "shop", "orders")


def _rows(*numbers: int, day: str = "05") -> pa.RecordBatchReader:
    days = [datetime.date(2026, 1, int(day))] * len(numbers)
    return pa.table({"order_id": list(numbers), "_day": days}).to_reader()


def _numbers(lake: Lake) -> list[int]:
    with read.connect(lake) as connection:
        found = connection.execute(f"SELECT order_id FROM {read.relation(lake, ORDERS)} ORDER BY 1").fetchall()
    return [number for (number,) in found]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_a_lake_root_may_be_a_folder_or_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_ROOT", "/data/lake/")
    assert layout.from_environment().uri(ORDERS) == "/data/lake/processed/shop/orders"
    monkeypatch.setenv("LAKE_ROOT", "s3://bucket/a/b/")
    lake = layout.from_environment()
    assert (lake.bucket, lake.prefix) == ("bucket", "a/b")
    assert lake.uri(ORDERS) == "s3://bucket/a/b/processed/shop/orders"


@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("", "LAKE_ROOT: is not set; set it to an absolute folder or s3://bucket/prefix"),
        ("data", "LAKE_ROOT: data is relative; set it to an absolute folder or s3://bucket/prefix"),
        ("s3://", "LAKE_ROOT: "),
    ],
)
def test_a_lake_root_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, root: str, sentence: str) -> None:
    monkeypatch.setenv("LAKE_ROOT", root)
    with pytest.raises(SpecError) as raised:
        layout.from_environment()
    assert str(raised.value).startswith(sentence)


def test_a_condition_on_days_has_one_term_a_month() -> None:
    days = [datetime.date(2025, 12, 31) + datetime.timedelta(days=n) for n in range(3)]
    assert commit.days_predicate(reversed(days)) == (
        "(year = '2025' AND month = '12' AND day IN ('31')) OR (year = '2026' AND month = '01' AND day IN ('01', '02'))"
    )
    assert commit.days_predicate([]) == "year = '0000'"
    assert commit.days_predicate([datetime.date(26, 1, 5)]).startswith("(year = '0026'")


def test_a_condition_on_ten_years_of_days_is_understood(lake: Lake) -> None:
    commit.append(lake, ORDERS, _rows(1), {}, base=None)
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=n) for n in range(3650)]
    commit.replace(lake, ORDERS, _rows(2, 3), {}, base=commit.table(lake, ORDERS), days=days)
    assert _numbers(lake) == [2, 3]


def test_replacing_a_day_leaves_the_others(lake: Lake) -> None:
    commit.append(lake, ORDERS, _rows(1), {}, base=None)
    commit.append(lake, ORDERS, _rows(2, day="06"), {}, base=commit.table(lake, ORDERS))
    base = commit.table(lake, ORDERS)
    done = commit.replace(lake, ORDERS, _rows(7, 8), {}, base=base, days=[datetime.date(2026, 1, 5)])
    assert (done.version, done.rows) == (2, 2)
    assert _numbers(lake) == [2, 7, 8]


def test_replacing_a_window_twice_leaves_what_once_leaves(lake: Lake) -> None:
    days = [datetime.date(2026, 1, 5), datetime.date(2026, 1, 6)]
    commit.append(lake, ORDERS, _rows(1), {}, base=None)
    for _ in range(2):
        base = commit.table(lake, ORDERS)
        commit.replace(lake, ORDERS, _rows(7, 8, day="06"), {"cursor": "8"}, base=base, days=days)
        assert _numbers(lake) == [7, 8]
        assert commit.state(commit.table(lake, ORDERS)) == {"cursor": "8"}


def test_what_an_older_version_says_of_itself_does_not_change_with_newer_commits(lake: Lake) -> None:
    commit.append(lake, ORDERS, _rows(1), {"n": 0}, base=None)
    older = commit.table(lake, ORDERS)
    assert older is not None
    for number in (1, 2):
        commit.append(lake, ORDERS, _rows(2), {"n": number}, base=commit.table(lake, ORDERS))
    assert commit.state(older) == {"n": 0}
    assert commit.states(older, -1) == [{"n": 0}]


def test_a_row_outside_of_the_replaced_days_is_refused(lake: Lake) -> None:
    commit.append(lake, ORDERS, _rows(1), {}, base=None)
    base = commit.table(lake, ORDERS)
    with pytest.raises(PermanentError):
        commit.replace(lake, ORDERS, _rows(2, day="06"), {}, base=base, days=[datetime.date(2026, 1, 5)])
    assert _numbers(lake) == [1]


def test_of_two_writers_on_one_version_the_second_is_told(lake: Lake) -> None:
    commit.append(lake, ORDERS, _rows(1), {}, base=None)
    first, second = commit.table(lake, ORDERS), commit.table(lake, ORDERS)
    commit.append(lake, ORDERS, _rows(2), {}, base=first)
    with pytest.raises(Busy, match="lake table processed/shop/orders: another process committed at the same time"):
        commit.append(lake, ORDERS, _rows(3), {}, base=second)
    assert _numbers(lake) == [1, 2]


def test_of_two_creators_the_second_is_told(lake: Lake) -> None:
    commit.append(lake, ORDERS, _rows(1), {}, base=None)
    with pytest.raises(Busy, match="another process created it at the same time"):
        commit.append(lake, ORDERS, _rows(1), {}, base=None)
    assert _numbers(lake) == [1]


def test_the_state_is_that_of_the_last_own_commit(lake: Lake) -> None:
    assert commit.state(commit.table(lake, ORDERS)) == {}
    for number in range(3):
        commit.append(lake, ORDERS, _rows(number), {"n": number}, base=commit.table(lake, ORDERS))
    delta = commit.table(lake, ORDERS)
    assert delta is not None
    assert commit.state(delta) == {"n": 2}
    assert commit.states(delta, 0) == [{"n": 1}, {"n": 2}]
    assert commit.states(delta, -1) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert commit.states(delta, 2) == []
    delta.optimize.compact()  # another tool's commit on top
    assert commit.state(commit.table(lake, ORDERS)) == {"n": 2}
    assert commit.states(delta, 1) == [{"n": 2}]


def test_rows_that_fail_on_their_way_commit_nothing(lake: Lake) -> None:
    commit.append(lake, ORDERS, _rows(1), {}, base=None)
    broken = duckdb.connect().execute(
        "SELECT CASE WHEN i = 150000 THEN error('lost on the way') ELSE i END::BIGINT AS order_id, "
        "DATE '2026-01-05' AS _day FROM range(200000) t(i)"
    )
    with pytest.raises(PermanentError, match="lost on the way"):
        commit.append(lake, ORDERS, broken.to_arrow_reader(1000), {}, base=commit.table(lake, ORDERS))
    assert _numbers(lake) == [1]


def test_facts_come_from_the_log(lake: Lake) -> None:
    assert read.facts(lake, ORDERS) is None
    commit.append(lake, ORDERS, _rows(1, 2), {}, base=None)
    commit.append(lake, ORDERS, _rows(3, day="06"), {}, base=commit.table(lake, ORDERS))
    facts = read.facts(lake, ORDERS)
    assert facts is not None
    assert (facts.version, facts.rows, facts.files) == (1, 3, 2)
    assert facts.rows_per_day == {datetime.date(2026, 1, 5): 2, datetime.date(2026, 1, 6): 1}
    stored = sum(path.stat().st_size for path in Path(lake.uri(ORDERS)).rglob("*.parquet"))
    assert facts.bytes == sum(facts.bytes_per_day.values()) == stored


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("at postgresql://me:pa55@db:5432/shop failed", "at postgresql://me:***@db:5432/shop failed"),
        ("at postgresql://me:p@ss:55@db/shop failed", "at postgresql://me:***@db/shop failed"),
        ("redis://:pa55@db/0", "redis://:***@db/0"),
        ("host=db password=pa55 user=me", "host=db password=*** user=me"),
        (r"password='pa \'55 x' user=me", "password=*** user=me"),
        ("AWS_SECRET_ACCESS_KEY: pa55", "AWS_SECRET_ACCESS_KEY: ***"),
        ("https://db/x?token=pa55&day=1", "https://db/x?token=***&day=1"),
        ("the password is wrong", "the password is wrong"),
    ],
)
def test_no_message_holds_a_secret(text: str, kept: str) -> None:
    assert redact(text) == kept
    assert "55" not in str(PlatformError("source shop", text, text)).replace("5432", "")


FOLDER, S3 = Lake("/data/lake"), Lake("s3://bucket/lake")
CASES = [
    (FOLDER, OSError(errno.ENOSPC, "No space left on device"), PermanentError, "the disk is full"),
    (FOLDER, OSError(errno.EFBIG, "File too large"), PermanentError, "the disk is full"),
    (FOLDER, Exception("writer: No space left on device (os error 28)"), PermanentError, "the disk is full"),
    (FOLDER, OSError(errno.EROFS, "Read-only file system"), AccessDenied, "is read-only"),
    (FOLDER, PermissionError(errno.EACCES, "Permission denied"), AccessDenied, "no right to write"),
    (FOLDER, Exception("something else\nwith more lines"), PermanentError, "cannot be used (something else)"),
    (S3, Exception("NoSuchBucket: gone"), PermanentError, "bucket bucket does not exist"),
    (S3, Exception("InvalidAccessKeyId"), AccessDenied, "the S3 server refuses these credentials"),
    (S3, Exception("error sending request for url"), LakeUnavailable, "the S3 server does not answer"),
    (S3, Exception("HTTP 503 Service Unavailable"), LakeUnavailable, "the S3 server does not answer"),
    (S3, Exception("something else"), PermanentError, "cannot be used (something else)"),
]


@pytest.mark.parametrize(("lake", "error", "kind", "sentence"), CASES)
def test_storage_errors_are_told_apart(lake: Lake, error: Exception, kind: type[Exception], sentence: str) -> None:
    told = access.explained(lake, error)
    assert type(told) is kind
    assert isinstance(told, TransientError) == (kind is LakeUnavailable)
    assert str(told).startswith(f"lake {lake.root}: {sentence}; ")
