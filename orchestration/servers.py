"""The servers and stores that the platform talks to, and how each is asked for its figures.

A source whose variable is not set is not talked to, and a source of files or functions is no server.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

from ingestion.load import servers as servers_of
from ingestion.spec import Source, sources
from lake import duck, inventory, layout, s3
from lake.errors import SpecError
from lake.layout import Lake
from metrics import probes
from metrics.probes import Figures, Server
from warehouse import versions
from warehouse.layout import layout as warehouse_layout


def known(records: str | None = None) -> list[Server]:
    """Metrics store, sources with a server, lake, warehouse, and Dagster's own records. Asks nothing yet.

    `records` is the PostgreSQL in which Dagster keeps its records; without one they are files in DAGSTER_HOME.
    """
    found = [server for source in sources() for server in _of_source(source)]
    if dsn := os.environ.get("METRICS_DSN"):
        found.append(Server("metrics", "postgres", partial(probes.postgres, dsn), _mend("METRICS_DSN")))
    if os.environ.get("LAKE_ROOT"):
        lake = layout.from_environment()
        kind, look = ("s3", _bucket) if lake.on_s3 else ("folder", _folder)
        found.append(
            Server("lake", kind, partial(look, lake), _mend("AWS_ENDPOINT_URL" if lake.on_s3 else "LAKE_ROOT"))
        )
    if os.environ.get("WAREHOUSE_ROOT"):
        found.append(Server("warehouse", "file", _warehouse, "publish it with `make run`, or check WAREHOUSE_ROOT"))
    if records:
        found.append(
            Server("run_storage", "postgres", partial(probes.postgres, records), "start it, or check dagster.yaml")
        )
    elif home := os.environ.get("DAGSTER_HOME"):
        found.append(Server("run_storage", "sqlite", partial(_sqlite, Path(home)), "check DAGSTER_HOME"))
    return found


def _of_source(source: Source) -> Iterator[Server]:
    if source.connector not in ("postgres", "mysql"):
        return
    named = [(f"{source.name}/{shard}" if shard else source.name, one) for shard, one in servers_of(source)]
    if source.replica:
        copy = source.model_copy(update={"connection": source.replica.dsn, "replica": None})
        named.append((f"{source.name}/replica", copy))
    for name, one in named:
        if not (dsn := os.environ.get(one.connection)):
            continue
        look = partial(probes.postgres, dsn) if source.connector == "postgres" else partial(_mysql, one)
        yield Server(name, source.connector, look, _mend(one.connection))


def _mend(variable: str) -> str:
    return f"start it (`watershed up` starts the local ones), or check {variable}"


def _mysql(source: Source) -> Figures:
    from ingestion.connectors import mysql_session

    server = mysql_session.Server(source)
    try:
        return probes.mysql(server.session().rows)
    finally:
        server.close()


def _folder(lake: Lake) -> Figures:
    root = Path(lake.root)
    if not root.is_dir():
        raise SpecError("LAKE_ROOT", f"{root} is no folder", "mount the disk, or load something first")
    return {"disk_bytes": probes.folder_bytes(root), "disk_free_bytes": shutil.disk_usage(root).free}


def _bucket(lake: Lake) -> Figures:
    answer = s3.client().list_objects_v2(Bucket=lake.bucket, Prefix=lake.prefix, MaxKeys=1)
    version = answer["ResponseMetadata"]["HTTPHeaders"].get("server")
    return {"version": version, "disk_bytes": probes.occupied(one.bytes for one in inventory.below(lake, ""))}


def _warehouse() -> Figures:
    place = warehouse_layout()
    if versions.current(place.root) is None:
        raise SpecError("warehouse", "nothing is published yet", "publish it with `make run`")
    with closing(duck.connect(place.pointer, read_only=True)) as connection:
        version = (connection.execute("SELECT version()").fetchone() or ("",))[0]
    free = shutil.disk_usage(place.root).free
    return {"version": version, "disk_bytes": probes.folder_bytes(place.root), "disk_free_bytes": free}


def _sqlite(home: Path) -> Figures:
    for path in islice(home.glob("history/runs.db"), 1):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    free = shutil.disk_usage(home).free
    return {"version": sqlite3.sqlite_version, "disk_bytes": probes.folder_bytes(home), "disk_free_bytes": free}
