"""Grafana's macros for PostgreSQL, and a dashboard's variables, written out for a stretch of time.

Grafana replaces variables in the browser first and macros on its server then; see `macros.go` of its PostgreSQL data
source with TimescaleDB switched on. What it does not know is an error here as it is there.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from lake.errors import SpecError

_CALL = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_VARIABLE = re.compile(r"\$(\w+)(?!\w|\()|\$\{(\w+)\}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def written_out(sql: str, since: datetime, until: datetime, every: str, values: Mapping[str, str]) -> str:
    """The query without macros and variables; `values` are the lists of variables as SQL, `every` is `$__interval`.

    Both instants count, as `BETWEEN` has it. Raises SpecError for a macro or variable that there is not.
    """
    known = {"__interval": every, **values}

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in known:
            raise SpecError("dashboard", f"there is no variable ${name}", f"known are {', '.join(sorted(known))}")
        return known[name]

    return _CALL.sub(lambda found: _macro(found[1], found[2], since, until), _VARIABLE.sub(value, sql))


def seconds(span: str) -> int:
    """`1h` in seconds."""
    return int(span[:-1]) * _UNITS[span[-1]]


def quoted(values: list[object]) -> str:
    """Chosen values as Grafana writes those of a variable with several: `'a','b'`."""
    return ",".join("'" + str(value).replace("'", "''") + "'" for value in values)


def _macro(name: str, arguments: str, since: datetime, until: datetime) -> str:
    first, *others = (part.strip() for part in arguments.split(","))
    match name:
        case "__timeFilter":
            return f"{first} BETWEEN {_instant(since)} AND {_instant(until)}"
        case "__timeFrom":
            return _instant(since)
        case "__timeTo":
            return _instant(until)
        case "__timeGroup" if others:
            width = timedelta(seconds=seconds(others[0].strip("'"))).total_seconds()
            return f"time_bucket('{width:.3f}s',{first})"
        case "__timeGroupAlias" if others:
            return f'{_macro("__timeGroup", arguments, since, until)} AS "time"'
    raise SpecError("dashboard", f"Grafana knows no macro ${name}({arguments})", "see its PostgreSQL data source")


def _instant(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
