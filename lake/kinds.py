"""Column types as Arrow, Delta and DuckDB have them: which are the same once stored, and which hold all of another."""

import pyarrow as pa
import pyarrow.types as is_

# Whole decimal digits that an integer type may need.
DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
NAMES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date32[day]": "DATE",
    "time64[us]": "TIME",
}


def stored(kind: pa.DataType) -> pa.DataType:
    """The type that the lake gives a column of type `kind`: views, large and unsigned forms and units fall away."""
    if isinstance(kind, pa.BaseExtensionType):
        return stored(kind.storage_type)
    if is_.is_dictionary(kind):
        return stored(kind.value_type)
    if is_.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if is_.is_unsigned_integer(kind):
        return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[kind.bit_width]
    if is_.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else kind
    if is_.is_map(kind):
        return pa.map_(stored(kind.key_type), stored(kind.item_type))
    if is_.is_struct(kind):
        return pa.struct([pa.field(entry.name, stored(entry.type)) for entry in kind])
    if is_.is_nested(kind):
        return pa.list_(stored(kind.value_type))
    return _flat(kind)


def _flat(kind: pa.DataType) -> pa.DataType:
    if is_.is_large_string(kind) or is_.is_string_view(kind):
        return pa.string()
    if is_.is_large_binary(kind) or is_.is_binary_view(kind) or is_.is_fixed_size_binary(kind):
        return pa.binary()
    if is_.is_date(kind):
        return pa.date32()
    return pa.time64("us") if is_.is_time(kind) else kind


def widest(known: pa.DataType, arriving: pa.DataType) -> pa.DataType | None:
    """A type that holds every value of both without loss (both as `stored` gives them); None if there is none."""
    for one, other in ((known, arriving), (arriving, known)):
        if holds(one, other):
            return one
    if is_.is_decimal(known) and is_.is_decimal(arriving):
        scale = max(known.scale, arriving.scale)
        whole = max(known.precision - known.scale, arriving.precision - arriving.scale)
        return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else None
    return None


def holds(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Whether type `wide` holds every value of type `narrow` without loss (both as `stored` gives them)."""
    if wide.equals(narrow):
        return True
    if is_.is_string(wide):
        return not (is_.is_nested(narrow) or is_.is_binary(narrow))
    if is_.is_timestamp(wide):
        return is_.is_date(narrow) and wide.tz is None
    return _holds_number(wide, narrow)


def _holds_number(wide: pa.DataType, narrow: pa.DataType) -> bool:
    if is_.is_integer(wide):
        return is_.is_integer(narrow) and bool(wide.bit_width >= narrow.bit_width)
    if is_.is_floating(wide):
        bits = 24 if wide.bit_width == 32 else 53
        by_value = is_.is_integer(narrow) and narrow.bit_width < bits
        return by_value or (is_.is_floating(narrow) and bool(wide.bit_width >= narrow.bit_width))
    if is_.is_decimal(wide):
        whole = wide.precision - wide.scale
        if is_.is_integer(narrow):
            return bool(whole >= min(DIGITS[narrow.bit_width], 19))
        return is_.is_decimal(narrow) and bool(wide.scale >= narrow.scale and whole >= narrow.precision - narrow.scale)
    return False


def sql(kind: pa.DataType) -> str:
    """DuckDB's name of a type as `stored` gives it."""
    if is_.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
    if is_.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if is_.is_map(kind):
        return f"MAP({sql(kind.key_type)}, {sql(kind.item_type)})"
    if is_.is_struct(kind):
        return "STRUCT(" + ", ".join(f'"{entry.name}" {sql(entry.type)}' for entry in kind) + ")"
    if is_.is_nested(kind):
        return f"{sql(kind.value_type)}[]"
    return NAMES.get(str(kind), "VARCHAR")


def fits(name: str, wanted: pa.DataType, given: pa.DataType) -> str:
    """The SQL condition that a value of SQL name `name` can be cast from `given` to `wanted` and back unchanged.

    DuckDB's casts round (1.239 to 1.24, '1.5' to 2) and cut (a time of day): that is a loss, so it is no fit.
    """
    cast = f"TRY_CAST({name} AS {sql(wanted)})"
    through = sql(given)
    if is_.is_string(given):
        through = _exact(wanted)
    return f"({cast} IS NOT NULL AND TRY_CAST({cast} AS {through}) IS NOT DISTINCT FROM TRY_CAST({name} AS {through}))"


def _exact(wanted: pa.DataType) -> str:
    """The type through which a text is compared with what became of it."""
    if is_.is_integer(wanted):
        return "DECIMAL(38,18)"
    if is_.is_decimal(wanted):
        return f"DECIMAL(38,{38 - wanted.precision + wanted.scale})"
    if is_.is_date(wanted):
        return "TIMESTAMP"
    return sql(wanted)
