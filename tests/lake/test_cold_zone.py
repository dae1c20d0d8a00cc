"""The cold zone: ranges copied whole, replaced exactly, put together by upkeep, and none mistaken for an orphan."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lake import cold, commit, damage, inventory, read, upkeep
from lake.cold import Range
from lake.errors import SpecError
from lake.layout import Lake
from watershed.lake_tables import named

UTC = datetime.UTC
DAY = datetime.timedelta(days=1)
SCHEMA = pa.schema([("at", cold.INSTANT), ("device", pa.int64()), ("value", pa.float64()), ("said", pa.string())])


def day(number: int) -> Range:
    start = datetime.datetime(2025, 12, 28, tzinfo=UTC) + DAY * number
    return Range(start, start + DAY)


def rows(shift: float = 0.0, schema: pa.Schema = SCHEMA) -> Callable[..., pa.RecordBatchReader]:
    def of(start: datetime.datetime, end: datetime.datetime) -> pa.RecordBatchReader:
        found = []
        at = start
        while at < end:
            found += [{"at": at, "device": n, "value": n + shift, "said": None if n else "é"} for n in range(3)]
            at += datetime.timedelta(hours=1)
        return (
            pa.Table.from_pylist(found, schema=SCHEMA)
            .select([name for name in schema.names if name in SCHEMA.names])
            .cast(pa.schema([field for field in schema if field.name in SCHEMA.names]))
            .to_reader()
        )

    return of


def copy(lake: Lake, range: Range, shift: float = 0.0, schema: pa.Schema = SCHEMA) -> int:
    return cold.copy(lake, "readings", range, rows(shift, schema), schema, ["at", "device"], {"n": 1})[0].version


def held(lake: Lake, column: str = "count(*)") -> list[tuple[object, ...]]:
    query = f"SELECT _range_start, {column} FROM {read.relation(lake, cold.address('readings'))} GROUP BY 1 ORDER BY 1"
    with read.connect(lake) as connection:
        return connection.execute(query).fetchall()


def live(lake: Lake) -> list[str]:
    delta = commit.table(lake, cold.address("readings"))
    assert delta is not None
    return sorted(one.path for one in commit.files(delta))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_a_range_lies_under_its_year_and_one_over_new_year_under_both(lake: Lake) -> None:
    copy(lake, Range(day(3).start, day(4).end))
    assert [path.split("/")[0] for path in live(lake)] == ["year=2025", "year=2026"]
    assert held(lake) == [(day(3).start, 144)]


def test_copying_a_range_again_replaces_it_and_leaves_the_others(lake: Lake) -> None:
    for number in range(3):
        copy(lake, day(number))
    before = live(lake)
    copy(lake, day(1), shift=10.0)
    assert held(lake, "sum(value)") == [(day(0).start, 72.0), (day(1).start, 792.0), (day(2).start, 72.0)]
    assert len(set(before) & set(live(lake))) == 2


def test_upkeep_puts_ranges_together_and_a_range_can_still_be_replaced(lake: Lake) -> None:
    for number in range(12):
        copy(lake, day(number), shift=float(number))
    before = held(lake, "(count(*), sum(value))")
    kept = upkeep.keep(lake, cold.address("readings"))
    assert (kept.before.files, kept.after.files) == (12, 2)
    assert {path.split("/")[0] for path in live(lake)} == {"year=2025", "year=2026"}
    assert held(lake, "(count(*), sum(value))") == before
    copy(lake, day(5), shift=5.0)
    assert held(lake, "(count(*), sum(value))") == before
    assert damage.check(lake, cold.address("readings"), deep=True).faults == ()


def test_upkeep_of_the_whole_lake_knows_the_zone_and_removes_nothing_that_is_live(lake: Lake) -> None:
    copy(lake, day(0))
    later = datetime.datetime.now(UTC) + 90 * DAY
    assert inventory.tables(lake) == named(lake, None) == named(lake, "metrics_cold.readings")
    kept = upkeep.keep(lake, inventory.tables(lake)[0], now=later)
    upkeep.sweep_root(lake, later)
    assert (kept.vacuumed.old, kept.vacuumed.orphans, kept.vacuumed.foreign) == (0, 0, ())
    assert held(lake) == [(day(0).start, 72)]


def test_a_column_that_came_later_is_null_before_and_a_wider_one_is_wider_everywhere(lake: Lake) -> None:
    narrow = pa.schema([SCHEMA.field("at"), pa.field("device", pa.int32())])
    copy(lake, day(0), schema=narrow)
    copy(lake, day(5))
    assert held(lake, "(count(value), sum(device), any_value(typeof(device)))") == [
        (day(0).start, (0, 72, "BIGINT")), (day(5).start, (72, 72, "BIGINT")),
    ]  # fmt: skip


def test_the_digest_is_that_of_the_range_and_not_that_of_a_table_with_fewer_columns(lake: Lake) -> None:
    columns = {field.name: field.type for field in SCHEMA}
    with read.connect(lake) as connection:
        assert cold.digest(connection, lake, "readings", day(0), columns) == cold.NONE
        copy(lake, day(0))
        copy(lake, day(1), shift=1.0)
        one, other = (cold.digest(connection, lake, "readings", day(number), columns) for number in (0, 1))
        assert (one.rows, other.rows) == (72, 72)
        assert one.checksum != other.checksum
        assert cold.digest(connection, lake, "readings", day(0), columns | {"more": pa.int64()}) == cold.NONE


def test_a_range_without_rows_takes_out_what_was_copied_before(lake: Lake) -> None:
    copy(lake, day(0))
    nothing = lambda *_: SCHEMA.empty_table().to_reader()  # noqa: E731
    cold.copy(lake, "readings", day(0), nothing, SCHEMA, ["at"], {})
    assert held(lake) == []


def test_a_column_that_the_zone_needs_itself_is_refused(lake: Lake) -> None:
    with pytest.raises(SpecError, match="hypertable readings: column year is one of the lake's own; rename it"):
        copy(lake, day(0), schema=SCHEMA.append(pa.field("year", pa.int64())))
