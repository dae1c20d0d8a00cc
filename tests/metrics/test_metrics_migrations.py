"""Changes of the declaration against a server with rows: done if nothing is lost, told and refused if it would be."""

import re
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from metrics_rows import NOW, Readings, all_rows

from lake.errors import PermanentError
from metrics import state, upkeep
from metrics.load import load
from metrics.server import connected
from metrics.spec import Column, Hypertable, Space, Spec


def changed(declared: Spec, **changes: Any) -> Spec:
    """The declaration with only sensor_readings in it, and that changed."""
    facts = declared["sensor_readings"].model_dump() | changes
    return Spec(hypertables=(Hypertable.model_validate(facts),))


def with_column(declared: Spec, name: str, kind: str | None) -> Spec:
    columns = dict(declared["sensor_readings"].columns)
    if kind is None:
        del columns[name]
    else:
        columns[name] = Column(type=kind, description="As changed.")
    facts: dict[str, Any] = {"columns": {key: one.model_dump() for key, one in columns.items()}}
    rollups = declared["sensor_readings"].rollups
    if kind is None and rollups and name in rollups.measures:
        measures = {key: value for key, value in rollups.measures.items() if key != name}
        facts["rollups"] = rollups.model_dump() | {"measures": measures}
    return changed(declared, **facts)


def planned(dsn: str, wish: Spec, now: datetime | None = None) -> list[str]:
    with connected(dsn) as connection:
        return [str(one) for one in state.plan(connection, wish, now) if one.hypertable.startswith("metrics.sensor")]


def drift(dsn: str, wish: Spec) -> list[str]:
    with connected(dsn) as connection:
        return [str(one) for one in state.drift(connection, wish)]


def apply(dsn: str, wish: Spec, *, allow_data_loss: bool = False) -> list[str]:
    with connected(dsn) as connection:
        changes = state.apply(connection, wish, allow_data_loss=allow_data_loss)
        return [str(one) for one in changes if not one.is_note]


def refused(dsn: str, wish: Spec, *, allow_data_loss: bool = False) -> str:
    before = shape(dsn)
    with pytest.raises(PermanentError) as caught:
        apply(dsn, wish, allow_data_loss=allow_data_loss)
    assert shape(dsn) == before
    return str(caught.value)


def one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
        return row[0] if row and len(row) == 1 else row


def shape(dsn: str) -> list[tuple[Any, ...]]:
    """Every relation of the schema with its columns, types and number of rows, and every index."""
    with psycopg.connect(dsn) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = 'metrics' ORDER BY 1, 2"
        ).fetchall()
        indexes = connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'metrics' ORDER BY 1")
        return [*columns, *indexes.fetchall(), tuple(all_rows(dsn, "sensor_readings"))]


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def is_community(dsn: str) -> bool:
    return bool(one(dsn, "SELECT current_setting('timescaledb.license') = 'timescale'"))


def sum_up(dsn: str, wish: Spec) -> None:
    """What upkeep does on one edition and the refresh policies on the other."""
    if not is_community(dsn):
        upkeep.run(dsn, wish, NOW)
        return
    for name in wish.hypertables[0].rollup_names.values():
        run(dsn, f"CALL refresh_continuous_aggregate('metrics.{name}', '2026-06-01', NULL)")


