"""How every type of PostgreSQL arrives: the SQL that reads a column, its Arrow type, and which values do not fit it.

Nothing here holds a connection. What Parquet under a Delta log can hold arrives as such; everything else arrives as
text or JSON. A value without a counterpart (NaN in a numeric(p,s), an infinite date) arrives as NULL, and `misfit`
finds it at the source. `docs/reference/types-postgres.md` is generated from the test of this module.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from ingestion.spec import Column
from lake.duck import quoted

# What a session must be set to, so that no setting of a server, database or role changes the text of a value.
# lc_monetary is left alone: money is stored in the smallest unit of the server's own currency.
SESSION: Mapping[str, str] = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",  # DuckDB can cast this style to INTERVAL, ISO 8601 it cannot (1.5)
    "extra_float_digits": "3",  # floats inside text and JSON keep all digits, before PostgreSQL 12 too
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "search_path": "",  # names of tables and functions (regclass, regproc) are written with their schema
}

# What is valid in UTF-8, byte by byte (RFC 3629, section 4).
UTF8 = (
    r"^([\x01-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    r"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*$"
)

# One row per column, in the order of Catalogue's fields; the parameter is the table's name as regclass reads it.
# Domains are followed to the type below; an array's element too.
CATALOGUE = """
    with recursive kinds (attnum, attname, written, oid, typmod, required) as (
        select attnum, attname::text, format_type(atttypid, atttypmod), atttypid, atttypmod, attnotnull
        from pg_catalog.pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        union all
        select k.attnum, k.attname, k.written, t.typbasetype, t.typtypmod, k.required or t.typnotnull
        from kinds k join pg_catalog.pg_type t on t.oid = k.oid where t.typtype = 'd'
    ), elements (array_oid, oid) as (
        select typarray, oid from pg_catalog.pg_type where typarray in (select oid from kinds)
        union all
        select e.array_oid, t.typbasetype
        from elements e join pg_catalog.pg_type t on t.oid = e.oid where t.typtype = 'd'
    )
    select k.attname, t.typname::text, n.nspname = 'pg_catalog', t.typtype::text, format_type(t.oid, k.typmod),
        k.written, i.typname::text, coalesce(i.typtype = 'c' or i.typcategory = 'A', false), k.required,
        getdatabaseencoding() = 'SQL_ASCII'
    from kinds k
        join pg_catalog.pg_type t on t.oid = k.oid and t.typtype <> 'd'
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        left join (elements e join pg_catalog.pg_type i on i.oid = e.oid and i.typtype <> 'd') on e.array_oid = t.oid
    order by k.attnum
