"""What runs in a process of its own when extraction is measured: the limit, ours, DuckDB's scanner, and the checks.

`python -m benchmarks.extract_ours <function> '<its words as JSON>'`; BENCH_DSN is the database's address. Each
function answers what the measuring process is to know.
"""

import datetime
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from benchmarks import cpu, lineitem

VARIABLE = "BENCH_DSN"
SOURCE = "bench"
# What is asked of every contestant's files: that the rows are there, each once, with their keys and prices.
SUMS = "count(*), sum(l_orderkey::BIGINT)::BIGINT, sum(l_extendedprice::DECIMAL(38, 2))::VARCHAR"


def copied(kind: str, query: str = "select * from lineitem") -> Mapping[str, Any]:
    """The limit: all rows from the server, in its fastest form, to nowhere."""
    if kind == "mariadb":
        return _outfile(query)
    with closing(_copier()) as copier:
        return {"bytes": copier(query), "way": "COPY … (FORMAT binary) to nowhere"}


def copied_often(queries: list[str]) -> Mapping[str, Any]:
    """The seconds that PostgreSQL takes for each of `queries`, on one connection, to nowhere."""
    seconds = []
    with closing(_copier()) as copier:
        for query in queries:
            began = time.perf_counter()
            copier(query)
            seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


def loaded(kind: str, root: str, chunk_rows: int = 0, **declared: Any) -> Mapping[str, Any]:
    """Ours: from the source to the committed raw and processed, as a run does it.

    With `chunk_rows` the chunks are of that size, and the rows read are counted in a file beside the lake.
    """
    from ingestion import load
    from lake.fold import fold
    from lake.layout import Lake

    if chunk_rows:
        _count(load, Path(f"{root}.count"), chunk_rows)
    source, lake = _source(kind, declared), Lake(root)
    began, used = time.perf_counter(), time.process_time()
    done = load.changes(lake, source, source.tables[0])
    read, load_cpu = time.perf_counter(), time.process_time() - used
    folded = fold(lake, load.subject(source, source.tables[0]))
    said = {"load_s": read - began, "fold_s": time.perf_counter() - read, "load_cpu_s": load_cpu}
    taken = done.taken
    found = {"rows_read": done.rows_read, "deleted": taken.deleted, "chunks": done.chunks, "kept": done.chunks_kept}
    return {**said, **found, "sentence": done.sentence, "rows_written": folded.rows_written}


def loaded_by_day(kind: str, root: str, days: list[str], **declared: Any) -> Mapping[str, Any]:
    """Ours, one window a day: the seconds of each load and of each fold after it."""
    from ingestion import load
    from lake.fold import fold
    from lake.layout import Lake

    source, lake = _source(kind, declared), Lake(root)
    table = source.tables[0]
    loads, folds, rows = [], [], 0
    for day in map(datetime.date.fromisoformat, days):
        began = time.perf_counter()
        rows += load.days(lake, source, table, day, day).rows_read
        read = time.perf_counter()
        fold(lake, load.subject(source, table))
        loads.append(read - began)
        folds.append(time.perf_counter() - read)
    return {"loads_s": loads, "folds_s": folds, "rows_read": rows}


def _count(load: Any, file: Path, chunk_rows: int) -> None:
    """Write down after each batch how many rows have come out of the connector, other than to catch up."""
    from ingestion import extract

    extract.CHUNK_ROWS = chunk_rows
    file.write_text("0")  # what an earlier process counted
    opened, lock, total = load.connector, threading.Lock(), 0

    def connector(*words: Any, **more: Any) -> Any:
        session = opened(*words, **more)
        reader = session.read

        def read(table: Any, shape: Any, window: Any, chunk: Any) -> Any:
            nonlocal total
            for batch in reader(table, shape, window, chunk):
                if window.since is None:
                    with lock:
                        total += batch.num_rows
                        file.write_text(str(total))
                yield batch

        session.read = read
        return session

    load.connector = connector


def scanned(kind: str, folder: str, how: str) -> Mapping[str, Any]:
    """DuckDB's scanner, the whole way to zstd Parquet by day.

    `how` is `plain`, as a user would write it, or one of the forms that write few files: `ordered` by day, or
    `buffered`, in which one thread holds back all rows until the end.
    """
    with closing(lineitem.scanner(kind, os.environ[VARIABLE])) as connection:
        connection.execute(f"SET temp_directory = '{folder}.spilled'")
        if how == "buffered":
            connection.execute("SET threads = 1; SET partitioned_write_flush_threshold = 1000000000")
            connection.execute("SET partitioned_write_max_open_files = 10000")
        order = " ORDER BY l_shipdate" if how == "ordered" else ""
        connection.execute(
            f"""COPY (FROM source.lineitem{order}) TO '{folder}'
                (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (l_shipdate))"""
        )
    return {}


