r"""The SQL prompt on the published warehouse: interactive, one command, or statements from a pipe.

Besides SQL it knows `\d` (list the tables), `\d <table>` (its columns), `\?` and `\q`. A version published meanwhile
is taken up with the next statement. The lake's processed tables are there as `source.table`; with a time (`--as-of`)
warehouse and lake are shown as they were then. The look of the terminal (colours, completion) is in
`warehouse.terminal`.
"""

import contextlib
import csv
import datetime
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TextIO

import duckdb

from lake import duck, layout
from lake.access import broken_file
from lake.duck import literal, quoted
from lake.errors import PermanentError, PlatformError, SpecError
from warehouse.access import in_force, open_version
from warehouse.versions import Version, versions

if TYPE_CHECKING:
    from warehouse.lake_views import Views

Output = Literal["box", "csv"]
HELP = r"""SQL ends with ";". The lake's tables are there too, as source.table.
\d          list the tables
\d <table>  columns of a table, with their meaning
\?          this help
\q          quit (also Ctrl-D)"""
MAX_ROWS = 1000
LIST_TABLES = """
    select schema_name, table_name, split_part(comment, '. ', 1)
    from duckdb_tables() where database_name = 'warehouse' order by all"""
LIST_COLUMNS = """
    select column_name as "column", data_type as "type", comment as "description"
    from duckdb_columns()
    where database_name = 'warehouse' and (table_name = $name or schema_name || '.' || table_name = $name)
    order by schema_name, column_index"""


class Session:
    """One person's session: a connection that follows the version in force, and where the answers go.

    With `as_of` (UTC) it stays at what was in force then; `views` are the lake's tables, None until one is asked for.
    """

    def __init__(
        self,
        out: TextIO,
        output: Output = "box",
        root: Path | str | None = None,
        as_of: datetime.datetime | None = None,
    ) -> None:
        """Raises PermanentError if nothing is published, or nothing was by then and the lake held nothing either."""
        self.out, self.output, self.root, self.as_of = out, output, root, as_of
        self.views: Views | None = None
        self.version: Version | None
        if as_of is None:
            self.connection, self.version = open_version(in_force(root))
        else:
            self.connection, self.version = _opened_at(as_of, root)
            self._add_views()
            if self.version is None and not (self.views and self.views.shown):
                raise _nothing_by(as_of, self.views)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def refresh(self) -> bool:
        """Take up the version in force; True if it is a newer one than before."""
        if self.as_of is not None or in_force(self.root) == self.version:
            return False
        self.connection.close()
        self.connection, self.version = open_version(in_force(self.root))
        self.views = None
        return True

    def greeting(self) -> str:
        """What is shown, in a sentence."""
        when = f"{self.version.published_at:%Y-%m-%d %H:%M} UTC" if self.version else ""
        if self.as_of is None:
            return f"Warehouse of {when}, read-only."
        warehouse = f"warehouse of {when}" if self.version else "no warehouse of then is kept"
        return f"As of {self.as_of:%Y-%m-%d %H:%M} UTC, read-only: {warehouse}, lake as source.table."

    def answer(self, text: str) -> None:
        """Write the answer to one statement or backslash command. Raises duckdb.Error."""
        self.refresh()
        if text.startswith("\\"):
            return self._command(text)
        for statement in self.connection.extract_statements(text):
            try:
                self._answer(statement)
            except duckdb.CatalogException as error:
                # Only now: opening the lake's tables costs more than most questions to the warehouse.
                if self.views is not None or not self._add_views():
                    raise self._told(statement.query, error) from None
                self._answer(statement)

    def _answer(self, statement: duckdb.Statement) -> None:
        try:
            if duckdb.ExpectedResultType.QUERY_RESULT in statement.expected_result_type:
                self._show(self.connection.query(statement.query))
            else:
                self.connection.execute(statement.query)
        except duckdb.Error as error:
            raise _named(error) from None

    def _add_views(self) -> bool:
        """Add the lake's tables; False if there is no lake."""
        from warehouse import lake_views  # Delta and Arrow, which a question to the warehouse can do without

        try:
            self.views = lake_views.add(self.connection, layout.from_environment(), self.as_of)
        except SpecError:
            self.views = lake_views.Views()
        return bool(self.views.shown or self.views.missing)

    def _told(self, query: str, error: duckdb.Error) -> Exception:
        """Why a table of the lake that `query` names is not there at this time, or else the error itself."""
        missing = self.views.missing if self.views else {}
        asked = query.replace('"', "").casefold()
        return next((reason for name, reason in missing.items() if name.casefold() in asked), error)

    def names(self) -> list[str]:
        """Names that completion offers: tables and columns."""
        rows = self.connection.execute(
            """
            select table_name from duckdb_tables() where database_name = 'warehouse'
            union select column_name from duckdb_columns() where database_name = 'warehouse'
            order by 1
            """
        ).fetchall()
        return [name for (name,) in rows]

    def _command(self, text: str) -> None:
        word, _, argument = text.strip().rstrip(";").partition(" ")
        if word == r"\d" and argument:
            columns = self.connection.query(LIST_COLUMNS, params={"name": argument.strip()})
            return self._show(columns) if len(columns) else self._say(f"There is no table {argument.strip()}.")
        if word == r"\d":
            return self._show(self._tables())
        self._say(HELP)

    def _tables(self) -> duckdb.DuckDBPyRelation:
        rows = (
            f'select {literal(schema)} as schema, {literal(name)} as "table", '
            f"(select count(*) from {quoted(schema)}.{quoted(name)}) as rows, {literal(comment or '')} as description"
            for schema, name, comment in self.connection.execute(LIST_TABLES).fetchall()
        )
        shown = self.views.shown if self.views else {}
        lake = (
            f"select {literal(name.partition('.')[0])}, {literal(name.partition('.')[2])}, null, {literal(shows)}"
            for name, shows in shown.items()
        )
        return self.connection.query(" union all ".join([*rows, *lake]))

    def _show(self, relation: duckdb.DuckDBPyRelation) -> None:
        if self.output == "csv":
            writer = csv.writer(self.out, lineterminator="\n")
            writer.writerow(relation.columns)
            while rows := relation.fetchmany(10_000):
                writer.writerows(rows)
            return
        width = shutil.get_terminal_size().columns if self.out.isatty() else 10_000
        self._say(_boxed(relation, width))

    def _say(self, text: str) -> None:
        self.out.write(text.rstrip("\n") + "\n")


