"""Columns of a table made wider, or taken out: raw, processed and history rewritten, each in one commit."""

import json
from collections.abc import Collection, Mapping

import pyarrow as pa

from lake import checksum, commit, kinds, read
from lake.access import told
from lake.duck import literal, quoted
from lake.gate import MISFIT
from lake.intake import Subject
from lake.layout import DAY_COLUMNS, Address, Lake

OF_ONE_LOAD = ("load_id", "rows", "checksum", "recorded")


def widen(lake: Lake, subject: Subject, widened: Mapping[str, pa.DataType]) -> bool:
    """Change the type of columns that the lake holds, where they do not have it yet; tells whether anything changed.

    Raw comes last: killed in between, the next load finds raw with its old types and does the rest. Loads that wait to
    be folded into processed must be folded before. Old versions of the tables keep the old types.
    """
    if not widened:
        return False
    changed = [_rewrite(lake, subject, address, widened, ()) for address in _tables(subject)]
    return any(changed)


def shed(lake: Lake, subject: Subject, dropped: Collection[str]) -> bool:
    """Take columns out that the lake holds and that are dropped by declaration now; tells whether anything changed.

    As `widen`, raw comes last. Old versions of the tables hold the values until upkeep removes them.
    """
    if not dropped:
        return False
    tables = (subject.at("quarantine"), *_tables(subject))
    changed = [_rewrite(lake, subject, address, {}, dropped) for address in tables]
    return any(changed)


def _tables(subject: Subject) -> tuple[Address, ...]:
    history = Address("processed", subject.source, f"{subject.table}_history")
    return subject.at("processed"), history, subject.at("raw")


def _rewrite(
    lake: Lake, subject: Subject, address: Address, widened: Mapping[str, pa.DataType], dropped: Collection[str]
) -> bool:
    base = commit.table(lake, address)
    if base is None:
        return False
    known = read.columns(base)
    casts = [
        f"CAST({quoted(name)} AS {kinds.sql(kind)}) AS {quoted(name)}"
        for name, kind in widened.items()
        if name in known and not kinds.stored(known[name]).equals(kind)
    ]
    gone = [quoted(name) for name in known if name in dropped]
    if not casts and not gone:
        return False
    # Other state stays as it is; with no load's id in it, nothing waits to be folded because of this commit.
    state = {name: value for name, value in commit.state(base).items() if name not in OF_ONE_LOAD}
    with read.connect(lake) as connection, told(lake):
        less = f" EXCLUDE ({', '.join(gone)})" if gone else ""
        where = "TRUE"
        if address.zone == "quarantine":  # single values lie in rows of their own, what did not fit beside its row
            where = f"_column IS NULL OR _column NOT IN ({', '.join(map(literal, dropped))})"
            nothing = literal(json.dumps(dict.fromkeys(dropped)))
            casts = [f"nullif(json_merge_patch({MISFIT}, {nothing})::VARCHAR, '{{}}') AS {MISFIT}"]
        other = f" REPLACE ({', '.join(casts)})" if casts else ""
        relation = f"(SELECT *{less}{other} FROM {read.relation(lake, address, base)} WHERE {where})"
        if address.zone == "raw":
            # The sums of all loads were taken of other columns, or of other types.
            state["recorded"] = {load: total.state() for load, total in checksum.by_load(connection, relation).items()}
        query = f"SELECT * FROM {relation}"
        if base.metadata().partition_columns:
            day = f"make_date({', '.join(f'{name}::INTEGER' for name in DAY_COLUMNS)}) AS _day"
            query = f"SELECT * EXCLUDE ({', '.join(DAY_COLUMNS)}), {day} FROM {relation} ORDER BY _day"
        rows = connection.execute(query).to_arrow_reader(10_000)
        commit.replace(lake, address, rows, state, base=base, retype=True, told=subject.told)
    return True
