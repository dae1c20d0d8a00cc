"""Errors of a source file name the file, the table and the key, and say what would be right."""

from pathlib import Path
from textwrap import dedent, indent

import jsonschema
import pytest
import yaml

from ingestion import load, spec
from ingestion.connectors.postgres import Postgres
from lake.errors import PlatformError, SpecError
from lake.layout import Lake

HEAD = "connector: postgres\nconnection: SHOP_DSN\ntables:\n"
ORDERS = "name: orders\nkey: [order_id]\ncursor: updated_at\n"


def _written(folder: Path, text: str) -> Path:
    path = folder / "ingestion" / "sources" / "shop.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def _table(text: str) -> str:
    return "  - " + indent(dedent(text), "    ").strip() + "\n"


def _message(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as raised:
        spec.source(_written(folder, text))
    return str(raised.value)


IN_TABLE = [
    ("laod: merge", 'unknown key "laod"; did you mean "load"?'),
    ("contract: {colums: freeze}", 'unknown key "contract.colums"; did you mean "columns"?'),
    ("columns: {amount: {descripton: x}}", 'unknown key "columns.amount.descripton"; did you mean "description"?'),
    ("partition: ordered_at", "partition: 'ordered_at' is no partition; write day(column)"),
    ("partition: hour(ordered_at)", "\"partition.grain\" is 'hour'; input should be 'day'"),
    ("partition: {colum: ordered_at}", '"partition.column" is missing; add column:'),
    ("load: upsert", "\"load\" is 'upsert'; input should be 'replace', 'append' or 'merge'"),
    ("deletes: sweeep", "\"deletes\" is 'sweeep'; input should be 'ignore' or 'sweep'"),
    ("cursor: null", "load: merge needs a cursor; name the column that grows with each change"),
    (
        "{load: replace, cursor: null, history: true}",
        "history: true needs a cursor; name the column that dates",
    ),
    ("drop: [order_id]", "drop names 'order_id', which is the key, cursor or partition; keep it"),
    ("{drop: [at], partition: day(at)}", "drop names 'at', which is the key, cursor or partition; keep it"),
    ("mask: {updated_at: sha256}", "mask names 'updated_at', which is the cursor or partition; take it out"),
    ("mask: {email: md5}", "\"mask.email\" is 'md5'; input should be 'sha256'"),
    (
        "columns: {year: {description: x}}",
        "columns names 'year', a partition column of the lake; give it another name, with `from: year`",
    ),
    (
        "columns: {amount: money}",
        "columns.amount.type: type 'money' is unknown; write text or decimal(",
    ),
    (
        "columns: {amount: 'decimal(40, 2)'}",
        "type 'decimal(40, 2)' is unknown; write text",
    ),
    ("columns: {amount: 'decimal(3, 5)'}", "type 'decimal(3, 5)' is unknown; write text"),
    ("lookback: soon", "\"lookback\" is 'soon'; "),
    ("key: []", '"key" is []; '),
    ("key: order_id", "\"key\" is 'order_id'; "),
    ("expect: [{expect_colum_values_to_be_unique: {column: a}}]", "expect_colum_values_to_be_unique"),
    ("expect: [{expect_column_values_to_be_between: {colum: a, min_value: 0}}]", "colum"),
]


@pytest.mark.parametrize(("line", "sentence"), IN_TABLE, ids=[line for line, _ in IN_TABLE])
def test_a_mistake_in_a_table_is_named_with_its_place(tmp_path: Path, line: str, sentence: str) -> None:
    changed = yaml.safe_load(ORDERS) | yaml.safe_load(line)
    message = _message(tmp_path, HEAD + _table(yaml.safe_dump(changed)))
    assert message.startswith("ingestion/sources/shop.yml, table orders")
    assert sentence in message
    assert "\n" not in message


IN_FILE = [
    ("conection: SHOP_DSN\n" + HEAD + _table(ORDERS), 'shop.yml: unknown key "conection"; did you mean "connection"?'),
    (HEAD.replace("connection: SHOP_DSN\n", "") + _table(ORDERS), 'shop.yml: "connection" is missing; add connection:'),
    (
        HEAD.replace("postgres", "oracle") + _table(ORDERS),
        "\"connector\" is 'oracle'; input should be 'postgres', 'mysql', 'files' or 'python'",
    ),
    (HEAD + _table("key: [order_id]"), 'shop.yml, table number 1: "name" is missing; add name:'),
    (HEAD + _table("name: orders\ncursor: at"), 'shop.yml, table orders: "key" is missing; add key:'),
    (HEAD + _table(ORDERS.replace("orders", "Orders")), "'Orders' is no name; use lower-case letters, digits and _"),
    (HEAD + _table(ORDERS) * 2, "shop.yml, table orders: is declared twice; keep one"),
    (HEAD.replace("tables:\n", "tables: []\n"), 'shop.yml: "tables" is []; '),
    (HEAD + "  orders: {key: [order_id]}\n", 'shop.yml: "tables" is '),
    (HEAD + "  - orders\n", "shop.yml, table number 1: "),
    ("tables: [\n  - x: [y\n", "shop.yml, line 2: no YAML: "),
    ("a: b: c\n", "shop.yml, line 1: no YAML: mapping values are not allowed here; mend the line"),
    ("", "shop.yml: is empty; declare connector, connection and tables"),
    ("- a list\n", "shop.yml: is empty; declare connector, connection and tables"),
    ("yes: 1\n" + HEAD + _table(ORDERS), "shop.yml: "),
]


@pytest.mark.parametrize(("text", "sentence"), IN_FILE, ids=[sentence for _, sentence in IN_FILE])
def test_a_mistake_in_a_file_is_named_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    message = _message(tmp_path, text)
    assert message.startswith("ingestion/sources/shop.yml")
    assert sentence in message
    assert "\n" not in message


def test_a_history_that_would_be_called_like_a_declared_table_is_refused(tmp_path: Path) -> None:
    text = HEAD + _table(ORDERS + "history: true\n") + _table(ORDERS.replace("orders", "orders_history"))
    sentence = (
        "shop.yml, table orders: its history would be called orders_history, which is declared as a table of its own"
    )
    assert sentence in _message(tmp_path, text)


def test_two_files_that_declare_one_source_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text("name: shop\n" + HEAD + _table(ORDERS))
    with pytest.raises(SpecError, match=r"b\.yml: source shop is declared in a\.yml already; give it another `name:`"):
        spec.sources(tmp_path)


def test_a_file_may_end_in_yaml_too(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(HEAD + _table(ORDERS))
    assert [source.name for source in spec.sources(tmp_path)] == ["shop"]


def test_a_connection_in_place_of_a_variable_is_refused_without_its_password(tmp_path: Path) -> None:
    text = HEAD.replace("SHOP_DSN", "postgresql://watershed:p@ss:word@localhost/shop") + _table(ORDERS)
    message = _message(tmp_path, text)
    assert "name an environment variable" in message
    assert "ss:word" not in message


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = _written(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"shop\.yml: is no text in UTF-8; save it as UTF-8"):
        spec.source(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yml: cannot be read \(No such file or directory\)"):
        spec.source(tmp_path / "nowhere.yml")


def test_an_unknown_table_is_answered_with_a_known_one() -> None:
    with pytest.raises(SpecError, match='shop: no table "order" is declared; did you mean "orders"'):
        spec.sources()[0].table("order")


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SHOP_DSN", raising=False)
    source = spec.sources()[0]
    with pytest.raises(SpecError) as raised:
        load.changes(Lake(str(tmp_path)), source, source.table("orders"))
    assert str(raised.value) == (
        "source shop: SHOP_DSN is not set; set SHOP_DSN to a connection URI, e.g. postgresql://user@host/database"
    )


@pytest.mark.parametrize("dsn", ["postgresql://u:pa%ss@h/d", "not a uri but secret", "host=h password='secret"])
def test_a_connection_that_is_no_uri_is_refused_without_quoting_it(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.setenv("SHOP_DSN", dsn)
    with pytest.raises(SpecError) as raised:
        Postgres(spec.sources()[0])
    assert str(raised.value).startswith("source shop: SHOP_DSN is no connection URI; write postgresql://user@")
    assert dsn not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_password_that_libpq_takes_for_a_port_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DSN", "postgresql://u:hush/hush@h:1/d")
    with pytest.raises(PlatformError) as raised:
        Postgres(spec.sources()[0])
    assert "hush" not in str(raised.value)


def test_the_shipped_sources_load() -> None:
    (shop,) = spec.sources()
    assert [table.name for table in shop.tables] == [
        "customers", "products", "stores", "orders", "order_items", "devices", "sensor_readings", "stock_movements",
        "order_events",
    ]  # fmt: skip
    assert shop.table("customers").mask == {"email": "sha256", "phone": "sha256"}
    assert shop.table("orders").partition == spec.Partition(column="ordered_at")


def test_every_shipped_table_describes_itself_and_all_its_columns() -> None:
    for table in spec.sources()[0].tables:
        assert table.description, table.name
        assert all(column.description for column in table.columns.values()), table.name


def test_the_json_schema_accepts_the_shipped_files() -> None:
    validator = jsonschema.Draft202012Validator(spec.json_schema())
    for path in spec.SOURCES.glob("*.yml"):
        assert [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize("line", ["laod: merge", "partition: ordered_at", "columns: {amount: money}", "load: upsert"])
def test_the_json_schema_refuses_what_the_platform_refuses(line: str) -> None:
    table = yaml.safe_load(ORDERS) | yaml.safe_load(line)
    document = {"connector": "postgres", "connection": "SHOP_DSN", "tables": [table]}
    assert list(jsonschema.Draft202012Validator(spec.json_schema()).iter_errors(document))


def test_declarations_cannot_be_changed() -> None:
    table = spec.sources()[0].table("orders")
    with pytest.raises(ValueError, match="frozen"):
        table.name = "others"  # type: ignore[misc]
