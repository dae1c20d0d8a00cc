"""What other tools do with `lineitem`, each in a process of its own under the Python that `benchmarks.peers` made.

`python extract_peers.py <function> '{"folder": ...}'`; BENCH_DSN is the database's address. It imports nothing of this
project: its Python has only the one tool. Where a tool can write a folder a day it does; else plain Parquet, and the
table says so.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TABLE = "lineitem"
DAY = "l_shipdate"
QUERY = f"select * from {TABLE}"


def connectorx(dsn: str, folder: str) -> None:
    """ConnectorX to Arrow on two connections, sorted by day and written by pyarrow.

    Its stream of batches, written as they come, made 33,675 files of 600,000 rows and took 14 times the CPU.
    """
    import connectorx

    rows = connectorx.read_sql(dsn, QUERY, return_type="arrow", partition_on="l_orderkey", partition_num=2)
    _written(rows.sort_by(DAY), folder)


def adbc(dsn: str, folder: str) -> None:
    """ADBC's PostgreSQL driver as a stream, sorted in memory by day and written by pyarrow; numbers stay text."""
    import adbc_driver_postgresql.dbapi

    with adbc_driver_postgresql.dbapi.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        rows = cursor.fetch_arrow_table()
    _written(rows.sort_by(DAY), folder)


def dlt_connectorx(dsn: str, folder: str) -> None:
    """The tool dlt with ConnectorX as its backend, to Parquet in a folder; no days."""
    _dlt(dsn, folder, "connectorx", {})


def dlt_stream(dsn: str, folder: str) -> None:
    """The tool dlt with ConnectorX as its backend, as a stream of batches; no days."""
    _dlt(dsn, folder, "connectorx", {"return_type": "arrow_stream", "batch_size": 100_000})


def dlt_pyarrow(dsn: str, folder: str) -> None:
    """The tool dlt with SQLAlchemy and pyarrow as its backend, to Parquet in a folder; no days."""
    _dlt(dsn, folder, "pyarrow", {})


def sling(dsn: str, folder: str) -> None:
    """Sling to one Parquet file; no days."""
    program = next(Path(sysconfig.get_path("purelib")).glob("sling_*/bin/sling-*"))
    schema = "public" if dsn.startswith("postgres") else urlsplit(dsn).path[1:]
    address = dsn if dsn.startswith("mysql") else f"{dsn}?sslmode=disable"
    home = {"SLING_HOME_DIR": f"{folder}.home", "SLING_DISABLE_TELEMETRY": "true", "SOURCE": address}
    words = ["run", "--src-conn", "SOURCE", "--src-stream", f"{schema}.{TABLE}"]
    target = ["--tgt-object", f"file://{folder}/{TABLE}.parquet", "--tgt-options", '{"format": "parquet"}']
    _run([program, *words, *target], home)


def ingestr(dsn: str, folder: str) -> None:
    """The tool ingestr to one Parquet file; no days."""
    program = Path(sysconfig.get_path("scripts"), "ingestr")
    schema = "public" if dsn.startswith("postgres") else urlsplit(dsn).path[1:]
    address = f"{dsn}?sslmode=disable" if dsn.startswith("postgres") else dsn
    words = ["--source-uri", address, "--source-table", f"{schema}.{TABLE}", "--dest-table", f"main.{TABLE}"]
    words += ["--dest-uri", f"parquet://{folder}/{TABLE}.parquet", "--yes", "--progress", "log"]
    Path(folder).mkdir(parents=True)
    quiet = {"DISABLE_TELEMETRY": "true", "INGESTR_DISABLE_TELEMETRY": "true"}
    _run([program, "ingest", *words], quiet)


def _run(words: list[Any], more: dict[str, str]) -> None:
    done = subprocess.run(words, env={**os.environ, **more}, stdin=subprocess.DEVNULL)
    if done.returncode:  # what it said last is the reason
        sys.exit(done.returncode)


def _dlt(dsn: str, folder: str, backend: str, words: dict[str, Any]) -> None:
    import dlt
    from dlt.sources.sql_database import sql_table

    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "DATA_WRITER__DISABLE_COMPRESSION": "true"}
    address = dsn.replace("mysql://", "mysql+pymysql://")
    more = {"conn": dsn, **words} if backend == "connectorx" else words
    rows = sql_table(credentials=address, table=TABLE, backend=backend, chunk_size=100_000, backend_kwargs=more)
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=f"{folder}.dlt",
        destination=dlt.destinations.filesystem(f"file://{folder}"),
        dataset_name="bench",
    )
    pipeline.run(rows, loader_file_format="parquet")


def _written(rows: Any, folder: str) -> None:
    import pyarrow as pa
    from pyarrow import dataset

    by_day = dataset.partitioning(pa.schema([rows.schema.field(DAY)]), flavor="hive")
    options = dataset.ParquetFileFormat().make_write_options(compression="zstd", compression_level=3)
    dataset.write_dataset(
        rows, folder, format="parquet", partitioning=by_day, file_options=options, max_partitions=100_000
    )


if __name__ == "__main__":
    globals()[sys.argv[1]](os.environ["BENCH_DSN"], **json.loads(sys.argv[2]))
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    Path(os.environ["BENCH_ANSWER"]).write_text(json.dumps({"peak_bytes": peak}))
