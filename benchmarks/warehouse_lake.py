"""TPC-H as a shop's lake: its orders, lines, customers, parts and suppliers as the shop's processed tables.

A supplier in fifty is a store, in a time zone of its region; orders fall on thirty days; one customer in five moved
once, one part in ten got another price. Money and quantities are TPC-H's own. What TPC-H does not know (sensors,
movements of stock) is empty; of the orders' events there are those of the first order only.
"""

import datetime
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import lineitem
from lake import commit, duck
from lake.layout import Address, Lake

FIRST = datetime.date(2026, 1, 1)
DAYS = 30
TPCH_TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
MEMORY = "2GB"
BATCH_ROWS = 100_000
ZONES = "['America/New_York', 'America/Chicago', 'Europe/Berlin', 'Asia/Tokyo', 'Africa/Nairobi']"
BORN = f"TIMESTAMPTZ '{FIRST} 00:00:00+00' - INTERVAL 400 DAY"
MOVED = f"TIMESTAMPTZ '{FIRST} 06:00:00+00' + to_days((hash({{key}}, 9) % {DAYS})::INTEGER)"
# The day is the order's and its lines' alike, so it depends on the order's number only.
ORDERED = (
    f"TIMESTAMPTZ '{FIRST} 00:00:00+00' + to_days((hash({{key}}) % {DAYS})::INTEGER)"
    " + to_microseconds((hash({key}, 1) % 86400000000)::BIGINT)"
)
PLATFORM = f"TIMESTAMPTZ '{FIRST} 00:00:00+00' + INTERVAL 31 DAY AS _loaded_at, 'bench' AS _load_id"

CUSTOMER = """
    c_custkey AS customer_id, 'Customer' AS first_name, c_name AS last_name, sha256(c_name) AS email,
    sha256(c_phone) AS phone, {city} AS city, r_name AS region, lpad((c_custkey % 99999)::VARCHAR, 5, '0')
    AS postal_code, c_mktsegment AS segment_code, NULL::VARCHAR AS age_band, NULL::VARCHAR AS income_band,
    {born} AS created_at, {changed} AS updated_at, '{op}' AS _op, {platform}
    FROM tpch.customer JOIN tpch.nation ON c_nationkey = n_nationkey JOIN tpch.region ON n_regionkey = r_regionkey"""
PRODUCT = """
    p_partkey AS product_id, p_name AS product_name, p_mfgr AS department_name, p_type AS category_name,
    p_brand AS brand_name, p_container AS package_size, (p_retailprice * {rate})::DECIMAL(12, 2) AS unit_price_amount,
    (p_retailprice * 0.7)::DECIMAL(12, 2) AS unit_cost_amount, true AS is_active, {born} AS created_at,
    {changed} AS updated_at, '{op}' AS _op, {platform}
    FROM tpch.part"""
STORE = f"""
    s_suppkey AS store_id, s_name AS store_name, s_address AS city, n_name AS region, 'US' AS country_code,
    {ZONES}[1 + n_regionkey] AS time_zone, DATE '2020-01-01' AS opened_date, {BORN} AS created_at,
    {BORN} AS updated_at, 'i' AS _op, {PLATFORM}
    FROM tpch.supplier JOIN tpch.nation ON s_nationkey = n_nationkey WHERE s_suppkey <= {{stores}}"""
ORDER = f"""
    o_orderkey AS order_id, o_custkey AS customer_id, (1 + hash(o_orderkey, 2) % {{stores}})::BIGINT AS store_id,
    CASE WHEN hash(o_orderkey, 3) % 50 = 0 THEN 'returned' WHEN hash(o_orderkey, 3) % 50 = 1 THEN 'cancelled'
        WHEN o_orderstatus = 'F' THEN 'delivered' WHEN o_orderstatus = 'P' THEN 'shipped' ELSE 'paid' END
        AS status_code,
    'USD' AS currency_code, {{ordered}} AS ordered_at, {{ordered}} + INTERVAL 1 HOUR AS paid_at,
    CASE WHEN o_orderstatus <> 'O' THEN {{ordered}} + INTERVAL 20 HOUR END AS shipped_at,
    CASE WHEN o_orderstatus = 'F' THEN {{ordered}} + INTERVAL 60 HOUR END AS delivered_at,
    CASE WHEN hash(o_orderkey, 3) % 50 = 0 THEN {{ordered}} + INTERVAL 90 HOUR END AS returned_at,
    {{ordered}} AS updated_at, 'i' AS _op, {PLATFORM}
    FROM tpch.orders WHERE hash(o_orderkey) % {DAYS} = {{day}}"""
