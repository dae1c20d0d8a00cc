"""The number that stands for a row, the same in every engine: its values as integers, mixed by arithmetic.

Each column becomes an integer (`Form` says which; each engine has its own SQL for it). Texts are hashed together, by
one MD5 a row of all of them joined; the length of each enters for itself, which says where it ends and whether it is
NULL. The integers, or what a prime below 2^31 leaves of those that need 64 bits, are multiplied with coefficients from
the columns' names and added. That sum goes into a form of higher degree over two primes, so that values which change
places between rows do not cancel each other. No number needs more than 64 bits with a sign, and `%` cuts towards zero:
so it is in PostgreSQL, MySQL, MariaDB and DuckDB.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.types as is_

from lake.duck import quoted

P, Q = 2_147_483_647, 2_147_483_629  # the greatest primes below 2^31
NULL = 2_200_000_007  # stands for NULL in 32 bits with a sign, of which it is none
# And in 64. It is not told from numbers that leave the same rest by P, of which 526,191,813 is the least.
NULL_OF_64 = 0x5A17_C3E9_6B2D_84F1
MODULUS = 1 << 64
NAN = 0x7FF8_0000_0000_0000
SPREAD = 805_306_457, 402_653_189
TOGETHER = 24  # products that are added before a remainder is taken: 24 times 2^27 times NULL is below 2^63
TEXTS = ""  # the name, which no column has, under which the joined texts enter
BITS = 60  # of an MD5: the first 15 hexadecimal digits

Kind = Literal["truth", "small", "wide", "decimal", "huge", "float", "text", "bytes", "day", "instant"]


@dataclass(frozen=True)
class Form:
    """What integer stands for a column's values.

    `truth`: 0 or 1. `small`, `wide`: the value, in 32 or 64 bits. `decimal`, `huge`: the digits without the point, in
    64 bits or more. `float`: the bits of the double, with one zero and one NaN. `text`: the bytes in UTF-8 that it has.
    `bytes`: the first bits of the MD5. `day`, `instant`: days or microseconds since 1970-01-01, UTC.
    """

    kind: Kind
    precision: int = 0
    scale: int = 0

    @property
    def is_narrow(self) -> bool:
        """Whether its integers fit into 32 bits with a sign."""
        return self.kind in ("truth", "small", "text", "day")


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
TEXT = SIMPLE[pa.string()]


def form(kind: pa.DataType) -> Form | None:
    """The form of a column of the lake; None for a type that has none (lists, structs)."""
    if is_.is_timestamp(kind):
        return Form("instant")
    if is_.is_decimal(kind):
        return Form("decimal" if kind.precision <= 18 else "huge", kind.precision, kind.scale)
    return SIMPLE.get(kind)


class Engine(Protocol):
    """The SQL of one engine; each method answers an expression, NULL where the value is NULL."""

    @property
    def integer(self) -> str:
        """What 64 bits with a sign are called in a cast."""

    def value(self, name: str, how: Form) -> str:
        """The integer for a column that is no text."""

    def text(self, name: str) -> str:
        """A column's text."""

    def octets(self, text: str) -> str:
        """How many bytes a text has in UTF-8."""

    def joined(self, texts: Sequence[str]) -> str:
        """Several texts one after the other, without those that are NULL."""

    def hashed(self, text: str) -> str:
        """The first `BITS` bits of a text's MD5 as an integer."""


def integers(engine: Engine, forms: Mapping[str, Form]) -> dict[str, tuple[str, bool]]:
    """The SQL of the integers that stand for a row, and whether each is narrow, by the names of their coefficients."""
    texts = [engine.text(name) for name in sorted(forms) if forms[name] == TEXT]
    found = {}
    for name, how in sorted(forms.items()):
        value = engine.octets(engine.text(name)) if how == TEXT else engine.value(name, how)
        found[name] = f"coalesce({value}, {NULL if how.is_narrow else NULL_OF_64})", how.is_narrow
    if texts:
        found[TEXTS] = engine.hashed(engine.joined(texts)), False
    return found


