"""A folder or bucket into which a test drops files, its declaration, and a lake to load them into."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from ingestion import load
from ingestion.load import Loaded
from ingestion.spec import Source, Table
from lake import commit, read
from lake.fold import fold
from lake.layout import Address, Lake

VARIABLE = "TRIAL_DROPS"


@dataclass
class Drops:
    """One table of files, from their place to processed; `root` is a folder or s3://bucket/prefix."""

    root: str
    lake: Lake
    files: dict[str, Any] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        os.environ[VARIABLE] = self.root

    @property
    def table(self) -> Table:
        files = {"path": "*.csv", "settle_s": 0} | self.files
        return Table(**{"name": "trips", "files": files} | self.declared)

    @property
    def source(self) -> Source:
        return Source(name="drops", connector="files", connection=VARIABLE, tables=[self.table])

    def drop(self, name: str, content: str | bytes) -> None:
        """Put a file there, or write it anew."""
        data = content.encode() if isinstance(content, str) else content
        if self.root.startswith("s3://"):
            bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
            boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)
            return
        path = Path(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def load(self, **options: Any) -> Loaded:
        return load.changes(self.lake, self.source, self.table, **options)

    def run(self, **options: Any) -> Loaded:
        """Load what is new and fold it."""
        loaded = self.load(**options)
        fold(self.lake, load.subject(self.source, self.table))
        return loaded

    def rows(self, columns: str = "*", zone: Any = "processed") -> list[Any]:
        """Rows of a lake table, sorted by all `columns`; none if there is no such table."""
        address = Address(zone, "drops", "trips")
        if commit.table(self.lake, address) is None:
            return []
        with read.connect(self.lake) as connection:
            query = f"SELECT {columns} FROM {read.relation(self.lake, address)} ORDER BY ALL"
            return connection.execute(query).fetchall()

    def types(self) -> dict[str, str]:
        """The lake's columns but the platform's, with DuckDB's types."""
        with read.connect(self.lake) as connection:
            relation = read.relation(self.lake, Address("processed", "drops", "trips"))
            found = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        return {name: kind for name, kind, *_ in found if not name.startswith("_")}

    def quarantined(self) -> list[tuple[str, str | None]]:
        """What lies in quarantine: the reason, and the text of a line or a value."""
        told = """_reason, coalesce(_value, map_values(_misfit::JSON::MAP(VARCHAR, VARCHAR))[1])"""
        return [tuple(row) for row in self.rows(told, zone="quarantine")]
