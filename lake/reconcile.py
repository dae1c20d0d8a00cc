"""What raw says a table is, and processed made so again for single days.

Raw is a log: of all rows with one key the newest `_loaded_at` wins, and the key is gone if that row says `d`. Processed
ought to be just that; where it is not, `refold` rebuilds the days that differ, in one commit.
"""

import datetime
from collections.abc import Collection
from typing import Any

from lake import commit, read
from lake.access import told
from lake.duck import quoted
from lake.fold import BATCH_ROWS, MEMORY, Folded
from lake.intake import Subject
from lake.layout import DAY_COLUMNS, Lake


def state(lake: Lake, subject: Subject, within: str = "TRUE") -> str:
    """The SQL of raw's latest state: one row for each key that is there, with `_op`, `_loaded_at` and `_load_id`.

    `within` is a condition on the partition column (see `between` and `on`): only rows of these days are read whole. Of
    the loads that came later no more than the keys are read, to find rows that have left these days since.
    """
    raw = read.relation(lake, subject.at("raw"))
    keys = ", ".join(quoted(column) for column in subject.key)
    near = f"SELECT * EXCLUDE ({', '.join(DAY_COLUMNS)}) FROM {raw} WHERE {within}"
    same = subject.match("n", "m")
    # Most keys have one row: only the others are sorted.
    twice = f"SELECT {keys} FROM near GROUP BY {keys} HAVING count(*) > 1"
    newest = f"""SELECT n.* FROM near AS n SEMI JOIN twice AS m ON {same}
        QUALIFY row_number() OVER (PARTITION BY {", ".join(f"n.{quoted(name)}" for name in subject.key)}
            ORDER BY n._loaded_at DESC, n._op) = 1"""
    left = ""
    if within != "TRUE":
        left = f"""ANTI JOIN (SELECT {keys}, max(_loaded_at) AS _left_at FROM {raw}
            WHERE NOT ({within}) AND {_later(subject, raw, within)} GROUP BY {keys}) AS m
            ON {same} AND n._loaded_at < m._left_at"""
    return f"""(WITH near AS ({near}), twice AS ({twice})
        SELECT n.* FROM (SELECT n.* FROM near AS n ANTI JOIN twice AS m ON {same} UNION ALL {newest}) AS n {left}
        WHERE n._op <> 'd')"""


def between(subject: Subject, first: datetime.date | None = None, last: datetime.date | None = None) -> str:
    """The condition that a row's UTC day is within these bounds; bounds of files in the log keep others unread."""
    if subject.partition is None or (first is None and last is None):
        return "TRUE"
    column, parts = quoted(subject.partition), []
    if first is not None:
        parts.append(f"{column} >= DATE '{first}'")
    if last is not None and last < datetime.date.max:
        parts.append(f"{column} < DATE '{last + datetime.timedelta(days=1)}'")
    return " AND ".join(parts) or "TRUE"


def on(subject: Subject, days: Collection[datetime.date] | None) -> str:
    """The condition that a row is of one of these UTC days; always true for None, or for a table without days."""
    if subject.partition is None or days is None:
        return "TRUE"
    listed = ", ".join(f"DATE '{day}'" for day in sorted(days)) or "NULL"
    bounds = between(subject, min(days), max(days)) if days else "FALSE"
    return f"{bounds} AND CAST({quoted(subject.partition)} AS DATE) IN ({listed})"


def is_folded(lake: Lake, subject: Subject) -> bool:
    """Whether processed has taken in every load that raw holds."""
    raw = commit.table(lake, subject.at("raw"))
    folded = int(commit.state(commit.table(lake, subject.at("processed"))).get("folded", -1))
    return raw is None or not any("load_id" in state for state in commit.states(raw, folded))


def refold(lake: Lake, subject: Subject, days: Collection[datetime.date] | None) -> Folded:
    """Make processed what raw says, for these UTC days (None: all), in one commit; raw must be folded.

    A row of these days that lies in the partition of another day takes that day along. Raises Busy.
    """
    base = commit.table(lake, subject.at("processed"))
    if base is None:
        return Folded()
    with read.connect(lake, MEMORY) as connection, told(lake):
        processed = read.relation(lake, subject.at("processed"))
        wanted: set[datetime.date] | None = None
        if subject.partition and days is not None:
            where = f"SELECT DISTINCT make_date(year::INT, month::INT, day::INT) FROM {processed}"
            lying = connection.execute(f"{where} WHERE {on(subject, days)}").fetchall()
            wanted = {*days, *(day for (day,) in lying)}
        day = f", CAST({quoted(subject.partition)} AS DATE) AS _day" if subject.partition else ""
        order = " ORDER BY _day" if subject.partition else ""
        query = f"SELECT *{day} FROM {state(lake, subject, on(subject, wanted))}{order}"
        rows = connection.execute(query).to_arrow_reader(BATCH_ROWS)
        kept: dict[str, Any] = commit.state(base)
        done = commit.replace(lake, subject.at("processed"), rows, kept, base=base, days=wanted, told=subject.told)
    return Folded(0, done.rows, tuple(sorted(wanted or ())))


def _later(subject: Subject, raw: str, within: str) -> str:
    """The condition on rows of loads that came after the first one that brought a row of these days."""
    first = f"(SELECT min(_loaded_at) FROM {raw} WHERE {within})"
    place = f"(SELECT min(year || month || day) FROM {raw} WHERE {within})"
    return f"year || month || day >= {place} AND _loaded_at > {first}"
