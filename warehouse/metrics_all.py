"""Hot and cold rows as one: `metrics_all.<table>` is the server's rows and those that have left it for the lake.

Which ranges of the lake count is read from the server's book in the very snapshot in which its rows are read: so no
row is seen twice, and none is missing, while rows move: the server drops a range only when nobody is left who began to
read before it was marked. DuckDB reads a server in one snapshot per statement (or
transaction); the book is asked for while a statement is prepared, which fixes the snapshot, and the lake is opened
after that: it holds what the book of then says. For a table that has nothing in the lake the view says so if that has
changed since, instead of leaving rows out.
"""

import duckdb

from lake import duck, inventory, read
from lake.access import explained
from lake.cold import RANGE, address
from lake.commit import YEAR
from lake.errors import PermanentError, PlatformError
from lake.layout import Lake
from warehouse import metrics_store

NAME = metrics_store.ALL
WHAT = "Rows of the metrics store and those that have left it for the lake"
BOOK = "_cold"
_TABLES = f"SELECT DISTINCT table_name, column_name FROM duckdb_columns() WHERE database_name = '{metrics_store.NAME}'"
_NAMES = f"""
    SELECT table_name FROM ({_TABLES.replace(", column_name", "")}) WHERE NOT starts_with(table_name, '_') ORDER BY 1
"""

_TIMES = f"""
    SELECT hypertable_name::text, column_name::text FROM timescaledb_information.dimensions
    WHERE hypertable_schema = '{metrics_store.SCHEMA}' AND dimension_number = 1
"""


def add(connection: duckdb.DuckDBPyConnection, lake: Lake | None, reason: PlatformError | None = None) -> None:
    """Make the views, on a connection to which the server is attached, before it is locked.

    Without a lake (for that `reason`) a view answers as long as no range of its table has left the server. Raises a
    PlatformError if server or lake do not answer.
    """
    try:
        _add(connection, lake, reason)
    except (duckdb.Error, OSError) as error:
        raise metrics_store.unreachable(error) if metrics_store.is_its(error) else _of_lake(lake, error) from None


def _add(connection: duckdb.DuckDBPyConnection, lake: Lake | None, reason: PlatformError | None) -> None:
    tables = [str(name) for (name,) in connection.execute(_NAMES).fetchall()]
    has_book = bool(connection.execute(f"{_TABLES} AND table_name = '{BOOK}'").fetchall())
    connection.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {NAME}")
    cold = {one.table for one in inventory.tables(lake) if one.zone == "metrics_cold"} if lake else set()
    times = dict(connection.execute(f"SELECT * FROM {_asked(_TIMES)}").fetchall()) if cold else {}
    for name in tables:
        view, hot = f"{NAME}.main.{duck.quoted(name)}", _hot(name)
        if has_book:
            hot = (
                _with_cold(lake, name, times[name]) if lake and name in cold and name in times else _alone(name, reason)
            )
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS {hot}")
        connection.execute(f"COMMENT ON VIEW {view} IS {duck.literal(WHAT)}")


def _hot(name: str) -> str:
    return f"SELECT hot.* FROM {metrics_store.NAME}.{metrics_store.SCHEMA}.{duck.quoted(name)} AS hot"


def _staying(name: str, time: str) -> str:
    """The server's rows without those of a range that has left and is not dropped yet; at most one is on its way."""
    leaving = _book(name, "max(range_start) AS since, max(range_end) AS until", "left_at IS NOT NULL")
    at = f"hot.{duck.quoted(time)}"
    return f"{_hot(name)}, {leaving} AS gone WHERE coalesce({at} < gone.since OR {at} >= gone.until, true)"


def _alone(name: str, reason: PlatformError | None) -> str:
    """Hot rows, as long as there are no others: rows may move while a session goes on."""
    where, what = f"{NAME}.{name}", "rows have moved to the lake since this session began"
    why = PermanentError(where, what, "connect again")
    if reason:
        why = PermanentError(where, f"a part of its rows lies in the lake ({reason.where}: {reason.what})", reason.mend)
    is_all = f"if(count(*) = 0, true, error({duck.literal(str(why))})::boolean)"
    return f"{_hot(name)} WHERE (SELECT {is_all} FROM {_book(name)})"


def _with_cold(lake: Lake, name: str, time: str) -> str:
    # The book stands first in the join: what is bound first fixes the snapshot, before the lake is opened.
    cold = (
        f"SELECT cold.* EXCLUDE ({YEAR}, {RANGE}) FROM {_book(name)} AS book"
        f" JOIN {read.relation(lake, address(name))} AS cold ON cold.{RANGE} = book.range_start"
    )
    return f"{_staying(name, time)} UNION ALL BY NAME {cold}"


def _book(name: str, what: str = "range_start", which: str = "dropped_at IS NOT NULL") -> str:
    """What the server's book says of ranges; by default the starts of those that are to be read from the lake."""
    where = f"hypertable = {duck.literal(name)} AND {which}"
    return _asked(f"SELECT {what} FROM {metrics_store.SCHEMA}.{BOOK} WHERE {where}")


def _asked(query: str) -> str:
    return f"postgres_query({duck.literal(metrics_store.NAME)}, {duck.literal(query)})"


def _of_lake(lake: Lake | None, error: Exception) -> Exception:
    return explained(lake, error) if lake else error