LINE = f"""
    l_orderkey AS order_id, l_linenumber::INTEGER AS line_number, l_partkey AS product_id,
    l_quantity::INTEGER AS quantity, (l_extendedprice * (1 - l_discount))::DECIMAL(12, 2) AS sales_amount,
    (l_extendedprice - l_extendedprice * (1 - l_discount))::DECIMAL(12, 2) AS retail_discount_amount,
    0::DECIMAL(12, 2) AS coupon_discount_amount, 0::DECIMAL(12, 2) AS coupon_match_discount_amount,
    {{ordered}} AS ordered_at, {{ordered}} AS updated_at, 'i' AS _op, {PLATFORM}
    FROM tpch.lineitem WHERE hash(l_orderkey) % {DAYS} = {{day}}"""
DEVICE = f"""
    0::BIGINT AS device_id, 0::BIGINT AS store_id, '' AS device_code, '' AS model_name, {BORN} AS installed_at,
    true AS is_active, {BORN} AS created_at, {BORN} AS updated_at, 'i' AS _op, {PLATFORM} WHERE false"""
READING = f"""
    0::BIGINT AS device_id, {BORN} AS read_at, 0.0::DOUBLE AS temperature_celsius, 0.0::DOUBLE AS humidity_percent,
    0.0::DOUBLE AS pressure_hpa, {BORN} AS received_at, 'i' AS _op, {PLATFORM}, {BORN}::DATE AS _day WHERE false"""
MOVEMENT = f"""
    0::BIGINT AS movement_id, 0::BIGINT AS store_id, 0::BIGINT AS product_id, {BORN} AS moved_at, '' AS reason_code,
    0::INTEGER AS quantity_change, {BORN} AS received_at, 'i' AS _op, {PLATFORM}, {BORN}::DATE AS _day WHERE false"""
EVENT = """
    WITH first AS (SELECT {order} ORDER BY ordered_at LIMIT 1),
    steps AS (
        SELECT *, unnest(['placed', 'paid', 'shipped', 'delivered', 'returned']) AS step,
            unnest([ordered_at, paid_at, shipped_at, delivered_at, returned_at]) AS occurred_at,
            unnest(range(5)) AS place
        FROM first
    ),
    happened AS (
        SELECT * FROM steps WHERE occurred_at IS NOT NULL
        UNION ALL SELECT *, status_code, updated_at, 6 FROM first WHERE status_code = 'cancelled'
    )
    SELECT order_id, row_number() OVER (ORDER BY step = status_code, place)::INTEGER AS version,
        'order_' || step AS event_type,
        to_json({{customer_id: customer_id, store_id: store_id, currency_code: currency_code}})::VARCHAR AS payload,
        occurred_at, updated_at AS recorded_at, _op, _loaded_at, _load_id, occurred_at::DATE AS _day
    FROM happened ORDER BY _day"""


def generated(file: Path, scale: float) -> Path:
    """A DuckDB file with TPC-H's eight tables, made by its own generator."""
    with closing(lineitem.extended("tpch")) as maker:
        maker.execute(f"SET memory_limit = '{MEMORY}'; ATTACH {duck.literal(str(file))} AS tpch; USE tpch")
        maker.execute(f"CALL dbgen(sf = {scale})")
        maker.execute("CHECKPOINT tpch")
    return file


def shop(tpch: Path, lake: Lake, *, days: int = DAYS) -> None:
    """Write the shop's processed tables with the orders of the first `days` days."""
    with closing(_reading(tpch)) as connection:
        for table, query in _dimensions(connection).items():
            _replace(lake, table, connection, query)
        for table, query in (("devices", DEVICE), ("sensor_readings", READING), ("stock_movements", MOVEMENT)):
            _replace(lake, table, connection, f"SELECT {query}")
        first = ORDER.format(ordered=ORDERED.format(key="o_orderkey"), stores=_stores(connection), day=0)
        _replace(lake, "order_events", connection, EVENT.format(order=first))
        for table in ("orders", "order_items"):
            _events(connection, lake, table, range(days))


