"""Days and keys that no path would like: in a partition's column, in a key, in a file's name. Nothing is lost."""

import datetime
import json
from contextlib import closing

import fix_servers
import pytest
from drops import Drops
from trial_source import Trial, on_folder

from ingestion import load
from ingestion.connectors import connector
from ingestion.spec import Source, Table
from lake import read
from lake.errors import PermanentError
from lake.fold import fold
from lake.layout import Address, Lake

FAR = ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "10000-01-01 00:00:00+00", "294276-01-01 00:00:00+00"]
NEAR = ["1969-12-31 23:59:59.5+00", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "1582-10-10 00:00:00+00"]
TEXTS = ["a/b", "50%", "a b", "día 1", "%2F", "../up", "year=2026", "__HIVE_DEFAULT_PARTITION__", "'; --", "NULL", "\\"]


@on_folder
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_days_that_the_lake_has_not_are_set_aside_and_far_ones_are_days(trial: Trial, kind: str) -> None:
    trial.sql(f"alter table orders alter ordered_at type {kind}, alter ordered_at drop not null")
    for number, at in enumerate([*FAR, None, *NEAR], 1):
        trial.sql("insert into orders (order_id, amount, ordered_at) values (%s, 1, %s)", [number, at])
    loaded = trial.run()
    aside = len(FAR) + 1
    assert (loaded.taken.inserted, loaded.taken.quarantined) == (len(NEAR), aside)
    assert trial.rows("order_id") == [(number,) for number in range(aside + 1, aside + 1 + len(NEAR))]
    told = dict(trial.rows("order_id, _misfit", zone="quarantine"))
    assert sorted(told) == list(range(1, aside + 1))
    for number, text in trial.at_source("order_id, ordered_at::text"):
        if number <= len(FAR):
            assert json.loads(told[number]) == {"ordered_at": text}
    days = trial.rows("order_id, year || '-' || month || '-' || day")
    assert [day for _, day in days] == ["1969-12-31", "0001-01-01", "9999-12-31", "1582-10-10"]
    assert trial.reload("1969-12-31").rows_read == 1
    assert trial.reload("9999-12-31").taken.deleted == 0


@on_folder
def test_a_row_whose_day_is_mended_at_the_source_leaves_quarantine(trial: Trial) -> None:
    trial.order(1)
    trial.sql("insert into orders (order_id, amount, ordered_at) values (2, 1, 'infinity'), (3, 1, '-infinity')")
    assert trial.run().taken.quarantined == 2
    with closing(connector(trial.source)) as session:
        day = datetime.date(2026, 1, 5)
        assert session.extent(trial.table) == (day, day)
    trial.sql("delete from orders where order_id = 3")
    trial.sql("update orders set ordered_at = '2026-01-06', updated_at = clock_timestamp() where order_id = 2")
    assert trial.run().taken.inserted == 1
    trial.assert_same()


@on_folder
def test_keys_are_any_text(trial: Trial) -> None:
    trial.sql("alter table orders alter order_id type text")
    for text in TEXTS:
        trial.sql("insert into orders (order_id, amount, ordered_at) values (%s, 1, '2026-01-05')", [text])
    trial.run()
    trial.sql("update orders set amount = 2, updated_at = clock_timestamp()")
    assert trial.run().taken.updated == len(TEXTS)
    trial.assert_same("order_id, amount")


def test_mysql_days_that_are_none_are_set_aside(mysql_dsn, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BAD_DSN", mysql_dsn)
    monkeypatch.setenv("WATERSHED_STAGING", str(tmp_path / "staging"))
    days = ["0000-00-00", "2024-02-00", None, "0001-01-01", "1969-12-31", "9999-12-31"]
    with fix_servers.mysql(mysql_dsn) as connection, connection.cursor() as sql:
        sql.execute("set sql_mode = ''")
        sql.execute(
            "create table t (id int primary key, d date, at timestamp(6) not null default current_timestamp(6))"
        )
        for number, day in enumerate(days, 1):
            sql.execute("insert into t (id, d) values (%s, %s)", [number, day])
        connection.commit()
    table = Table(name="t", key=["id"], cursor="at", partition="day(d)")
    source = Source(name="bad", connector="mysql", connection="BAD_DSN", tables=[table])
    lake = Lake(str(tmp_path / "lake"))
    taken = load.changes(lake, source, table).taken
    fold(lake, load.subject(source, table))
    assert (taken.inserted, taken.quarantined) == (3, 3)
    with read.connect(lake) as connection:
        kept = read.relation(lake, Address("processed", "bad", "t"))
        assert connection.execute(f"SELECT id, d::VARCHAR FROM {kept} ORDER BY 1").fetchall() == [
            (4, "0001-01-01"),
            (5, "1969-12-31"),
            (6, "9999-12-31"),
        ]
        aside = read.relation(lake, Address("quarantine", "bad", "t"))
        told = connection.execute(f"SELECT id, _misfit FROM {aside} ORDER BY 1").fetchall()
    assert load.days(lake, source, table, datetime.date.max, datetime.date.max).rows_read == 1
    assert [number for number, _ in told] == [1, 2, 3]
    assert json.loads(told[0][1]) == {"d": "0000-00-00"}


def test_texts_in_place_of_days_in_files_are_set_aside_with_what_stood_there(tmp_path) -> None:
    drops = dropped(tmp_path, {"partition": "day(at)", "columns": {"at": "timestamp"}})
    good = ["1969-12-31 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59"]
    bad = [*TEXTS, "infinity", "10000-01-01", "0044-03-15 BC", "2026-02-30"]
    lines = [json.dumps({"id": number, "at": at}) for number, at in enumerate([*good, *bad, None], 1)]
    drops.drop("rows.json", "\n".join(lines))
    taken = drops.run().taken
    assert (taken.inserted, taken.quarantined) == (len(good), len(bad) + 1)
    with read.connect(drops.lake) as connection:
        aside = read.relation(drops.lake, Address("quarantine", "drops", "trips"))
        told = connection.execute(f"SELECT id, _misfit FROM {aside} WHERE _misfit IS NOT NULL ORDER BY 1").fetchall()
    assert [json.loads(misfit)["at"] for _, misfit in told] == bad
    assert [day for _, day in drops.rows("id, year || '-' || month || '-' || day")] == [at[:10] for at in good]


def test_a_column_of_texts_is_no_partition(tmp_path) -> None:
    drops = dropped(tmp_path, {"partition": "day(at)"})
    drops.drop("rows.json", "\n".join(json.dumps({"id": n, "at": at}) for n, at in enumerate(TEXTS)))
    with pytest.raises(PermanentError, match='the partition column "at" holds values that are no times; declare'):
        drops.run()


@pytest.mark.parametrize("name", ["50%.json", "%2F.json", "a b.json", "día 1.json", "a=b.json", "x'y.json", "[1].json"])
def test_files_may_have_any_name(tmp_path, name: str) -> None:
    drops = dropped(tmp_path, {})
    drops.drop(name, json.dumps({"id": 1, "at": "x"}))
    assert drops.run().taken.inserted == 1
    assert drops.run().rows_read == 0
    assert drops.rows("id, _file") == [(1, name)]


def dropped(folder, declared) -> Drops:
    (folder / "drops").mkdir()
    return Drops(str(folder / "drops"), Lake(str(folder / "lake")), files={"path": "*.json"}, declared=declared)