@pytest.fixture
def filled(metrics_dsn: str, declared: Spec, readings: Readings) -> str:
    """One hypertable with three days of rows, rolled up."""
    with connected(metrics_dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS metrics CASCADE")
        connection.commit()
        state.apply(connection, changed(declared))
    load(metrics_dsn, readings.hypertable, readings.table(NOW - timedelta(days=3), 300).to_reader(), now=NOW)
    sum_up(metrics_dsn, changed(declared))
    if is_community(metrics_dsn):
        run(metrics_dsn, "SELECT compress_chunk(chunk) FROM show_chunks('metrics.sensor_readings') AS chunk")
    return metrics_dsn


@pytest.fixture
def expired(filled: str, declared: Spec) -> str:
    """The same after a month: only the roll-ups are left of the rows."""
    if is_community(filled):  # its retention goes by the server's clock
        run(filled, "SELECT drop_chunks('metrics.sensor_readings', older_than => timestamptz '2026-07-25')")
    else:
        upkeep.run(filled, changed(declared), NOW + timedelta(days=40))
    assert all_rows(filled, "sensor_readings") == []
    assert len(all_rows(filled, "sensor_readings_1h")) > 100
    return filled


def test_a_column_is_added_without_touching_the_rows(filled: str, declared: Spec) -> None:
    wish = with_column(declared, "light_lux", "integer")
    before = all_rows(filled, "sensor_readings")
    assert apply(filled, wish)[0] == "metrics.sensor_readings: add column light_lux (integer)"
    assert all_rows(filled, "sensor_readings") == [(*row, None) for row in before]
    assert drift(filled, wish)[:1] == []


def test_a_column_with_values_is_dropped_only_if_that_is_allowed(filled: str, declared: Spec) -> None:
    wish = with_column(declared, "pressure_hpa", None)
    step = "metrics.sensor_readings: drop column pressure_hpa, which is not declared"
    assert f"{step} (LOSES DATA: 900 values of column pressure_hpa)" in planned(filled, wish)
    says = refused(filled, wish)
    assert says.startswith("metrics.sensor_readings: drop column pressure_hpa, which is not declared would lose 900")
    assert says.endswith("or run `watershed metrics apply --allow-data-loss`")
    apply(filled, wish, allow_data_loss=True)
    assert drift(filled, wish) == []
    assert len(all_rows(filled, "sensor_readings")[0]) == 5


def test_a_wider_type_is_a_migration_that_keeps_every_value(filled: str, declared: Spec) -> None:
    narrow = with_column(declared, "floor", "integer")
    apply(filled, narrow)
    run(filled, "UPDATE metrics.sensor_readings SET floor = 7")
    was = "integer"
    for kind in ("bigint", "numeric(21,2)", "numeric(24,3)"):
        wish = with_column(declared, "floor", kind)
        assert f"metrics.sensor_readings: column floor becomes {kind} instead of {was}" in apply(filled, wish)
        was = kind
        assert drift(filled, wish) == []
        assert one(filled, "SELECT count(*) FROM metrics.sensor_readings WHERE floor = 7") == 900


@pytest.mark.parametrize(
    ("was", "becomes", "value", "says"),
    [
        ("bigint", "integer", "3000000000", "is bigint, declared is integer, and 900 of 900 values do not fit"),
        ("numeric(10,4)", "numeric(10,2)", "1.2345", "and 900 of 900 values do not fit"),
        ("double precision", "integer", "1.5", "and 900 of 900 values do not fit"),
        ("text", "bigint", "'seven'", "and 900 of 900 values do not fit"),
        ("text", "timestamptz", "'yesterday or so'", "and 900 of 900 values do not fit"),
    ],
)
def test_a_narrower_type_is_refused_even_if_allowed_where_values_do_not_fit(
    filled: str, declared: Spec, was: str, becomes: str, value: str, says: str
) -> None:
    apply(filled, with_column(declared, "floor", was))
    run(filled, f"UPDATE metrics.sensor_readings SET floor = {value}")
    for allowed in (False, True):
        assert says in refused(filled, with_column(declared, "floor", becomes), allow_data_loss=allowed)


@pytest.mark.parametrize(
    ("was", "becomes", "value"),
    [("bigint", "integer", "-7"), ("numeric(10,4)", "numeric(6,2)", "1.25"), ("text", "bigint", "'7'"),
     ("double precision", "numeric(8,3)", "0.125"), ("bigint", "text", "7")],
)  # fmt: skip
def test_a_narrower_type_that_fits_needs_permission(
    filled: str, declared: Spec, was: str, becomes: str, value: str
) -> None:
    apply(filled, with_column(declared, "floor", was))
    run(filled, f"UPDATE metrics.sensor_readings SET floor = {value}")
    wish = with_column(declared, "floor", becomes)
    assert f"would lose the room of {was} in column floor; its 900 values fit" in refused(filled, wish)
    apply(filled, wish, allow_data_loss=True)
    assert drift(filled, wish) == []
    same = f"SELECT count(*) FROM metrics.sensor_readings WHERE floor::text::{was} = ({value})::{was}"
    assert one(filled, same) == 900


def test_the_roll_ups_follow_a_wider_type(filled: str, declared: Spec) -> None:
    apply(filled, with_column(declared, "store_id", "numeric(21,2)"))
    kinds = (
        "SELECT data_type FROM information_schema.columns WHERE column_name = 'store_id' AND table_name LIKE 'sensor%'"
    )
    with psycopg.connect(filled) as connection:
        assert set(connection.execute(kinds).fetchall()) == {("numeric",)}  # type: ignore[arg-type]
    assert len(all_rows(filled, "sensor_readings_1d")) == 9


def test_another_key_is_taken_if_it_tells_the_rows_apart(filled: str, declared: Spec) -> None:
    wish = changed(declared, key=("read_at", "device_id", "store_id"))
    key = "metrics.sensor_readings: key (read_at, device_id, store_id) instead of (read_at, device_id)"
    assert apply(filled, wish) == [key]
    assert drift(filled, wish) == []
    assert apply(filled, changed(declared)) == [
        "metrics.sensor_readings: key (read_at, device_id) instead of (read_at, device_id, store_id)",
        "metrics.sensor_readings: column store_id may be NULL",
    ]
    says = refused(filled, changed(declared, key=("read_at",)))
    assert "600 rows share the declared key (read_at) with another" in says


def test_a_key_over_a_column_with_gaps_is_refused(filled: str, declared: Spec) -> None:
    run(filled, "UPDATE metrics.sensor_readings SET store_id = NULL WHERE device_id = 1")
    says = refused(filled, changed(declared, key=("read_at", "device_id", "store_id")), allow_data_loss=True)
    assert "300 rows lack a column of the declared key (read_at, device_id, store_id)" in says


def test_a_space_dimension_is_made_on_creation_and_later_by_moving_the_rows(filled: str, declared: Spec) -> None:
    wish = changed(declared, space=Space(by="device_id", partitions=3))
    before = all_rows(filled, "sensor_readings")
    moved = "divided by read_at and device_id (into 3) instead of read_at alone"
    assert f"metrics.sensor_readings: move its 900 rows into a new table, {moved}" in apply(filled, wish)
    assert drift(filled, wish) == []
    assert all_rows(filled, "sensor_readings") == before
    chunks = one(filled, "SELECT count(*) FROM show_chunks('metrics.sensor_readings')")
    assert chunks > 4
    run(filled, "DROP TABLE metrics.sensor_readings CASCADE")
    created = (
        "metrics.sensor_readings: create hypertable with key (read_at, device_id) and chunks of 1 day, each divided"
    )
    assert apply(filled, wish)[0].startswith(created)
    assert drift(filled, wish) == []


def test_another_time_column_moves_the_rows_and_sums_the_roll_ups_up_anew(filled: str, declared: Spec) -> None:
    with_second = with_column(declared, "stored_at", "timestamptz")
    apply(filled, with_second)
    run(filled, "UPDATE metrics.sensor_readings SET stored_at = read_at + interval '10 days'")
    facts = with_second["sensor_readings"].model_dump() | {
        "time": "stored_at", "key": ("stored_at", "device_id"), "indexes": (),
    }  # fmt: skip
    wish = Spec(hypertables=(Hypertable.model_validate(facts),))
    steps = apply(filled, wish)
    assert any("move its 900 rows into a new table, divided by stored_at" in step for step in steps)
    assert any(step.startswith("metrics.sensor_readings_1h: create") for step in steps)
    assert drift(filled, wish) == []
    sum_up(filled, wish)
    first = NOW - timedelta(days=3) + timedelta(days=10)
    assert one(filled, "SELECT min(bucket_at) FROM metrics.sensor_readings_1h") == first.replace(minute=0)
    assert one(filled, "SELECT sum(sample_count) FROM metrics.sensor_readings_1h") == 900


def test_a_new_measure_is_summed_up_and_what_is_older_than_the_rows_stays(filled: str, declared: Spec) -> None:
    rollups = declared["sensor_readings"].rollups
    assert rollups is not None
    wish = changed(declared, rollups=rollups.model_dump() | {"measures": {"pressure_hpa": ("min", "max", "first")}})
    assert refused_or_not(filled, wish) == "done"
    sum_up(filled, wish)
    assert one(filled, "SELECT count(*) FROM metrics.sensor_readings_1h WHERE pressure_hpa_first IS NULL") == 0


def refused_or_not(dsn: str, wish: Spec) -> str:
    try:
        apply(dsn, wish)
    except PermanentError as error:
        return str(error)
    return "done"


def test_other_groups_are_made_anew_from_the_rows(filled: str, declared: Spec) -> None:
    rollups = declared["sensor_readings"].rollups
    assert rollups is not None
    wish = changed(declared, rollups=rollups.model_dump() | {"by": ("store_id",)})
    assert any(step.startswith("metrics.sensor_readings_1h: create") for step in apply(filled, wish))
    sum_up(filled, wish)
    assert one(filled, "SELECT sum(sample_count) FROM metrics.sensor_readings_1d") == 900
    assert drift(filled, wish) == []


def test_roll_ups_whose_rows_are_gone_lose_buckets_only_if_that_is_allowed(
    expired: str, declared: Spec, readings: Readings
) -> None:
    rollups = declared["sensor_readings"].rollups
    assert rollups is not None
    fewer = {"measures": {"temperature_celsius": ("avg", "min", "max", "count")}}
    for changes in (fewer, {"by": ("store_id",)}):
        refusal = refused(expired, changed(declared, rollups=rollups.model_dump() | changes))
        assert re.search(r"(51|3) buckets since 2026-06-12 whose rows are no longer there", refusal)
    more = rollups.model_dump()
    more["measures"] |= {"pressure_hpa": ("avg", "min", "max", "count", "last")}
    before = len(all_rows(expired, "sensor_readings_1h"))
    wish = changed(declared, rollups=more)
    steps = apply(expired, wish)
    later = NOW + timedelta(days=40)
    load(expired, readings.hypertable, readings.table(later, 1).to_reader(), now=later)
    if is_community(expired):
        assert any("carry over 51 buckets since 2026-06-12" in step for step in steps)
        run(expired, "CALL refresh_continuous_aggregate('metrics.sensor_readings_1h', '2026-07-01', NULL)")
    else:
        upkeep.run(expired, wish, later)
    assert len(all_rows(expired, "sensor_readings_1h")) == before + 3
    assert one(expired, "SELECT count(pressure_hpa_last) FROM metrics.sensor_readings_1h") == 3
    assert one(expired, "SELECT count(pressure_hpa_avg) FROM metrics.sensor_readings_1h") == before + 3
    apply(expired, changed(declared, rollups=rollups.model_dump() | fewer), allow_data_loss=True)
    if not is_community(expired):
        assert len(all_rows(expired, "sensor_readings_1h")) == before + 3


def test_what_is_no_longer_declared_is_kept_and_told_and_dropped_on_demand(filled: str, declared: Spec) -> None:
    wish = Spec(hypertables=(declared["lake_tables"],))
    told = [step for step in drift(filled, wish) if step.startswith("metrics.sensor_readings")]
    assert [step.partition(":")[0] for step in told] == [
        "metrics.sensor_readings_1d", "metrics.sensor_readings_1h", "metrics.sensor_readings",
    ]  # fmt: skip
    assert told[2] == (
        "metrics.sensor_readings: drop what is no longer declared (LOSES DATA: 900 rows); it is kept; declare it, or to"
        " drop it run `watershed metrics apply --allow-data-loss`"
    )
    apply(filled, wish)
    assert len(all_rows(filled, "sensor_readings")) == 900
    apply(filled, wish, allow_data_loss=True)
    assert drift(filled, wish) == []
    assert one(filled, "SELECT to_regclass('metrics.sensor_readings_1h')") is None
    assert one(filled, "SELECT count(*) FROM metrics._state WHERE hypertable = 'sensor_readings'") == 0
    assert apply(filled, changed(declared))[0].startswith("metrics.sensor_readings: create hypertable")


def test_a_roll_up_that_is_no_longer_declared_is_kept_and_told(filled: str, declared: Spec) -> None:
    rollups = declared["sensor_readings"].rollups
    assert rollups is not None
    every = {"1h": rollups.every["1h"].model_dump()}
    wish = changed(declared, rollups=rollups.model_dump() | {"every": every})
    told = [step for step in drift(filled, wish) if "sensor_readings_1d" in step]
    assert len(told) == 1
    apply(filled, wish)
    assert [step for step in drift(filled, wish) if "sensor_readings_1d" in step] == told
    assert len(all_rows(filled, "sensor_readings_1d")) == 9


def test_a_view_of_an_analyst_that_is_in_the_way_is_named(filled: str, declared: Spec) -> None:
    run(filled, "CREATE VIEW public.mine AS SELECT pressure_hpa FROM metrics.sensor_readings")
    try:
        says = refused(filled, with_column(declared, "pressure_hpa", None), allow_data_loss=True)
    finally:
        run(filled, "DROP VIEW public.mine")
    assert re.search(r"^metrics server: .*\(view mine depends on .*\); change or drop what depends on it first$", says)


def test_a_part_of_the_declaration_takes_no_other_hypertable_for_undeclared(filled: str, declared: Spec) -> None:
    part = Spec(hypertables=(declared["lake_tables"],))
    with connected(filled) as connection:
        changes = state.apply(connection, part, is_part=True, allow_data_loss=True)
    assert {change.hypertable for change in changes} == {"metrics.lake_tables"}
    assert len(all_rows(filled, "sensor_readings")) == 900


def test_a_table_that_a_person_made_is_left_alone(filled: str, declared: Spec) -> None:
    run(
        filled, "CREATE TABLE metrics.mine (at timestamptz)", "SELECT create_hypertable('metrics.mine', by_range('at'))"
    )
    assert drift(filled, changed(declared)) == []
    apply(filled, changed(declared), allow_data_loss=True)
    assert one(filled, "SELECT count(*) FROM metrics.mine") == 0


def test_indexes_of_the_platform_go_with_their_declaration_and_those_of_a_person_stay(
    filled: str, declared: Spec
) -> None:
    wish = changed(declared, indexes=(("store_id", "read_at"),))
    assert apply(filled, wish) == [
        "metrics.sensor_readings: create index on (store_id, read_at)",
        "metrics.sensor_readings: drop index on (device_id, read_at), which is not declared any more",
    ]
    run(
        filled,
        "CREATE INDEX by_hand ON metrics.sensor_readings (temperature_celsius)",
        "CREATE INDEX odd ON metrics.sensor_readings (read_at) WHERE store_id = 1",
    )
    told = [
        "metrics.sensor_readings: has an index on (temperature_celsius), which is not declared; declare it, or run"
        " `DROP INDEX metrics.by_hand`",
        "metrics.sensor_readings: has an index odd of its own; `DROP INDEX metrics.odd` if nobody needs it",
    ]
    assert drift(filled, wish) == told
    assert apply(filled, wish, allow_data_loss=True) == told
    assert drift(filled, wish) == told


def test_a_shorter_time_to_keep_rows_costs_none_before_that_is_allowed(filled: str, declared: Spec) -> None:
    rollups = declared["sensor_readings"].rollups
    assert rollups is not None
    shorter = rollups.model_dump() | {"every": {bucket: {"drop_after": "1 day"} for bucket in ("1h", "1d")}}
    wish = changed(declared, drop_after="1 day", compress_after="1 day", rollups=shorter)
    old = one(filled, "SELECT count(*) FROM metrics.sensor_readings WHERE read_at < '2026-06-14'")
    says = f"2 chunks with {old} rows at the next upkeep"
    if is_community(filled):  # its policies go by the server's clock
        says = "3 chunks with 900 rows at the next upkeep"
    step = f"metrics.sensor_readings: keep rows for 1 day instead of 30 days (LOSES DATA: {says})"
    assert step in planned(filled, wish, NOW)
    with connected(filled) as connection, pytest.raises(PermanentError, match=f"would lose {says}"):
        state.apply(connection, wish, now=NOW)
    upkeep.run(filled, wish, NOW)
    assert len(all_rows(filled, "sensor_readings")) == 900
    with connected(filled) as connection:
        state.apply(connection, wish, now=NOW, allow_data_loss=True)
    assert [line for line in planned(filled, wish, NOW) if "keep rows" in line] == []
    if not is_community(filled):
        upkeep.run(filled, wish, NOW)
        assert len(all_rows(filled, "sensor_readings")) == 900 - old


def test_rows_that_go_to_the_lake_are_not_lost_by_a_shorter_time_to_keep_them(filled: str, declared: Spec) -> None:
    apply(filled, changed(declared, tier=True))
    said = planned(filled, changed(declared, tier=True, drop_after="1 day"), NOW)
    (line,) = [line for line in said if "keep rows for 1 day" in line]
    assert line.endswith("which go to the lake before")
    assert "LOSES" not in line


@pytest.mark.parametrize("broken_at", [1, 3, 5])
def test_a_migration_that_ends_anywhere_leaves_everything_as_before(
    filled: str, declared: Spec, broken_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = changed(declared, space=Space(by="device_id", partitions=3))
    before, done = shape(filled), 0
    original = state._execute

    def cut(connection: psycopg.Connection[Any], statements: tuple[Any, ...]) -> None:
        nonlocal done
        for statement in statements:
            if done == broken_at:
                connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            original(connection, (statement,))
            done += 1

    monkeypatch.setattr(state, "_execute", cut)
    with pytest.raises(Exception, match=r"run it again|does not answer|is up"):
        apply(filled, wish)
    monkeypatch.undo()
    assert shape(filled) == before
    apply(filled, wish)
    assert drift(filled, wish) == []


def test_a_server_of_another_edition_than_demanded_is_refused(filled: str, declared: Spec) -> None:
    kind = "community" if one(filled, "SELECT current_setting('timescaledb.license')") == "apache" else "apache"
    says = refused(filled, changed(declared).model_copy(update={"edition": kind}))
    assert "metrics/hypertables.yml demands the" in says
    assert "take `edition` out of the file, or point METRICS_DSN to a server with timescaledb.license" in says