def checked(where: str, table: str = "lineitem") -> Mapping[str, Any]:
    """Rows, sum of keys and of prices, files and bytes of a folder of Parquet files, a DuckDB file or a lake."""
    from lake import duck, read
    from lake.layout import Address, Lake

    if Path(where, "processed").is_dir():
        lake, address = Lake(where), Address("processed", SOURCE, table)
        facts = read.facts(lake, address)
        with read.connect(lake) as connection:
            sums = connection.execute(f"SELECT {SUMS} FROM {read.relation(lake, address)}").fetchone()
        return _said(sums, facts.files if facts else 0, facts.bytes if facts else 0)
    files = list(Path(where).rglob("*.parquet"))
    with duck.connect() as connection:
        sums = connection.execute(f"SELECT {SUMS} FROM read_parquet({[str(file) for file in files]})").fetchone()
    return _said(sums, len(files), sum(file.stat().st_size for file in files))


def _said(sums: Any, files: int, size: int) -> Mapping[str, Any]:
    rows, keys, price = sums
    return {"rows": rows, "keys": keys, "price": price, "files": files, "bytes": size}


def _source(kind: str, declared: Mapping[str, Any]) -> Any:
    from ingestion.spec import Source, Table

    default = {"name": "lineitem", "key": ["l_orderkey", "l_linenumber"], "partition": "day(l_shipdate)"}
    connector = {"postgres": "postgres", "mariadb": "mysql"}[kind]
    table = Table(**{**default, "load": "replace", **declared})
    return Source(name=SOURCE, connector=connector, connection=VARIABLE, tables=(table,))


def _copier() -> Any:
    from psycopg import pq

    class Copier:
        def __init__(self) -> None:
            self.connection = pq.PGconn.connect(os.environ[VARIABLE].encode())

        def __call__(self, query: str) -> int:
            """Bytes that came; they are not kept."""
            result = self.connection.exec_(f"COPY ({query}) TO STDOUT (FORMAT binary)".encode())
            if result.status != pq.ExecStatus.COPY_OUT:
                raise SystemExit(result.error_message.decode())
            total, (size, _) = 0, self.connection.get_copy_data(0)
            while size >= 0:
                total += size
                size, _ = self.connection.get_copy_data(0)
            while self.connection.get_result():
                pass
            return total

        def close(self) -> None:
            self.connection.finish()

    return Copier()


def _outfile(query: str) -> Mapping[str, Any]:
    import pymysql

    with closing(lineitem.mariadb(os.environ[VARIABLE])) as connection, connection.cursor() as cursor:
        cursor.execute("select coalesce(@@secure_file_priv, @@tmpdir)")
        file = f"{cursor.fetchone()[0].rstrip('/')}/bench-{secrets.token_hex(4)}"
        try:
            cursor.execute(f"{query} into outfile '{file}'")
        except pymysql.err.Error:
            return {"bytes": _drained(connection, query), "way": "SELECT read and thrown away (no FILE privilege)"}
        return {"way": "SELECT … INTO OUTFILE", "leftover": _removed(file)}


def _removed(file: str) -> str:
    """Remove a file that the server wrote, by way of the server's own root; what is left behind, if it is."""
    server = cpu.listener(lineitem.mariadb_words(os.environ[VARIABLE])["port"])
    with suppress(OSError):
        Path(f"/proc/{server}/root{file}").unlink()
        return ""
    return file


def _drained(connection: Any, query: str) -> int:
    """All that the server sends for `query`, not decoded: it ends with a packet of 5 bytes that begins with 0xFE."""
    from pymysql.constants import COMMAND

    connection._execute_command(COMMAND.COM_QUERY, query)
    total, tail = 0, b""
    while not (len(tail) >= 9 and tail[-9:-6] == b"\x05\x00\x00" and tail[-5] == 0xFE and total > 4096):
        part = connection._sock.recv(1 << 20)
        if not part:
            raise SystemExit("the server hung up")
        total, tail = total + len(part), (tail + part)[-9:]
    return total


if __name__ == "__main__":
    known = {"copied": copied, "copied_often": copied_often, "loaded": loaded, "loaded_by_day": loaded_by_day}
    known |= {"scanned": scanned, "checked": checked}
    cpu.answer(known[sys.argv[1]](**json.loads(sys.argv[2])))
