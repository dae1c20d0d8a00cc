"""How a table would be declared, guessed from what its database says of it; every guess carries its reason."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ingestion.catalogue import FoundColumn, FoundTable
from lake.layout import DAY_COLUMNS

UPDATED = re.compile(
    r"(?:row_)?(?:last_)?(?:updated?|modified|modification|changed?|edited|upd|mod|mtime|touched)(?:_?(?:at|on|date|time|"
    r"ts|timestamp|datetime|utc))*|(?:last_?update|last_?modified)(?:_?date)?|sys_?modified"
)
CREATED = re.compile(
    r"(?:row_)?(?:created?|creation|inserted?|insert|added|logged|received|recorded|ingested|captured|ctime)"
    r"(?:_?(?:at|on|date|time|ts|timestamp|datetime|utc))*|timestamp|ts"
)
EVENT = re.compile(r"\w*(?:_at|_on|_date|_time|_ts|_day|date|time|timestamp|datetime)")
NO_EVENT = re.compile(
    r"\w*(?:delet|expir|due|birth|dob|valid|end|until|to_date|planned|scheduled|cancel|return|deliver)\w*"
)
GONE = re.compile(r"(?:is_)?deleted(?:_at|_on)?|deletion_(?:date|time)|removed_at|archived_at")
SECRET = re.compile(
    r"\w*(?:passw(?:or)?d|passphrase|pwd|secret|api_?key|private_?key|credential|cvv|cvc)\w*|(?:\w+_)?(?:pin|salt|token)"
    r"|(?:credit_?)?card_?(?:number|no|num)|cc_?(?:number|num)|\w*(?:access|refresh|session|auth|reset|api)_?token\w*"
)
PERSONAL = re.compile(
    r"(?:\w+_)?e_?mail(?:_?addr(?:ess)?)?|(?:\w+_)?(?:tele)?(?:phone|fax|mobile|msisdn)(?:_?(?:no|nr|num|number))?"
    r"|(?:\w+_)?iban(?:_\w+)?|(?:\w+_)?(?:ssn|social_?security(?:_?(?:no|number))?)|(?:\w+_)?tax_?(?:id|no|number)"
    r"|(?:\w+_)?passport(?:_?(?:no|number))?|national_?id(?:entifier)?|(?:bank_?)?account_?(?:number|no)|vat_?(?:id|no)"
    r"|(?:\w+_)?ip_?addr(?:ess)?|driv(?:ing|ers?)_?licen[cs]e\w*"
)
INSTANTS = {"timestamptz", "timestamp", "datetime"}
TEXTS = {
    "text",
    "varchar",
    "bpchar",
    "char",
    "citext",
    "bytea",
    "name",
    "inet",
    "json",
    "jsonb",
    "tinytext",
    "mediumtext",
    "longtext",
    "binary",
    "varbinary",
    "blob",
}
NUMBERS = {"int8", "int4", "numeric", "bigint", "int", "decimal"}
RESERVED = {*DAY_COLUMNS, "_op", "_loaded_at", "_load_id", "_reason", "_at", "_day", "_misfit", "_shard"}
PARTITION_ROWS, ROWS_A_DAY = 10_000, 20  # below, days are more trouble than they save
SWEEP_ROWS = 10_000_000
SMALL = 10_000  # rows that may be read whole at each load without a thought


@dataclass(frozen=True)
class Guess:
    """One value and why it was chosen."""

    value: str
    why: str


@dataclass(frozen=True)
class Declaration:
    """All guesses for one table; `obstacle` says why it cannot be declared as it is, else it is empty."""

    table: FoundTable
    key: tuple[str, ...] = ()
    key_why: str = ""
    obstacle: str = ""
    load: Guess = field(default=Guess("replace", ""))
    cursor: Guess | None = None
    partition: Guess | None = None
    deletes: Guess | None = None
    drop: Mapping[str, str] = field(default_factory=dict)
    mask: Mapping[str, str] = field(default_factory=dict)


def declaration(table: FoundTable) -> Declaration:
    """The guessed declaration of a table."""
    key, key_why = _key(table)
    cursor, load = _cursor_and_load(table)
    partition = _partition(table, cursor)
    kept = {*key, *([cursor.value] if cursor else []), *([partition.value] if partition else [])}
    drop = {
        column.name: why for column in table.columns if column.name not in kept and (why := _to_drop(table, column))
    }
    untouched = {*drop, *([cursor.value] if cursor else []), *([partition.value] if partition else [])}
    mask = {column.name: why for column in table.columns if column.name not in untouched and (why := _to_mask(column))}
    deletes = _deletes(table, load.value)
    return Declaration(table, key, key_why, _obstacle(table, key), load, cursor, partition, deletes, drop, mask)


def singular(name: str) -> str:
    """What one row of a table is, from the table's name: `order_items` → `order item`."""
    words = name.replace("_", " ").strip()
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x")):
        if words.endswith(ending) and len(words) > len(ending) + 1:
            return words[: -len(ending)] + instead
    return words[:-1] if words.endswith("s") and not words.endswith(("ss", "us", "is")) else words


