"""The metrics store beside the warehouse, as the database `metrics_store`, read by a role that may only read.

The role of METRICS_DSN owns its database and is never used here: from within a SELECT, DuckDB can send a server
statements that end the read-only transaction. METRICS_READER_DSN names a role whose rights end at SELECT.
"""

import os
from urllib.parse import parse_qsl, unquote, urlsplit

import duckdb

from lake import duck
from lake.errors import PermanentError, PlatformError, SpecError, TransientError

NAME, SCHEMA, WHERE = "metrics_store", "metrics", "metrics store"
ALL = "metrics_all"  # its rows and those that have left it for the lake, see `warehouse.metrics_all`
PATIENCE_S = 3
_PARTS = {"hostname": "HOST", "port": "PORT", "username": "USER", "password": "PASSWORD"}


def attach(connection: duckdb.DuckDBPyConnection) -> PlatformError | None:
    """Attach it read-only, or answer why that cannot be. The password is in a secret that DuckDB shows redacted."""
    dsn = os.environ.get("METRICS_READER_DSN")
    if not dsn:
        mend = "run `make run` once, or let METRICS_READER_DSN name a role that may read it"
        return PermanentError(WHERE, "no role for analysts is known", mend)
    try:
        address, secret = _split(dsn)
        connection.execute(f"LOAD postgres_scanner; CREATE OR REPLACE TEMPORARY SECRET metrics_reader ({secret})")
        connection.execute(
            f"ATTACH {duck.literal(address)} AS {NAME} "
            f"(TYPE postgres, SECRET metrics_reader, READ_ONLY, SCHEMA {duck.literal(SCHEMA)})"
        )
    except SpecError as error:
        return error
    except duckdb.Error as error:
        return unreachable(error)
    return None


def unreachable(error: Exception) -> PlatformError:
    """Why the server did not answer, in a sentence without its address's secrets."""
    text = str(error)
    if "authentication failed" in text or "does not exist" in text or "no password supplied" in text:
        what = "the server refuses user, password or database"
        return PermanentError(WHERE, what, "run `make run` once, or correct METRICS_READER_DSN")
    if "permission denied" in text:
        return PermanentError(WHERE, "the role may not read this", "run `make run` once: it grants SELECT to the role")
    if "statement timeout" in text:
        return TransientError(WHERE, "the server stopped the query after its time limit", "narrow it")
    return TransientError(WHERE, "does not answer", "start the server (`watershed up`), then ask again")


def is_its(error: Exception) -> bool:
    """Whether an error came from the server of the metrics store."""
    text = str(error)
    return "Postgres" in text or "connection to server" in text or "ERROR:  " in text


def _split(dsn: str) -> tuple[str, str]:
    """What may be shown of an address (options), and the words of a secret (host, user, password)."""
    parts = urlsplit(dsn)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise SpecError("METRICS_READER_DSN", "is no libpq URI", "write postgresql://user:password@host:port/database")
    named = {word: getattr(parts, part) for part, word in _PARTS.items() if getattr(parts, part) is not None}
    words = [f"{word} {duck.literal(unquote(str(value)))}" for word, value in named.items()]
    options = {"connect_timeout": str(PATIENCE_S), "application_name": "watershed-sql", **dict(parse_qsl(parts.query))}
    shown = " ".join(f"{name}='{_escaped(value)}'" for name, value in options.items() if name != "password")
    return shown, ", ".join(["TYPE postgres", *words, f"DATABASE {duck.literal(unquote(parts.path.strip('/')))}"])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
