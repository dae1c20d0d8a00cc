"""The declaration: what it may say, and what its errors say."""

from datetime import timedelta
from pathlib import Path

import pytest

from lake.errors import SpecError
from metrics import spec

FILE = spec.DECLARATION.read_text("utf-8")


def refusal(tmp_path: Path, old: str, new: str) -> str:
    assert old in FILE
    path = tmp_path / "hypertables.yml"
    path.write_text(FILE.replace(old, new, 1), "utf-8")
    with pytest.raises(SpecError) as caught:
        spec.read(path)
    return str(caught.value).replace(str(path), "FILE")


def test_the_declaration_of_the_repository_reads() -> None:
    declared = spec.read()
    names = ["sensor_readings", "sales_hourly", "pipeline_runs", "lake_tables"]
    names += ["table_freshness", "check_results", "server_stats"]
    assert [table.name for table in declared.hypertables] == names
    assert declared["sensor_readings"].chunk_interval == timedelta(days=1)
    assert declared["sales_hourly"].rollup_names == {"1h": "sales_hourly_1h", "1d": "sales_hourly_1d"}
    assert declared["sales_hourly"].columns["net_amount"].type == "numeric(18,2)"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    drop_after: 30 days", "    drop_aftr: 30 days",
         'FILE, hypertable sensor_readings: unknown key `drop_aftr`; did you mean "drop_after"?'),
        ("description: Instant of measurement.", "descripton: x",
         'FILE, hypertable sensor_readings: unknown key `columns.read_at.descripton`; did you mean "description"?'),
        ("type: timestamptz, description: Instant of", "type: timestamp, description: Instant of",
         'FILE, hypertable sensor_readings: columns.read_at.type: `timestamp` is not allowed here; '
         'did you mean "timestamptz"?'),
        ("chunk_interval: 1 day", "chunk_interval: daily",
         "FILE, hypertable sensor_readings: chunk_interval: is not a span of time; write it as `7 days` or `1 hour`"),
        ("key: [read_at, device_id]", "key: [read_at, devise_id]",
         'FILE, hypertable sensor_readings: key: `devise_id` is not a column; did you mean "device_id"?'),
        ("key: [read_at, device_id]", "key: [device_id]",
         "FILE, hypertable sensor_readings: key: must contain the time column `read_at`; correct it"),
        ("[avg, min, max, count]", "[avrg]",
         "FILE, hypertable sensor_readings: rollups.measures.temperature_celsius.0: `avrg`"),
        ("1h: {drop_after: 400 days}", "1h: {drop_after: 4 days}",
         "FILE, hypertable sensor_readings: rollups.every.1h: drop_after is shorter than the drop_after of the rows"),
        ("chunk_interval: 1 day", "chunk_interval: 36 hours",
         "FILE, hypertable sensor_readings: chunk_interval: must be a multiple of the roll-up 1d"),
        ("[sum, max]", "[sum, count_true]", "FILE, hypertable pipeline_runs: rollups.measures: count_true needs a"),
        ("is_success: [count_true]", "is_success: [avg]",
         "FILE, hypertable pipeline_runs: rollups.measures: `is_success` is boolean; avg and sum need a number"),
        ("name: sales_hourly", "name: sensor_readings", "FILE: the name sensor_readings is used by two hypertables"),
        ("    time: read_at\n", "", "FILE, hypertable sensor_readings: the key `time` is missing; add it"),
        ("    time: read_at\n", "    time: read_at\n    time: x\n", "FILE: is not YAML (the key `time` stands twice"),
        ("hypertables:", "hypertable:", 'FILE: '),
        ("hypertables:", "hypertables: [", "FILE: is not YAML"),
    ],
)  # fmt: skip
def test_an_error_names_file_hypertable_key_and_what_would_be_right(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert refusal(tmp_path, old, new).startswith(says)


def test_a_file_that_is_empty_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        spec.read(tmp_path / "none.yml")
    (tmp_path / "empty.yml").write_text("", "utf-8")
    with pytest.raises(SpecError, match=r"empty\.yml: "):
        spec.read(tmp_path / "empty.yml")


def test_an_unknown_hypertable_is_refused_with_a_hint() -> None:
    with pytest.raises(SpecError, match='no hypertable `sales_hourl`; did you mean "sales_hourly"'):
        _ = spec.read()["sales_hourl"]


def test_the_json_schema_holds_every_key_and_the_form_of_a_span() -> None:
    schema = spec.json_schema()
    table = schema["$defs"]["Hypertable"]
    assert set(table["properties"]) == set(spec.Hypertable.model_fields)
    assert table["additionalProperties"] is False
    assert table["properties"]["drop_after"]["type"] == "string"