def _key(table: FoundTable) -> tuple[tuple[str, ...], str]:
    if table.keys:
        return table.keys[
            0
        ], "primary key" if table.has_primary else "unique index without NULLs; there is no primary key"
    one = re.sub(r"\W+", "_", singular(table.name))
    names = ("id", f"{one}_id", f"{table.name}_id", "uuid", f"{one}_uuid", f"{one}_code", f"{one}_no")
    for column in table.columns:
        if column.name.lower() in names and (
            column.distinct == -1 or (not column.is_nullable and column.distinct is None)
        ):
            said = "statistics say that all its values differ" if column.distinct == -1 else "it is named like a key"
            return (column.name,), f"no unique index, but {said}: make sure"
    return (), ""


def _obstacle(table: FoundTable, key: tuple[str, ...]) -> str:
    from ingestion.spec import NAME

    if not table.is_readable:
        return "the platform's user may not read it: grant select on it"
    if not NAME.fullmatch(table.name):
        return (
            "its name cannot be declared (lower-case letters, digits and _): make a view with such a name at the source"
        )
    if not table.columns:
        return "it has no columns"
    if not key:
        kind = (
            "a view has no unique index" if table.is_view else "it has no primary key and no unique index without NULLs"
        )
        return f"{kind}: name the columns that tell its rows apart, then uncomment"
    if taken := sorted(RESERVED & {name.lower() for name in key}):
        return f'its key column "{taken[0]}" has the name of a column of the lake: rename it in a view at the source'
    return ""


def _cursor_and_load(table: FoundTable) -> tuple[Guess | None, Guess]:
    ordered = _first(table, lambda it: it.kind == "xid8" and "current_xact_id" in (it.default or ""))
    if ordered and not table.updated:
        why = "rows are numbered by their transaction: each is read exactly once, however late it commits"
        return Guess(ordered.name, f"commit order; {_index(table, ordered)}"), Guess("append", why)
    if changed := _best(table, UPDATED, lambda it: it.kind in INSTANTS):
        return Guess(changed.name, _cursor_why(table, changed)), Guess("merge", _merge_why(changed))
    made = _best(table, CREATED, _dates_its_making) or _best(
        table, EVENT, lambda it: _dates_its_making(it) and _is_now(it)
    )
    if made and not table.updated and not table.is_view and (_is_counted(table) or not _is_small(table)):
        return Guess(made.name, _cursor_why(table, made)), Guess("append", _append_why(table))
    return None, Guess("replace", _replace_why(table, made))


def _dates_its_making(column: FoundColumn) -> bool:
    return column.kind in INSTANTS and (not column.is_nullable or not column.nulls)


def _merge_why(column: FoundColumn) -> str:
    if column.set_by:
        return f"{column.name} dates changes: {column.set_by} sets it at each update"
    if _is_now(column):
        return f"{column.name} seems to date changes; no trigger sets it: make sure the application does at each update"
    return f"{column.name} seems to date changes; the application sets it: make sure it does at each update"


def _append_why(table: FoundTable) -> str:
    if _is_counted(table):
        return f"no row of {table.inserted:,} was ever updated; `replace` if they may be"
    return "only its making is dated: right if rows never change, else `replace`"


def _replace_why(table: FoundTable, made: FoundColumn | None) -> str:
    size = f"{table.rows:,} rows, {_size(table.bytes)}" if table.rows is not None else _size(table.bytes)
    if made and table.updated:
        return f"rows are updated ({table.updated:,} were) and nothing dates it: read whole each time ({size})"
    if made and _is_small(table):
        return f"small: read whole each time ({size}), which sees updates too; {made.name} dates the making only"
    return f"no column dates changes: read whole each time ({size})"


def _cursor_why(table: FoundTable, column: FoundColumn) -> str:
    notes = [_index(table, column)]
    if column.kind != "timestamptz":
        notes.append("it has no time zone and is taken for UTC")
    if column.is_nullable and column.nulls != 0:
        notes.append("it may be NULL: such rows are read at every load")
    if not column.set_by and not _is_now(column):
        notes.append("stamped by the application: if its clock may lag, add `lookback: PT10M`")
    return "; ".join(notes)


def _index(table: FoundTable, column: FoundColumn) -> str:
    return (
        "indexed"
        if column.name in table.indexed
        else "no index leads with it: each load reads the whole table to find it"
    )


def _partition(table: FoundTable, cursor: Guess | None) -> Guess | None:
    by = re.fullmatch(r'RANGE \("?([^"()]+)"?\)', table.partitioned_by or "")
    column = table.column(by[1]) if by else None
    if column and column.kind in (*INSTANTS, "date"):
        return Guess(column.name, "the source's own partitions are by it")
    if table.rows is not None and table.rows < PARTITION_ROWS:
        return None
    fit = [it for it in table.columns if it.kind in (*INSTANTS, "date") and _dates_an_event(it, table, cursor)]
    best = max(fit, key=lambda it: _event_rank(it, table), default=None)
    if best is None:
        return None
    days = _days(best)
    if days and table.rows and table.rows / days < ROWS_A_DAY:
        return None
    return Guess(best.name, _partition_why(table, best, days))


