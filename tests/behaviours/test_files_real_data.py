"""Real files through `connector: files`: counts and sums equal those that plain code over the files gives."""

import csv
import datetime
import gzip
import io
import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from drops import Drops

from lake.layout import Lake


def text(path: Path) -> io.StringIO:
    """A packed file's text, line ends as they are."""
    return io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline="")


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    (tmp_path / "drops").mkdir()
    return Drops(str(tmp_path / "drops"), Lake(str(tmp_path / "lake")))


def test_eighteen_months_of_taxi_trips_arrive_row_by_row(drops: Drops, data: Path) -> None:
    """180,000 trips; two of the files have CRLF line ends, and one column has no value before 2019."""
    files = sorted((data / "nyc_taxi").glob("*.csv.gz"))
    drops.files = {"path": "yellow_*.csv.gz"}
    drops.declared = {
        "partition": "day(pickup_datetime)",
        "columns": {"total_amount": "decimal(12,2)", "fare_amount": "decimal(12,2)"},
    }
    for path in files[:12]:
        shutil.copy2(path, drops.root)
    assert drops.run().taken.inserted == 120_000
    assert "congestion_surcharge" not in drops.types()
    for path in files[12:]:
        shutil.copy2(path, drops.root)
    loaded = drops.run()
    assert (loaded.rows_read, loaded.taken.inserted, loaded.taken.quarantined) == (60_000, 60_000, 0)
    assert drops.run().rows_read == 0

    rows = [row for path in files for row in csv.DictReader(text(path))]
    days = {row["pickup_datetime"][:10] for row in rows}
    surcharges = [Decimal(row["congestion_surcharge"]) for row in rows if row["congestion_surcharge"]]
    (found,) = drops.rows(
        """count(*), sum(total_amount), sum(fare_amount), sum(passenger_count), sum(pickup_location_id),
        count(DISTINCT CAST(pickup_datetime AS DATE)), min(pickup_datetime)::VARCHAR, max(dropoff_datetime)::VARCHAR,
        count(congestion_surcharge), sum(congestion_surcharge)::DECIMAL(12,2), count(DISTINCT _file)"""
    )
    assert found == (
        180_000,
        sum(Decimal(row["total_amount"]) for row in rows),
        sum(Decimal(row["fare_amount"]) for row in rows),
        sum(int(row["passenger_count"] or 0) for row in rows),
        sum(int(row["pickup_location_id"]) for row in rows),
        len(days),
        min(row["pickup_datetime"] for row in rows),
        max(row["dropoff_datetime"] for row in rows),
        len(surcharges),
        sum(surcharges),
        18,
    )


def test_a_day_of_wikipedia_edits_arrives_with_every_value(drops: Drops, data: Path) -> None:
    """39,244 edits as one JSON object a line, nested once more by the test."""
    (path,) = (data / "wikipedia_edits").glob("*.json.gz")
    edits = [json.loads(line) for line in text(path)]
    place = ("cityName", "countryIsoCode", "countryName", "regionIsoCode", "regionName", "metroCode")
    for edit in edits:
        edit["place"] = {name: edit.pop(name) for name in place}
    drops.files = {"path": "edits.json.gz"}
    drops.declared = {"partition": "day(time)"}
    drops.drop("edits.json.gz", gzip.compress("".join(json.dumps(edit) + "\n" for edit in edits).encode(), 1))
    taken = drops.run().taken
    assert (taken.inserted, taken.quarantined, taken.values_quarantined) == (39_244, 0, 0)
    assert drops.types()["place"].startswith("STRUCT(")
    (found,) = drops.rows(
        """count(*), sum(added), sum(delta), count(DISTINCT "user"), count(place.cityName), sum(place.metroCode),
        count(*) FILTER (isRobot), sum(length(comment)), min(time), max(time)"""
    )
    times = [datetime.datetime.fromisoformat(edit["time"]) for edit in edits]
    assert found == (
        len(edits),
        sum(edit["added"] for edit in edits),
        sum(edit["delta"] for edit in edits),
        len({edit["user"] for edit in edits}),
        sum(edit["place"]["cityName"] is not None for edit in edits),
        sum(edit["place"]["metroCode"] or 0 for edit in edits),
        sum(edit["isRobot"] for edit in edits),
        sum(len(edit["comment"] or "") for edit in edits),
        min(times),
        max(times),
    )


def test_reviews_with_line_breaks_in_quotes_arrive_whole_on_s3(bucket: str, data: Path) -> None:
    drops = Drops(f"s3://{bucket}/drops", Lake(f"s3://{bucket}/lake"), files={"path": "reviews/*.csv.gz"})
    path = data / "olist" / "olist_order_reviews_dataset.csv.gz"
    drops.drop("reviews/1.csv.gz", path.read_bytes())
    drops.run()
    rows = list(csv.DictReader(text(path)))
    (found,) = drops.rows("count(*), sum(review_score), sum(length(review_comment_message)), count(DISTINCT review_id)")
    assert found == (
        len(rows),
        sum(int(row["review_score"]) for row in rows),
        sum(len(row["review_comment_message"]) for row in rows),
        len({row["review_id"] for row in rows}),
    )
    assert any("\n" in row["review_comment_message"] for row in rows)


def test_parquet_tables_arrive_as_they_are(drops: Drops, data: Path) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = data / "completejourney" / "transactions_sample.parquet"
    drops.files = {"path": "*.parquet"}
    drops.declared = {"partition": "day(transaction_timestamp)"}
    shutil.copy2(path, drops.root)
    drops.run()
    rows = pq.read_table(path)
    (found,) = drops.rows("count(*), sum(quantity), min(transaction_timestamp), count(DISTINCT basket_id)")
    baskets = pc.count_distinct(rows["basket_id"]).as_py()
    first = pc.min(rows["transaction_timestamp"]).as_py()
    assert found == (rows.num_rows, pc.sum(rows["quantity"]).as_py(), first, baskets)
