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
    return decide(
        f"source {source.name}, table {table.name}",
        Contract(table.contract.columns, table.contract.types),
        shape.schema,
        known,
        native=shape.native_types,
        needed=[*table.key, *filter(None, [table.cursor, table.partition and table.partition.column])],
        dropped=table.drop,
        masked=tuple(table.mask),
    )
