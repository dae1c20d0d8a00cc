"""Quarantine put through the gate again, after a contract, a key or a column's type was mended.

Rows that may enter now are taken in as a load of their own, and values that fit now are put into their rows; both leave
quarantine in a commit after that of raw. Killed in between, the next replay finds them in the lake and only removes
them. What newer rows have overtaken never overwrites these; it leaves quarantine too.
"""

import datetime
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lake import commit, drift, duck, gate, kinds, quarantine, read
from lake.access import told
from lake.duck import literal, quoted
from lake.fold import fold
from lake.intake import Load, Subject, after, take
from lake.layout import Lake

NO_CONTENT = (*quarantine.OWN, *gate.PLATFORM)


@dataclass(frozen=True)
class Replayed:
    """What one replay did: rows and values that entered, those that newer rows had overtaken, and those that stay."""

    rows: int = 0
    values: int = 0
    overtaken: int = 0
    stayed: int = 0


@dataclass(frozen=True)
class _Held:
    """A table's columns (as stored) in the lake and in its quarantine, and the SQL that follows from its key."""

    lake: Lake
    subject: Subject
    known: dict[str, pa.DataType]
    given: dict[str, pa.DataType]
    behind: tuple[str, ...]  # raw had them added by a replay that was killed before it added any rows

    @property
    def processed(self) -> str:
        relation = read.relation(self.lake, self.subject.at("processed"))
        added = [f"NULL::{kinds.sql(self.known[name])} AS {quoted(name)}" for name in self.behind]
        return f"(SELECT {', '.join(['*', *added])} FROM {relation})"

    @property
    def keys(self) -> str:
        return ", ".join(quoted(column) for column in self.subject.key)

    @property
    def newest_first(self) -> str:
        cursor = f"{quoted(self.subject.cursor)} DESC NULLS LAST, " if self.subject.cursor else ""
        return f"{cursor}_loaded_at DESC"

    def type(self, column: str) -> pa.DataType:
        return self.known[column] if column in self.known else self.given[column]

    def is_newer(self, left: str, right: str) -> str:
        """SQL: `left` is the newer news: by the cursor, or if that tells nothing by the time of its load."""
        later = f"{left}._loaded_at > {right}._loaded_at"
        if self.subject.cursor is None:
            return later
        one, other = (f"{side}.{quoted(self.subject.cursor)}" for side in (left, right))
        return f"CASE WHEN {one} = {other} OR {one} IS NULL OR {other} IS NULL THEN {later} ELSE {one} > {other} END"


def replay(lake: Lake, subject: Subject, contract: gate.Contract) -> Replayed:
    """Let in what may enter now; the next fold brings it to processed. `subject.columns` need not be given.

    Raises Busy if the table is loaded at the same time.
    """
    fold(lake, subject)
    address = subject.at("quarantine")
    raw, base = commit.table(lake, subject.at("raw")), commit.table(lake, address)
    if raw is None or base is None:
        return Replayed()
    known, folded = _content(raw), read.columns(commit.table(lake, subject.at("processed")))
    held = _Held(lake, subject, known, _content(base), tuple(name for name in known if name not in folded))
    loaded_at = after(datetime.datetime.now(datetime.UTC), commit.state(raw).get("loaded_at"))
    load = Load(subject, "replay", "of quarantine", loaded_at)
    with read.connect(lake) as connection, told(lake):
        connection.execute(
            f"""CREATE TEMP TABLE held AS SELECT row_number() OVER () AS _number, *
                FROM {quarantine.relation(lake, address)}"""
        )
        _type_rows(connection, held)
        _type_values(connection, held)
        _overtaken_rows(connection, held)
        _overtaken_values(connection, held)
        columns = _incoming(connection, held)
        entry = _entry(held, contract, columns)
        about = replace(subject, columns=entry.columns, key_is_enforced=True)
        loading = replace(load, subject=about)
        take(connection, lake, loading, None, base=raw, entry=entry, number="_number", record_rows=False)
        done = _done(connection)
        quarantine.remove(connection, lake, address, "done", {"load_id": load.id})
    return done


def _content(delta: DeltaTable) -> dict[str, pa.DataType]:
    return {name: kinds.stored(kind) for name, kind in read.columns(delta).items() if name not in NO_CONTENT}


