"""The number that stands for a row, the same in every engine: its values as integers, mixed by arithmetic.

Each column becomes an integer (`form` says of which kind; each engine has its own SQL for it), texts and bytes by their
MD5. Two linear forms over all columns, modulo two primes below 2^31, whose coefficients come from the columns' names,
are put into a form of higher degree, so that values which change places do not cancel each other. All numbers fit into
64 bits with a sign, and `%` cuts towards zero: so it is in PostgreSQL, MySQL, MariaDB and DuckDB.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.types as is_

from lake.duck import quoted

P, Q = 2_147_483_647, 2_147_483_629  # the greatest primes below 2^31
NULL = 3_000_000_007  # stands for NULL: above every remainder, and above every integer of 32 bits
MODULUS = 1 << 64
NAN = 0x7FF8_0000_0000_0000
SPREAD_P, SPREAD_Q = 805_306_457, 402_653_189
TOGETHER = 24  # products that are added before a remainder is taken: 24 times 2^58 is below 2^63

Kind = Literal["truth", "small", "wide", "decimal", "huge", "float", "text", "bytes", "day", "instant"]


@dataclass(frozen=True)
class Form:
    """What integer stands for a column's values.

    `truth`: 0 or 1. `small`, `wide`: the value, in 32 or 64 bits. `decimal`, `huge`: the digits without the point, in
    64 bits or more. `float`: the bits of the double, with one zero and one NaN. `text`, `bytes`: the first 60 bits of
    the MD5 of the text in UTF-8, or of the bytes. `day`, `instant`: days or microseconds since 1970-01-01, UTC.
    """

    kind: Kind
    precision: int = 0
    scale: int = 0

    @property
    def is_narrow(self) -> bool:
        """Whether its integers fit into 32 bits with a sign."""
        return self.kind in ("truth", "small", "day")


SIMPLE: Mapping[pa.DataType, Form] = {
    pa.bool_(): Form("truth"),
    pa.int8(): Form("small"),
    pa.int16(): Form("small"),
    pa.int32(): Form("small"),
    pa.int64(): Form("wide"),
    pa.float32(): Form("float"),
    pa.float64(): Form("float"),
    pa.string(): Form("text"),
    pa.binary(): Form("bytes"),
    pa.date32(): Form("day"),
}


def form(kind: pa.DataType) -> Form | None:
    """The form of a column of the lake; None for a type that has none (lists, structs)."""
    if is_.is_timestamp(kind):
        return Form("instant")
    if is_.is_decimal(kind):
        return Form("decimal" if kind.precision <= 18 else "huge", kind.precision, kind.scale)
    return SIMPLE.get(kind)


def forms(names: Sequence[str], integer: str, names_in_sql: Mapping[str, str], narrow: frozenset[str]) -> list[str]:
    """The SQL of the two linear forms over columns whose integers have the SQL names `names_in_sql`.

    `integer` is the engine's name of 64 bits with a sign in a cast.
    """
    return [_linear(names, number, integer, names_in_sql, narrow) for number in (0, 1)]


def mixed(first: str, second: str) -> str:
    """The SQL of a row's number from the SQL names of its two forms."""
    one = f"({first} * {first} + {second} * {SPREAD_P}) % {Q}"
    other = f"({second} * {second} + {first} * {SPREAD_Q}) % {P}"
    return f"({one}) * ({other})"


def _linear(
    names: Sequence[str], number: int, integer: str, names_in_sql: Mapping[str, str], narrow: frozenset[str]
) -> str:
    prime = (P, Q)[number]
    terms = [
        f"coalesce({_rest(names_in_sql[name], prime, integer, name in narrow)}, {NULL}) * {coefficients(name)[number]}"
        for name in sorted(names)
    ]
    parts = [terms[start : start + TOGETHER] for start in range(0, len(terms), TOGETHER)]
    groups = [f"({' + '.join(part)}) % {prime}" for part in parts]
    return groups[0] if len(groups) == 1 else f"({' + '.join(groups)}) % {prime}"


def _rest(value: str, prime: int, integer: str, is_narrow: bool) -> str:
    return value if is_narrow else f"cast({value} % {prime} as {integer})"


def coefficients(name: str) -> tuple[int, int]:
    """Two numbers of 26 bits for a column's name."""
    digest = hashlib.sha256(name.encode()).digest()
    one, other = (int.from_bytes(digest[start : start + 4], "big") for start in (0, 4))
    return one >> 7 | 1 << 25, other >> 7 | 1 << 25


def duck(name: str, how: Form) -> str:
    """DuckDB's SQL of the integer for a column; of whatever type it is there, it is cast to the one it should have."""
    column = quoted(name)
    return {
        "truth": f"CAST(CAST({column} AS BOOLEAN) AS BIGINT)",
        "small": f"CAST({column} AS BIGINT)",
        "wide": f"CAST({column} AS BIGINT)",
        "decimal": _digits(column, how, "BIGINT"),
        "huge": _digits(column, how, "HUGEINT"),
        "float": _bits(f"CAST({column} AS DOUBLE)"),
        "text": _hashed(f"CAST({column} AS VARCHAR)"),
        "bytes": _hashed(f"CAST({column} AS BLOB)"),
        "day": f"(CAST({column} AS DATE) - DATE '1970-01-01')",
        "instant": f"epoch_us({column})",
    }[how.kind]


def duck_key(name: str, how: Form) -> str:
    """DuckDB's SQL of a key's value by which the least and the greatest are found: a text, or the integer for it."""
    column = quoted(name)
    if how.kind == "text":
        return f"CAST({column} AS VARCHAR)"
    return f"hex(CAST({column} AS BLOB))" if how.kind == "bytes" else duck(name, how)


def _digits(column: str, how: Form, target: str) -> str:
    exact = f"CAST({column} AS DECIMAL({how.precision},{how.scale}))"
    if how.scale == 0:
        return f"CAST({exact} AS {target})"
    if how.precision + how.scale + 1 <= 38:
        return f"CAST({exact} * CAST({10**how.scale} AS DECIMAL({how.scale + 1},0)) AS {target})"
    # No room for the product: the digits before and after the point.
    whole = f"CAST(trunc({exact}) AS HUGEINT)"
    return f"({whole} * {10**how.scale} + CAST(({exact} - trunc({exact})) * {10**how.scale} AS HUGEINT))"


def _bits(value: str) -> str:
    return f"CASE WHEN isnan({value}) THEN {NAN} ELSE CAST(CAST({value} + 0.0::DOUBLE AS BIT) AS BIGINT) END"


def _hashed(value: str) -> str:
    """The first 15 hexadecimal digits of the MD5. DuckDB tells the first eight bytes as a number from right to left."""
    return f"CAST(('0x' || left(md5({value}), 15)) AS BIGINT)"
