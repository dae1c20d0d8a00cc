"""Real tables in real databases, with their dirt: what the lake holds equals plain SQL over the files."""

from pathlib import Path
from typing import Any

import duckdb
import fix_servers
import pytest

from ingestion import load
from ingestion.spec import Source
from lake import duck, read
from lake.duck import literal
from lake.fold import fold
from lake.layout import Address, Lake

VARIABLE = "REAL_DSN"
GROCER: dict[str, Any] = {
    "name": "transactions",
    "key": ["household_id", "basket_id", "product_id"],
    "cursor": "transaction_timestamp",
    "partition": "day(transaction_timestamp)",
}
REVIEWS: dict[str, Any] = {"name": "reviews", "key": ["review_id"], "load": "replace"}  # 34 ids stand for two reviews
PAYMENTS: dict[str, Any] = {"name": "payments", "key": ["order_id", "payment_sequential"], "load": "replace"}
TYPES = {"VARCHAR": "text", "DOUBLE": "double", "BIGINT": "bigint", "INTEGER": "int", "TIMESTAMP": "datetime"}


@pytest.fixture
def files(data: Path) -> dict[str, str]:
    """The files as relations of DuckDB; instants without a zone, in UTC, as both databases can hold them."""
    grocer, olist = data / "completejourney", data / "olist"
    return {
        "transactions": "(SELECT * REPLACE (transaction_timestamp AT TIME ZONE 'UTC' AS transaction_timestamp)"
        f" FROM read_parquet({literal(str(grocer / 'transactions_sample.parquet'))}))",
        "reviews": f"read_csv({literal(str(olist / 'olist_order_reviews_dataset.csv.gz'))})",
        "payments": f"read_csv({literal(str(olist / 'olist_order_payments_dataset.csv.gz'))})",
    }


@pytest.fixture(params=["postgres", "mysql"])
def source(request: pytest.FixtureRequest, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Source:
    """The files' rows as tables of a real database."""
    server = str(request.param)
    dsn = request.getfixturevalue("operational_dsn" if server == "postgres" else "mysql_dsn")
    monkeypatch.setenv(VARIABLE, dsn)
    with duck.connect(extensions=["postgres_scanner"]) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if server == "postgres":
            connection.execute(f"ATTACH {literal(dsn)} AS there (TYPE postgres)")
            for name, relation in files.items():
                connection.execute(f"CREATE TABLE there.{name} AS FROM {relation}")
        else:
            _fill(connection, files, dsn)
    return Source(name="real", connector=server, connection=VARIABLE, tables=[GROCER, REVIEWS, PAYMENTS])


def _fill(connection: duckdb.DuckDBPyConnection, files: dict[str, str], dsn: str) -> None:
    with fix_servers.mysql(dsn) as there, there.cursor() as cursor:
        for name, relation in files.items():
            columns = connection.execute(f"DESCRIBE FROM {relation}").fetchall()
            cursor.execute(f"create table {name} ({', '.join(f'{c[0]} {TYPES[c[1]]}' for c in columns)})")
            places = ", ".join(["%s"] * len(columns))
            rows = connection.execute(f"FROM {relation}").fetchall()
            cursor.executemany(f"insert into {name} values ({places})", rows)
        there.commit()


def _lake(tmp_path: Path, source: Source) -> dict[str, load.Loaded]:
    lake = Lake(str(tmp_path / "lake"))
    loaded = {}
    for table in source.tables:
        loaded[table.name] = load.changes(lake, source, table)
        fold(lake, load.subject(source, table))
    return loaded


def test_counts_and_sums_of_real_tables_equal_plain_sql_over_the_files(
    source: Source, files: dict[str, str], tmp_path: Path
) -> None:
    loaded = _lake(tmp_path, source)
    lake = Lake(str(tmp_path / "lake"))
    sums = {
        "transactions": "count(*), sum(quantity), round(sum(sales_value), 2), round(sum(retail_disc), 2), sum(week),"
        " strftime(min(transaction_timestamp), '%c'), strftime(max(transaction_timestamp), '%c'),"
        " count(DISTINCT household_id)",
        "payments": "count(*), round(sum(payment_value), 2), sum(payment_installments), count(DISTINCT order_id)",
    }
    with read.connect(lake) as connection:
        for name, query in sums.items():
            there = connection.execute(f"SELECT {query} FROM {files[name]}").fetchone()
            here = f"SELECT {query} FROM {read.relation(lake, Address('processed', 'real', name))}"
            assert connection.execute(here).fetchone() == there
        first_of_each = f"(SELECT DISTINCT ON (review_id) * FROM {files['reviews']})"
        reviews = read.relation(lake, Address("processed", "real", "reviews"))
        counts = "count(*), count(DISTINCT review_id)"
        assert (
            connection.execute(f"SELECT {counts} FROM {reviews}").fetchone()
            == connection.execute(f"SELECT {counts} FROM {first_of_each}").fetchone()
        )
        # No text is bent, quoted line breaks and accents included; which of two twins came in is not said.
        kept = f"SELECT review_id, review_score, review_comment_message FROM {reviews}"
        known = f"SELECT review_id, review_score, review_comment_message FROM {files['reviews']}"
        assert connection.execute(f"SELECT count(*) FROM ({kept} EXCEPT {known})").fetchone() == (0,)
        aside = read.relation(lake, Address("quarantine", "real", "reviews"))
        assert connection.execute(f"SELECT count(*), any_value(_reason) FROM {aside}").fetchone() == (
            34,
            "the key (review_id) is not unique",
        )
    assert {name: one.taken.rows_read for name, one in loaded.items()} == {
        "transactions": 75_000,
        "reviews": 8_225,
        "payments": 8_924,
    }
    again = _lake(tmp_path, source)
    assert all(one.taken.inserted == one.taken.updated == one.taken.deleted == 0 for one in again.values())
