"""`watershed source discover`: what is drafted from a real catalogue, and that the draft is valid as it stands."""

import os
import re
from pathlib import Path

import fix_servers
import psycopg
import pytest
import yaml
from click.testing import CliRunner

from ingestion import catalogue, discover, guess, spec
from ingestion.catalogue import FoundColumn, FoundTable
from watershed.cli import main

SCHEMA = """
create function touch() returns trigger language plpgsql as
    $$ begin new."updated_at" := clock_timestamp(); return new; end $$;

create table customers (
    customer_id bigint generated always as identity primary key, e_mail text, phone varchar(30), mobile_phone text,
    iban text, ssn bigint, password_hash bytea, email_verified boolean, api_token text, phone_count int,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create trigger customers_touch before update on customers for each row execute function touch();
create index on customers (updated_at);
comment on table customers is 'Who buys.';
comment on column customers.iban is E'Where we pay to: "quoted" #1\nand a second line';

create table orders (
    order_id int primary key, ordered_at timestamptz not null, note text, price numeric, modified timestamp,
    deleted_at timestamptz, year int);
insert into orders select n, timestamptz '2026-01-01' + n * interval '5 min', 'x', 1, now(), null, 1
    from generate_series(1, 12000) n;
create index on orders (ordered_at);

create table log (log_no bigint not null, code text not null, logged_at timestamptz not null default now());
create unique index on log (log_no, code);
create unique index on log (code) where log_no > 12000;
insert into log select n, 'a' from generate_series(1, 12000) n;

create table ledger (entry_id uuid primary key, amount numeric(12, 2),
    numbered xid8 not null default pg_current_xact_id());

create table messages (message_id int primary key, body text, sent_at timestamptz not null default now());
insert into messages select n from generate_series(1, 50) n;
create table settings (name text primary key, value jsonb);
create table heap (a int, b text);
create table things (thing_id int not null, label text);
create table "Order Details" ("Order ID" int primary key, "Größe" text);
create table plain ("select" int primary key, "two words" text, "Weird""Name" date, "année" date);
create view big_orders as select * from orders where price > 10;

create table measures (device int, measured_at timestamptz, v float8, primary key (device, measured_at))
    partition by range (measured_at);
create table measures_2026 partition of measures for values from ('2026-01-01') to ('2027-01-01');
create table animals (id int primary key);
create table dogs () inherits (animals);
create schema "Second"; create table "Second".other (id int primary key);
analyze;
"""


