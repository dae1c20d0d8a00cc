"""Who may read the metrics: the role that analysts connect with is granted SELECT on schema `metrics`, no more."""

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from metrics.server import Connection, explained, one
from metrics.spec import SCHEMA

# Chunks and continuous aggregates are read with the rights on the table that a query names.
_LACKING = """
    SELECT NOT has_schema_privilege(%(role)s::name, %(schema)s::text, 'USAGE') OR EXISTS (
        SELECT FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s::text) AND relkind IN ('r', 'v', 'p', 'm')
        AND relowner = current_user::regrole AND NOT has_table_privilege(%(role)s::name, oid, 'SELECT'))
"""


def allow(connection: Connection, dsn: str | None) -> list[str]:
    """Let the role of `dsn` (METRICS_READER_DSN) read every table of schema `metrics`; what was done, in sentences.

    Without such a role, or if it may read all already, nothing is done.
    """
    role = conninfo_to_dict(dsn).get("user") if dsn else None
    if not role:
        return []
    with explained("metrics server"), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('metrics.apply', 0))")
        if not one(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", (str(role),)):
            return [f"role {role} of METRICS_READER_DSN is not known to the server: analysts cannot read the metrics"]
        (lacking,) = connection.execute(_LACKING, {"role": role, "schema": SCHEMA}).fetchone() or (False,)
        if not lacking:
            return []
        names = {"schema": sql.Identifier(SCHEMA), "role": sql.Identifier(str(role))}
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role}").format(**names))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}").format(**names))
    return [f"role {role} may read schema {SCHEMA}"]