def _entry(held: _Held, contract: gate.Contract, columns: list[str]) -> gate.Gate:
    """The gate for what is replayed; a frozen table does not stop for a column that only quarantine has."""
    words = replace(contract, columns="discard_row") if contract.columns == "freeze" else contract
    arriving = pa.schema([pa.field(column, held.type(column)) for column in columns])
    return drift.decide(f"quarantine of {held.subject}", words, arriving, held.known)


def _type_rows(connection: duckdb.DuckDBPyConnection, held: _Held) -> None:
    """Rows that were set aside whole, with the types that the lake has now; `_misfit` is what still does not fit."""
    texts = f"CAST({gate.MISFIT}::JSON AS MAP(VARCHAR, VARCHAR))"
    found = connection.execute(f"SELECT DISTINCT unnest(map_keys({texts})) FROM held WHERE {gate.MISFIT} IS NOT NULL")
    unfit = {str(column) for (column,) in found.fetchall()}
    values, left = [], []
    for column, given in held.given.items():
        wanted, name = held.type(column), quoted(column)
        read_as = [name]
        if not given.equals(wanted):
            read_as = [_cast(name, wanted, given)]
            left.append(f"{literal(column)}, {_rest(name, wanted, given)}")
        if column in unfit:
            text = f"{texts}[{literal(column)}]"
            read_as.append(_cast(text, wanted, pa.string()))
            left.append(f"{literal(column)}, {_rest(text, wanted, pa.string())}")
        values.append(f"coalesce({', '.join(read_as)}) AS {name}")
    # One object for each column: of two members with one name the later would win, even if it is NULL.
    rest = "'{}'"
    for pair in left:
        rest = f"json_merge_patch({rest}, json_merge_patch('{{}}', json_object({pair})))"
    connection.execute(
        f"""CREATE TEMP TABLE typed_rows AS SELECT _number, _loaded_at, {", ".join(values)},
            nullif(({rest})::VARCHAR, '{{}}') AS {gate.MISFIT},
            _reason = {literal(gate.twin_reason(held.subject.key))} AS _is_twin FROM held WHERE _column IS NULL"""
    )


def _type_values(connection: duckdb.DuckDBPyConnection, held: _Held) -> None:
    """Single values with the key and cursor of their rows, and whether they fit by now."""
    names = dict.fromkeys(filter(None, [*held.subject.key, held.subject.cursor]))
    casts = ", ".join(f"TRY_CAST({quoted(name)} AS {kinds.sql(held.type(name))}) AS {quoted(name)}" for name in names)
    whens = " ".join(
        f"WHEN {literal(column)} THEN {kinds.fits('_value', held.known[column], pa.string())}"
        for column in _value_columns(connection, held)
    )
    fits = f"CASE _column {whens} ELSE FALSE END" if whens else "FALSE"
    connection.execute(
        f"""CREATE TEMP TABLE typed_values AS SELECT _number, _loaded_at, {casts}, _column, _value, {fits} AS _fits
            FROM held WHERE _column IS NOT NULL"""
    )


def _value_columns(connection: duckdb.DuckDBPyConnection, held: _Held) -> list[str]:
    found = connection.execute("SELECT DISTINCT _column FROM held WHERE _column IS NOT NULL ORDER BY 1").fetchall()
    return [column for (column,) in found if column in held.known]


def _overtaken_rows(connection: duckdb.DuckDBPyConnection, held: _Held) -> None:
    """Rows of which the lake, or quarantine itself, has newer news; a twin only where the other row came later."""
    raw = read.relation(held.lake, held.subject.at("raw"))
    connection.execute(
        f"""CREATE TEMP TABLE overtaken AS
            SELECT r._number FROM typed_rows AS r JOIN {held.processed} AS p ON {held.subject.match("r", "p")}
            WHERE CASE WHEN r._is_twin THEN p._loaded_at > r._loaded_at ELSE {held.is_newer("p", "r")} END
            UNION SELECT r._number FROM typed_rows AS r JOIN {raw} AS d ON {held.subject.match("r", "d")}
            WHERE d._op = 'd' AND d._loaded_at > r._loaded_at
            UNION SELECT _number FROM (
                SELECT _number, row_number() OVER (PARTITION BY {held.keys} ORDER BY {held.newest_first}) AS place
                FROM typed_rows WHERE NOT _is_twin AND ({held.keys}) IS NOT NULL) WHERE place > 1"""
    )


