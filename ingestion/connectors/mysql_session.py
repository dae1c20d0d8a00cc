"""A session on a MySQL or MariaDB server: DuckDB's scanner with SQL of our own, and what the server's errors mean.

Measured on 1 M rows of 11 columns, client and server together: `SELECT … INTO OUTFILE` 1.5 to 1.8 CPU-seconds, this
2.2, ConnectorX 3.1, pymysql 25. The scanner's own compression, on unless told, would triple it.

The scanner streams a result only on a connection that it takes from its pool for one statement; a statement that has
to run in a transaction of ours it keeps whole in memory. So a snapshot is read in pages of bounded size.
"""

from __future__ import annotations

import functools
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import duckdb
import pyarrow as pa

from ingestion.spec import Source
from lake import duck
from lake.duck import literal
from lake.errors import (
    AccessDenied,
    PermanentError,
    PlatformError,
    SchemaDrift,
    SourceUnavailable,
    SpecError,
    redact,
)

OPTIONS = ("ssl_mode", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_cipher", "ssl_crl", "ssl_crlpath", "ssl_key")
MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
STATEMENT = re.compile(r'query ".*?": ', re.DOTALL)  # as the scanner quotes it before the server's words
# No boolean of a tinyint(1), the session's time in UTC, and no thread that closes a connection which holds a snapshot.
SCANNER = """
    SET GLOBAL threads = 1; SET GLOBAL memory_limit = '512MB'; SET GLOBAL temp_directory = '';
    SET GLOBAL mysql_tinyint1_as_boolean = false; SET GLOBAL mysql_bit1_as_boolean = false;
    SET GLOBAL mysql_session_time_zone = '+00:00'; SET GLOBAL mysql_pool_enable_reaper_thread = false;
    SET GLOBAL mysql_pool_connection_idle_timeout_millis = 0
"""


@dataclass(frozen=True)
class Address:
    """Where a server is and how to get in; never to be shown."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)


def address(source: Source) -> Address:
    """The address in the variable that `source` names: `mysql://user:password@host:port/database?ssl-mode=required`.

    Raises SpecError if it is not set or not of this form.
    """
    where, uri = f"source {source.name}", os.environ.get(source.connection, "")
    form = "mysql://user@host:port/database"
    if not uri:
        raise SpecError(where, f"{source.connection} is not set", f"set {source.connection} to a URI, e.g. {form}")
    mend = f"write {form}, special characters in a password as %XX"
    try:
        parts = urlsplit(uri)
        port = parts.port or 3306
    except ValueError:  # its text may quote the password
        raise SpecError(where, f"{source.connection} is no connection URI", mend) from None
    if parts.scheme not in ("mysql", "mariadb") or not parts.hostname or not parts.path.strip("/"):
        raise SpecError(where, f"{source.connection} is no connection URI", mend)
    options = {name.replace("-", "_").lower(): value for name, value in parse_qsl(parts.query)}
    _reject_unknown(where, source.connection, options)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Address(parts.hostname, port, user, unquote(parts.path.strip("/")), password, options)


class Server:
    """A server as this process reaches it; sessions on it cost a millisecond."""

    def __init__(self, source: Source) -> None:
        """Connect. Raises SpecError, SourceUnavailable, AccessDenied or PermanentError."""
        self.source = source
        self.address = address(source)
        self.engine = _engine(os.getpid()).cursor()
        self.name = f"source_{uuid.uuid4().hex[:12]}"  # attached names are shared by all connections of an engine
        self.engine.execute(f"CREATE SECRET {self.name} (TYPE mysql, {_secret(self.address)})")
        options = self.address.options
        try:
            self._attach(options.get("ssl_mode", "preferred").lower())
        except duckdb.Error as error:
            self.engine.execute(f"DROP SECRET {self.name}")
            raise explained(source, error) from None

    def session(self) -> Session:
        """A further session; to be used by one thread at a time."""
        return Session(self)

    def close(self) -> None:
        """Forget the server and close what connections there are."""
        with suppress(duckdb.Error):  # what went wrong before is the better news
            self.engine.execute(f"DETACH {self.name}")
            self.engine.execute(f"DROP SECRET {self.name}")
        self.engine.close()

    def _attach(self, mode: str) -> None:
        attach = f"ATTACH 'compress=false ssl_mode={{}}' AS {self.name} (TYPE mysql_scanner, SECRET {self.name})"
        try:
            self.engine.execute(attach.format(mode))
        except duckdb.Error as error:
            # The scanner's `preferred` insists on TLS; a server without it is reached without, unless the URI insists.
            if "ssl_mode" in self.address.options or not re.search(r"\b(SSL|TLS)\b", str(error)):
                raise
            self.engine.execute(attach.format("disabled"))


class Session:
    """A connection to the server for each statement, or, while it is held, one for all."""

    def __init__(self, server: Server) -> None:
        self.source, self.name = server.source, server.name
        self.engine = server.engine.cursor()
        self.is_held = False

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The few rows of a small query; text that the server takes for bytes is text."""
        found = self._ask(statement).fetchall()
        return [
            tuple(value.decode(errors="replace") if isinstance(value, bytes) else value for value in row)
            for row in found
        ]

    def table(self, statement: str) -> dict[str, list[Any]]:
        """The columns of a small answer by their names, for statements whose columns differ between servers."""
        answer = self._ask(statement)
        names = [str(entry[0]) for entry in answer.description or ()]
        rows = answer.fetchall()
        return {column: [row[number] for row in rows] for number, column in enumerate(names)}

    def do(self, statement: str) -> None:
        """Run a statement that answers nothing; only where the session is held, else its effect is gone at once."""
        try:
            self.engine.execute(f"CALL mysql_execute('{self.name}', {literal(statement)})").fetchall()
        except duckdb.Error as error:
            raise self.explained(error) from None

    def hold(self) -> None:
        """Keep one connection from now on, so that settings, locks and snapshots on it last until `release`."""
        self.release()
        self.engine.execute("BEGIN")
        self.is_held = True

    def release(self) -> None:
        """Give the held connection back; whatever it held is gone."""
        if self.is_held:
            self.is_held = False
            with suppress(duckdb.Error):  # an error before has ended it already
                self.engine.execute("ROLLBACK")

    def batches(self, outer: str, statement: str, rows: int) -> Iterator[pa.RecordBatch]:
        """What `statement` answers, seen through DuckDB's select list `outer`, in batches of at most `rows`."""
        try:
            yield from self._ask(statement, outer, is_streamed=not self.is_held).to_arrow_reader(rows)
        except (duckdb.Error, OSError) as error:  # OSError is Arrow's, for what went wrong between two batches
            raise self.explained(error) from None

    def close(self) -> None:
        """Close the connections."""
        self.release()
        self.engine.close()

    def explained(self, error: Exception) -> PlatformError:
        """What an error means for a person; without any secret."""
        return explained(self.source, error)

    def _ask(self, statement: str, outer: str = "*", *, is_streamed: bool = False) -> duckdb.DuckDBPyConnection:
        how = str(is_streamed).lower()  # MySQL tells no types of SHOW and EXPLAIN before it has answered
        query = f"SELECT {outer} FROM mysql_query('{self.name}', {literal(statement)}, stream_results={how})"
        try:
            return self.engine.execute(query)
        except duckdb.Error as error:
            raise self.explained(error) from None


@functools.lru_cache(maxsize=1)
def _engine(process: int) -> duckdb.DuckDBPyConnection:
    """This process's own DuckDB for reading MySQL: loading the scanner costs 0.35 CPU-seconds, so it is done once."""
    engine = duck.connect(extensions=("mysql_scanner",))
    engine.execute(SCANNER)
    return engine


def explained(source: Source, error: Exception) -> PlatformError:
    """What an error of DuckDB's scanner means for a person; without any secret."""
    where, text = f"source {source.name}", STATEMENT.sub("query: ", str(error), count=1)
    first = _first(text)
    if re.search(r"Access denied for user .*(using password|to database)|Authentication|auth\w* plugin", text):
        return AccessDenied(where, "the server refuses the user or its password", f"correct {source.connection}")
    if re.search(r"denied to user|Access denied; you need", text):
        return AccessDenied(where, first, "grant select to the platform's user")
    if "Unknown database" in text:
        return PermanentError(where, first, f"correct {source.connection}")
    if re.search(r"doesn't exist|Unknown column", text):
        return SchemaDrift(where, first, "bring it back at the source, or take it out of the source file")
    if re.search(r"max_statement_time|maximum statement execution time", text):
        return SourceUnavailable(where, "a query took too long", "raise statement_timeout_s, or index the cursor")
    if re.search(r"Failed to connect", text) and re.search(r"\b(SSL|TLS)\b", text):
        return PermanentError(
            where, f"no TLS connection: {first}", f"correct ssl-mode or ssl-ca in {source.connection}"
        )
    if re.search(r"Can't connect|Unknown (server|MySQL server) host|Failed to connect|Too many connections", text):
        return SourceUnavailable(where, "the server does not answer", f"start it, or correct {source.connection}")
    if re.search(
        r"Failed to fetch|Lost connection|gone away|shutdown|killed|interrupted|read error|unexpected eof", text
    ):
        what = "the server ended a query or its connection, perhaps after statement_timeout_s"
        return SourceUnavailable(where, what, "run again; if it comes back, raise statement_timeout_s")
    if "No space left" in text:
        return PermanentError(where, "the disk is full", "free some space and run again; nothing committed is harmed")
    return PermanentError(where, first, "mend the cause and run again; nothing committed is harmed")


def name(identifier: str) -> str:
    """An identifier quoted for the server, in every sql_mode."""
    return "`" + identifier.replace("`", "``") + "`"


def constant(text: str) -> str:
    """Text as a literal of the server that means the same in every sql_mode and character set."""
    return f"_utf8mb4 X'{text.encode().hex()}'"


def _first(text: str) -> str:
    """The server's own words, without the statement that the scanner quotes before them."""
    words = text.partition("query: ")[2] if "query: " in text else text
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return redact(re.sub(r"\s+", " ", lines[0])) if lines else "the server said no more"


def _secret(place: Address) -> str:
    values = {"HOST": place.host, "PORT": str(place.port), "USER": place.user, "PASSWORD": place.password}
    values["DATABASE"] = place.database
    values |= {name.upper(): value for name, value in place.options.items() if name != "ssl_mode"}
    return ", ".join(f"{name} {literal(value)}" for name, value in values.items())


def _reject_unknown(where: str, variable: str, options: Mapping[str, str]) -> None:
    for option in options:
        if option not in OPTIONS:
            known = ", ".join(known.replace("_", "-") for known in OPTIONS)
            raise SpecError(where, f"{variable} has the unknown option {option!r}", f"known are {known}")
    if options.get("ssl_mode", "preferred").lower() not in MODES:
        raise SpecError(where, f"ssl-mode in {variable} is unknown", f"write {', '.join(MODES)}")
