"""Files into a hypertable: Parquet, CSV and line protocol say the same rows, in any order, plain or gzipped."""

import gzip
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from metrics_rows import NOW, Readings, all_rows

from lake.errors import ContractBroken, SpecError
from lake.layout import Lake
from metrics import quarantine, spec
from metrics.files import Reading, opened
from metrics.load import Loaded, load
from watershed.cli import main

HEADER = "read_at,device_id,store_id,temperature_celsius,humidity_percent,pressure_hpa"
AT = datetime(2026, 6, 14, 8, tzinfo=UTC)


def into(store: str, readings: Readings, file: Path, how: Reading | None = None, lake: Lake | None = None) -> Loaded:
    with opened(file, readings.hypertable, how or Reading()) as found:
        return load(store, readings.hypertable, found.rows, now=NOW, lake=lake, text=found.is_text)


def rows_of(file: Path, hypertable: spec.Hypertable, how: Reading | None = None) -> list[dict[str, Any]]:
    with opened(file, hypertable, how or Reading()) as found:
        return found.rows.read_all().to_pylist()


def written(file: Path, text: str) -> Path:
    data = text.encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file


def line(row: dict[str, Any]) -> str:
    nanoseconds = int(row["read_at"].timestamp()) * 1_000_000_000
    fields = ",".join(f"{name}={row[name]}" for name in ("temperature_celsius", "humidity_percent", "pressure_hpa"))
    return f"sensor_readings,device_id={row['device_id']},store_id={row['store_id']} {fields} {nanoseconds}\n"


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.csv.gz", "rows.lp", "rows.lp.gz"])
def test_every_form_brings_the_same_rows_and_brings_them_once(
    store: str, readings: Readings, tmp_path: Path, name: str
) -> None:
    table, file = readings.table(AT, 50), tmp_path / name
    if name.endswith("parquet"):
        pa.parquet.write_table(table, file)
    elif ".csv" in name:
        values = [",".join(str(value) for value in row.values()) for row in table.to_pylist()]
        written(file, "\n".join([HEADER, *values]) + "\n")
    else:
        written(file, "# a comment\n\n" + "".join(line(row) for row in table.to_pylist()))
    assert into(store, readings, file).changed == 150
    assert all_rows(store, "sensor_readings") == sorted(tuple(row.values()) for row in table.to_pylist())
    assert into(store, readings, file).changed == 0


def test_instants_without_a_zone_are_refused_until_the_zone_is_said(
    store: str, readings: Readings, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.csv", f"{HEADER}\n2026-06-14 10:00:00,1,1,20,50,1000\n2026-06-14T08:00Z,2,1,,,\n")
    with pytest.raises(ContractBroken, match=r"rows.csv: column read_at has instants without a zone .*--zone UTC"):
        into(store, readings, file)
    assert into(store, readings, file, Reading(zone="Europe/Berlin")).rows == 2
    assert [row[:2] for row in all_rows(store, "sensor_readings")] == [(AT, 1), (AT, 2)]
    with pytest.raises(SpecError, match="`Mars` is not a time zone"):
        into(store, readings, file, Reading(zone="Mars"))


def test_a_zone_that_is_said_moves_only_instants_that_have_none(readings: Readings, tmp_path: Path) -> None:
    text = (
        f"{HEADER}\n2026-06-14,1,1,,,\n2026-06-14 00:00:00.25,1,1,,,\n2026-06-14T02:00:00+02:00,1,1,,,\nsoon,1,1,,,\n"
    )
    file = written(tmp_path / "rows.csv", text)
    assert [row["read_at"] for row in rows_of(file, readings.hypertable, Reading(zone="UTC"))] == [
        "2026-06-14 00:00Z", "2026-06-14 00:00:00.25Z", "2026-06-14T02:00:00+02:00", "soon",
    ]  # fmt: skip
    tokyo = rows_of(file, readings.hypertable, Reading(zone="Asia/Tokyo"))
    assert tokyo[0]["read_at"] == "2026-06-13 15:00:00.000000Z"
    assert [row["read_at"] for row in tokyo][2:] == ["2026-06-14T02:00:00+02:00", "soon"]


def test_parquet_instants_without_a_zone_are_refused_until_it_is_said(
    store: str, readings: Readings, tmp_path: Path
) -> None:
    table = readings.table(AT, 2)
    naive = table.set_column(0, "read_at", table["read_at"].cast(pa.timestamp("us")))
    pa.parquet.write_table(naive, tmp_path / "rows.parquet")
    with pytest.raises(ContractBroken, match="column read_at has instants without a zone: say it"):
        into(store, readings, tmp_path / "rows.parquet")
    assert into(store, readings, tmp_path / "rows.parquet", Reading(zone="Asia/Tokyo")).rows == 6
    assert all_rows(store, "sensor_readings")[0][0] == AT.replace(tzinfo=timezone(timedelta(hours=9)))


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("temperature_celsius [°F]", "column temperature_celsius comes in °F, declared is °C: convert it"),
        ("temperature_celsius (K)", "column temperature_celsius comes in K, declared is °C: convert it"),
        ("temperature_fahrenheit", "column temperature_fahrenheit comes in °F, declared is temperature_celsius in °C"),
        ("colour", "the rows have a column colour that is not declared"),
    ],
)
def test_a_column_in_another_unit_is_refused(
    store: str, readings: Readings, tmp_path: Path, header: str, says: str
) -> None:
    file = written(
        tmp_path / "rows.csv", HEADER.replace("temperature_celsius", header) + f"\n{AT.isoformat()},1,1,2,3,4\n"
    )
    with pytest.raises(ContractBroken, match=says.replace("(", r"\(").replace(")", r"\)")):
        into(store, readings, file)


