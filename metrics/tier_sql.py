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

Step = tuple[str, str, tuple[sql.Composable, ...]]  # relation, what, statements

DROP, JOB = "_drop_copied", "drop_copied"
DAILY = "1 day"


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
    yield DROP, f"text, {range}, timestamptz", _DROP, _created(
        "FUNCTION", DROP, "of_table text, since timestamptz, until timestamptz, at timestamptz",
        "RETURNS text LANGUAGE plpgsql", "SET timezone = 'UTC'", _DROP,
    )  # fmt: skip
    yield (
        JOB,
        "integer, jsonb",
        _JOB,
        _created("PROCEDURE", JOB, "job_id integer, config jsonb", "LANGUAGE plpgsql", "", _JOB),
    )


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
    held = connection.execute(_JOBS, (SCHEMA, JOB, hypertable.name)).fetchall()
    if [after for _, after in held] != [hypertable.drop_after]:
        statements += [sql.SQL("SELECT delete_job({})").format(number) for number, _ in held]
        config = "jsonb_build_object('hypertable', {}::text, 'drop_after', {}::interval::text)"
        statements.append(
            sql.SQL(f"SELECT add_job({{}}, {{}}::interval, config => {config})").format(
                f"{SCHEMA}.{JOB}", DAILY, hypertable.name, hypertable.drop_after
            )
        )
    if statements:
        yield hypertable.name, "drop what was copied to the lake (the server's job drop_copied)", tuple(statements)


_SOURCE = "SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure(%s)"
_JOBS = """
    SELECT job_id, (config ->> 'drop_after')::interval FROM timescaledb_information.jobs
    WHERE proc_schema = %s AND proc_name = %s AND config ->> 'hypertable' = %s
"""

# Answers NULL, or in words why it was not dropped. Readers go on while rows are summed up; who writes to these chunks
# by hand waits. What it locked and what it dropped must be the same chunks: a new one may come in between.
_DROP = """
DECLARE
    copy metrics._cold;
    found record;
    chunk text;
    held text[];
    gone text[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN 'the transaction must be read committed, to see all rows';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('metrics.' || of_table, 0));
    SELECT * INTO copy FROM metrics._cold
    WHERE hypertable = of_table AND range_start = since AND range_end = until FOR UPDATE;
    IF copy.hypertable IS NULL OR copy.dropped_at IS NOT NULL THEN
        RETURN 'it has no copy in the lake that waits for this';
    END IF;
    IF copy.hold_until > at THEN
        RETURN 'it was loaded back, and is kept until ' || to_char(copy.hold_until, 'YYYY-MM-DD HH24:MI "UTC"');
    END IF;
    SELECT array_agg(format('%I.%I', chunk_schema, chunk_name) ORDER BY 1) INTO held
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'metrics' AND hypertable_name = of_table AND range_start < until AND range_end > since;
    FOREACH chunk IN ARRAY coalesce(held, '{}') LOOP
        EXECUTE 'LOCK TABLE ' || chunk || ' IN SHARE ROW EXCLUSIVE MODE';
    END LOOP;
    IF EXISTS (SELECT FROM metrics._dirty WHERE hypertable = of_table AND bucket_at < until) THEN
        RETURN 'its roll-ups are not up to date';
    END IF;
    IF EXISTS (
        SELECT FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log AS changed
        JOIN _timescaledb_catalog.hypertable AS named ON named.id = changed.hypertable_id
        WHERE named.schema_name = 'metrics' AND named.table_name = of_table
            AND changed.lowest_modified_value < extract(epoch FROM until) * 1000000
            AND changed.greatest_modified_value >= extract(epoch FROM since) * 1000000
    ) THEN
        RETURN 'its roll-ups are not up to date';
    END IF;
    EXECUTE format('SELECT * FROM metrics.%I($1, $2)', '_sum_' || of_table) INTO found USING since, until;
    IF found.rows <> copy.rows OR found.checksum <> copy.checksum THEN
        RETURN format('its rows changed since they were copied (%s then, %s now)', copy.rows, found.rows);
    END IF;
    SELECT array_agg(dropped ORDER BY 1) INTO gone
    FROM drop_chunks(format('metrics.%I', of_table)::regclass, older_than => until, newer_than => since) AS dropped;
    IF gone IS DISTINCT FROM held THEN
        RAISE EXCEPTION 'chunks of metrics.% came or went while they were dropped', of_table
            USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE metrics._cold SET dropped_at = at, hold_until = NULL
    WHERE hypertable = of_table AND range_start = since;
    INSERT INTO metrics._state AS kept (hypertable, dropped_before, refreshed_at) VALUES (of_table, until, now())
    ON CONFLICT (hypertable) DO UPDATE SET refreshed_at = excluded.refreshed_at,
        dropped_before = greatest(kept.dropped_before, excluded.dropped_before);
    RETURN NULL;
END
"""
_JOB = """
DECLARE
    copy record;
    refusal text;
BEGIN
    FOR copy IN
        SELECT range_start, range_end FROM metrics._cold
        WHERE hypertable = config ->> 'hypertable' AND dropped_at IS NULL
            AND range_end <= now() - (config ->> 'drop_after')::interval AND coalesce(hold_until <= now(), true)
        ORDER BY range_start
    LOOP
        refusal := metrics._drop_copied(config ->> 'hypertable', copy.range_start, copy.range_end, now());
        IF refusal IS NOT NULL THEN
            RAISE WARNING 'metrics.% from %: not dropped: %', config ->> 'hypertable', copy.range_start, refusal;
        END IF;
    END LOOP;
END
"""
