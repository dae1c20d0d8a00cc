"""`watershed source check` and `add`: what differs between declaration, database and lake, and what is written."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner, Result

from ingestion import compare, load, spec
from ingestion.compare import Comparison
from lake.errors import SpecError
from lake.fold import fold
from lake.layout import Lake
from watershed import generate, source, stage
from watershed.cli import main

SCHEMA = """
create table orders (
    order_id bigint primary key, amount numeric(12, 2), email text, ordered_at timestamptz not null,
    updated_at timestamptz not null default now());
create index on orders (updated_at);
create table items (item_id int not null, label text, changed_at timestamp);
insert into items select n, 'x', now() from generate_series(1, 11000) n;
create table numbered (id int primary key, transaction xid8 not null default pg_current_xact_id());
create table extra (id int primary key);
insert into orders select n, n, 'a@b', timestamptz '2026-01-05' + n * interval '1 min' from generate_series(1, 30) n;
analyze;
"""
ORDERS: dict[str, Any] = {
    "name": "orders",
    "description": "One row per order.",
    "key": ["order_id"],
    "cursor": "updated_at",
    "partition": "day(ordered_at)",
    "mask": {"email": "sha256"},
    "columns": {
        name: {"description": f"What {name} means."} for name in ("order_id", "amount", "ordered_at", "updated_at")
    },
}
ITEMS = {"name": "items", "key": ["item_id"], "cursor": "changed_at"}


@pytest.fixture
def shop(operational_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[psycopg.Connection]:
    """A database with the tables above, named by CHECK_DSN, and folders for lake and source files."""
    (tmp_path / "sources").mkdir()
    for name, value in {
        "CHECK_DSN": operational_dsn,
        "WATERSHED_MASK_SALT": "a long and random text",
        "LAKE_ROOT": str(tmp_path / "lake"),
        "WATERSHED_HOME": str(tmp_path / "home"),
        "WATERSHED_SOURCES": str(tmp_path / "sources"),
    }.items():
        monkeypatch.setenv(name, value)
    with psycopg.connect(operational_dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
        yield connection


@pytest.fixture
def declare(shop: psycopg.Connection, tmp_path: Path) -> Callable[..., spec.Source]:
    def declared(*tables: dict[str, Any], **of_source: Any) -> spec.Source:
        text = {"connector": "postgres", "connection": "CHECK_DSN", "tables": list(tables), **of_source}
        path = tmp_path / "sources" / "trial.yml"
        path.write_text(yaml.safe_dump(text, sort_keys=False))
        return spec.source(path)

    return declared


@pytest.fixture
def compared(declare: Callable[..., spec.Source], tmp_path: Path) -> Callable[..., Comparison]:
    return lambda *tables, **of_source: compare.compare(declare(*tables, **of_source), Lake(str(tmp_path / "lake")))


def texts(found: Comparison, weight: str, table: str | None = None) -> str:
    return "\n".join(it.text for it in found.findings if it.weight == weight and it.table == table)


def loaded(source: spec.Source, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for table in source.tables:
        load.changes(lake, source, table)
        fold(lake, load.subject(source, table))


def check(*words: str) -> Result:
    return CliRunner().invoke(main, ["source", "check", *words])


def test_a_source_as_declared_has_nothing_that_fails_and_says_what_is_read_first(compared):
    found = compared(ORDERS)
    assert found.failing == ()
    assert texts(found, "look", "orders") == ""
    assert texts(found, "note", "orders") == "not described: email"
    assert texts(found, "note") == "not declared: extra, items, numbered"
    assert found.next_reads == {"orders": "reads the whole table (30 rows): it was never loaded"}
    assert found.server.startswith("PostgreSQL ")


def test_tables_and_columns_that_are_missing_fail(compared):
    gone = ORDERS | {"name": "gone"}
    lacking = ITEMS | {"drop": ["secret"], "columns": {"amount": "text"}}
    found = compared(ORDERS, gone, lacking)
    assert found.failing == ("gone", "items")
    assert "there is no table public.gone" in texts(found, "fails", "gone")
    assert texts(found, "fails", "items") == "declared but missing at the source: secret, amount"


def test_a_table_without_permission_fails_and_no_other(shop, compared):
    # The owner takes the right away from itself, as another owner would never have given it.
    shop.execute("revoke all on items from current_user")
    found = compared(ORDERS, ITEMS)
    assert found.failing == ("items",)
    assert "grant select on it" in texts(found, "fails", "items")


def test_keys_and_cursors_that_lose_or_cost_are_to_be_looked_at(compared):
    said = texts(compared(ITEMS), "look", "items")
    assert "no unique index makes (item_id) a key" in said
    assert "no index leads with the cursor changed_at" in said
    assert "the cursor changed_at may be NULL" in said


def test_a_cursor_of_the_wrong_type_fails(compared):
    found = compared(ITEMS | {"cursor": "label"})
    assert found.failing == ("items",)
    assert 'the cursor column "label" is text' in texts(found, "fails", "items")


def test_a_time_without_zone_on_a_server_that_is_not_in_utc_is_to_be_looked_at(shop, compared):
    assert "has no time zone" not in texts(compared(ITEMS), "look", "items")
    database = shop.info.dbname
    shop.execute(f"alter database {database} set timezone = 'Europe/Berlin'")
    found = compared(ITEMS)
    assert "time zone Europe/Berlin" in found.server
    assert "changed_at has no time zone and is taken for UTC, the server's is Europe/Berlin" in texts(
        found, "look", "items"
    )


def test_updates_and_deletes_that_the_declaration_does_not_see_are_told(shop, compared):
    shop.execute("update items set label = 'y' where item_id < 10; delete from items where item_id = 10")
    shop.execute("select pg_stat_force_next_flush()")
    said = texts(compared(ITEMS | {"load": "append"}), "look", "items")
    assert "9 rows were updated, which `load: append` does not promise to see" in said
    assert "1 rows were deleted, which `deletes: ignore` does not see" in said


def test_transaction_numbers_of_another_server_fail(shop, compared):
    numbered = {"name": "numbered", "key": ["id"], "cursor": "transaction", "load": "append"}
    shop.execute("insert into numbered values (1)")
    assert compared(numbered).failing == ()
    shop.execute("insert into numbered values (2, '999999999999')")
    assert "transaction numbers of another server" in texts(compared(numbered), "fails", "numbered")


def test_the_next_load_of_a_loaded_table_reads_what_changed_since(declare, compared, tmp_path):
    loaded(declare(ORDERS), tmp_path)
    found = compared(ORDERS | {"lookback": "PT6H"})
    assert found.failing == ()
    assert found.next_reads["orders"].startswith("reads rows whose updated_at is above 20")
    assert found.next_reads["orders"].endswith(" UTC, less the lookback of 6:00:00")
    replaced = compared(ORDERS | {"load": "replace"})
    assert replaced.next_reads["orders"] == "reads the whole table (30 rows), as at each load"


def test_a_changed_declaration_says_what_it_will_have_read_again(declare, compared, tmp_path):
    loaded(declare(ORDERS), tmp_path)
    changed = ORDERS | {"mask": {}, "columns": {"amount": "text"}, "drop": ["email"]}
    found = compared(changed)
    said = found.next_reads["orders"]
    assert said.startswith("reads the whole table (30 rows): ")
    assert "the type of amount was the source's own and is text" in said
    assert "the mask of email was sha256 and is none" in said
    assert "email is dropped from now on" in said
    assert "what the lake holds of email stays" in texts(found, "look", "orders")


def test_another_partition_of_a_loaded_table_fails(declare, compared, tmp_path):
    loaded(declare(ORDERS), tmp_path)
    found = compared(ORDERS | {"partition": "day(updated_at)"})
    assert found.failing == ("orders",)
    assert "partition was ordered_at and is now updated_at" in texts(found, "fails", "orders")


def test_a_type_that_changed_since_the_last_load_fails_under_a_frozen_contract(shop, declare, compared, tmp_path):
    loaded(declare(ORDERS), tmp_path)
    shop.execute("alter table orders alter column amount type text")
    shop.execute("alter table orders add column note text")
    found = compared(ORDERS)
    assert found.failing == ("orders",)
    assert 'column "amount" was decimal128(12, 2) and is now text' in texts(found, "fails", "orders")


def test_a_new_column_is_noted(shop, declare, compared, tmp_path):
    loaded(declare(ORDERS), tmp_path)
    shop.execute("alter table orders add column note text")
    found = compared(ORDERS)
    assert found.failing == ()
    assert "new column note" in texts(found, "note", "orders")


def test_a_replica_that_is_none_fails_and_one_that_is_down_is_to_be_looked_at(compared, monkeypatch, operational_dsn):
    monkeypatch.setenv("COPY_DSN", operational_dsn)
    found = compared(ORDERS, replica={"dsn": "COPY_DSN"})
    assert "COPY_DSN leads to a server that is no replica" in texts(found, "fails")
    monkeypatch.setenv("COPY_DSN", psycopg.conninfo.make_conninfo(operational_dsn, port=1))
    found = compared(ORDERS, replica={"dsn": "COPY_DSN", "when_behind": "wait"})
    assert found.failing == ()
    assert texts(found, "look") == "the replica does not answer; loads would wait for it"


def test_the_command_ends_in_a_sentence_and_with_1_if_a_load_will_fail(declare):
    declare(ORDERS)
    done = check("trial")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "trial: 1 table can be loaded as declared.")
    declare(ORDERS, ORDERS | {"name": "gone"})
    done = check()
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == "trial: 1 of 2 tables will fail to load (gone)."


def test_a_source_that_does_not_answer_or_is_not_declared_is_one_sentence(declare, monkeypatch, operational_dsn):
    declare(ORDERS)
    monkeypatch.setenv("CHECK_DSN", psycopg.conninfo.make_conninfo(operational_dsn, port=1))
    done = check("trial")
    assert (done.exit_code, len(done.output.splitlines())) == (1, 1)
    assert "source trial: the server does not answer" in done.output
    assert "no such source is declared; declared are: trial" in check("trail").output


# Adding a source


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A project of its own to write into."""
    monkeypatch.setattr(generate, "PROJECT", tmp_path)
    (tmp_path / "ingestion").mkdir()
    (tmp_path / "metrics").mkdir()
    return tmp_path


