"""An order-free checksum of rows: equal before a load's rows are written and when they are read back from the lake.

The sum, over all rows, of a hash of the row's values that are not NULL, so that a column which the table gets later
changes nothing. Sums of parts add up (modulo 2^64). Hashed by DuckDB's `hash` (0.1 µs a row of 16 columns; MD5 of a
text cost 40 times that), which may change with its version: `ALGORITHM` says which it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from lake.duck import literal, quoted
from lake.layout import DAY_COLUMNS

ALGORITHM = f"duckdb-{duckdb.__version__}"
APART = {"_loaded_at", "_load_id", *DAY_COLUMNS}
MODULUS = 1 << 64
# Types whose hash depends on how wide or in what unit they are kept; what is not named is hashed as its text.
SAME = {"boolean", "date", "varchar", "blob", "decimal", "bigint", "double", "timestamp", "timestamp with time zone"}
WIDER = dict.fromkeys(("tinyint", "smallint", "integer", "utinyint", "usmallint", "uinteger"), "BIGINT")
WIDER |= {"float": "DOUBLE"}
WIDER |= {"timestamp_s": "TIMESTAMP", "timestamp_ms": "TIMESTAMP", "timestamp_ns": "TIMESTAMP"}


@dataclass(frozen=True)
class Sum:
    """Rows by operation (`i`, `u`, `d`) and the checksum of all of them."""

    rows: dict[str, int] = field(default_factory=dict)
    checksum: int = 0

    def __add__(self, other: "Sum") -> "Sum":
        """The sum of two parts."""
        rows = {op: self.rows.get(op, 0) + other.rows.get(op, 0) for op in {**self.rows, **other.rows}}
        return Sum(rows, (self.checksum + other.checksum) % MODULUS)

    def state(self) -> dict[str, Any]:
        """As it is recorded in the state of a commit."""
        return {"rows": self.rows, "checksum": f"{ALGORITHM}:{self.checksum:016x}"}


def of(connection: duckdb.DuckDBPyConnection, relation: str, op: str = "_op") -> Sum:
    """The sum of a relation; `op` is the SQL of each row's operation, and enters the checksum."""
    query = f"SELECT {op} AS op, count(*), sum({row(connection, relation, op)}) FROM {relation} GROUP BY 1 ORDER BY 1"
    counts, total = {}, 0
    for name, count, part in connection.execute(query).fetchall():
        counts[str(name)] = int(count)
        total += int(part)
    return Sum(counts, total % MODULUS)


def row(connection: duckdb.DuckDBPyConnection, relation: str, op: str = "_op") -> str:
    """The SQL of one row's hash."""
    return of_row(
        {name: kind for name, kind, *_ in connection.execute(f"SELECT * FROM {relation} LIMIT 0").description}, op
    )


def of_row(types: Mapping[str, Any], op: str = "_op") -> str:
    """The same for columns of these DuckDB types."""
    parts = [f"hash({op}, '_op')"]
    for name, kind in types.items():
        if name in APART or name == "_op":
            continue
        value = quoted(name)
        if kind.id not in SAME:
            value = f"CAST({value} AS {WIDER.get(kind.id, 'VARCHAR')})"
        parts.append(f"CASE WHEN {quoted(name)} IS NULL THEN 0::UBIGINT ELSE hash({value}, {literal(name)}) END")
    while len(parts) > 1:  # as a tree: DuckDB takes a depth of 1,000, a table may have 1,600 columns
        parts = [
            f"xor({', '.join(parts[at : at + 2])})" if parts[at + 1 :] else parts[at] for at in range(0, len(parts), 2)
        ]
    return f"hash({parts[0]})"