def run(
    command: str | None = None,
    *,
    output: Output = "box",
    stdin: TextIO | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
    root: Path | str | None = None,
    as_of: str | None = None,
) -> int:
    """Answer `command`, or what is piped in, or questions at the prompt; returns the exit code.

    `as_of` is a time that has passed, as people write it (a day means its end, UTC): all is shown as it was then.
    A command or pipe ends at its first error with code 1; at the prompt an error is said and the session goes on.
    """
    stdin, out, err = stdin or sys.stdin, out or sys.stdout, err or sys.stderr
    try:
        instant = _past(as_of) if as_of else None
        with Session(out, output, root, instant) as session:
            if command is None and stdin.isatty():
                from warehouse import terminal

                return terminal.converse(session, err)
            for text in statements(command if command is not None else stdin.read()):
                if text.startswith(r"\q"):
                    break
                session.answer(text)
    except (PlatformError, duckdb.Error) as error:
        err.write(sentence(error) + "\n")
        return 1
    except BrokenPipeError:  # the reader of the pipe, `head` for example, has seen enough
        return 0
    return 0


def statements(text: str) -> Iterator[str]:
    """Backslash commands stand on a line of their own; everything between them is SQL."""
    sql: list[str] = []
    for line in [*text.splitlines(), "\\"]:
        if not line.lstrip().startswith("\\"):
            sql.append(line)
            continue
        if any(part.strip() for part in sql):
            yield "\n".join(sql)
        sql = []
        if line.strip() != "\\":
            yield line.strip()


def sentence(error: Exception) -> str:
    """An error as one sentence for a person."""
    if isinstance(error, PlatformError):
        return str(error)
    text = str(error)
    if "read-only mode" in text:
        return "The warehouse is read-only: published versions never change; models are changed in dbt_project/."
    head = re.split(r"\n\s*\nLINE |\nLINE ", text)[0]
    return " ".join(line.strip() for line in head.splitlines() if line.strip())


def _opened_at(instant: datetime.datetime, root: Path | str | None) -> tuple[duckdb.DuckDBPyConnection, Version | None]:
    """The published version that was in force at `instant`; an empty connection if none of then is kept."""
    by_then = [version for version in versions(root) if version.published_at <= instant]
    if not by_then:
        return duck.connect(), None
    connection, opened = open_version(by_then[-1])
    if opened == by_then[-1]:
        return connection, opened
    connection.close()  # deleted meanwhile, and a newer one opened in its place
    return duck.connect(), None


def _named(error: duckdb.Error) -> Exception:
    """The sentence for a file of the lake that is missing or broken; any other error as it is."""
    try:
        return broken_file(layout.from_environment(), str(error)) or error
    except SpecError:
        return error


def _past(text: str) -> datetime.datetime:
    from lake import instant

    return instant.past(text, datetime.datetime.now(datetime.UTC))


def _nothing_by(instant: datetime.datetime, views: "Views | None") -> PermanentError:
    reasons = list(views.missing.values()) if views else []
    what = "no published warehouse of then is kept, and the lake shows no table of then"
    mend = str(reasons[0]) if reasons else "choose a later time"
    return PermanentError(f"--as-of {instant:%Y-%m-%d %H:%M} UTC", what, mend)


def _boxed(relation: duckdb.DuckDBPyRelation, width: int) -> str:
    """DuckDB's own table drawing; it only knows how to write to the process's standard output, hence the detour."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        relation.show(max_width=width, max_rows=MAX_ROWS)
    return text.getvalue()
