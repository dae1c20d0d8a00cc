"""Anomalies: which values lie further from what was expected than they ever did, as far as the past tells.

What is expected is a median of the past: of the last two days, of the same hour on other days, or of the same hour of
the same weekday, whichever was nearest on average up to the day before. How far off is odd is told by the series'
own days: further than on the worst of them, times the tolerance; once a whole history is there the worst day is
forgiven and the second worst counts, so that one incident does not hide the next. A habit is held against its own days
once they fill half a history, before that against whatever was expected on each day. Nothing after a value, and for the
limit nothing of its own day (UTC), is looked at. No model is fitted and nothing is kept between two looks.
"""

from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from lake import duck
from metrics.anomaly_spec import Watch
from metrics.spec import BUCKETS

VALUES = pa.schema(
    [
        pa.field("series", pa.string()),
        pa.field("name", pa.string()),
        pa.field("measured_at", pa.timestamp("us", "UTC")),
        pa.field("value", pa.float64()),
    ]
)
SHARE = 0.1  # of what is expected: a value less far off is not odd, however regular the series was
RECENT = timedelta(days=2)  # what is expected of a series without seasons is its median of so long


def judged(values: pa.Table, watch: Watch) -> pa.Table:
    """Each value (`VALUES`) with `expected`, `by` (which habit), `off`, `limit` and whether `is_odd`, in order of time.

    Values without the days of history that the watch asks for have no limit, and are not odd. NULLs are left out.
    """
    with duck.connect() as connection:
        connection.register("given", values.cast(VALUES))
        connection.execute(_EXPECTED.format(**_words(watch)))
        connection.execute(_NEAREST.format(**_words(watch)))
        connection.execute(_LIMITS.format(**_words(watch)))
        _sides(connection, watch)
        found: pa.Table = connection.execute(_JUDGED.format(**_words(watch))).to_arrow_table()
    return found


def filled(values: pa.Table, watch: Watch, until: datetime) -> pa.Table:
    """The values, and for each bucket that a series lacks after its first one what an absent bucket counts as."""
    if watch.every is None or watch.absent is None or not values.num_rows:
        return values
    with duck.connect() as connection:
        connection.register("given", values)
        found: pa.Table = connection.execute(_FILLED, [BUCKETS[watch.every], until, watch.absent]).to_arrow_table()
    return found.cast(VALUES)


def past(watch: Watch) -> timedelta:
    """How far before the first value to be judged the values must reach: differences of a history, and theirs."""
    return 2 * watch.history


def runs(odd: pa.Table, quiet: timedelta) -> pa.Table:
    """Odd values (with columns `cause` and `measured_at`) as incidents: `cause`, `began`, `ended`, `count`.

    Two values of one cause belong together if no more than `quiet` lies between them.
    """
    with duck.connect() as connection:
        connection.register("odd", odd)
        found: pa.Table = connection.execute(_RUNS, [quiet]).to_arrow_table()
    return found