"""


@dataclass(frozen=True)
class Catalogue:
    """What the catalogue tells of one column, below all its domains.

    `base` is pg_type.typname, `kind` pg_type.typtype (b base, c composite, e enum, r range, m multirange), `full` the
    type with its modifiers, `written` the same as the table has it (a domain's name), `element` the type of an array's
    elements. `any_bytes`: the database has no encoding, its text may be no UTF-8.
    """

    name: str
    base: str
    built_in: bool
    kind: str
    full: str
    written: str
    element: str | None
    element_is_nested: bool
    not_null: bool
    any_bytes: bool = False


@dataclass(frozen=True)
class Reading:
    """How one column arrives.

    `expression` is SQL for PostgreSQL, `outer` SQL for DuckDB over the column of that name, which gives the final value
    of Arrow type `arrow`. `misfit` is a condition for PostgreSQL, true where the source has a value and the final one
    is NULL; None: there is no such value. `seen` is the same as a condition for DuckDB over what `expression` gave;
    None: it cannot be told there, a misfit looks like a NULL.
    """

    expression: str
    outer: str
    arrow: pa.DataType
    misfit: str | None = None
    seen: str | None = None


def reading(column: str, kind: Catalogue, declared: Column | None = None) -> Reading:
    """How `column` is read, by its own type or by the declared one (`text`, `decimal(p, s)`)."""
    name = quoted(column)
    read = _own(name, kind)
    if declared is not None and declared.type == "text":
        read = _as_text(name, kind, read)
    elif declared is not None and declared.type:
        precision, scale = map(int, re.findall(r"\d+", declared.type))
        read = _as_decimal(name, kind, precision, scale)
    return _readable(read) if kind.any_bytes and pa.types.is_string(read.arrow) else read


def _own(name: str, kind: Catalogue) -> Reading:
    if kind.element is not None:
        return _array(name, kind)
    if kind.kind == "c":
        return Reading(_json(name, has_bounds=True), name, pa.string())
    if kind.base == "hstore":
        return Reading(f"to_json({name})::text", name, pa.string())
    if kind.built_in and kind.base in BUILT_IN:
        return BUILT_IN[kind.base](name, kind)
    return _text(name, kind)


def _text(name: str, _: Catalogue) -> Reading:
    """PostgreSQL's own text: what a type without a counterpart arrives as, an unknown one too."""
    return Reading(f"{name}::text", name, pa.string())


def _native(arrow: pa.DataType) -> Callable[[str, Catalogue], Reading]:
    return lambda name, _: Reading(name, name, arrow)


def _as(expression: str, arrow: pa.DataType) -> Callable[[str, Catalogue], Reading]:
    return lambda name, _: Reading(expression.format(name), name, arrow)


def _dated(arrow: pa.DataType, first: str, last: str) -> Callable[[str, Catalogue], Reading]:
    """A date or timestamp of the years 1 to 9999: Delta's log and Python hold no others.

    Tried with deltalake 1.6.6: an infinite date makes the writer panic; a date before year 1 makes the whole table
    unreadable through its Arrow reader. The scanner wraps timestamps near the year 294276 around, to before Christ.
    """

    def read(name: str, kind: Catalogue) -> Reading:
        low, high = (f"'{end}'::{kind.base}" for end in (first, last))
        fits = f"{name} >= {low} AND {name} < {high}"
        return Reading(
            name,
            f"CASE WHEN {fits} THEN {name} END",
            arrow,
            misfit=f"not ({fits})",
            seen=f"NOT ({fits})",
        )

    return read


def _numeric(name: str, kind: Catalogue) -> Reading:
    match = re.fullmatch(r"numeric\((\d+),(-?\d+)\)", kind.full)
    if not match:
        return _text(name, kind)
    precision, scale = int(match[1]), int(match[2])
    held = (precision - scale, 0) if scale < 0 else (max(precision, scale), scale)
    if held[0] > 38:
        return _text(name, kind)
    # The scanner reads NaN as 0.00, and a numeric without precision as DOUBLE. nullif keeps a column's precision and
    # costs 0.05 µs a value; a domain's must be said again.
    exact = f"numeric({held[0]},{held[1]})"
    bare = name if kind.written == kind.full else f"{name}::{kind.full}"
    checked = f"nullif({bare}, 'NaN')"
    expression = checked if exact == kind.full else f"{checked}::{exact}"
    return Reading(expression, name, pa.decimal128(*held), misfit=f"{name} = 'NaN'")


def _money(name: str, _: Catalogue) -> Reading:
    amount = f"{name}::numeric"
    fits = f"{amount} = round({amount}, 2)"  # a dinar has three decimals
    expression = f"(case when {fits} then {amount} end)::numeric(21,2)"
    return Reading(expression, name, pa.decimal128(21, 2), misfit=f"not ({fits})")


def _uuid(name: str, _: Catalogue) -> Reading:
    return Reading(name, f"{name}::VARCHAR", pa.string())


def _interval(name: str, _: Catalogue) -> Reading:
    return Reading(f"{name}::text", f"replace({name}, '+', '')", pa.string())  # DuckDB cannot cast "+2 days"


def _array(name: str, kind: Catalogue) -> Reading:
    if kind.element == "money":  # whose text has signs and commas
        return Reading(_json(f"{name}::numeric[]", has_bounds=False), name, pa.string())
    return Reading(_json(name, has_bounds=kind.element_is_nested), name, pa.string())


def _json(value: str, *, has_bounds: bool) -> str:
    """JSON keeps no lower bounds of arrays: a value with others than 1 stays in PostgreSQL's text, which no JSON is."""
    other = f"{value}::text ~ '[0-9]:-?[0-9]+[]]='" if has_bounds else f"array_dims({value}) ~ '[[](?!1:)'"
    return f"case when {other} then {value}::text else to_json({value})::text end"


def _as_text(name: str, kind: Catalogue, own: Reading) -> Reading:
    """The text the type arrives as anyway, or PostgreSQL's own."""
    if pa.types.is_string(own.arrow) and kind.base != "bpchar":
        return own
    value = f"{name}::numeric" if kind.base == "money" else name
    return Reading(f"{value}::text", name, pa.string())


def _as_decimal(name: str, kind: Catalogue, precision: int, scale: int) -> Reading:
    """Exact: a value with more digits than declared does not fit; it is never rounded."""
    arrow, target = pa.decimal128(precision, scale), f"DECIMAL({precision},{scale})"
    own = _own(name, kind)
    held = _digits(own.arrow)
    if held and held[1] <= scale and held[0] - held[1] <= precision - scale:
        return replace(own, outer=f"CAST({name} AS {target})", arrow=arrow)
    number = _number(name, kind)
    limit = "1" + "0" * (precision - scale)
    fits = f"{number} = round({number}, {scale}) and abs({number}) < {limit}"
    expression = f"(case when {fits} then {number} end)::numeric({precision},{scale})"
    misfit = f"{name} is not null and ({fits}) is not true"
    return Reading(expression, name, arrow, misfit=misfit)


def _readable(read: Reading) -> Reading:
    """Text of a database without an encoding: what is no UTF-8 is escaped, else the server refuses the whole query."""
    text = read.expression if read.expression.endswith("::text") else f"({read.expression})::text"
    escaped = f"encode(convert_to({text}, 'SQL_ASCII'), 'escape')"
    return replace(read, expression=f"case when {text} collate \"C\" ~ '{UTF8}' then {text} else {escaped} end")


def _digits(arrow: pa.DataType) -> tuple[int, int] | None:
    """Precision and scale that hold every value of an exact type."""
    if pa.types.is_decimal(arrow):
        return arrow.precision, arrow.scale
    whole = {pa.int16(): 5, pa.int32(): 10, pa.int64(): 19}.get(arrow)
    return (whole, 0) if whole else None


def _number(name: str, kind: Catalogue) -> str:
    """The column as numeric, NULL where it is no number: SQL that cannot fail."""
    if kind.built_in and kind.base in ("int2", "int4", "int8", "numeric", "money"):
        return f"{name}::numeric"
    if kind.built_in and kind.base in ("float4", "float8"):  # infinity::numeric fails before PostgreSQL 14
        return f"(case when abs({name}) < 1e39 then {name}::numeric end)"
    # C: a nondeterministic collation knows no patterns, others may take further characters for digits.
    pattern = "^[ \t]*[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,3})?[ \t]*$"
    text = f'({name}::text collate "C")'
    return f"(case when length({text}) < 200 and {text} ~ '{pattern}' then {name}::text::numeric end)"


BUILT_IN: Mapping[str, Callable[[str, Catalogue], Reading]] = {
    "bool": _native(pa.bool_()),
    "int2": _native(pa.int16()),
    "int4": _native(pa.int32()),
    "int8": _native(pa.int64()),
    "float4": _native(pa.float32()),
    "float8": _native(pa.float64()),
    "text": _native(pa.string()),
    "varchar": _native(pa.string()),
    "bpchar": _native(pa.string()),  # the scanner takes the padding off, as PostgreSQL's cast to text does
    "name": _native(pa.string()),
    "bytea": _native(pa.binary()),
    "numeric": _numeric,
    "money": _money,
    "date": _dated(pa.date32(), "0001-01-01", "10000-01-01"),
    "timestamp": _dated(pa.timestamp("us"), "0001-01-01 00:00:00", "10000-01-01 00:00:00"),
    "timestamptz": _dated(pa.timestamp("us", "UTC"), "0001-01-01 00:00:00+00", "10000-01-01 00:00:00+00"),
    "interval": _interval,
    "uuid": _uuid,
    "inet": _as("abbrev({})", pa.string()),  # as PostgreSQL shows it: a host without /32
    "oid": _as("{}::int8", pa.int64()),
    "xid": _as("{}::text::int8", pa.int64()),
    "cid": _as("{}::text::int8", pa.int64()),
    "xid8": _as("{}::text::numeric(20,0)", pa.decimal128(20, 0)),
}