def test_the_declared_unit_in_a_header_is_fine(store: str, readings: Readings, tmp_path: Path) -> None:
    header = HEADER.replace("temperature_celsius", "temperature_celsius [C]").replace("_hpa", "_hpa (hPa)")
    file = written(tmp_path / "rows.csv", f"{header}\n{AT.isoformat()},1,1,20.5,50,1000\n")
    assert into(store, readings, file).rows == 1
    wrong = readings.table(AT, 1).cast(
        pa.schema([entry.with_metadata({"unit": "K"}) if entry.name[0] == "t" else entry for entry in readings.schema])
    )
    pa.parquet.write_table(wrong, tmp_path / "rows.parquet")
    with pytest.raises(ContractBroken, match="comes in K, declared is °C"):
        into(store, readings, tmp_path / "rows.parquet")


def test_text_that_does_not_convert_is_set_aside_as_it_stood(store: str, readings: Readings, tmp_path: Path) -> None:
    rows = [f"{AT.isoformat()},{device},1,{value},50,1000" for device, value in enumerate(("20.5", "warm", "", "1e1"))]
    file = written(tmp_path / "rows.csv", "\n".join([HEADER, *rows, "yesterday,9,1,1,1,1"]))
    lake = Lake(str(tmp_path / "lake"))
    done = into(store, readings, file, lake=lake)
    assert (done.rows, done.set_aside) == (3, 2)
    assert [row[3] for row in all_rows(store, "sensor_readings")] == [20.5, None, 10.0]
    held = {row["device_id"]: row["_misfit"] for row in quarantine_rows(lake)}
    assert held == {1: '{"temperature_celsius": "warm"}', 9: '{"read_at": "yesterday"}'}
    with pytest.raises(ContractBroken, match="row 2: temperature_celsius does not fit double precision"):
        into(store, readings, file)


def quarantine_rows(lake: Lake) -> list[dict[str, Any]]:
    from lake import quarantine as zone

    return zone.examples(lake, quarantine.address("sensor_readings"), 100)


EVENTS = """
hypertables:
  - name: events
    description: One row per event.
    time: at
    key: [at, name]
    chunk_interval: 1 day
    compress_after: 7 days
    drop_after: 30 days
    columns:
      at: {type: timestamptz, description: Instant.}
      name: {type: text, description: Name.}
      note: {type: text, description: Note.}
      value: {type: double precision, description: Value.}
      hits: {type: bigint, description: Hits.}
      is_new: {type: boolean, description: Whether it is new.}
"""


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> spec.Hypertable:
    file = tmp_path_factory.mktemp("spec") / "hypertables.yml"
    file.write_text(EVENTS)
    return spec.read(file)["events"]