def test_a_file_becomes_part_of_the_project_and_a_second_time_nothing_is_written(declare, project):
    declare(ORDERS | {"history": True}, ITEMS)
    draft = project / "draft" / "trial.yml"
    draft.parent.mkdir()
    (project / "sources" / "trial.yml").rename(draft)
    lines = source.add(str(draft))
    assert (project / "sources" / "trial.yml").read_text() == draft.read_text()
    assert "watershed source check trial" in lines[-1]
    folder = project / "dbt_project" / "models" / "staging" / "trial"
    written = {path.name: path.read_text() for path in folder.iterdir()}
    staged = {"stg_trial__orders.sql", "stg_trial__orders_history.sql", "stg_trial__items.sql"}
    assert set(written) == {*staged, "_trial__sources.yml", "_trial__models.yml"}
    assert 'source("trial", "orders_history")' in written["stg_trial__orders_history.sql"]
    assert "email as email_hash" in written["stg_trial__orders.sql"]
    generate.check()
    assert source.add("trial")[-1].startswith("Source trial was complete already")
    assert {path.name: path.read_text() for path in folder.iterdir()} == written


def test_what_a_person_wrote_is_kept_when_a_table_is_added(declare, project):
    declare(ORDERS)
    source.add("trial")
    folder = project / "dbt_project" / "models" / "staging" / "trial"
    mine = "select 1 as mine\n"
    (folder / "stg_trial__orders.sql").write_text(mine)
    words = folder / "_trial__models.yml"
    words.write_text(words.read_text().replace("One row per order.", "One row per order, said better."))
    declare(ORDERS, ITEMS)
    source.add("trial")
    models = yaml.safe_load(words.read_text())["models"]
    assert (folder / "stg_trial__orders.sql").read_text() == mine
    assert [model["name"] for model in models] == ["stg_trial__orders", "stg_trial__items"]
    assert models[0]["description"] == "One row per order, said better."


