"""Versions from a real history: a PostgreSQL table, loaded run by run, folded by the lake, built by dbt."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fix_servers import address, database
from trial_source import VARIABLE, Trial, trial

from ingestion.spec import Source
from lake import duck
from lake.layout import Address
from warehouse import build

CUSTOMERS = """create table customers (
    customer_id bigint primary key, first_name text, last_name text, email text, phone text, city text, region text,
    postal_code text, segment_code text, age_band text, income_band text, created_at timestamptz,
    updated_at timestamptz not null)"""
DECLARED = {"name": "customers", "key": ["customer_id"], "partition": None, "history": True}
VERSIONS = {"select": ["+int_customer_versions"], "exclude": ["test_type:data", "test_type:unit"]}


@dataclass
class Customers(Trial):
    """The shop's customers, loaded into the lake that the warehouse is built from."""

    @property
    def source(self) -> Source:
        return Source(name="shop", connector="postgres", connection=VARIABLE, tables=[self.table])

    def address(self, zone: object = "processed", suffix: str = "") -> Address:
        return Address(zone, "shop", self.name + suffix)

    def moves(self, customer: int, city: str, at: str) -> None:
        self.sql(
            """insert into customers (customer_id, city, updated_at) values (%s, %s, %s)
            on conflict (customer_id) do update set city = excluded.city, updated_at = excluded.updated_at""",
            [customer, city, at],
        )


@pytest.fixture
def customers(place) -> Iterator[Customers]:
    shutil.rmtree(place.lake / "processed" / "shop" / "customers")
    shutil.rmtree(place.lake / "processed" / "shop" / "customers_history")
    with database(address("SHOP_DSN")) as dsn, pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, dsn)
        with trial(dsn, str(place.lake), schema=CUSTOMERS, **DECLARED) as it:
            yield Customers(it.connection, it.lake, it.declared)


def built(place, columns: str) -> list[tuple[object, ...]]:
    build.run(**VERSIONS)
    with duck.connect(place.layout.build, read_only=True) as connection:
        return connection.execute(f"select {columns} from intermediate.int_customer_versions order by all").fetchall()


def test_versions_are_those_of_the_shops_clock_and_the_same_when_all_is_folded_anew_from_raw(place, customers):
    for customer in (1, 2, 3, 4):
        customers.moves(customer, "Bonn", "2026-01-01")
    customers.run()
    customers.moves(1, "Rome", "2026-01-10")
    customers.load()  # two loads, one fold
    customers.moves(1, "Oslo", "2026-01-20")
    customers.moves(2, "Lima", "2026-01-15")  # this state nobody sees
    customers.moves(2, "Kyiv", "2026-01-16")
    customers.run()
    customers.sql("create table kept as select * from customers where customer_id = 3")
    customers.sql("delete from customers where customer_id in (3, 4)")
    customers.run()
    customers.sql("insert into customers select * from kept")  # restored as it was, with its old clock
    customers.moves(1, "Bern", "2026-01-05")  # a change of the past, which only a reading of everything finds
    customers.reload("2026-01-01")
    told = built(place, "customer_id, valid_from::date::varchar, city, is_current, is_deleted")
    today = {row[1] for row in told if row[0] == 3 and row[3]}
    assert [row for row in told if row[0] != 3 or not row[3]] == [
        (1, "1900-01-01", "Bonn", False, False),
        (1, "2026-01-05", "Bern", False, False),
        (1, "2026-01-10", "Rome", False, False),
        (1, "2026-01-20", "Oslo", True, False),
        (2, "1900-01-01", "Bonn", False, False),
        (2, "2026-01-16", "Kyiv", True, False),
        (3, "1900-01-01", "Bonn", False, False),
        (4, "1900-01-01", "Bonn", False, True),
    ]
    assert len(today) == 1  # holds again from the load that brought it
    before = built(place, "*")
    shutil.rmtree(place.lake / "processed" / "shop" / "customers")
    shutil.rmtree(place.lake / "processed" / "shop" / "customers_history")
    customers.fold()
    assert built(place, "*") == before
