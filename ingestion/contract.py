"""A table's declared contract, held against what its source has now."""

import pyarrow as pa

from ingestion.connectors import Shape
from ingestion.spec import Source, Table
from lake.drift import decide
from lake.gate import Contract, Gate


def entry(source: Source, table: Table, shape: Shape, known: dict[str, pa.DataType]) -> Gate:
    """How the columns of `shape` enter the lake, where raw has the columns `known` (`lake.read.columns`).

    Raises SchemaDrift if the contract forbids what has changed. Nothing has to be read for it.
    """
    needed = [table.cursor] if table.cursor else []
    needed += [table.partition.column] if table.partition else []
    return decide(
        f"source {source.name}, table {table.name}",
        Contract(table.contract.columns, table.contract.types),
        shape.schema,
        known,
        native=shape.native_types,
        needed=[*table.key, *needed],
        dropped=table.drop,
        masked=tuple(table.mask),
    )