def test_another_file_of_the_same_name_is_not_overwritten(declare, project):
    declare(ORDERS)
    other = project / "elsewhere" / "trial.yml"
    other.parent.mkdir()
    other.write_text((project / "sources" / "trial.yml").read_text().replace("orders", "items"))
    before = (project / "sources" / "trial.yml").read_text()
    with pytest.raises(SpecError, match="is there already and says something else"):
        source.add(str(other))
    assert (project / "sources" / "trial.yml").read_text() == before


def test_a_file_that_is_not_valid_adds_nothing(shop, project):
    path = project / "trial.yml"
    path.write_text("connector: postgres\nconnection: CHECK_DSN\ntables:\n  - {name: orders, key: [a], laod: merge}\n")
    with pytest.raises(SpecError, match='unknown key "laod"'):
        source.add(str(path))
    assert not (project / "dbt_project").exists()
    assert not list((project / "sources").iterdir())


def test_without_its_database_a_source_is_added_with_the_columns_that_it_declares(declare, project, monkeypatch):
    declare(ORDERS | {"columns": ORDERS["columns"] | {"email": {"description": "Masked."}}})
    monkeypatch.setenv("CHECK_DSN", "postgresql://nobody@127.0.0.1:1/none")
    lines = source.add("trial")
    assert lines[0] == "The columns are those declared: the server does not answer."
    text = (project / "dbt_project" / "models" / "staging" / "trial" / "stg_trial__orders.sql").read_text()
    assert "order_id, amount, ordered_at, updated_at, email as email_hash, _loaded_at" in text
    declare(ITEMS | {"name": "others"})
    with pytest.raises(SpecError, match="does not tell the columns"):
        source.add("trial")