def linear(terms: Sequence[tuple[str, str, bool]], integer: str) -> str:
    """The SQL of the sum of products; each term has its coefficient's name, the SQL of an integer, and if it is narrow.

    Sums of many columns are added like columns themselves.
    """
    products = []
    for name, value, narrow in terms:
        rest = value if narrow else f"cast({value} % {P} as {integer})"
        products.append(f"{rest} * {coefficient(name)}")
    sums = [" + ".join(products[start : start + TOGETHER]) for start in range(0, len(products), TOGETHER)]
    if len(sums) == 1:
        return sums[0]
    return linear([(f" {number}", f"({one})", False) for number, one in enumerate(sums)], integer)


def mixed(total: str) -> str:
    """The SQL of a row's number, of 62 bits and a sign, from the SQL name of its sum of products."""
    one, other = f"({total} % {P})", f"({total} % {Q})"
    return f"(({one} * {one} + {other} * {SPREAD[0]}) % {Q}) * (({other} * {other} + {one} * {SPREAD[1]}) % {P})"


def coefficient(name: str) -> int:
    """An odd number of 27 bits for a column's name.

    Two of them have next to no divisor in common, so no two values of a row can change by less than some ten millions
    each and keep the sum.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 6 | 1 << 26 | 1


class Duck:
    """DuckDB over a relation of the lake: a column of another type than it should have is cast to that."""

    integer = "BIGINT"

    def value(self, name: str, how: Form) -> str:
        """See `Engine`."""
        column = quoted(name)
        return {
            "truth": f"CAST(CAST({column} AS BOOLEAN) AS BIGINT)",
            "small": f"CAST({column} AS BIGINT)",
            "wide": f"CAST({column} AS BIGINT)",
            "decimal": _digits(column, how),
            "huge": _digits(column, how),
            "float": _bits(f"CAST({column} AS DOUBLE)"),
            "bytes": _hashed(f"CAST({column} AS BLOB)"),
            "day": f"(CAST({column} AS DATE) - DATE '1970-01-01')",
            "instant": f"epoch_us({column})",
        }[how.kind]

    def text(self, name: str) -> str:
        """See `Engine`."""
        return f"CAST({quoted(name)} AS VARCHAR)"

    def octets(self, text: str) -> str:
        """See `Engine`."""
        return f"strlen({text})"

    def joined(self, texts: Sequence[str]) -> str:
        """See `Engine`."""
        return f"concat({', '.join(texts)})"

    def hashed(self, text: str) -> str:
        """See `Engine`."""
        return _hashed(text)


def _digits(column: str, how: Form) -> str:
    target = "BIGINT" if how.kind == "decimal" else "HUGEINT"
    exact = f"CAST({column} AS DECIMAL({how.precision},{how.scale}))"
    if how.scale == 0:
        return f"CAST({exact} AS {target})"
    together = how.precision + how.scale + 1
    if together <= 38:
        wide = exact if together <= 18 else f"CAST({exact} AS DECIMAL({together},{how.scale}))"
        return f"CAST({wide} * CAST({10**how.scale} AS DECIMAL({how.scale + 1},0)) AS {target})"
    # No room for the product: the text without its point.
    return f"CAST(replace(CAST({exact} AS VARCHAR), '.', '') AS HUGEINT)"


def _bits(value: str) -> str:
    return f"CASE WHEN isnan({value}) THEN {NAN} ELSE CAST(CAST({value} + 0.0::DOUBLE AS BIT) AS BIGINT) END"


def _hashed(value: str) -> str:
    """DuckDB's `md5_number` has the first eight bytes as its lower half, read from right to left: they are turned."""
    number = f"CAST(md5_number({value}) & {(1 << 64) - 1}::UHUGEINT AS UBIGINT)"
    for width, mask in ((32, 0xFFFFFFFF), (16, 0xFFFF0000FFFF), (8, 0xFF00FF00FF00FF)):
        number = f"((({number} & {mask}::UBIGINT) << {width}) | (({number} >> {width}) & {mask}::UBIGINT))"
    return f"CAST({number} >> {64 - BITS} AS BIGINT)"
