"""Digests of a table at its source: the same as in the lake day by day, however they are cut, and no fault escapes."""

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drops
import fix_servers
import psycopg
import pyarrow as pa
import pytest
import trial_source
from mysql_trial import mysql_trial
from trial_source import ORDERS, Trial

from ingestion.connectors import Connector, Shape, Window, connector, ranges
from ingestion.connectors.shard import Shard
from ingestion.load import changes, subject
from ingestion.spec import Source
from lake import digest, read
from lake.digest import Digest, Digests
from lake.fold import fold
from lake.layout import Address, Lake

DAYS = [datetime.date(2026, 1, day) for day in (5, 6, 8)]
EVERYTHING = Window()


@pytest.fixture(params=["postgres", "mysql"])
def trial(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """Orders of three days in each kind of database."""
    dsn = request.getfixturevalue("operational_dsn" if request.param == "postgres" else "mysql_dsn")
    monkeypatch.setenv(trial_source.VARIABLE, dsn)
    monkeypatch.setenv("WATERSHED_MASK_SALT", trial_source.SALT)
    opened = trial_source.trial if request.param == "postgres" else mysql_trial
    with opened(dsn, str(tmp_path / "lake")) as it:
        for number, day in enumerate(DAYS):
            it.orders(20, str(day), first=number * 20 + 1)
        it.sql("update orders set customer_email = 'someone@example.org' where order_id > 10")
        yield it


def asked(source: Source, ask: Callable[[Connector, Shape, dict[str, pa.DataType]], Digests]) -> Digests:
    session = connector(source)
    try:
        shape = session.shape(source.tables[0])
        columns = {entry.name: entry.type for entry in shape.schema}
        assert session.incomparable(source.tables[0], shape, columns) == {}
        return ask(session, shape, columns)
    finally:
        session.close()


def at_source(source: Source, window: Window = EVERYTHING, *, but: str = "", **options: Any) -> Digests:
    def ask(session: Connector, shape: Shape, kinds: dict[str, pa.DataType]) -> Digests:
        compared = {name: kind for name, kind in kinds.items() if name != but}
        return session.digests(source.tables[0], shape, window, compared, **options)

    return asked(source, ask)


def in_lake(lake: Lake, source: Source, *, but: str = "") -> Digests:
    table = source.tables[0]
    about = subject(source, table)
    address = Address("processed", source.name, table.name)
    facts = read.facts(lake, address)
    assert facts is not None
    own = {"_op", "_loaded_at", "_load_id", but}
    columns = {name: kind for name, kind in facts.columns.items() if name not in own}
    with read.connect(lake) as connection:
        relation = read.relation(lake, address)
        return digest.of(connection, relation, key=about.key, columns=columns, day=about.partition)


def test_each_day_has_the_digest_that_it_has_in_the_lake(trial: Trial) -> None:
    trial.run()
    found = at_source(trial.source)
    assert {day: (one.rows, one.low, one.high) for day, one in found.items()} == {
        DAYS[0]: (20, "[1]", "[20]"),
        DAYS[1]: (20, "[21]", "[40]"),
        DAYS[2]: (20, "[41]", "[60]"),
    }
    assert digest.differing(found, in_lake(trial.lake, trial.source)) == []


def test_a_window_has_its_days_only(trial: Trial) -> None:
    whole = at_source(trial.source)
    assert at_source(trial.source, Window(first=DAYS[1], last=DAYS[1])) == {DAYS[1]: whole[DAYS[1]]}
    assert at_source(trial.source, Window(first=DAYS[0], last=datetime.date(2026, 1, 7))) == {
        day: whole[day] for day in DAYS[:2]
    }


def test_with_an_index_the_days_are_asked_for_in_ranges_that_lose_no_row(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = at_source(trial.source)
    trial.sql("create index by_day on orders (ordered_at)")
    counted = []
    with monkeypatch.context() as small:
        small.setattr(ranges, "asked", _counting(counted))
        small.setattr(ranges, "ROWS", 20)
        assert at_source(trial.source) == whole
        assert at_source(trial.source, Window(first=DAYS[0], last=DAYS[2])) == whole
    assert counted[0] > 1


def _counting(counted: list[int]) -> Any:
    asked_for = ranges.asked

    def ask(source: Source, parts: Any, *more: Any) -> Digests:
        counted.append(len(parts))
        return asked_for(source, parts, *more)

    return ask


FAULTS = {
    "a lost row": "delete from orders where order_id = 25",
    "a changed amount": "update orders set amount = amount + 0.01 where order_id = 25",
    "a value gone": "update orders set customer_email = null where order_id = 25",
    "an empty text": "update orders set customer_email = '' where order_id = 25",
    "a space more": "update orders set customer_email = 'someone@example.org ' where order_id = 25",
    "another letter case": "update orders set customer_email = 'Someone@example.org' where order_id = 25",
    "values that changed places": """update orders set amount = case order_id when 25 then 26 else 25 end
        where order_id in (25, 26)""",
    "texts that changed places": """update orders set customer_email = case order_id when 25 then 'b' else 'a' end
        where order_id in (25, 26)""",
    "keys that changed places": "update orders set order_id = order_id + 1000 where order_id = 40",
    "a time within the day": "update orders set ordered_at = '2026-01-06 12:00:01' where order_id = 25",
}


def test_a_fault_is_seen_in_its_day_and_no_other(trial: Trial) -> None:
    trial.sql(
        "update orders set customer_email = case order_id when 25 then 'a' else 'b' end where order_id in (25, 26)"
    )
    trial.sql("create table kept as select * from orders")
    before = at_source(trial.source, but="updated_at")
    seen = {}
    for name, fault in FAULTS.items():
        trial.sql(fault)
        seen[name] = digest.differing(at_source(trial.source, but="updated_at"), before)
        trial.sql("delete from orders")
        trial.sql("insert into orders select * from kept")
    assert seen == {name: [DAYS[1]] for name in FAULTS}
    assert at_source(trial.source, but="updated_at") == before


def test_a_row_that_moves_to_another_day_is_seen_in_both(trial: Trial) -> None:
    before = at_source(trial.source, but="updated_at")
    trial.sql("update orders set ordered_at = '2026-01-08 12:00:00' where order_id = 25")
    after = at_source(trial.source, but="updated_at")
    assert digest.differing(after, before) == [DAYS[1], DAYS[2]]
    assert {day: one.rows for day, one in after.items()} == {DAYS[0]: 20, DAYS[1]: 19, DAYS[2]: 21}


def test_a_masked_column_is_compared_by_its_hash_and_a_dropped_one_not_at_all(trial: Trial) -> None:
    trial.declare(mask={"customer_email": "sha256"}, drop=["amount"])
    trial.run()
    assert digest.differing(at_source(trial.source), in_lake(trial.lake, trial.source)) == []
    trial.sql("update orders set amount = 0")
    trial.sql("update orders set customer_email = 'another@example.org' where order_id = 41")
    changed = at_source(trial.source, but="updated_at")
    held = in_lake(trial.lake, trial.source, but="updated_at")
    assert digest.differing(changed, held) == [DAYS[2]]


def test_a_table_without_days_has_one_digest_and_an_empty_one_none(trial: Trial) -> None:
    trial.declare(partition=None)
    assert list(at_source(trial.source)) == [None]
    trial.sql("delete from orders")
    assert at_source(trial.source) == {}


def test_a_pause_stretches_the_work_and_changes_nothing(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.sql("create index by_day on orders (ordered_at)")
    whole = at_source(trial.source)
    slept: list[float] = []
    monkeypatch.setattr(ranges, "ROWS", 20)
    monkeypatch.setattr(ranges.time, "sleep", slept.append)
    assert at_source(trial.source, pause=2.0) == whole
    assert len(slept) >= 1
    assert min(slept) > 0


def test_the_digests_of_shards_add_up_to_that_of_the_table(
    operational_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, names = Lake(str(tmp_path / "lake")), ("TRIAL_NORTH_DSN", "TRIAL_SOUTH_DSN")
    monkeypatch.setenv(names[0], operational_dsn)
    with fix_servers.database(fix_servers.address("SHOP_DSN")) as other:
        monkeypatch.setenv(names[1], other)
        source = Source(
            name="trial",
            connector="postgres",
            connection=names[0],
            shards=names,
            tables=[trial_source.DECLARED],
        )
        for dsn in (operational_dsn, other):
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(ORDERS)
                rows = "select n, n, '2026-01-05' from generate_series(1, 9) n"
                connection.execute(f"insert into orders (order_id, amount, ordered_at) {rows}")
        changes(lake, source, source.tables[0])
        fold(lake, subject(source, source.tables[0]))
        parts = []
        for name in names:
            shard = Shard(name, connector(source.model_copy(update={"connection": name, "shards": ()})))
            shape = shard.shape(source.tables[0])
            kinds = {entry.name: entry.type for entry in shape.schema}
            assert shard.incomparable(source.tables[0], shape, kinds) == {}
            parts.append(shard.digests(source.tables[0], shape, Window(), kinds))
            shard.close()
    assert digest.differing(digest.total(parts), in_lake(lake, source)) == []
    assert digest.total(parts)[DAYS[0]].low == '[1, "TRIAL_NORTH_DSN"]'
    assert digest.total(parts)[DAYS[0]].rows == 18


def test_files_are_read_and_have_the_digest_that_they_have_in_the_lake(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    trips = drops.Drops(str(tmp_path / "in"), Lake(str(tmp_path / "lake")))
    trips.drop("a.csv", "id,at,price,note\n1,2026-01-05 10:00:00,1.50,é\n2,2026-01-06 10:00:00,,\n")
    trips.drop("b.csv", "id,at,price,note\n3,2026-01-06 11:00:00,2.25,x\n")
    trips.declared = {"partition": "day(at)"}
    trips.run()
    found = at_source(trips.source)
    assert {day: one.rows for day, one in found.items()} == {DAYS[0]: 1, DAYS[1]: 2}
    assert digest.differing(found, in_lake(trips.lake, trips.source)) == []


def test_a_python_source_is_read_and_has_the_digest_that_it_has_in_the_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digested_rows.py").write_text(
        "import datetime\n"
        "def rows():\n"
        "    for day in (5, 6, 8):\n"
        "        yield {'id': day, 'at': datetime.datetime(2026, 1, day), 'ratio': day / 3}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    table = {"name": "rows", "key": ["id"], "load": "replace", "partition": "day(at)", "function": "digested_rows:rows"}
    source = Source(name="made", connector="python", connection="NOTHING", tables=[table])
    lake = Lake(str(tmp_path / "lake"))
    changes(lake, source, source.tables[0])
    fold(lake, subject(source, source.tables[0]))
    found = at_source(source)
    assert list(found) == DAYS
    assert digest.differing(found, in_lake(lake, source)) == []
    one = at_source(source, Window(first=DAYS[1], last=DAYS[1]))
    assert one == {DAYS[1]: found[DAYS[1]]}


def test_a_value_that_does_not_fit_counts_as_the_null_that_stands_in_the_lake(trial: Trial) -> None:
    trial.declare(contract={"types": "discard_value"})
    if trial.source.connector == "postgres":
        trial.sql("update orders set amount = 'NaN' where order_id = 25")
    else:
        trial.sql("alter table orders add happened_on date")
        trial.sql("set sql_mode = 'ALLOW_INVALID_DATES'")
        trial.sql("update orders set happened_on = '2026-02-30' where order_id = 25")
    assert trial.run().taken.values_quarantined == 1
    assert digest.differing(at_source(trial.source), in_lake(trial.lake, trial.source)) == []


def test_differences_are_told_in_order_and_rows_without_a_day_last() -> None:
    one, other = Digest(1, "[1]", "[1]", 5), Digest(1, "[1]", "[1]", 6)
    left, right = {None: one, DAYS[1]: one, DAYS[0]: one}, {DAYS[1]: one, DAYS[2]: one, DAYS[0]: other}
    assert digest.differing(left, right) == [DAYS[0], DAYS[2], None]