def _overtaken_values(connection: duckdb.DuckDBPyConnection, held: _Held) -> None:
    """Values whose rows are gone, have changed, have a value by now, or of which there is a newer copy."""
    first = quoted(held.subject.key[0])
    changed = f"p.{first} IS NULL"
    if held.subject.cursor:
        changed += f" OR p.{quoted(held.subject.cursor)} IS DISTINCT FROM v.{quoted(held.subject.cursor)}"
    for column in _value_columns(connection, held):
        connection.execute(
            f"""INSERT INTO overtaken
                SELECT v._number FROM typed_values AS v
                LEFT JOIN {held.processed} AS p ON {held.subject.match("v", "p")}
                WHERE v._column = {literal(column)} AND ({changed} OR p.{quoted(column)} IS NOT NULL)"""
        )
    connection.execute(
        f"""INSERT INTO overtaken SELECT _number FROM (
                SELECT _number, row_number() OVER (PARTITION BY {held.keys}, _column ORDER BY _loaded_at DESC) AS place
                FROM typed_values) WHERE place > 1"""
    )


def _incoming(connection: duckdb.DuckDBPyConnection, held: _Held) -> list[str]:
    """The table `incoming` of rows that try again and of rows with values that fit by now; answers its columns."""
    candidates = "_number NOT IN (SELECT _number FROM overtaken) AND NOT _is_twin"
    connection.execute(
        f"""CREATE TEMP TABLE patches AS SELECT v.* FROM typed_values AS v
            ANTI JOIN (SELECT * FROM typed_rows WHERE {candidates}) AS r ON {held.subject.match("v", "r")}
            WHERE v._fits AND v._number NOT IN (SELECT _number FROM overtaken)"""
    )
    patched = [column for (column,) in connection.execute("SELECT DISTINCT _column FROM patches").fetchall()]
    values, joins = [], []
    for column, kind in held.known.items():
        name = quoted(column)
        if column not in patched:
            values.append(f"p.{name}")
            continue
        side = quoted(f"value of {column}")
        values.append(f"coalesce(p.{name}, TRY_CAST({side}._value AS {kinds.sql(kind)})) AS {name}")
        joins.append(
            f"LEFT JOIN patches AS {side} ON {held.subject.match('p', side)} AND {side}._column = {literal(column)}"
        )
    connection.execute(
        f"""CREATE TEMP TABLE incoming AS
            SELECT * EXCLUDE (_loaded_at, _is_twin) FROM typed_rows WHERE {candidates}
            UNION ALL BY NAME
            SELECT {", ".join(values)}, -row_number() OVER () AS _number
            FROM (SELECT * FROM {held.processed} AS p SEMI JOIN patches ON {held.subject.match("p", "patches")}) AS p
            {" ".join(joins)}"""
    )
    return list(dict.fromkeys([*held.known, *held.given]))


def _done(connection: duckdb.DuckDBPyConnection) -> Replayed:
    """The table `done` of what leaves quarantine."""
    entered = "SELECT _number FROM incoming WHERE _number > 0 AND _number NOT IN (SELECT number FROM faulty_rows)"
    parts = {"rows": entered, "values": "SELECT _number FROM patches", "overtaken": "SELECT _number FROM overtaken"}
    connection.execute(
        f"CREATE TEMP TABLE done AS SELECT * FROM held WHERE _number IN ({' UNION '.join(parts.values())})"
    )
    counts = {
        name: duck.count(connection, f"(SELECT DISTINCT _number FROM ({query}))") for name, query in parts.items()
    }
    return Replayed(**counts, stayed=duck.count(connection, "held") - duck.count(connection, "done"))


def _cast(value: str, wanted: pa.DataType, given: pa.DataType) -> str:
    return f"CASE WHEN {kinds.fits(value, wanted, given)} THEN TRY_CAST({value} AS {kinds.sql(wanted)}) END"


def _rest(value: str, wanted: pa.DataType, given: pa.DataType) -> str:
    return f"CASE WHEN {value} IS NOT NULL AND NOT {kinds.fits(value, wanted, given)} THEN {value}::VARCHAR END"