def next_day(tpch: Path, lake: Lake, day: int) -> None:
    """Let the orders of one more day (counted from 0) arrive."""
    with closing(_reading(tpch)) as connection:
        for table in ("orders", "order_items"):
            _events(connection, lake, table, range(day, day + 1))


def tables(tpch: Path, lake: Lake) -> None:
    """Write TPC-H's own eight tables, as they are, to the lake as processed/tpch/<table>."""
    with closing(_reading(tpch)) as connection:
        for table in TPCH_TABLES:
            address = Address("processed", "tpch", table)
            rows = connection.execute(f"SELECT * FROM tpch.{table}").to_arrow_reader(BATCH_ROWS)
            commit.append(lake, address, rows, {}, base=None, by_day=False)


def _dimensions(connection: Any) -> dict[str, str]:
    city = "n_name || ' ' || c_nationkey"
    moved, dearer = MOVED.format(key="c_custkey"), MOVED.format(key="p_partkey")
    first = CUSTOMER.format(city=city, born=BORN, changed=BORN, op="i", platform=PLATFORM)
    second = CUSTOMER.format(city="'new ' || n_name", born=BORN, changed=moved, op="u", platform=PLATFORM)
    cheap = PRODUCT.format(rate=1, born=BORN, changed=BORN, op="i", platform=PLATFORM)
    dear = PRODUCT.format(rate=1.1, born=BORN, changed=dearer, op="u", platform=PLATFORM)
    movers, dearer_parts = "c_custkey % 5 = 0", "p_partkey % 10 = 0"
    return {
        "customers": f"SELECT {first} WHERE NOT {movers} UNION ALL SELECT {second} WHERE {movers}",
        "customers_history": f"SELECT {first} UNION ALL SELECT {second} WHERE {movers}",
        "products": f"SELECT {cheap} WHERE NOT {dearer_parts} UNION ALL SELECT {dear} WHERE {dearer_parts}",
        "products_history": f"SELECT {cheap} UNION ALL SELECT {dear} WHERE {dearer_parts}",
        "stores": f"SELECT {STORE.format(stores=_stores(connection))}",
    }


def _events(connection: Any, lake: Lake, table: str, days: range) -> None:
    """Rows day by day: one day at a time is sorted already, and held alone."""
    query, key = (ORDER, "o_orderkey") if table == "orders" else (LINE, "l_orderkey")
    ordered, stores = ORDERED.format(key=key), _stores(connection)

    def batches() -> Iterator[pa.RecordBatch]:
        for day in days:
            whole = f"SELECT {query.format(ordered=ordered, stores=stores, day=day)}"
            date = f"DATE '{FIRST + datetime.timedelta(days=day)}'"
            yield from connection.execute(f"SELECT *, {date} AS _day FROM ({whole})").to_arrow_reader(BATCH_ROWS)

    rows = batches()
    head = next(rows)

    def whole() -> Iterator[pa.RecordBatch]:
        yield head
        yield from rows

    address = Address("processed", "shop", table)
    reader = pa.RecordBatchReader.from_batches(head.schema, whole())
    told = ("order_id", "ordered_at", "updated_at")
    commit.append(lake, address, reader, {}, base=commit.table(lake, address), told=told)


def _replace(lake: Lake, table: str, connection: Any, query: str) -> None:
    rows = connection.execute(query).to_arrow_reader(BATCH_ROWS)
    address = Address("processed", "shop", table)
    commit.append(lake, address, rows, {}, base=None, by_day="_day" in rows.schema.names)


def _stores(connection: Any) -> int:
    row = connection.execute("SELECT greatest(count(*) // 50, 2) FROM tpch.supplier").fetchone()
    return int(row[0])


def _reading(tpch: Path) -> Any:
    connection = duck.connect()
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
    connection.execute(f"ATTACH {duck.literal(str(tpch))} AS tpch (READ_ONLY)")
    return connection
