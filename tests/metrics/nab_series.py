"""The 24 real series of the Numenta Anomaly Benchmark as rows of host_metrics and web_metrics, and their labels."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import csv

from lake import duck
from metrics.batches import arrow_schema
from metrics.spec import Hypertable

FOLDERS = {
    "realAWSCloudwatch": "host_metrics",
    "realAdExchange": "web_metrics",
    "realTraffic": "web_metrics",
    "realTweets": "web_metrics",
}


@dataclass(frozen=True)
class Series:
    """One file: which hypertable it belongs to, and its labelled windows (UTC)."""

    name: str
    hypertable: str
    path: Path
    windows: tuple[tuple[datetime, datetime], ...]

    def table(self, hypertable: Hypertable) -> pa.Table:
        """The file's rows, naive instants as UTC."""
        kinds = csv.ConvertOptions(column_types={"timestamp": pa.timestamp("us"), "value": pa.float64()})
        rows = csv.read_csv(self.path, convert_options=kinds)
        columns = {
            "measured_at": rows["timestamp"].cast(pa.timestamp("us", "UTC")),
            "series": pa.repeat(self.name, rows.num_rows),
            "value": rows["value"],
        }
        return pa.table(columns, schema=arrow_schema(hypertable))

    def last_at(self, hypertable: Hypertable) -> datetime:
        """When the series was measured last."""
        last: datetime = max(self.table(hypertable)["measured_at"].to_pylist())
        return last


def series(data: Path) -> list[Series]:
    labels = json.loads((data / "nab" / "combined_windows.json").read_text("utf-8"))
    return list(_series(data / "nab", labels))


def files(series: list[Series]) -> duckdb.DuckDBPyConnection:
    """DuckDB with the files' rows as table `points`; of rows with the same series and instant the last one."""
    connection = duck.connect()
    connection.execute(
        "CREATE TABLE points (hypertable VARCHAR, series VARCHAR, measured_at TIMESTAMPTZ, value DOUBLE)"
    )
    for one in series:
        # A glob over files that end their lines differently loses some of them without a word: one at a time.
        connection.execute(
            "INSERT INTO points SELECT ?, ?, measured_at, value FROM ("
            "SELECT timestamp::TIMESTAMPTZ AS measured_at, value, row_number() OVER () AS line"
            " FROM read_csv(?, header = true, auto_detect = false,"
            " columns = {'timestamp': 'TIMESTAMP', 'value': 'DOUBLE'}))"
            " QUALIFY row_number() OVER (PARTITION BY measured_at ORDER BY line DESC) = 1",
            [one.hypertable, one.name, str(one.path)],
        )
    return connection


def _series(folder: Path, labels: dict[str, list[tuple[str, str]]]) -> Iterator[Series]:
    for label, windows in sorted(labels.items()):
        spans = tuple((_instant(start), _instant(end)) for start, end in windows)
        path = folder / f"{label}.gz"
        yield Series(path.name.removesuffix(".csv.gz"), FOLDERS[path.parent.name], path, spans)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
