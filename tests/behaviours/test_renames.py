"""A column that is renamed at the source keeps its name in the lake if the source file says so, and its rows."""

import datetime
import json
import re
from unittest.mock import patch

import fix_servers
import pytest
from pydantic import ValidationError
from trial_source import Trial, on_folder

from ingestion import compare, load, reconcile
from ingestion.connectors import Window, connector
from ingestion.connectors.postgres import Postgres
from ingestion.spec import Source, Table
from lake import commit, read
from lake.errors import SchemaDrift
from lake.layout import Address, Lake

RENAMED = {"amount": {"from": "total_amount"}}
HINT = (
    "column amount is gone and total_amount is new with the same type: "
    "if it was renamed, declare `columns: {amount: {from: total_amount}}`"
)


@on_folder
def test_a_renamed_column_keeps_its_name_and_only_changed_rows_are_read(trial: Trial) -> None:
    trial.orders(50)
    trial.run()
    trial.sql("alter table orders rename amount to total_amount")
    trial.sql("update orders set total_amount = 7, updated_at = clock_timestamp() where order_id = 3")
    trial.sql("insert into orders (order_id, total_amount, ordered_at) values (51, 9, '2026-01-06 12:00+00')")
    trial.declare(columns=RENAMED)
    loaded = trial.run()
    assert (loaded.kind, loaded.rows_read, loaded.taken.updated, loaded.taken.inserted) == ("changes", 2, 1, 1)
    assert_same(trial, "order_id, amount", "order_id, total_amount")
    assert "total_amount" not in read.columns(commit.table(trial.lake, trial.address()))


@on_folder
def test_key_cursor_and_partition_may_be_renamed(trial: Trial) -> None:
    trial.declare(deletes="sweep")
    trial.orders(20)
    trial.order(21, day="2026-01-07")
    trial.run()
    for old, new in (("order_id", "id"), ("updated_at", "changed"), ("ordered_at", "placed")):
        trial.sql(f"alter table orders rename {old} to {new}")
    names = {"order_id": "id", "updated_at": "changed", "ordered_at": "placed"}
    trial.declare(columns={name: {"from": old} for name, old in names.items()})
    trial.sql("delete from orders where id = 4")
    trial.sql("update orders set amount = 70, changed = clock_timestamp() where id = 3")
    loaded = trial.run()
    assert (loaded.taken.updated, loaded.taken.deleted, loaded.rows_read) == (1, 1, 1)
    trial.sql("update orders set amount = 80 where id = 21")
    assert trial.reload("2026-01-07").taken.updated == 1
    assert_same(trial, "order_id, amount, ordered_at, updated_at", "id, amount, placed, changed")
    assert load.span(trial.lake, trial.source) is not None


@on_folder
def test_a_renamed_table_is_reconciled_and_repaired_under_the_lakes_names(trial: Trial) -> None:
    trial.orders(20)
    trial.order(21, day="2026-01-07")
    names = {"order_id": "id", "updated_at": "changed", "ordered_at": "placed", "amount": "total"}
    for old, new in names.items():
        trial.sql(f"alter table orders rename {old} to {new}")
    trial.sql("create index on orders (placed)")
    trial.declare(columns={name: {"from": old} for name, old in names.items()})
    trial.run()
    assert reconcile.compare(trial.lake, trial.source, trial.table).is_ok
    trial.sql("update orders set total = 70 where id = 21")
    found = reconcile.compare(trial.lake, trial.source, trial.table)
    assert not found.is_ok
    reconcile.repair(trial.lake, trial.source, trial.table, found, say=lambda _: None)
    assert_same(trial, "order_id, amount, ordered_at", "id, total, placed")