def test_keys_are_tested_and_names_are_short_enough(tmp_path):
    long = "a_name_that_is_as_long_as_names_of_columns_may_become"
    table = spec.Table(name="lines", description="One row per line.", key=["order", long], load="replace")
    odd = spec.Source(name="odd", connector="postgres", connection="X", tables=[table])
    wanted = stage.missing(tmp_path, odd, {"lines": ["order", long, "Größe", "unitPrice", "unit_price", "2nd"]})
    (model,) = yaml.safe_load(wanted[tmp_path / "_odd__models.yml"])["models"]
    names = [column["name"] for column in model["columns"]]
    assert names == ["order_", long, "grosse", "unit_price", "unit_price_2", "column_2nd", "_loaded_at"]
    assert model["data_tests"][0]["unique_combination"]["arguments"] == {"columns": ["order_", long]}
    tests = [
        test
        for holder in (model, *model["columns"])
        for entry in holder.get("data_tests", [])
        for test in entry.values()
    ]
    assert len(tests) == 3
    assert all(len(test["name"]) <= 70 and test["description"] for test in tests)
    assert len({test["name"] for test in tests}) == 3


def test_skeletons_have_the_form_that_the_project_gives_to_sql(tmp_path):
    for count in (1, 2, 3, 6, 8, 11, 14, 17, 20, 30):
        columns = [stage.Staged(f"column_{n}", f"column_{n}", "") for n in range(count)]
        (tmp_path / f"m{count}.sql").write_text(stage._sql("shop", "orders", columns, with_op=False))
    sqlfmt = str(Path(sys.executable).with_name("sqlfmt"))
    done = subprocess.run(
        [sqlfmt, "--check", "--line-length", "120", "--no-progressbar", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