def _words(watch: Watch) -> dict[str, str]:
    history = duck.literal(f"{int(watch.history.total_seconds())} seconds")
    seasons = {"none": "FALSE, FALSE", "day": "TRUE, FALSE", "week": "TRUE, TRUE"}[watch.season].split(", ")
    return {
        "history": f"INTERVAL {history}",
        "recent": f"INTERVAL '{int(RECENT.total_seconds())} seconds'",
        "by_hour": seasons[0],
        "by_weekday": seasons[1],
        "days": str(days := max(watch.history // timedelta(days=1), 1)),
        "own_days": str(max(days // 2, 1)),
        "least_days": str(watch.least_days),
        "tolerance": repr(watch.tolerance),
        "share": repr(SHARE),
    }


def _sides(connection: duckdb.DuckDBPyConnection, watch: Watch) -> None:
    connection.execute("CREATE TABLE sides (name VARCHAR, above BOOLEAN, below BOOLEAN, least DOUBLE)")
    for name, value in watch.values.items():
        connection.execute(
            "INSERT INTO sides VALUES (?, ?, ?, ?)", [name, value.side != "below", value.side != "above", value.least]
        )


# Medians of the same hour leave the last twelve hours out, so that what goes on now is not its own measure.
_EXPECTED = """
CREATE TABLE expected AS
SELECT *, value - of_late AS off_late, value - of_hour AS off_hour, value - of_weekday AS off_weekday
FROM (
    SELECT series, name, measured_at, measured_at::DATE AS day, value,
        median(value) OVER (PARTITION BY series, name ORDER BY measured_at
            RANGE BETWEEN {recent} PRECEDING AND INTERVAL '1 microsecond' PRECEDING) AS of_late,
        median(value) OVER past_hours AS of_hour,
        CASE WHEN count(*) OVER past_weekdays >= 2 THEN median(value) OVER past_weekdays END AS of_weekday
    FROM given
    WHERE value IS NOT NULL
    WINDOW
        past_hours AS (PARTITION BY series, name, hour(measured_at) ORDER BY measured_at
            RANGE BETWEEN {history} PRECEDING AND INTERVAL '12 hours' PRECEDING),
        past_weekdays AS (PARTITION BY series, name, isodow(measured_at), hour(measured_at) ORDER BY measured_at
            RANGE BETWEEN {history} PRECEDING AND INTERVAL '12 hours' PRECEDING)
)
"""
_NEAREST = """
CREATE TABLE nearest AS
SELECT series, name, measured_at, day, value,
    CASE
        WHEN {by_weekday} AND off_weekday IS NOT NULL AND weekday_was < late_was AND weekday_was < hour_was
            THEN 'weekday'
        WHEN {by_hour} AND off_hour IS NOT NULL AND hour_was < late_was THEN 'hour'
        ELSE 'late'
    END AS habit,
    CASE habit WHEN 'weekday' THEN of_weekday WHEN 'hour' THEN of_hour ELSE of_late END AS expected,
    value - expected AS off
FROM (
    SELECT *,
        avg(abs(off_late)) OVER past AS late_was,
        avg(abs(off_hour)) OVER past AS hour_was,
        avg(abs(off_weekday)) OVER past AS weekday_was
    FROM expected
    WINDOW past AS (PARTITION BY series, name ORDER BY day
        RANGE BETWEEN {history} PRECEDING AND INTERVAL '1 day' PRECEDING)
)
WHERE expected IS NOT NULL
"""
# A habit that is new has few days of its own, so until then what was judged by other habits counts, too.
_LIMITS = """
CREATE TABLE limits AS
SELECT series, name, habit, day, len(worst) AS days,
    list_reverse_sort(worst)[CASE WHEN days >= {days} THEN 2 ELSE 1 END] AS worst
FROM (
    SELECT series, name, habit, day, list(worst) OVER (PARTITION BY series, name, habit ORDER BY day
        RANGE BETWEEN {history} PRECEDING AND INTERVAL '1 day' PRECEDING) AS worst
    FROM (
        SELECT series, name, habit, day, max(abs(off)) AS worst
        FROM (
            SELECT series, name, day, unnest(['late', 'hour', 'weekday']) AS habit,
                unnest([off_late, off_hour, off_weekday]) AS off
            FROM expected
            UNION ALL
            SELECT series, name, day, 'any', off FROM nearest
        )
        GROUP BY ALL
        HAVING worst IS NOT NULL
    )
)
"""
_JUDGED = """
SELECT series, name, measured_at, value, expected, habit AS by, off,
    CASE WHEN judged.days >= {least_days} THEN greatest(
        {tolerance} * CASE WHEN own.days >= {own_days} THEN own.worst ELSE judged.worst END,
        {share} * abs(expected), coalesce(least, 0)) END AS "limit",
    coalesce(abs(off) > "limit" AND ((off > 0 AND coalesce(above, TRUE)) OR (off < 0 AND coalesce(below, TRUE))),
        FALSE) AS is_odd
FROM nearest
    LEFT JOIN limits AS own USING (series, name, habit, day)
    LEFT JOIN (SELECT * EXCLUDE (habit) FROM limits WHERE habit = 'any') AS judged USING (series, name, day)
    LEFT JOIN sides USING (name)
ORDER BY measured_at, series, name
"""
_FILLED = """
SELECT series, name, measured_at, coalesce(value, absent) AS value
FROM (
    SELECT series, name, unnest(generate_series(min(measured_at), until - width, width)) AS measured_at, absent
    FROM given, (SELECT $1::INTERVAL AS width, $2::TIMESTAMPTZ AS until, $3::DOUBLE AS absent)
    GROUP BY series, name, until, width, absent
)
LEFT JOIN given USING (series, name, measured_at)
"""
_RUNS = """
SELECT cause, min(measured_at) AS began, max(measured_at) AS ended, count(*) AS count
FROM (
    SELECT cause, measured_at, sum(is_new) OVER (PARTITION BY cause ORDER BY measured_at) AS run
    FROM (
        SELECT cause, measured_at,
            CASE WHEN measured_at - lag(measured_at) OVER (PARTITION BY cause ORDER BY measured_at) <= ?
                THEN 0 ELSE 1 END AS is_new
        FROM odd
    )
)
GROUP BY cause, run
ORDER BY began, cause
"""