@on_folder
def test_the_declaration_may_come_before_the_change_at_the_source(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    trial.declare(columns=RENAMED)
    trial.order(4)
    assert trial.run().taken.inserted == 1
    trial.sql("alter table orders rename amount to total_amount")
    trial.sql("update orders set total_amount = 5, updated_at = clock_timestamp() where order_id = 1")
    assert trial.run().rows_read == 1
    assert_same(trial, "order_id, amount", "order_id, total_amount")


@on_folder
def test_a_declaration_that_comes_late_reads_the_table_again(trial: Trial) -> None:
    trial.orders(10)
    trial.run()
    trial.sql("alter table orders rename amount to total_amount")
    trial.sql("update orders set updated_at = clock_timestamp() where order_id < 4")
    assert HINT in trial.run().sentence
    assert trial.rows("order_id", where="amount IS NULL") == [(1,), (2,), (3,)]
    trial.declare(columns=RENAMED)
    loaded = trial.run()
    assert (loaded.kind, loaded.rows_read) == ("full", 10)
    assert_same(trial, "order_id, amount", "order_id, total_amount")
    assert trial.run().kind == "changes"


@on_folder
def test_a_frozen_table_says_how_to_declare_the_new_name(trial: Trial) -> None:
    trial.declare(contract={"columns": "freeze"})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders rename amount to total_amount")
    with pytest.raises(SchemaDrift, match=re.escape(HINT.partition(": ")[2])):
        trial.run()
    trial.declare(columns=RENAMED)
    trial.sql("update orders set total_amount = 5, updated_at = clock_timestamp() where order_id = 1")
    assert trial.run().taken.updated == 1


@on_folder
@pytest.mark.parametrize(
    ("word", "inserted", "quarantined"), [("evolve", 1, 0), ("discard_value", 1, 0), ("discard_row", 0, 1)]
)
def test_without_a_declaration_the_word_for_new_columns_holds_and_the_hint_is_given(
    trial: Trial, word: str, inserted: int, quarantined: int
) -> None:
    trial.declare(contract={"columns": word})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders rename amount to total_amount")
    trial.sql("insert into orders (order_id, total_amount, ordered_at) values (4, 9, '2026-01-06 12:00+00')")
    loaded = trial.run()
    assert (loaded.taken.inserted, loaded.taken.quarantined) == (inserted, quarantined)
    assert HINT in loaded.sentence
    assert [amount for _, amount in trial.rows("order_id, amount")][:3] == [1, 2, 3]


@on_folder
def test_indexes_and_ranges_of_pages_are_used_as_under_the_sources_names(trial: Trial) -> None:
    trial.sql("alter table orders rename order_id to id")
    trial.declare(columns={"order_id": {"from": "id"}})
    trial.sql("insert into orders (id, ordered_at) select n, now() from generate_series(1, 20000) n")
    trial.sql("analyze orders")
    session = Postgres(trial.source)
    renamed = session._named(trial.table)
    for condition, scan in (("order_id = 5", "Index Only Scan"), ("ctid < '(3,0)'", "Tid Range Scan")):
        plan = trial.connection.execute(f"explain select order_id from {renamed} where {condition}").fetchall()
        assert scan in plan[0][0]
    session.close()


@on_folder
def test_no_hint_is_given_where_types_differ_or_several_columns_are_alike(trial: Trial) -> None:
    trial.sql("alter table orders add a text, add b text")
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders drop a, drop b, add c text, add d boolean")
    assert "renamed" not in trial.run().sentence


@on_folder
def test_a_check_of_the_source_gives_the_hint_too(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders rename amount to total_amount")
    assert HINT in [it.text for it in compare.compare(trial.source, trial.lake).findings]
    trial.declare(columns=RENAMED)
    texts = [it.text for it in compare.compare(trial.source, trial.lake).findings if it.weight != "note"]
    assert not [text for text in texts if "amount" in text or "missing" in text]


@on_folder
def test_both_names_at_the_source_are_refused_and_so_is_neither(trial: Trial) -> None:
    trial.declare(columns=RENAMED)
    trial.sql("alter table orders add total_amount numeric(12,2)")
    with pytest.raises(SchemaDrift, match='"amount" is taken from "total_amount", but the source has a "amount" too'):
        trial.run()
    trial.sql("alter table orders drop amount, drop total_amount")
    with pytest.raises(SchemaDrift, match='column "amount" comes from "total_amount", which is missing'):
        trial.run()


@on_folder
def test_a_large_table_is_read_by_pages_under_its_new_names(trial: Trial) -> None:
    trial.sql("alter table orders rename amount to total_amount")
    trial.sql(
        "insert into orders (order_id, total_amount, ordered_at) "
        "select n, n, '2026-01-05 12:00+00' from generate_series(1, 5000) n"
    )
    trial.sql("analyze orders")
    trial.declare(columns=RENAMED)
    with patch("ingestion.extract.CHUNK_ROWS", 1000):
        loaded = trial.run()
    assert loaded.chunks > 1
    assert_same(trial, "order_id, amount", "order_id, total_amount")


@on_folder
def test_masks_types_and_digests_follow_the_lakes_names(trial: Trial) -> None:
    trial.sql("alter table orders rename customer_email to mail")
    trial.sql("alter table orders rename ordered_at to placed")
    trial.sql("insert into orders (order_id, mail, amount, placed) values (1, 'a@b', 1, '2026-01-05 12:00+00')")
    trial.declare(
        columns={"customer_email": {"from": "mail"}, "ordered_at": {"from": "placed"}, "amount": "text"},
        mask={"customer_email": "sha256"},
    )
    trial.run()
    ((email, amount),) = trial.rows("customer_email, amount")
    assert (len(email), amount) == (64, "1.00")
    session = connector(trial.source)
    shape = session.shape(trial.table)
    known = read.columns(commit.table(trial.lake, trial.address()))
    columns = {name: known[name] for name in shape.schema.names}
    assert sum(it.rows for it in session.digests(trial.table, shape, Window(), columns).values()) == 1
    session.close()


def test_mysql_reads_a_renamed_column_under_the_lakes_name(mysql_dsn, tmp_path, monkeypatch) -> None:
    with fix_servers.mysql(mysql_dsn) as connection, connection.cursor() as sql:
        monkeypatch.setenv("RENAMED_DSN", mysql_dsn)
        monkeypatch.setenv("WATERSHED_STAGING", str(tmp_path / "staging"))
        sql.execute("create table t (id int primary key, amount int, at timestamp(6) not null)")
        sql.execute("insert into t select seq, seq, '2026-01-05 12:00:00' from seq_1_to_30")
        connection.commit()
        lake, stanza = (
            Lake(str(tmp_path / "lake")),
            {"name": "t", "key": ["id"], "cursor": "at", "partition": "day(at)"},
        )
        run(lake, stanza)
        kinds = (("id", "number", "int"), ("amount", "total", "int"), ("at", "stamp", "timestamp(6) not null"))
        for old, new, kind in kinds:
            sql.execute(f"alter table t change {old} {new} {kind}")
        sql.execute("update t set total = 99, stamp = '2026-01-06 12:00:00' where number = 3")
        connection.commit()
        names = {"id": {"from": "number"}, "amount": {"from": "total"}, "at": {"from": "stamp"}}
        assert run(lake, {**stanza, "columns": names}).rows_read == 1
        assert values(lake)[3] == 99
        first = datetime.date(2026, 1, 5)
        again = load.days(lake, one(Table(**stanza, columns=names)), Table(**stanza, columns=names), first, first)
        assert again.rows_read == 29
        assert reconcile.compare(lake, one(Table(**stanza, columns=names)), Table(**stanza, columns=names)).is_ok


def test_files_and_functions_bring_a_renamed_column_under_the_lakes_name(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "dropped"
    folder.mkdir()
    monkeypatch.setenv("RENAMED_DSN", str(folder))
    monkeypatch.setenv("WATERSHED_STAGING", str(tmp_path / "staging"))
    (folder / "1.csv").write_text("id,amount\n1,10\n")
    lake = Lake(str(tmp_path / "lake"))
    stanza = {"name": "t", "files": {"path": "*", "settle_s": 0}, "key": ["id"]}
    run(lake, stanza, "files")
    (folder / "2.csv").write_text("id,Total\n2,20\n")
    (folder / "3.json").write_text(json.dumps({"id": 3, "total": 30}) + "\n")
    stanza["columns"] = {"amount": {"from": "total"}}
    loaded = run(lake, stanza, "files")
    assert (loaded.kind, values(lake)) == ("changes", {1: 10, 2: 20, 3: 30})
    (folder / "4.csv").write_text("id,total,amount\n4,1,2\n")
    with pytest.raises(SchemaDrift, match='is taken from "total", but a file has a "amount" too'):
        run(lake, stanza, "files")


def rows_of_function() -> list[dict[str, int]]:
    """Rows with a column that is called otherwise in the lake."""
    return [{"id": 1, "total": 10}, {"id": 2, "total": 20}]


def test_a_function_brings_a_renamed_column_under_the_lakes_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WATERSHED_STAGING", str(tmp_path / "staging"))
    lake = Lake(str(tmp_path / "lake"))
    stanza = {"name": "t", "function": "test_renames:rows_of_function", "key": ["id"], "load": "replace"}
    run(lake, {**stanza, "columns": {"amount": {"from": "total"}}}, "python")
    assert values(lake) == {1: 10, 2: 20}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": {"a": {"from": "x"}, "b": {"from": "x"}}}, "takes both 'a' and 'b' from 'x'"),
        ({"columns": {"amount": {"from": "x"}}, "mask": {"x": "sha256"}}, "'x' is called 'amount' in the lake"),
        ({"columns": {"amount": {"from": "updated_at"}}}, "'updated_at' is called 'amount' in the lake"),
        ({"columns": {"amount": {"from": ""}}}, "at least 1 character"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(changes, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Table(**{"name": "orders", "key": ["order_id"], "cursor": "updated_at"} | changes)


def assert_same(trial: Trial, in_lake: str, at_source: str) -> None:
    """Processed holds exactly the source's rows under its own names."""
    assert sorted(trial.rows(in_lake), key=repr) == trial.at_source(at_source)


def one(table: Table, kind: str = "mysql") -> Source:
    return Source(name="renamed", connector=kind, connection="RENAMED_DSN", tables=[table])


def run(lake: Lake, stanza, kind: str = "mysql") -> load.Loaded:
    """Load what changed and fold it."""
    from lake.fold import fold

    table = Table(**stanza)
    loaded = load.changes(lake, one(table, kind), table)
    fold(lake, load.subject(one(table, kind), table))
    return loaded


def values(lake: Lake) -> dict[int, int]:
    """The lake's `amount` by `id`."""
    with read.connect(lake) as connection:
        relation = read.relation(lake, Address("processed", "renamed", "t"))
        return dict(connection.execute(f"SELECT id, amount FROM {relation}").fetchall())
