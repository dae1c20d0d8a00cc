"""The build file that an interrupted or failed build left behind: opened, mended, or replaced."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import duckdb

from lake import duck
from lake.duck import literal, quoted
from lake.errors import BuildFailed, Busy
from warehouse import clone, compact, proof
from warehouse.layout import Layout
from warehouse.soundness import fault
from warehouse.versions import Version, current


def sound_build_file(place: Layout) -> str | None:
    """Make sure that the build file can be opened, and say in one sentence what had to be done, if anything.

    A build that was killed leaves a write-ahead log; opening the file replays what was committed. A file that does
    not open (torn, or of another DuckDB version) is set aside as `*.broken` and the build starts from the last
    published version, or from nothing. Raises Busy if another process has the file open.
    """
    place.build.parent.mkdir(parents=True, exist_ok=True)
    if not place.build.exists():
        _forget(place)
        return None
    try:
        duck.connect(place.build).close()
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise Busy(str(place.build), "another process has the build file open", "close it") from None
        return _start_over(place, str(error).splitlines()[0])
    return None


def take_back(place: Layout, doubtful: Collection[str], nodes: Mapping[str, Any]) -> str | None:
    """Give doubtful models the rows of the version in force again; a sentence if there were any.

    What a test has refuted may be mended at its source by now, and an incremental model would not look at it again; of
    what a kill has interrupted a part may be missing. A model that no version holds is built from nothing. Raises
    BuildFailed if the build file cannot be written.
    """
    relations = sorted(
        (str(node["schema"]), str(node.get("alias") or node["name"]))
        for unique_id, node in nodes.items()
        if (node.get("config") or {}).get("materialized") in proof.KEEPING
        and (unique_id in doubtful or proof.ALL in doubtful)
    )
    if not relations or not place.build.exists():
        return None
    version = current(place.root)
    if version is not None and fault(version.path) is not None:
        version = None
    try:
        taken = _taken_back(place, relations, version)
    except duckdb.Error as error:
        what = f"doubtful tables cannot be taken back ({str(error).splitlines()[0]})"
        raise BuildFailed(str(place.build), what, "mend that, or delete the build file to build from nothing") from None
    return _told(taken, [name for _, name in relations if name not in taken], version)


def _taken_back(place: Layout, relations: list[tuple[str, str]], version: Version | None) -> list[str]:
    taken = []
    with duck.connect(place.build) as connection:
        held = set[tuple[str, str]]()
        if version is not None:
            connection.execute(f"attach {literal(str(version.path))} as in_force (read_only)")
            query = "select schema_name, table_name from duckdb_tables() where database_name = 'in_force'"
            held = set(connection.execute(query).fetchall())
        own = connection.execute("select current_database()").fetchall()[0][0]
        # what the facts that go were built from (dbt_project/macros/changed_days.sql) is not what these were built from
        connection.execute(f"drop schema if exists {quoted(own)}.seen cascade")
        for schema, name in relations:
            connection.execute("begin")
            connection.execute(f"drop table if exists {quoted(own)}.{quoted(schema)}.{quoted(name)}")
            if (schema, name) in held:
                connection.execute(f"create schema if not exists {quoted(own)}.{quoted(schema)}")
                compact.table(connection, f"{quoted('in_force')}.{quoted(schema)}.{quoted(name)}", own)
                taken.append(name)
            connection.execute("commit")
    return taken


def _told(taken: list[str], dropped: list[str], version: Version | None) -> str:
    parts = []
    if taken and version is not None:
        parts.append(f"{', '.join(taken)} begins again from version {version.number}")
    if dropped:
        parts.append(f"{', '.join(dropped)} is built from nothing")
    return f"The last build failed, was stopped or was rolled back: {'; '.join(parts)}."


def _start_over(place: Layout, reason: str) -> str:
    place.build.replace(place.build.with_suffix(".broken"))
    _forget(place)
    version = current(place.root)
    if version is not None and fault(version.path) is None:
        draft = place.build.with_suffix(".draft")
        clone.copy(version.path, draft)
        draft.replace(place.build)
        return f"The build file did not open ({reason}); building upon {version.path.name}."
    return f"The build file did not open ({reason}); building from scratch."


def _forget(place: Layout) -> None:
    """Remove what belonged to a build file that is gone: its write-ahead log and what was proven about it."""
    for path in (Path(f"{place.build}.wal"), place.proven, place.touched, place.build.with_suffix(".draft")):
        path.unlink(missing_ok=True)