@pytest.fixture
def dsn(operational_dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    with psycopg.connect(operational_dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute("select pg_stat_force_next_flush()")
    monkeypatch.setenv("ODD_DSN", operational_dsn)
    return operational_dsn


def drafted(*words: str) -> str:
    done = CliRunner().invoke(main, ["source", "discover", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def valid(text: str, folder: Path, name: str = "odd") -> spec.Source:
    (folder / f"{name}.yml").write_text(text, encoding="utf-8")
    return spec.source(folder / f"{name}.yml")


@pytest.fixture
def source(dsn: str, tmp_path: Path) -> spec.Source:
    return valid(drafted("ODD_DSN"), tmp_path)


def test_the_draft_is_a_valid_source_file_of_all_tables_that_can_be_declared(source):
    declared = {
        "customers",
        "orders",
        "log",
        "ledger",
        "settings",
        "measures",
        "animals",
        "plain",
        "things",
        "messages",
    }
    assert {table.name for table in source.tables} == declared
    assert (source.connection, source.connector, source.schema_) == ("ODD_DSN", "postgres", "public")


def test_a_table_whose_changes_a_trigger_dates_is_merged_and_its_secrets_are_dropped_or_masked(dsn, source):
    customers = source.table("customers")
    assert (customers.key, customers.load, customers.cursor) == (("customer_id",), "merge", "updated_at")
    assert set(customers.drop) == {"password_hash", "api_token"}
    assert set(customers.mask) == {"e_mail", "phone", "mobile_phone", "iban", "ssn"}
    assert set(customers.columns) >= {"email_verified", "phone_count", "created_at"}
    text = drafted("ODD_DSN")
    assert "trigger customers_touch sets it at each update" in text
    assert "cursor: updated_at  # indexed" in text
    assert customers.columns["iban"].description.startswith('Where we pay to: "quoted" #1\n')
    assert customers.description == "Who buys."


def test_a_large_table_is_partitioned_by_its_event_and_marked_deletes_are_left_alone(dsn, source):
    orders = source.table("orders")
    assert (orders.load, orders.cursor, orders.deletes) == ("merge", "modified", "ignore")
    assert orders.partition == spec.Partition(column="ordered_at")
    assert orders.drop == ("year",), "the lake has a column of this name"
    text = drafted("ODD_DSN")
    assert "rows are marked in deleted_at" in text
    assert "12,000 rows over 42 days; in the order of the disk (correlation 1.00); indexed" in text
    assert "it has no time zone and is taken for UTC" in text
    assert "it has no scale" in text


def test_rows_that_only_come_are_appended_by_their_making_or_by_commit_order(source):
    log, ledger = source.table("log"), source.table("ledger")
    assert (log.key, log.load, log.cursor) == (("log_no", "code"), "append", "logged_at")
    assert (ledger.load, ledger.cursor) == ("append", "numbered")
    assert (source.table("messages").load, source.table("messages").cursor) == ("append", "sent_at")
    assert source.table("settings").load == "replace"


def test_a_partitioned_table_is_declared_once_by_its_own_partitions(source):
    assert source.table("measures").partition == spec.Partition(column="measured_at")


def test_what_cannot_be_declared_stands_in_comments_with_the_reason(dsn):
    text = drafted("ODD_DSN")
    assert "# heap (table) is left out: it has no primary key and no unique index without NULLs" in text
    assert "# big_orders (view) is left out: a view has no unique index" in text
    assert "# Order Details (table) is left out: its name cannot be declared" in text
    assert "# - name: heap" in text
    assert "no unique index, but it is named like a key: make sure" in text
    assert "measures_2026" not in text
    assert "dogs" not in text
    assert "# Schema Second holds 1 table or view" in text


def test_a_stanza_that_was_left_out_is_valid_once_uncommented_and_completed(dsn, tmp_path):
    lines = drafted("ODD_DSN").splitlines()
    start = lines.index("  # - name: heap")
    stanza = [line.replace("# ", "", 1) for line in lines[start : start + 3]]
    text = "connector: postgres\nconnection: ODD_DSN\ntables:\n" + "\n".join(stanza).replace("key: []", "key: [a]")
    assert valid(text, tmp_path).table("heap").key == ("a",)


def test_a_given_connection_is_neither_written_down_nor_shown(dsn, tmp_path):
    password = psycopg.conninfo.conninfo_to_dict(dsn)["password"]
    done = CliRunner().invoke(main, ["source", "discover", dsn, "--connection", "HIDDEN_DSN"])
    assert done.exit_code == 0
    assert password not in done.output
    assert valid(done.stdout, tmp_path).connection == "HIDDEN_DSN"
    unnamed = drafted(dsn)
    assert valid(unnamed, tmp_path).connection.endswith("_DSN")
    wrong = CliRunner().invoke(main, ["source", "discover", dsn.replace(password, "open-sesame")])
    assert wrong.exit_code == 1
    assert "the server refuses the user or its password" in wrong.output
    assert "sesame" not in wrong.output
    nonsense = CliRunner().invoke(main, ["source", "discover", "postgresql://u:open-sesame@[broken"])
    assert nonsense.exit_code == 1
    assert "sesame" not in nonsense.output


def test_another_schema_is_drafted_on_request(dsn, tmp_path):
    found = valid(drafted("ODD_DSN", "--schema", "Second"), tmp_path)
    assert (found.schema_, [table.name for table in found.tables]) == ("Second", ["other"])


def test_a_schema_without_tables_is_answered_with_those_that_have_some(dsn):
    done = CliRunner().invoke(main, ["source", "discover", "ODD_DSN", "--schema", "third"])
    assert done.exit_code == 1
    assert 'schema "third" holds no table' in done.output
    assert "public, Second" in done.output


def test_a_file_is_written_and_never_overwritten(dsn, tmp_path):
    path = tmp_path / "odd.yml"
    done = CliRunner().invoke(main, ["source", "discover", "ODD_DSN", "-o", str(path)])
    assert done.exit_code == 0
    assert "10 tables declared, 3 left out" in done.output
    assert spec.source(path).name == "odd"
    again = CliRunner().invoke(main, ["source", "discover", "ODD_DSN", "-o", str(path)])
    assert again.exit_code == 1
    assert "is there already" in again.output


def test_a_variable_that_is_not_set_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("WATERSHED_HOME", str(tmp_path))
    for name in ("SHOP", "LAKE_ROOT", "WAREHOUSE_ROOT", "DAGSTER_HOME", "WATERSHED_STATE", "WATERSHED_MASK_SALT"):
        monkeypatch.setenv(name, os.environ.get(name, "retail" if name == "SHOP" else str(tmp_path / name)))
    done = CliRunner().invoke(main, ["source", "discover", "NOWHERE_DSN"])
    assert done.exit_code == 1
    assert "NOWHERE_DSN: is not set" in done.output


def test_a_thousand_tables_are_drafted_from_one_query(operational_dsn, tmp_path):
    with psycopg.connect(operational_dsn, autocommit=True) as connection:
        connection.execute(
            """do $$ begin for n in 1..1000 loop
                execute format('create table t%s (id int primary key, name text, updated_at timestamptz)', n);
                if n % 250 = 0 then commit; end if;
            end loop; end $$"""
        )
    with catalogue.connected(operational_dsn, "trial") as session:
        found = catalogue.tables(session, "public")
    origin = discover.Origin("MANY_DSN", "postgres", "many", "public", "PostgreSQL")
    assert discover.draft(origin, found).declared == 1_000
    text = discover.draft(origin, found).text
    assert len(yaml.safe_load(text)["tables"]) == 1_000


def test_a_table_of_1600_columns_and_one_of_none_are_drafted(operational_dsn, tmp_path, monkeypatch):
    monkeypatch.setenv("ODD_DSN", operational_dsn)
    with psycopg.connect(operational_dsn, autocommit=True) as connection:
        columns = ", ".join(f"c{n} int" for n in range(1, 1600))
        connection.execute(f"create table wide (id int primary key, {columns})")
        connection.execute("create table empty ()")
    text = drafted("ODD_DSN")
    assert len(valid(text, tmp_path).table("wide").columns) == 1_600
    assert "# empty (table) is left out: it has no columns" in text


def test_a_mysql_database_is_drafted_by_the_same_rules(mysql_dsn, monkeypatch, tmp_path):
    monkeypatch.setenv("ODD_DSN", mysql_dsn)
    with fix_servers.mysql(mysql_dsn) as connection, connection.cursor() as session:
        session.execute(
            """create table customers (customer_id int primary key, email varchar(200), password varchar(60),
                name varchar(60) comment 'Who it is.', updated_at timestamp not null default current_timestamp
                on update current_timestamp, key (updated_at)) comment 'Who buys.'"""
        )
        session.execute("create table log (log_no bigint not null unique, logged_at datetime not null)")
        session.execute("create table heap (a int, b text)")
        session.execute("create view everyone as select * from customers")
    text = drafted("ODD_DSN")
    found = valid(text, tmp_path)
    assert (found.connector, found.connection) == ("mysql", "ODD_DSN")
    customers, log = found.tables
    assert (customers.key, customers.load, customers.cursor) == (("customer_id",), "merge", "updated_at")
    assert (customers.drop, dict(customers.mask)) == (("password",), {"email": "sha256"})
    assert (customers.description, customers.columns["name"].description) == ("Who buys.", "Who it is.")
    assert "`on update current_timestamp` sets it at each update" in text
    assert log.key == ("log_no",)
    assert "# heap (table) is left out: it has no primary key" in text
    assert "# everyone (view) is left out" in text
    assert valid(drafted(mysql_dsn), tmp_path).connection.endswith("_DSN")
    done = CliRunner().invoke(main, ["source", "discover", re.sub(r":[^:@/]*@", ":open-sesame@", mysql_dsn)])
    assert done.exit_code == 1
    assert "sesame" not in done.output


def test_a_table_that_may_not_be_read_is_left_out_with_the_reason():
    table = FoundTable(
        "public", "t", "table", (FoundColumn("id", "integer", "int4"),), keys=(("id",),), is_readable=False
    )
    assert guess.declaration(table).obstacle == "the platform's user may not read it: grant select on it"


@pytest.mark.parametrize(
    ("counts", "rows", "load"),
    [
        ({"inserted": 500, "updated": 0}, 500, "append"),
        ({"inserted": 500, "updated": 3}, 500, "replace"),
        ({"inserted": 0, "updated": 0}, 500, "replace"),
        ({"inserted": 0, "updated": 0}, 500_000, "append"),
        ({"inserted": None, "updated": None}, None, "append"),
    ],
    ids=["never updated", "updated", "statistics lost, small", "statistics lost, large", "nothing known"],
)
def test_a_table_that_only_dates_its_making_is_appended_unless_updates_were_seen_or_it_is_small(counts, rows, load):
    columns = (
        FoundColumn("id", "integer", "int4", is_nullable=False),
        FoundColumn("created_at", "timestamp with time zone", "timestamptz", is_nullable=False, default="now()"),
    )
    table = FoundTable("public", "t", "table", columns, keys=(("id",),), has_primary=True, rows=rows, **counts)
    assert guess.declaration(table).load.value == load


@pytest.mark.parametrize(
    ("table", "row"),
    [("orders", "order"), ("order_items", "order item"), ("categories", "category"), ("status", "status"),
     ("addresses", "address"), ("boxes", "box"), ("news", "new"), ("branches", "branch"), ("staff", "staff")],
)  # fmt: skip
def test_a_row_is_named_after_its_table(table, row):
    assert guess.singular(table) == row
