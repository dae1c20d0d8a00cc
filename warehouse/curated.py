"""The marts of a published version as Delta tables in the lake: `curated/marts/<mart>`, for engines other than DuckDB.

A mart is written as far as it differs: by days if it declares a day, else as a whole. A file's name begins with a
fingerprint of its rows, so the log alone tells what is there already. `curated/warehouse/versions` says, in one
commit, which Delta version of each mart belongs to which published version: that is how a reader of several marts
gets all of them from one version.
"""

import datetime
import hashlib
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lake import access, commit, days, duck, inventory, kinds, parquet, read
from lake.duck import literal, quoted
from lake.errors import SpecError
from lake.layout import DAY_COLUMNS, Address, Lake
from lake.parquet import Written
from warehouse.versions import Version

SCHEMA = "marts"
VERSIONS = Address("curated", "warehouse", "versions")
MEMORY_LIMIT = "1GB"
BATCH_ROWS = 100_000
NO_DAY = "0001-01-01"  # the day of rows whose day is NULL
TOLD = ("_key", "_id", "_at", "_date", "_day")  # endings of columns whose bounds go into the log
# Types that Delta does not have, and what holds all their values.
CASTS = {
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20, 0)",
    "HUGEINT": "DECIMAL(38, 0)",
    "UHUGEINT": "DECIMAL(38, 0)",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
    **dict.fromkeys(("TIME", "TIME WITH TIME ZONE", "TIME_NS", "INTERVAL", "UUID", "BIT", "JSON", "ENUM"), "VARCHAR"),
}
NOTED = pa.schema(
    [
        ("version_number", pa.int64()),
        ("published_at", pa.timestamp("us", "UTC")),
        ("is_in_force", pa.bool_()),
        ("mart_name", pa.string()),
        ("path", pa.string()),
        ("delta_version", pa.int64()),
        ("row_count", pa.int64()),
    ]
)
Day = datetime.date | None


@dataclass(frozen=True)
class Exported:
    """What an export did: marts in the lake, those that differed, and the files written for them."""

    marts: tuple[str, ...]
    changed: tuple[str, ...]
    files: int


@dataclass(frozen=True)
class _Mart:
    """A mart of the version: its columns as SQL in the types of the lake, and the column that tells the day, if any."""

    name: str
    columns: Mapping[str, str]
    day: str | None

    @property
    def address(self) -> Address:
        return Address("curated", SCHEMA, self.name)

    @property
    def relation(self) -> str:
        return f"warehouse.{SCHEMA}.{quoted(self.name)}"

    @property
    def selected(self) -> str:
        return ", ".join(f"{sql} as {quoted(name)}" for name, sql in self.columns.items())

    @property
    def day_sql(self) -> str:
        """The UTC day of a row; NULL for a mart without days."""
        return f"coalesce(cast({quoted(self.day)} as date), date '{NO_DAY}')" if self.day else "cast(null as date)"


@dataclass(frozen=True)
class _Change:
    """What makes a mart in the lake that of the version: files that are written already, and days that go."""

    mart: _Mart
    rows: int
    base: DeltaTable | None
    schema: pa.Schema
    written: list[Written]
    outdated: frozenset[Day]
    is_retyped: bool

    @property
    def is_none(self) -> bool:
        return self.base is not None and not self.outdated and not self.is_retyped


def export(lake: Lake, version: Version, by_day: Mapping[str, str], kept: Collection[int], spill: Path) -> Exported:
    """Make the lake's curated marts those of `version` and mark them with its number; done twice it changes nothing.

    `by_day` names the column that tells the day of a mart; versions other than `kept` are no longer listed. First all
    files are written, then commits follow each other; the list of versions last. Raises a PlatformError, and
    duckdb.Error if the version cannot be read.
    """
    with closing(_opened(version, spill)) as connection:
        marts = _marts(connection, by_day)
        changes = [_change(lake, connection, mart) for mart in marts]
        state = {"warehouse_version": version.number, "published_at": version.published_at.isoformat()}
        noted = {one.mart.name: (_commit(lake, connection, one, state), one.rows) for one in changes}
    gone = _empty_others(lake, noted, state)
    _note(lake, version, noted, kept, state)
    changed = tuple(one.mart.name for one in changes if not one.is_none)
    return Exported(tuple(noted), (*changed, *gone), sum(len(one.written) for one in changes))


def newest_number(lake: Lake) -> int:
    """The highest version number that the lake knows of; 0 if there is none."""
    return int(commit.state(commit.table(lake, VERSIONS)).get("highest", 0))


def in_force(lake: Lake) -> dict[str, int]:
    """The Delta version of each mart that is in force, by its name; empty if nothing was exported."""
    return {row["mart_name"]: row["delta_version"] for row in _rows(lake) if row["is_in_force"]}


