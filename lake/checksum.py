"""An order-free checksum of rows: equal before a load's rows are written and when they are read back from the lake.

The sum, over all rows, of a hash of the row's values, and the names of the columns that entered it, so that a column
which the table gets later changes nothing. Sums of parts add up (modulo 2^64). Hashed by DuckDB's `hash` (0.1 µs a row
of 16 columns; MD5 of a text cost 40 times that), which may change with its version: `ALGORITHM` says which it was.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import duckdb

from lake.duck import quoted
from lake.layout import DAY_COLUMNS

ALGORITHM = f"duckdb-{duckdb.__version__}"
APART = {"_op", "_loaded_at", "_load_id", *DAY_COLUMNS}
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
    columns: tuple[str, ...] = ()

    def __add__(self, other: "Sum") -> "Sum":
        """The sum of two parts."""
        rows = {op: self.rows.get(op, 0) + other.rows.get(op, 0) for op in {**self.rows, **other.rows}}
        return Sum(rows, (self.checksum + other.checksum) % MODULUS, self.columns or other.columns)

    def state(self) -> dict[str, Any]:
        """As it is recorded in the state of a commit."""
        checksum = f"{ALGORITHM}:{self.checksum:016x}"
        return {"rows": self.rows, "checksum": checksum, "columns": list(self.columns)}


def of(
    connection: duckdb.DuckDBPyConnection, relation: str, op: str = "_op", only: Collection[str] | None = None
) -> Sum:
    """The sum of a relation; `op` is the SQL of each row's operation. Of its columns, `only` those, if given."""
    types = kinds(connection, relation, only)
    query = f"SELECT {op} AS op, count(*), sum({row(types, op)}) FROM {relation} GROUP BY 1 ORDER BY 1"
    counts, total = {}, 0
    for name, count, part in connection.execute(query).fetchall():
        counts[str(name)] = int(count)
        total += int(part)
    return Sum(counts, total % MODULUS, tuple(types))


def by_load(
    connection: duckdb.DuckDBPyConnection, relation: str, only: Collection[str] | None = None, where: str = "TRUE"
) -> dict[str, Sum]:
    """The sum of each load (`_load_id`) of a relation of raw's rows that meet a condition; `only` as for `of`."""
    types = kinds(connection, relation, only)
    query = f"SELECT _load_id, _op, count(*), sum({row(types)}) FROM {relation} WHERE {where} GROUP BY ALL"
    loads: dict[str, Sum] = {}
    for load, op, count, total in connection.execute(query).fetchall():
        loads[load] = loads.get(load, Sum()) + Sum({op: count}, int(total) % MODULUS, tuple(types))
    return loads


def kinds(connection: duckdb.DuckDBPyConnection, relation: str, only: Collection[str] | None = None) -> dict[str, Any]:
    """The columns of a relation that enter its checksum, in their order there, with DuckDB's types."""
    described = connection.execute(f"SELECT * FROM {relation} LIMIT 0").description
    return dict(
        sorted(
            ((name, kind) for name, kind, *_ in described if name not in APART and (only is None or name in only)),
            key=itemgetter(0),
        )
    )


def row(types: Mapping[str, Any], op: str = "_op") -> str:
    """The SQL of one row's hash, for these columns and types."""
    values = [op]
    for name, kind in types.items():
        cast = kind.id not in SAME
        values.append(f"CAST({quoted(name)} AS {WIDER.get(kind.id, 'VARCHAR')})" if cast else quoted(name))
    return f"hash({', '.join(values)})"
