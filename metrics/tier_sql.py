"""What the server itself has for tiering: the checksum of a range, and the drop that refuses unless the copy is right.

The refusal stands in the server so that nobody gets round it: the platform and, on the community edition, a job of the
server's own call the same function.
"""

from collections.abc import Iterator

from psycopg import sql

from lake import canonical_postgres
from lake.duck import quoted
from metrics import books
from metrics.batches import arrow_schema
from metrics.server import Connection, Edition, edition, one
from metrics.spec import SCHEMA, Hypertable
from metrics.tier_functions import DROP, JOB, LEAVE, LOCK

Step = tuple[str, str, tuple[sql.Composable, ...]]  # relation, what, statements

JOB_NAME = "drop_copied"
HOURLY = "1 hour"


def checksum_function(name: str) -> str:
    """The name of the function `(since, until) → rows, checksum` of a hypertable."""
    return f"_sum_{name}"


def steps(connection: Connection, hypertable: Hypertable, kind: Edition) -> Iterator[Step]:
    """The functions (and on the community edition the job) that are missing or other than they should be."""
    missing = []
    for name, arguments, body, create in _functions(hypertable):
        found = one(connection, _SOURCE, (f"{SCHEMA}.{name}({arguments})",))
        if found != body:
            missing.append(create)
    if missing:
        what = "have rows copied to the lake and checked before they are dropped"
        yield hypertable.name, what, tuple(missing)
    if kind == "community":
        yield from _job(connection, hypertable)


def prepare(connection: Connection, hypertable: Hypertable) -> None:
    """Make the book and the functions of a hypertable as they should be, if `apply` has not done so before."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('metrics.apply', 0))")
        made = [change.statements for change in books.steps(connection)]
        made += [statements for _, _, statements in steps(connection, hypertable, edition(connection))]
        for statement in (statement for statements in made for statement in statements):
            connection.execute(sql.SQL("{}").format(statement))


def _functions(hypertable: Hypertable) -> Iterator[tuple[str, str, str, sql.Composed]]:
    """Name, types of arguments, body and the statement that makes it, of each function."""
    range = "timestamptz, timestamptz"
    body = _checksum(hypertable)
    yield checksum_function(hypertable.name), range, body, _created(
        "FUNCTION", checksum_function(hypertable.name),
        "since timestamptz, until timestamptz, OUT rows bigint, OUT checksum numeric", "LANGUAGE sql STABLE",
        "SET timezone = 'UTC' SET jit = off SET max_parallel_workers_per_gather = 0", body,
    )  # fmt: skip
    of, text, zone = "of_table text, since timestamptz, until timestamptz", "LANGUAGE plpgsql", "SET timezone = 'UTC'"
    for name, types, given, answer, body in (
        ("_lock_chunks", "text", "mode text", "text[]", LOCK),
        ("_leave", "timestamptz", "at timestamptz", "text", LEAVE),
        ("_drop_left", "interval", "patience interval", "text", DROP),
    ):
        create = _created("FUNCTION", name, f"{of}, {given}", f"RETURNS {answer} {text}", zone, body)
        yield name, f"text, {range}, {types}", body, create
    create = _created("PROCEDURE", JOB_NAME, "job_id integer, config jsonb", text, "", JOB)
    yield JOB_NAME, "integer, jsonb", JOB, create


def _created(kind: str, name: str, arguments: str, language: str, settings: str, body: str) -> sql.Composed:
    head = f"CREATE OR REPLACE {kind} {{}} ({arguments}) {language} {settings} AS {{}}"
    return sql.SQL(head).format(sql.Identifier(SCHEMA, name), sql.Literal(body))


def _checksum(hypertable: Hypertable) -> str:
    names = ", ".join(map(quoted, hypertable.columns))
    time = quoted(hypertable.time)
    relation = f"(SELECT {names} FROM {SCHEMA}.{quoted(hypertable.name)} WHERE {time} >= $1 AND {time} < $2) AS r0"
    return canonical_postgres.total(relation, {field.name: field.type for field in arrow_schema(hypertable)})


def _job(connection: Connection, hypertable: Hypertable) -> Iterator[Step]:
    """The server's own job in the place of a retention policy: it drops what was copied."""
    statements: list[sql.Composable] = []
    held = connection.execute(_JOBS, (SCHEMA, JOB_NAME, hypertable.name)).fetchall()
    if [after for _, after in held] != [hypertable.drop_after]:
        statements += [sql.SQL("SELECT delete_job({})").format(number) for number, _ in held]
        config = "jsonb_build_object('hypertable', {}::text, 'drop_after', {}::interval::text)"
        statements.append(
            sql.SQL(f"SELECT add_job({{}}, {{}}::interval, config => {config})").format(
                f"{SCHEMA}.{JOB_NAME}", HOURLY, hypertable.name, hypertable.drop_after
            )
        )
    if statements:
        yield hypertable.name, "drop what was copied to the lake (the server's job drop_copied)", tuple(statements)


_SOURCE = "SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure(%s)"
_JOBS = """
    SELECT job_id, (config ->> 'drop_after')::interval FROM timescaledb_information.jobs
    WHERE proc_schema = %s AND proc_name = %s AND config ->> 'hypertable' = %s
"""