def day_columns(nodes: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """The column that tells the day of each mart that declares one: `meta.curated.day`, or that of `meta.reconcile`."""
    found = {}
    for node in nodes:
        meta = (node.get("config") or {}).get("meta") or {}
        day = (meta.get("curated") or {}).get("day") or (meta.get("reconcile") or {}).get("day")
        if node.get("schema") == SCHEMA and day:
            found[str(node["name"])] = str(day)
    return found


def _opened(version: Version, spill: Path) -> duckdb.DuckDBPyConnection:
    connection = duck.connect()
    try:
        connection.execute(
            f"set memory_limit = '{MEMORY_LIMIT}'; set threads = 2; set temp_directory = {literal(str(spill))};"
            f"attach {literal(str(version.path))} as warehouse (read_only)"
        )
    except duckdb.Error:
        connection.close()
        raise
    return connection


def _marts(connection: duckdb.DuckDBPyConnection, by_day: Mapping[str, str]) -> list[_Mart]:
    found: dict[str, dict[str, str]] = {}
    rows = connection.execute(
        "select table_name, column_name, data_type from duckdb_columns() "
        "where database_name = 'warehouse' and schema_name = ? order by table_name, column_index",
        [SCHEMA],
    ).fetchall()
    for table, column, kind in rows:
        cast = CASTS.get(kind.partition("(")[0])
        found.setdefault(table, {})[column] = f"cast({quoted(column)} as {cast})" if cast else quoted(column)
    return [_Mart(name, columns, _day_of(name, columns, by_day.get(name))) for name, columns in found.items()]


def _day_of(name: str, columns: Collection[str], day: str | None) -> str | None:
    if day is not None and day not in columns:
        mend = "correct `day` under meta.curated or meta.reconcile in dbt's YAML"
        raise SpecError(f"dbt model {name}", f"has no column {day} to lie in the lake by", mend)
    return None if set(DAY_COLUMNS) & set(columns) else day


def _change(lake: Lake, connection: duckdb.DuckDBPyConnection, mart: _Mart) -> _Change:
    base = commit.table(lake, mart.address)
    schema = _schema(connection, mart)
    wanted = _fingerprints(connection, mart, schema)
    known = read.columns(base)
    is_by_day = base is not None and bool(base.metadata().partition_columns)
    is_retyped = base is not None and (dict(zip(schema.names, schema.types, strict=True)) != known)
    if base is not None and is_by_day != (mart.day is not None):
        is_retyped = True
    held = {} if base is None or is_retyped else _held(base)
    new = {day for day, one in wanted.items() if held.get(day) != one}
    rows = sum(count for count, _ in wanted.values())
    written = _write(lake, connection, mart, schema, {day: wanted[day][1] for day in new}) if new else []
    return _Change(mart, rows, base, schema, written, frozenset(new | (held.keys() - wanted.keys())), is_retyped)


def _schema(connection: duckdb.DuckDBPyConnection, mart: _Mart) -> pa.Schema:
    given = connection.execute(f"select {mart.selected} from {mart.relation} limit 0").to_arrow_table().schema
    return pa.schema([pa.field(entry.name, kinds.stored(entry.type)) for entry in given])


def _fingerprints(connection: duckdb.DuckDBPyConnection, mart: _Mart, schema: pa.Schema) -> dict[Day, tuple[int, str]]:
    """Rows and fingerprint of each day of the version; of the whole, under None, for a mart without days."""
    columns = ", ".join(mart.columns.values())
    found = connection.execute(
        f"select {mart.day_sql}, count(*), sum(hash({columns})), bit_xor(hash({columns}, 1)) "
        f"from {mart.relation} group by 1"
    ).fetchall()
    # the hash is DuckDB's own, which another release may change
    basis = f"{duckdb.__version__} {[(entry.name, str(entry.type)) for entry in schema]}"
    return {
        day: (rows, hashlib.sha256(f"{basis} {rows} {total} {mixed}".encode()).hexdigest()[:24])
        for day, rows, total, mixed in found
    }


def _held(base: DeltaTable) -> dict[Day, tuple[int, str]]:
    """Rows and fingerprint of what lies in the lake, as the names of the files tell; of no use if they disagree."""
    found: dict[Day, tuple[int, str]] = {}
    for file in commit.files(base):
        name = file.path.rpartition("/")[2].split("-")
        rows, mark = found.get(file.day, (0, name[1][:24]))
        found[file.day] = (rows + file.rows, mark if name[1].startswith(mark) else "mixed")
    return found


def _write(
    lake: Lake, connection: duckdb.DuckDBPyConnection, mart: _Mart, schema: pa.Schema, marks: Mapping[Day, str]
) -> list[Written]:
    """Write the rows of these days; each file's name tells the fingerprint of its day, and is never used again."""
    attempt = secrets.token_hex(4)
    writer = parquet.Writer(lake, mart.address, attempt, [name for name in schema.names if name.endswith(TOLD)])
    connection.register("wanted_days", pa.table({"day": pa.array(list(marks), pa.date32())}))
    query = f"select {mart.selected}, {mart.day_sql} as {commit.DAY} from {mart.relation}"
    if mart.day:
        query = f"select * from ({query}) semi join wanted_days on {commit.DAY} = day"
        query += f" order by {commit.DAY}, {quoted(mart.day)}"
    batches = connection.execute(query).to_arrow_reader(BATCH_ROWS)
    with access.told(lake):
        for day, pieces in groupby(_pieces(mart, schema, batches), key=itemgetter(0)):
            writer.load_id = f"{marks[day]}{attempt}"
            writer.rows_of(day, (rows for _, rows in pieces))
    connection.unregister("wanted_days")
    return writer.written


def _pieces(mart: _Mart, schema: pa.Schema, batches: pa.RecordBatchReader) -> Iterator[tuple[Day, pa.Table]]:
    if mart.day is None:
        for batch in batches:
            yield None, pa.Table.from_batches([batch]).drop_columns([commit.DAY]).cast(schema)
        return
    for number, rows in parquet.by_day(commit.DAY, batches):
        yield days.date(number), rows.cast(schema)


def _commit(lake: Lake, connection: duckdb.DuckDBPyConnection, change: _Change, state: Mapping[str, Any]) -> int:
    """Commit a mart's files; its Delta version. If upkeep has come in between, it is compared and written anew."""
    waiting = [change]

    def attempt() -> int:
        one = waiting.pop() if waiting else _change(lake, connection, change.mart)
        if one.is_none and one.base is not None:
            return one.base.version()
        removed = [] if one.base is None or one.is_retyped else _removals(one.base, one.outdated)
        return commit.add(
            lake,
            one.mart.address,
            one.schema,
            one.written,
            state,
            base=one.base,
            by_day=one.mart.day is not None,
            removed=removed,
            retype=one.is_retyped,
        ).version

    return commit.persistently(attempt)


def _removals(base: DeltaTable, outdated: Collection[Day]) -> list[Any]:
    if outdated == {None}:
        return commit.removals(base)
    return commit.removals(base, [day for day in outdated if day is not None])


def _empty_others(lake: Lake, marts: Collection[str], state: Mapping[str, Any]) -> list[str]:
    """Take the rows out of marts that the version does not have: nobody would notice that they stand still."""
    emptied = []
    for name in inventory.folders(lake, f"curated/{SCHEMA}"):
        address = Address("curated", SCHEMA, name)
        base = None if name in marts else commit.table(lake, address)
        if base is None or not (removed := commit.removals(base)):
            continue
        by_day = bool(base.metadata().partition_columns)
        schema = pa.schema(list(read.columns(base).items()))
        commit.add(lake, address, schema, [], state, base=base, by_day=by_day, removed=removed)
        emptied.append(name)
    return emptied


def _note(
    lake: Lake,
    version: Version,
    noted: Mapping[str, tuple[int, int]],
    kept: Collection[int],
    state: Mapping[str, Any],
) -> None:
    """Say in one commit that `version` is in force, and where its marts are."""
    rows = [
        {
            "version_number": version.number,
            "published_at": version.published_at,
            "is_in_force": True,
            "mart_name": name,
            "path": str(Address("curated", SCHEMA, name)),
            "delta_version": delta,
            "row_count": count,
        }
        for name, (delta, count) in noted.items()
    ]

    def attempt() -> None:
        before = _rows(lake)
        others = [row for row in before if row["version_number"] in kept and row["version_number"] != version.number]
        wanted = _sorted([*rows, *({**row, "is_in_force": False} for row in others)])
        if wanted != before:
            base = commit.table(lake, VERSIONS)
            highest = max(version.number, newest_number(lake))
            reader = pa.Table.from_pylist(wanted, schema=NOTED).to_reader()
            commit.replace(lake, VERSIONS, reader, {**state, "highest": highest}, base=base)

    commit.persistently(attempt)


def _rows(lake: Lake) -> list[dict[str, Any]]:
    delta = commit.table(lake, VERSIONS)
    if delta is None:
        return []
    return _sorted(delta.to_pyarrow_table().select(NOTED.names).to_pylist())


def _sorted(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["version_number"], row["mart_name"]))
