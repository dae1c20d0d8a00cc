r"""The SQL prompt on the published warehouse: interactive, one command, or statements from a pipe.

Besides SQL it knows `\d` (list the tables), `\d <table>` (its columns), `\?` and `\q`. A version published meanwhile
is taken up with the next statement. The look of the terminal (colours, completion) is in `warehouse.terminal`.
"""

import contextlib
import csv
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TextIO

import duckdb

from lake.duck import literal, quoted
from lake.errors import PlatformError
from warehouse.access import in_force, open_version

Output = Literal["box", "csv"]
HELP = r"""SQL ends with ";".
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
    """One person's session: a connection that follows the version in force, and where the answers go."""

    def __init__(self, out: TextIO, output: Output = "box", root: Path | str | None = None) -> None:
        """Raises PermanentError if nothing is published."""
        self.out, self.output, self.root = out, output, root
        self.connection, self.version = open_version(in_force(root))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def refresh(self) -> bool:
        """Take up the version in force; True if it is a newer one than before."""
        if in_force(self.root) == self.version:
            return False
        self.connection.close()
        self.connection, self.version = open_version(in_force(self.root))
        return True

    def answer(self, text: str) -> None:
        """Write the answer to one statement or backslash command. Raises duckdb.Error."""
        self.refresh()
        if text.startswith("\\"):
            return self._command(text)
        for statement in self.connection.extract_statements(text):
            if duckdb.ExpectedResultType.QUERY_RESULT in statement.expected_result_type:
                self._show(self.connection.query(statement.query))
            else:
                self.connection.execute(statement.query)

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
        return self.connection.query(" union all ".join(rows))

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
) -> int:
    """Answer `command`, or what is piped in, or questions at the prompt; returns the exit code.

    A command or pipe ends at its first error with code 1; at the prompt an error is said and the session goes on.
    """
    stdin, out, err = stdin or sys.stdin, out or sys.stdout, err or sys.stderr
    try:
        with Session(out, output, root) as session:
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


def _boxed(relation: duckdb.DuckDBPyRelation, width: int) -> str:
    """DuckDB's own table drawing; it only knows how to write to the process's standard output, hence the detour."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        relation.show(max_width=width, max_rows=MAX_ROWS)
    return text.getvalue()
