"""PostgreSQL's SQL of the number that stands for a row (see `canonical`), over columns as they lie in a table there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from lake import canonical, digest
from lake.canonical import MODULUS, NAN, Form
from lake.duck import quoted

FENCE = "offset 0"  # else the planner puts a subquery's expressions wherever they are used, and computes them each time


def total(relation: str, columns: Mapping[str, pa.DataType]) -> str:
    """The query of one row, rows and checksum, over a relation in a database in UTF-8 (session in UTC).

    The same numbers as `digest.of` without days. Raises PermanentError for a type that has no canonical form.
    """
    values = canonical.integers(Columns(), digest.forms(columns))
    inner = ", ".join(f"{sql} as v{number}" for number, (sql, _) in enumerate(values.values()))
    terms = [(name, f"v{number}", narrow) for number, (name, (_, narrow)) in enumerate(values.items())]
    rows = (
        f"(select {canonical.linear(terms, 'bigint')} as f from (select {inner} from {relation}) as r1 {FENCE}) as r2"
    )
    whole = f"mod(mod(coalesce(sum({canonical.mixed('f')}), 0), {MODULUS}) + {MODULUS}, {MODULUS})"
    return f"select count(*), {whole} from {rows}"


@dataclass(frozen=True)
class Columns:
    """The engine: each column is read as it is."""

    integer: str = "bigint"

    def value(self, name: str, how: Form) -> str:
        """See `canonical.Engine`."""
        return FORMS[how.kind](quoted(name), how)

    def text(self, name: str) -> str:
        """See `canonical.Engine`."""
        return f"({quoted(name)})::text"

    def octets(self, text: str) -> str:
        """See `canonical.Engine`."""
        return f"octet_length({text})"

    def joined(self, texts: Sequence[str]) -> str:
        """See `canonical.Engine`."""
        return joined(texts)

    def hashed(self, text: str) -> str:
        """See `canonical.Engine`."""
        return hashed(text)


def joined(texts: Sequence[str]) -> str:
    """Several texts one after the other, without those that are NULL."""
    return " || ".join(f"coalesce({text}, '')" for text in texts)


def hashed(value: str) -> str:
    """The first bits of the MD5 of a text or of bytes."""
    return f"('x' || left(md5({value}), 15))::bit(60)::bigint"


def _digits(value: str, how: Form) -> str:
    exact = f"(({value})::numeric * {10**how.scale})" if how.scale else f"({value})"
    return f"{exact}::{'bigint' if how.kind == 'decimal' else 'numeric'}"


def _bits(value: str, _: Form) -> str:
    number = f"({value})::float8"
    bits = f"('x' || encode(float8send({number} + 0.0::float8), 'hex'))::bit(64)::bigint"
    return f"case when {number} = 'NaN' then {NAN} else {bits} end"


def _instant(value: str, _: Form) -> str:
    """Microseconds since 1970: days, and the time of a day, whose seconds as a double are exact to the microsecond."""
    day, of_day = f"(({value})::date - date '1970-01-01')", f"date_part('epoch', ({value})::time)"
    return f"({day} * 86400000000 + round({of_day} * 1000000)::bigint)"


FORMS: Mapping[str, Callable[[str, Form], str]] = {
    "truth": lambda value, _: f"({value})::bool::int",
    "small": lambda value, _: f"({value})",
    "wide": lambda value, _: f"({value})::bigint",
    "decimal": _digits,
    "huge": _digits,
    "float": _bits,
    "bytes": lambda value, _: hashed(value),
    "day": lambda value, _: f"(({value})::date - date '1970-01-01')",
    "instant": _instant,
}