def test_line_protocol_is_read_with_its_escapes_strings_and_types(events: spec.Hypertable, tmp_path: Path) -> None:
    text = r"""events,name=a\ b\,c\=d value=1.5e3,hits=12i,is_new=t 1700000000
events value=-2,note="say \"hi\", x=1 \\ now",is_new=FALSE 1700000001
other,name=x value=1 1
events,name=naïve hits=7u,note=""
events,name=z is_new=true 1700000002
"""
    how = Reading(precision="s")
    with opened(written(tmp_path / "rows.lp", text), events, how) as found:
        rows = found.rows.read_all().to_pylist()
    assert found.others == {"other": 1}
    first = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    expected = [
        (first, "a b,c=d", None, "1.5e3", "12", "true"),
        (first + timedelta(seconds=1), None, 'say "hi", x=1 \\ now', "-2", None, "FALSE"),
        (None, "naïve", "", None, "7", None),
        (first + timedelta(seconds=2), "z", None, None, None, "true"),
    ]
    assert [tuple(row[name] for name in events.columns) for row in rows] == expected


@pytest.mark.parametrize(
    ("precision", "time"),
    [("ns", "1700000000123456789"), ("us", "1700000000123456"), ("ms", "1700000000123"), ("s", "1700000000")],
)
def test_line_protocols_times_are_of_the_precision_that_is_said(
    events: spec.Hypertable, tmp_path: Path, precision: Any, time: str
) -> None:
    (row,) = rows_of(written(tmp_path / "a.lp", f"events value=1 {time}"), events, Reading(precision=precision))
    kept = {"ns": 123456, "us": 123456, "ms": 123000, "s": 0}[precision]
    assert row["at"] == datetime(2023, 11, 14, 22, 13, 20, kept, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("events value= 1\n", "the line `events value= 1` is not line protocol"),
        ("events value=1 soon\n", "the line `events value=1 soon` is not line protocol"),
        ("just words\n", "is not line protocol"),
        ("events,colour=red value=1 1\n", "the lines have colour, which is not a column of events"),
        ("other value=1 1\n", "has no line of measurement events, only of other: say --measurement"),
        ("events,name=a name=\"b\" 1\n", "name comes twice in a line"),
    ],
)  # fmt: skip
def test_what_is_not_line_protocol_is_refused_in_a_sentence(
    events: spec.Hypertable, tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ContractBroken, match=f"a.lp: .*{says}.*nothing of this file was loaded"):
        rows_of(written(tmp_path / "a.lp", text), events)


def test_a_measurement_can_be_named(events: spec.Hypertable, tmp_path: Path) -> None:
    file = written(tmp_path / "a.lp", "other\\ one value=1 1\n")
    assert len(rows_of(file, events, Reading(measurement="other one"))) == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.csv.gz"])
def test_a_file_that_is_not_what_its_name_says_is_refused(events: spec.Hypertable, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x01,\n2,3,4\n")
    with pytest.raises(ContractBroken, match=f"{name}: "):
        rows_of(tmp_path / name, events)


def test_a_name_that_says_no_form_asks_for_it(events: spec.Hypertable, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"rows\.txt: does not say by its name what it is; say --format"):
        rows_of(written(tmp_path / "rows.txt", ""), events)


def test_the_command_loads_files_and_tells_what_was_set_aside(store: str, readings: Readings, tmp_path: Path) -> None:
    given = {"METRICS_DSN": store, "WATERSHED_HOME": str(tmp_path), "LAKE_ROOT": str(tmp_path / "lake")}
    good = f"{AT.isoformat()},1,1,20.5,50,1000"
    first = written(tmp_path / "first.csv", f"{HEADER}\n{good}\n{AT.isoformat()},,1,20.5,50,1000\n")
    second = written(tmp_path / "second.csv.gz", f"{HEADER}\n2026-06-14 10:00,1,1,20.5,50,1000\n")

    def command(*words: str) -> Result:
        with patch.dict(os.environ, {**given, "WATERSHED_NOW": NOW.isoformat()}):
            return CliRunner().invoke(main, words)

    done = command("metrics", "load", "sensor_readings", str(first), str(second))
    assert done.exit_code == 1
    assert (
        "metrics.sensor_readings: 1 row of first.csv taken in, 1 new or changed, 1 set aside in quarantine/metrics/"
        "sensor_readings (1 because device_id is NULL, but part of the key), in "
    ) in done.output
    assert "second.csv.gz: column read_at has instants without a zone (`2026-06-14 10:00`): say it" in done.output
    assert command("metrics", "load", "sensor_readings", str(second), "--zone", "UTC").exit_code == 0
    assert len(all_rows(store, "sensor_readings")) == 2
    assert "metrics.sensor_readings" in command("quarantine", "list").output
    assert "load the corrected file again" in command("quarantine", "replay", "metrics.sensor_readings").output
    assert "1 rows and values are out" in command("quarantine", "clear", "metrics.sensor_readings", "--yes").output
