"""A reader of the lake as a program of its own: reads one table again and again and writes down what it has seen.

    python loop_reader.py duckdb <root of the lake> <folder>

In the folder `<name>.ready` appears after the first read; once `stop` is there, the answer is left as `<name>.json`:
the number of reads and each state that was seen, in order.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from lake import objects, read
from lake.layout import DAY_COLUMNS, Address, Lake

TABLE = Address("processed", "trial", "overwritten")
COLUMNS = ("span", "day", "generation")
PAUSE_S = 0.01  # so that whoever writes gets a turn, too
Read = Callable[[], pa.Table]


def by_duckdb(lake: Lake) -> Read:
    def rows() -> pa.Table:
        with read.connect(lake) as connection:
            found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {read.relation(lake, TABLE)}")
            return found.to_arrow_table()

    return rows


def by_polars(lake: Lake) -> Read:
    import polars

    def rows() -> pa.Table:
        found = polars.scan_delta(lake.uri(TABLE), storage_options=lake.storage_options())
        return found.select(COLUMNS).collect().to_arrow()

    return rows


def by_deltalake(lake: Lake) -> Read:
    def rows() -> pa.Table:
        return DeltaTable(lake.uri(TABLE), storage_options=lake.storage_options()).to_pyarrow_table(
            columns=list(COLUMNS)
        )

    return rows


def by_pyarrow(lake: Lake) -> Read:
    """The files of a snapshot's list, read by Arrow alone; the day is the path's."""
    from pyarrow import dataset

    days = pa.schema([(name, pa.string()) for name in DAY_COLUMNS])

    def rows() -> pa.Table:
        paths = DeltaTable(lake.uri(TABLE), storage_options=lake.storage_options()).file_uris()
        found = dataset.dataset(
            [path.removeprefix("s3://") for path in paths],
            filesystem=objects.filesystem(lake),
            format="parquet",
            partitioning=dataset.partitioning(days, flavor="hive"),
        )
        return found.to_table(columns=list(COLUMNS))

    return rows


READERS = {"duckdb": by_duckdb, "polars": by_polars, "deltalake": by_deltalake, "pyarrow": by_pyarrow}


def state(rows: pa.Table) -> list[list[int | str]]:
    """What a table holds: of each day its span, its generation, and how many rows say so."""
    counted = rows.group_by(list(COLUMNS)).aggregate([([], "count_all")])
    names = (*COLUMNS, "count_all")
    return sorted(list(row) for row in zip(*(counted[name].to_pylist() for name in names), strict=True))


def main(name: str, root: str, folder: Path) -> None:
    """Read until `stop` is there, and once more."""
    rows = READERS[name](Lake(root))
    seen: list[list[list[int | str]]] = []
    reads, last = 0, False
    while True:
        found = state(rows())
        reads += 1
        if not seen or seen[-1] != found:
            seen.append(found)
        (folder / f"{name}.ready").touch()
        if last:
            break
        last = (folder / "stop").exists()
        time.sleep(PAUSE_S)
    (folder / f"{name}.json").write_text(json.dumps({"reads": reads, "seen": seen}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
