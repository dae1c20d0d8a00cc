"""A table that is to be compared: its declaration, its state in the lake, the bounds, and sessions on its source."""

import datetime
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from ingestion import load
from ingestion.connectors import Connector, Shape, connector
from ingestion.connectors.shard import Shard
from ingestion.reconciled import Day, Place
from ingestion.spec import Source, Table
from lake import commit, digest, gate, kinds, read, reconcile
from lake.digest import Digests
from lake.duck import quoted
from lake.intake import Subject
from lake.layout import Lake

ZONES: tuple[Place, Place] = ("raw", "processed")


@dataclass(frozen=True)
class Case:
    """A table to be compared, and the bounds of it."""

    lake: Lake
    source: Source
    table: Table
    since: datetime.date | None
    subject: Subject
    state: Mapping[str, Any]
    columns: Mapping[str, pa.DataType]

    @property
    def keeps(self) -> bool:
        """Whether rows stay in the lake that the source has deleted."""
        return self.table.deletes == "ignore" and self.table.load != "replace"

    @property
    def processed(self) -> str:
        """The SQL that reads processed."""
        return read.relation(self.lake, self.subject.at("processed"))

    @property
    def within(self) -> str:
        """The condition on a row's day that bounds the comparison."""
        return reconcile.between(self.subject, self.since)

    def digests(self, connection: duckdb.DuckDBPyConnection, relation: str, columns: Collection[str]) -> Digests:
        """Of a relation of the lake; what has no canonical form is compared as its text."""
        types = {name: kind for name, kind in self.columns.items() if name in columns}
        simple = digest.comparable(types)
        texts = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in types if name not in simple)
        shown = f"(SELECT * REPLACE ({texts}) FROM {relation})" if texts else relation
        types = {name: simple.get(name, pa.string()) for name in types}
        return digest.of(connection, shown, key=self.subject.key, columns=types, day=self.subject.partition)

    @property
    def day(self) -> str:
        """The SQL of a row's UTC day; NULL for a table without days."""
        return f"CAST({quoted(self.subject.partition)} AS DATE)" if self.subject.partition else "NULL::DATE"

    @property
    def versions(self) -> tuple[int, int]:
        """The versions of raw and processed now; -1 for none."""
        raw, processed = (commit.table(self.lake, self.subject.at(zone)) for zone in ZONES)
        return (-1 if raw is None else raw.version(), -1 if processed is None else processed.version())

    @contextmanager
    def sessions(self) -> Iterator[list[tuple[Connector, Shape]]]:
        """A session on each of the source's servers, with the shape of the table there."""
        opened: list[Connector] = []
        found = []
        cursor = self.state.get("cursor")
        try:
            for name, one in load.servers(self.source):
                session: Connector = connector(one)
                opened.append(session)
                session = Shard(name, session) if name else session
                session.recall(self.table, json.loads(cursor).get(name) if name and cursor else cursor)
                found.append((session, session.shape(self.table)))
            yield found
        finally:
            for session in opened:
                session.close()


def case_of(lake: Lake, source: Source, table: Table, since: datetime.date | None) -> Case | None:
    """What is to be compared of a table, from the UTC day `since` on; None if it was never loaded."""
    subject = load.subject(source, table)
    raw, processed = commit.table(lake, subject.at("raw")), commit.table(lake, subject.at("processed"))
    if raw is None:
        return None
    known, folded = read.columns(raw), read.columns(processed)
    columns = {
        name: kinds.stored(kind)
        for name, kind in known.items()
        if name not in gate.PLATFORM and (processed is None or name in folded)
    }
    return Case(lake, source, table, since if table.partition else None, subject, commit.state(raw), columns)


def dates(days: Collection[Day]) -> set[datetime.date] | None:
    """The days without None; None itself if that is all there is: the table has none."""
    known = {day for day in days if day is not None}
    return known or (None if None in days else set())
