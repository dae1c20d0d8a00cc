"""A real grocer as a shop: Complete Journey (84.51°), a year of a loyalty panel, from its Parquet files.

A household becomes a customer, a basket an order, a transaction line an order line. Sold articles that the product
file does not name stay in `order_items`. There are no devices, and no movements of stock. Ids that were printed as
numbers (`9e+05`) are read as the whole numbers they are. The files are read in batches and copied into temporary
tables; SQL does the rest, in one transaction.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from lake.errors import SpecError
from shop.premises import (
    COMPLETE_JOURNEY,
    Cursor,
    Shop,
    finish,
    finish_logs,
    lay_out,
    lay_out_logs,
    one,
    row_counts,
    standing,
)
from shop.server import address, statement, transaction

Say = Callable[[str], None]

BATCH = 20_000
TIME_ZONE = "America/New_York"

# file → its columns, as they are copied; texts except where a type is given
TRANSACTIONS = {
    "household_id": "text",
    "store_id": "text",
    "basket_id": "text",
    "product_id": "text",
    "quantity": "double precision",
    "sales_value": "double precision",
    "retail_disc": "double precision",
    "coupon_disc": "double precision",
    "coupon_match_disc": "double precision",
    "transaction_timestamp": "timestamptz",
}
PRODUCTS = dict.fromkeys(
    ("product_id", "department", "brand", "product_category", "product_type", "package_size"), "text"
)
DEMOGRAPHICS = dict.fromkeys(("household_id", "age", "income", "household_comp"), "text")
FILES = {"transactions_sample": TRANSACTIONS, "products": PRODUCTS, "demographics": DEMOGRAPHICS}

NUMBER = r"case when {0} ~ '^\d+(\.\d+)?(e\+\d+)?$' then {0}::numeric <> trunc({0}::numeric) else true end"
FAULTS = (
    *(
        ("transactions_sample", f"a {name} that is no whole number", NUMBER.format(name))
        for name in list(TRANSACTIONS)[:4]
    ),
    ("products", "a product_id that is no whole number", NUMBER.format("product_id")),
    ("demographics", "a household_id that is no whole number", NUMBER.format("household_id")),
    (
        "transactions_sample",
        "no quantity, amount or time",
        "num_nulls(quantity, sales_value, retail_disc, coupon_disc, coupon_match_disc, transaction_timestamp) > 0",
    ),
    ("transactions_sample", "a quantity that is no whole number", "quantity <> floor(quantity)"),
)


def load(dsn: str, folder: Path, say: Say) -> Shop:
    """Put the Parquet files of `folder` into an empty database as a shop, unless it is there already.

    Reads `transactions_sample`, `products` and `demographics` (`.parquet`); `transaction_timestamp` must be an
    instant. All stores lie in America/New_York; all orders are delivered, and changed last when they were placed.

    Raises:
        SpecError: the folder, a file or a column is missing, a value is not what its column says, or the database
            holds another shop.
        PermanentError: tables of the same names that are not the shop's; they are not touched.
        AccessDenied, SourceUnavailable: as in `server.transaction`.
    """
    sources = {name: _opened(folder, name, columns) for name, columns in FILES.items()}
    where = address(dsn)
    with transaction(dsn) as cursor:
        if shop := standing(cursor, where):
            if shop.kind != COMPLETE_JOURNEY:
                raise SpecError(where, f"it holds the {shop.kind} shop", "name an empty database for Complete Journey")
            say("shop: Complete Journey is there already")
            return _with_events(cursor, shop, say)
        for name, file in sources.items():
            try:
                _copy(cursor, name, file, FILES[name])
            except (pa.ArrowException, OSError) as error:
                raise SpecError(str(folder / f"{name}.parquet"), "it is damaged", "fetch the file again") from error
            say(f"shop: read {name}, {file.metadata.num_rows:,} rows")
        _check(cursor, folder)
        lay_out(cursor)
        cursor.execute(statement((files("shop") / "sql" / "completejourney.sql").read_text(), time_zone=TIME_ZONE))
        cursor.execute("select max(ordered_at) from orders")
        latest = cast("tuple[datetime]", cursor.fetchone())[0]
        _write_events(cursor)
        say("shop: building keys and indexes")
        return finish(cursor, COMPLETE_JOURNEY, latest)


def _with_events(cursor: Cursor, shop: Shop, say: Say) -> Shop:
    """The shop with the events of its orders; written now if an earlier version loaded it without."""
    if not shop.lacks_logs:
        return shop
    say("shop: loaded by an earlier version; adding the events of its orders")
    lay_out_logs(cursor)
    _write_events(cursor)
    finish_logs(cursor)
    return replace(shop, lacks_logs=False, rows=row_counts(cursor))


def _write_events(cursor: Cursor) -> None:
    cursor.execute((files("shop") / "sql" / "journey_events.sql").read_text())


def _opened(folder: Path, name: str, columns: dict[str, str]) -> pq.ParquetFile:
    path = folder / f"{name}.parquet"
    if not folder.is_dir():
        raise SpecError("DATA", f"there is no folder {folder}", "name the folder with Complete Journey's Parquet files")
    if not path.is_file():
        raise SpecError(str(path), "the file is missing", "name the folder with Complete Journey's Parquet files")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SpecError(str(path), "it cannot be read as Parquet", "fetch the file again") from error
    if missing := [column for column in columns if column not in file.schema_arrow.names]:
        raise SpecError(str(path), f"column {', '.join(missing)} is missing", "use the files of Complete Journey 2.0")
    if wrong := [column for column, kind in columns.items() if not _fits(file.schema_arrow.field(column).type, kind)]:
        expected = ", ".join(f"{column} as {columns[column]}" for column in wrong)
        raise SpecError(str(path), f"column {', '.join(wrong)} has another type", f"give {expected}")
    return file


def _fits(found: pa.DataType, kind: str) -> bool:
    if kind == "timestamptz":
        return bool(pa.types.is_timestamp(found) and found.tz is not None)
    if kind == "text":
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found))
    return bool(pa.types.is_floating(found) or pa.types.is_integer(found))


def _copy(cursor: Cursor, name: str, file: pq.ParquetFile, columns: dict[str, str]) -> None:
    table = sql.Identifier(f"journey_{name}")
    typed = [sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in columns.items()]
    fields = sql.SQL(", ").join([sql.SQL("position bigint"), *typed])
    cursor.execute(sql.SQL("create temp table {} ({}) on commit drop").format(table, fields))
    with cursor.copy(sql.SQL("copy pg_temp.{} from stdin").format(table)) as copy:
        for row in _rows(file, list(columns)):
            copy.write_row(row)
    cursor.execute(sql.SQL("analyze pg_temp.{}").format(table))


def _rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[tuple[object, ...]]:
    """The rows of `file`, each led by its position in it."""
    position = 0
    for batch in file.iter_batches(BATCH, columns=columns):
        named = [batch.column(batch.schema.get_field_index(column)).to_pylist() for column in columns]
        yield from zip(range(position, position + batch.num_rows), *named, strict=True)
        position += batch.num_rows


def _check(cursor: Cursor, folder: Path) -> None:
    """Refuse, before anything is made of them, rows that a shop cannot hold."""
    for name, what, condition in FAULTS:
        query = sql.SQL("select count(*) from pg_temp.{} where {}")
        cursor.execute(query.format(sql.Identifier(f"journey_{name}"), sql.SQL(condition)))
        _refuse(one(cursor), folder, name, f"rows have {what}")
    cursor.execute("select count(*) from pg_temp.journey_transactions_sample")
    if not one(cursor):
        raise SpecError(str(folder / "transactions_sample.parquet"), "it holds no transactions", "fetch the file again")
    cursor.execute(
        "select count(*) from (select from pg_temp.journey_transactions_sample group by basket_id::numeric having"
        " count(distinct (household_id, store_id, transaction_timestamp)) > 1) as mixed"
    )
    _refuse(one(cursor), folder, "transactions_sample", "baskets belong to several households, stores or instants")


def _refuse(count: int, folder: Path, name: str, what: str) -> None:
    if count:
        raise SpecError(str(folder / f"{name}.parquet"), f"{count} {what}", "fetch the file again")
