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
    assert {"sensor_readings", "sales_hourly", "pipeline_runs"} <= {table.name for table in declared.hypertables}
    assert declared["sensor_readings"].chunk_interval == timedelta(days=1)
    assert declared["sales_hourly"].rollup_names == {"1h": "sales_hourly_1h", "1d": "sales_hourly_1d"}
    assert declared["sales_hourly"].columns["net_amount"].type == "numeric(18,2)"


def reworded(tmp_path: Path, *changes: tuple[str, str]) -> spec.Hypertable:
    text = FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "hypertables.yml"
    path.write_text(text, "utf-8")
    return spec.read(path)["sensor_readings"]


def test_every_word_of_the_vocabulary_reads(tmp_path: Path) -> None:
    table = reworded(
        tmp_path,
        ("segment_by: [device_id]", "segment_by: [device_id]\n    order_by: [read_at desc, store_id]"
         "\n    space: {by: device_id, partitions: 4}"),
        ("description: Air temperature.", "description: Air temperature., range: [-60, null]"),
        ("temperature_celsius: [avg, min, max, count]",
         "temperature_celsius: [avg, min, max, count, first, last, percentiles]"),
        ("        1h: ", "        1m: {drop_after: 60 days, refresh_lag: 5 min}\n        1h: "),
    )  # fmt: skip
    assert table.ordering == (("read_at", "desc"), ("store_id", "asc"))
    assert table.space == spec.Space(by="device_id", partitions=4)
    assert (table.tier, table.columns["temperature_celsius"].range) == (True, (-60.0, None))
    assert table.rollups is not None
    assert table.rollups.every["1m"].refresh_lag == timedelta(minutes=5)
    assert table.rollups.every["1h"].refresh_lag == timedelta(hours=1)


def test_what_is_not_said_has_a_default() -> None:
    table = spec.read()["sales_hourly"]
    assert table.ordering == (("sold_at", "desc"),)
    assert (table.space, table.columns["quantity"].range) == (None, None)
    assert spec.Hypertable.model_fields["tier"].default is False
    assert spec.read().edition is None


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
        ("        row_count: [sum]\n        bytes: [sum]", "        row_count: [count_true]\n        bytes: [sum]",
         "FILE, hypertable pipeline_runs: rollups.measures: count_true needs a boolean, `row_count` is bigint"),
        ("is_success: [count_true]", "is_success: [avg]",
         "FILE, hypertable pipeline_runs: rollups.measures: `is_success` is boolean; avg, sum and percentiles need"),
        ("name: sales_hourly", "name: sensor_readings", "FILE: the name sensor_readings is used by two hypertables"),
        ("segment_by: [device_id]", "space: {by: device_id, partitions: 1}",
         "FILE, hypertable sensor_readings: space.partitions: Input should be greater than or equal to 2"),
        ("segment_by: [device_id]", "space: {by: device_id, parts: 2}",
         "FILE, hypertable sensor_readings: unknown key `space.parts`; did you mean"),
        ("segment_by: [device_id]", "space: {by: store_id, partitions: 2}",
         "FILE, hypertable sensor_readings: space.by: `store_id` must be in the key"),
        ("segment_by: [device_id]", "space: {by: read_at, partitions: 2}",
         "FILE, hypertable sensor_readings: space.by: `read_at` is the time column"),
        ("segment_by: [device_id]", "order_by: [red_at desc]",
         'FILE, hypertable sensor_readings: order_by: `red_at` is not a column; did you mean "read_at"?'),
        ("segment_by: [device_id]", "order_by: [read_at descending]",
         "FILE, hypertable sensor_readings: order_by.0: `read_at descending` is not allowed here; write a column, or"),
        ("segment_by: [device_id]", "segment_by: [device_id]\n    order_by: [device_id]",
         "FILE, hypertable sensor_readings: order_by: `device_id` is in segment_by"),
        ("segment_by: [device_id]", "segment_by: [read_at]",
         "FILE, hypertable sensor_readings: segment_by: `read_at` is the time column"),
        ("unit: hPa,", "range: [1100, 800],",
         "FILE, hypertable sensor_readings: columns.pressure_hpa.range: begins at 1100, after its end 800"),
        ("unit: hPa,", "range: [null, null],",
         "FILE, hypertable sensor_readings: columns.pressure_hpa.range: neither end is given"),
        ("unit: hPa,", "range: [800],",
         "FILE, hypertable sensor_readings: columns.pressure_hpa.range: is too short; write [smallest, largest]"),
        ("{type: timestamptz, description: Instant of", "{type: timestamptz, range: [0, 1], description: Instant of",
         "FILE, hypertable sensor_readings: columns.read_at.range: is for numbers"),
        ("key: [read_at, device_id]", "key: [read_at, device_id, device_id]",
         "FILE, hypertable sensor_readings: key: names `device_id` twice"),
        ("indexes: [[device_id, read_at]]", "indexes: [[device_id, read_on]]",
         'FILE, hypertable sensor_readings: indexes.0: `read_on` is not a column; did you mean "read_at"?'),
        ("[avg, min, max, count]", "[avg, avg]",
         "FILE, hypertable sensor_readings: rollups.measures: `temperature_celsius` has avg"),
        ("is_success: [count_true]", "is_success: [percentiles]",
         "FILE, hypertable pipeline_runs: rollups.measures: `is_success` is boolean; avg, sum and percentiles need"),
        ("is_success: [count_true]", "is_success: [min]",
         "FILE, hypertable pipeline_runs: rollups.measures: `is_success` is boolean; min and max need an order"),
        ("1h: {drop_after: 400 days}", "1h: {drop_after: 400 days, refresh_lag: 30 days}",
         "FILE, hypertable sensor_readings: rollups.every.1h: refresh_lag is not shorter than the drop_after"),
        ("1h: {drop_after: 400 days}", "1h: {drop_after: 400 days, refresh_lag: 2 hours}",
         "FILE, hypertable sensor_readings: rollups.every.1d: refresh_lag is shorter than that of 1h"),
        ("1h: {drop_after: 400 days}", "1h: {drop_after: 400 days, lag: 2 hours}",
         "FILE, hypertable sensor_readings: unknown key `rollups.every.1h.lag`; known are drop_after, refresh_lag"),
        ("by: [device_id, store_id]", "by: [device_id, store_id, device_id]",
         "FILE, hypertable sensor_readings: rollups.by: names `device_id` twice"),
        ("hypertables:", "edition: enterprise\nhypertables:",
         "FILE: edition: `enterprise`: Input should be 'apache' or 'community'"),
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


def test_the_example_of_the_guide_reads(tmp_path: Path) -> None:
    guide = (spec.DECLARATION.parents[1] / "docs" / "how-to" / "declare-metrics.md").read_text("utf-8")
    path = tmp_path / "hypertables.yml"
    path.write_text("hypertables:\n" + guide.split("```yaml\n")[1].split("```")[0], "utf-8")
    assert spec.read(path)["sensor_readings"].columns["temperature_celsius"].range == (-60, 60)


def test_an_unknown_hypertable_is_refused_with_a_hint() -> None:
    with pytest.raises(SpecError, match='no hypertable `sales_hourl`; did you mean "sales_hourly"'):
        _ = spec.read()["sales_hourl"]


def test_the_json_schema_holds_every_key_and_the_form_of_a_span() -> None:
    schema = spec.json_schema()
    table = schema["$defs"]["Hypertable"]
    assert set(table["properties"]) == set(spec.Hypertable.model_fields)
    assert table["additionalProperties"] is False
    assert table["properties"]["drop_after"]["type"] == "string"
