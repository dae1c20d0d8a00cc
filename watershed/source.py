"""`watershed source`: draft the declaration of a source, compare it with the database, add it to the project."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import PermanentError, PlatformError, SpecError

if TYPE_CHECKING:
    from ingestion.catalogue import FoundTable
    from ingestion.compare import Comparison
    from ingestion.discover import Draft, Origin
    from ingestion.spec import Source

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
GIVEN = "GIVEN_CONNECTION"  # where a connection stands for a moment that came in place of a variable's name


def text_of_draft(origin: str, schema: str | None, connection: str | None) -> tuple[str, str]:
    """The draft of a source file for what `origin` (a variable's name, or a connection) leads to, and a sentence.

    The connection itself is in neither. Raises SpecError, AccessDenied, SourceUnavailable, PermanentError.
    """
    from ingestion import discover

    dsn = _connection(origin)
    if connection and not VARIABLE.fullmatch(connection):
        mend = "give the name of an environment variable: capitals, digits, _"
        raise SpecError("--connection", f"{connection[:20]!r} is no name of a variable", mend)
    named = connection or (origin if VARIABLE.fullmatch(origin) else "")
    if dsn.startswith(("mysql://", "mariadb://")):
        place, found = _read_mysql(origin, dsn, schema)
    else:
        place, found = _read_postgres(origin, dsn, schema)
    place = replace(place, connection=named or _variable(place.database))
    drafted = discover.draft(place, found)
    return drafted.text, _told(drafted, place.connection, is_set=bool(os.environ.get(place.connection)))


def _read_postgres(origin: str, dsn: str, schema: str | None) -> tuple[Origin, tuple[FoundTable, ...]]:
    from ingestion import catalogue, discover

    where = origin if VARIABLE.fullmatch(origin) else "the given connection"
    with catalogue.connected(dsn, where) as session:
        database, version = session.info.dbname, session.info.parameter_status("server_version") or "?"
        schemas = catalogue.schemas(session)
        chosen = schema or ("public" if "public" in schemas or not schemas else next(iter(schemas)))
        found = catalogue.tables(session, chosen)
    if not found:
        elsewhere = f" (tables are in: {', '.join(schemas)})" if schemas else ""
        mend = f"give another one with --schema{elsewhere}, or grant usage on it to the platform's user"
        raise PermanentError(where, f'schema "{chosen}" holds no table that this user may see', mend)
    others = {name: count for name, count in schemas.items() if name != chosen}
    server = f"PostgreSQL {version.split()[0]}"
    return discover.Origin("", "postgres", database, chosen, server, other_schemas=others), found


def _read_mysql(origin: str, dsn: str, schema: str | None) -> tuple[Origin, tuple[FoundTable, ...]]:
    from ingestion import catalogue_mysql, discover

    if schema:
        raise SpecError("--schema", "is for PostgreSQL", "name the database in the connection's URI")
    variable = origin if VARIABLE.fullmatch(origin) else GIVEN
    os.environ[variable] = dsn
    try:
        with catalogue_mysql.connected(variable) as session:
            database, server = catalogue_mysql.about(session)
            found = catalogue_mysql.tables(session)
    finally:
        if variable == GIVEN:
            del os.environ[variable]
    if not found:
        raise PermanentError(
            origin if variable == origin else "the given connection",
            f"database {database} holds no table that this user may see",
            "grant select on its tables",
        )
    return discover.Origin("", "mysql", database, "public", server), found


def lines_of_check(found: Comparison) -> list[str]:
    """What a comparison found, as lines for a terminal; the last one is a sentence."""
    source = found.source
    lines = [f"{source.name} ({source.connection}: {found.server})"]
    lines += [f"  {it.weight:<6} {it.text}" for it in found.findings if it.table is None]
    for table in source.tables:
        lines.append(f"  {table.name}: {found.next_reads[table.name]}")
        lines += [f"    {it.weight:<6} {it.text}" for it in found.findings if it.table == table.name]
    return [*lines, _verdict(found)]


def declared(name: str | None) -> tuple[Source, ...]:
    """The source called `name`, or all that are in use. Raises SpecError if none is called so."""
    from ingestion import spec

    known = spec.declared() if name else spec.sources()
    chosen = tuple(source for source in known if name in (None, source.name))
    if not chosen:
        names = ", ".join(source.name for source in known) or "none"
        raise SpecError(name or "ingestion/sources", "no such source is declared", f"declared are: {names}")
    return chosen


def shop_of(name: str | None) -> str | None:
    """The shop that the source `name` is by itself; None if it is none, or belongs to whichever shop is at hand."""
    from orchestration.site import EXAMPLE_SOURCE

    if name in (None, EXAMPLE_SOURCE):
        return None
    return next((source.name for source in declared(name) if source.shop), None)


def _verdict(found: Comparison) -> str:
    count, looks = len(found.source.tables), sum(it.weight == "look" for it in found.findings)
    tables = f"{count} table{'' if count == 1 else 's'}"
    hints = f"; {looks} thing{'' if looks == 1 else 's'} to look at" if looks else ""
    if found.failing:
        names = ", ".join(found.failing[:8]) + ("" if len(found.failing) <= 8 else ", ...")
        return f"{found.source.name}: {len(found.failing)} of {tables} will fail to load ({names}){hints}."
    return f"{found.source.name}: {tables} can be loaded as declared{hints}."


def _told(drafted: Draft, named: str, *, is_set: bool) -> str:
    left = len(drafted.left_out)
    said = f"{drafted.declared} table{'' if drafted.declared == 1 else 's'} declared"
    if left:
        said += f", {left} left out with the reason beside {'it' if left == 1 else 'them'}"
    setting = "" if is_set else f"set {named} in the environment, "
    return f"{said}; read the guesses, {setting}then `watershed source add <file>`."


def _connection(origin: str) -> str:
    if not VARIABLE.fullmatch(origin):
        return origin
    if not os.environ.get(origin):
        from orchestration import site

        site.enter()  # the last run recorded the example's own connections
    dsn = os.environ.get(origin, "")
    if not dsn:
        raise SpecError(origin, "is not set", f"set {origin} to a connection URI, e.g. postgresql://user@host/database")
    return dsn


def _variable(database: str) -> str:
    word = re.sub(r"[^A-Z0-9]+", "_", database.upper()).strip("_")
    return f"{word}_DSN" if word[:1].isalpha() else f"SOURCE_{word}_DSN".replace("__", "_")


def add(what: str) -> list[str]:
    """Make a source file part of the project and say, line by line, what was written; the last line says what is next.

    `what` is a file, which is copied to the other source files, or the name of a source that is there. Nothing that
    exists is overwritten. Raises SpecError if the file is not valid or another one of its name is there.
    """
    from orchestration.site import EXAMPLE_SOURCE
    from watershed import conform, generate, stage

    source, copied = _placed(what)
    columns, said = _columns(source)
    models = generate.PROJECT / "dbt_project"
    wanted = stage.missing(models / "models" / "staging" / source.name, source, columns)
    is_shop = source.shop is not None and source.name != EXAMPLE_SOURCE
    if is_shop:
        wanted |= conform.missing(models, source)
    written = [*copied, *generate.write()]
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shown = [_short(path) for path in dict.fromkeys([*written, *wanted])]
    lines = [*said, *(f"written  {path}" for path in shown)]
    bare = sum(len(stage.undescribed(table, columns[table.name])) for table in source.tables)
    if bare:
        lines.append(f"{bare} columns have no description: say in {source.name}.yml and the models what they mean.")
    done = f"Source {source.name} is part of the project" if shown else f"Source {source.name} was complete already"
    run = "`make run`"
    if is_shop:
        run = f"fill in dbt_project/models/intermediate/{source.name}, and `make run SHOP={source.name}`"
    return [*lines, f"{done}; next: `watershed source check {source.name}`, then {run}."]


def _placed(what: str) -> tuple[Source, list[Path]]:
    """The source, after its file was copied to where source files are, unless it is there."""
    from ingestion import spec

    path = Path(what)
    if path.suffix not in (".yml", ".yaml"):
        return declared(what)[0], []
    if not path.is_file():
        raise SpecError(what, "is no file", "give the path of a source file, or the name of a source")
    source = spec.source(path)
    place = Path(os.environ.get("WATERSHED_SOURCES") or spec.SOURCES) / f"{source.name}.yml"
    if place.exists():
        if place.read_bytes() != path.read_bytes():
            raise SpecError(str(place), "is there already and says something else", "merge the two by hand")
        return source, []
    place.write_bytes(path.read_bytes())
    return source, [place]


def _columns(source: Source) -> tuple[dict[str, list[str]], list[str]]:
    """The columns that each table has in the lake: as its database says, or as declared where that does not answer."""
    from contextlib import closing

    from ingestion.connectors import connector

    if not os.environ.get(source.connection):
        from orchestration import site

        site.enter(shop_of(source.name))
    try:
        with closing(connector(source)) as session:
            return {table.name: list(session.shape(table).schema.names) for table in source.tables}, []
    except PlatformError as error:
        columns = {table.name: [name for name in table.columns if name not in table.drop] for table in source.tables}
        for table in source.tables:
            if missing := [name for name in table.key if name not in columns[table.name]]:
                what = f"its database does not tell the columns ({error.what}), and {missing[0]} is not declared"
                raise SpecError(f"source {source.name}, table {table.name}", what, error.mend) from None
        return columns, [f"The columns are those declared: {error.what}."]


def _short(path: Path) -> str:
    from watershed.generate import PROJECT

    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