def _dates_an_event(column: FoundColumn, table: FoundTable, cursor: Guess | None) -> bool:
    name = column.name.lower()
    if not re.fullmatch(r"\w+", column.name) or UPDATED.fullmatch(name) or NO_EVENT.fullmatch(name):
        return False
    if column.is_nullable and column.nulls != 0:
        return False
    return bool(EVENT.fullmatch(name) or CREATED.fullmatch(name))


def _event_rank(column: FoundColumn, table: FoundTable) -> tuple[bool, bool, float]:
    """An event's own time before that of the row's making, then what is indexed, then what lies in order."""
    made = bool(CREATED.fullmatch(column.name.lower()))
    return (not made, column.name in table.indexed, abs(column.correlation or 0))


def _partition_why(table: FoundTable, column: FoundColumn, days: int | None) -> str:
    notes = []
    if table.rows is None:
        notes.append(f"never analysed, {_size(table.bytes)}: right for a large table")
    else:
        notes.append(f"{table.rows:,} rows" + (f" over {days:,} days" if days else ""))
    if column.correlation is not None and abs(column.correlation) >= 0.9:
        notes.append(f"in the order of the disk (correlation {column.correlation:.2f})")
    notes.append("indexed" if column.name in table.indexed else "no index leads with it: days are slow to load again")
    if column.is_nullable:
        notes.append("it may be NULL: such rows go to quarantine")
    return "; ".join(notes)


def _deletes(table: FoundTable, load: str) -> Guess | None:
    if load != "merge":
        return None
    if marked := _first(table, lambda it: bool(GONE.fullmatch(it.name.lower()))):
        return Guess("ignore", f"rows are marked in {marked.name}; `sweep` if some are deleted all the same")
    if _is_counted(table) and not table.deleted:
        return Guess("ignore", "no row was deleted since statistics began; `sweep` compares all keys at each load")
    if (table.rows or 0) > SWEEP_ROWS:
        return Guess("ignore", f"`sweep` would compare {table.rows:,} keys at each load")
    if table.deleted:
        return Guess("sweep", f"{table.deleted:,} rows were deleted since statistics began")
    return Guess("sweep", "compares all keys at each load; `ignore` if rows are never deleted")


def _to_drop(table: FoundTable, column: FoundColumn) -> str:
    name = column.name.lower()
    if name in RESERVED:
        return "the name of a column of the lake: rename it in a view if it is needed"
    if sum(other.name.lower() == name for other in table.columns) > 1 and column.name != name:
        return "another column but for its case: rename it in a view if it is needed"
    return "a secret by its name" if column.kind in {*TEXTS, *NUMBERS} and SECRET.fullmatch(name) else ""


def _to_mask(column: FoundColumn) -> str:
    name = column.name.lower()
    wide = TEXTS if name.endswith("id") else TEXTS | NUMBERS
    if column.kind in wide and (PERSONAL.fullmatch(name) or SECRET.fullmatch(name)):
        return "personal by its name"
    return ""


def _is_now(column: FoundColumn) -> bool:
    return bool(
        re.search(r"now\(\)|current_timestamp|clock_timestamp|localtimestamp|getdate", (column.default or "").lower())
    )


def _is_counted(table: FoundTable) -> bool:
    """Whether statistics go back far enough to say something: a crash of the server resets them."""
    return bool(table.inserted) and table.inserted >= (table.rows or 0) / 2  # type: ignore[operator]


def _is_small(table: FoundTable) -> bool:
    return table.rows is not None and table.rows < SMALL


def _days(column: FoundColumn) -> int | None:
    try:
        ends = [datetime.date.fromisoformat(end[:10]) for end in (column.first or "", column.last or "")]
    except ValueError:
        return None
    return max(1, (ends[1] - ends[0]).days + 1)


def _first(table: FoundTable, fits: Callable[[FoundColumn], bool]) -> FoundColumn | None:
    return next((column for column in table.columns if fits(column)), None)


def _best(table: FoundTable, named: re.Pattern[str], fits: Callable[[FoundColumn], bool]) -> FoundColumn | None:
    """Of the columns with such a name: one that a trigger sets, then one with a default of now, one that is indexed."""
    found: Iterable[FoundColumn] = (it for it in table.columns if named.fullmatch(it.name.lower()) and fits(it))
    rank = lambda it: (bool(it.set_by), _is_now(it), it.name in table.indexed)  # noqa: E731
    return max(found, key=rank, default=None)


def _size(count: int) -> str:
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.0f} {units[0]}" if amount >= 10 or units[0] == "B" else f"{amount:.1f} {units[0]}"
