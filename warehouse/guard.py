"""Which statements an analyst's session answers: questions, and tables that last as long as the session.

The published file is open read-only and the engine's doors are closed (`limits.lock`); this closes what the engine
leaves ajar: it lets a statement write wherever it may read. It is no wall against the user's own rights on this
machine: those are the business of file permissions, the S3 policy and the role on the metrics server.
"""

import re

import duckdb

from lake.errors import AccessDenied

WHERE = "watershed sql"
READ_ONLY = (
    "The warehouse is read-only: published versions never change; models are changed in dbt_project/, and "
    "`create temp table` lasts for this session."
)
QUESTIONS = {"SELECT", "EXPLAIN"}
ANSWERED = QUESTIONS | {"CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "SET", "PRAGMA"}
_WRITING = ("writes no files with SQL", r"use `\o FILE`, or `--format parquet --output FILE`")
_OPENING = (
    "opens nothing besides the warehouse, the lake and the metrics store",
    "use watershed.connect() in Python for files of your own",
)
REFUSALS = {
    **dict.fromkeys(("COPY", "EXPORT", "COPY_DATABASE"), _WRITING),
    **dict.fromkeys(("ATTACH", "DETACH", "LOAD", "UPDATE_EXTENSIONS"), _OPENING),
    "TRANSACTION": ("needs no transactions", "leave the statement out: a published version never changes"),
}
_ANY = ("does not answer such a statement", "ask with SELECT")
# Functions that reach past this list, or write, from within a SELECT.
_REACHING = re.compile(
    r"\b(enable_logging|postgres_(?:execute|attach|scan\w*)|query|json_execute_serialized_sql)\"?\s*\(", re.I
)
_EXPLAIN = re.compile(r"\s*explain\b\s*(analyze\b)?\s*(\([^()]*\))?", re.I)


def statements(connection: duckdb.DuckDBPyConnection, text: str) -> list[duckdb.Statement]:
    """The statements in `text`, if all may be answered. Raises AccessDenied for the first that may not."""
    if re.match(r"\s*update\s+extensions\b", text, re.I):  # DuckDB 1.5 fails to describe it
        raise AccessDenied(WHERE, *_OPENING)
    if reaching := _REACHING.search(re.sub(r"'(?:[^']|'')*'", "''", text)):
        raise AccessDenied(WHERE, f"does not call {reaching[1]}()", "ask the tables that `\\d` lists")
    found: list[duckdb.Statement] = connection.extract_statements(text)
    for statement in found:
        _allow(connection, statement)
    return found


def is_question(statement: duckdb.Statement) -> bool:
    """Whether the answer is rows, not a change in the session."""
    return statement.type.name in QUESTIONS or (
        statement.type.name == "PRAGMA" and duckdb.ExpectedResultType.QUERY_RESULT in statement.expected_result_type
    )


def _allow(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    kind = statement.type.name
    if kind not in ANSWERED:
        raise AccessDenied(WHERE, *REFUSALS.get(kind, _ANY))
    if kind == "EXPLAIN":  # EXPLAIN ANALYZE carries out what it explains
        explained = _EXPLAIN.match(statement.query)
        inner = connection.extract_statements(statement.query[explained.end() :]) if explained else []
        if not inner or any(one.type.name != "SELECT" for one in inner):
            raise AccessDenied(WHERE, "explains nothing but a SELECT", "leave comments and other statements out")
