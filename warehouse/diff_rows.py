"""Compare the rows of one table in two attached files, `old` and `new`, with bounded memory.

Equal tables cost one pass over each: count and sum of hashes. Otherwise rows are counted and hashed by bucket of their
key, and only the buckets that differ are matched row by row; DuckDB puts on disk what does not fit into memory.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import duckdb

from lake.duck import quoted
from warehouse.diff_facts import Columns, Day, Example, Kind, Largest, MartDiff, Measure

KEY_COLUMNS = 4  # a key is made of at most so many leading columns
ROWS_OF_A_BUCKET = 1000
ROWS_OF_A_TRIAL = 100_000
KEPT_ROWS = 1_000_000
NUMBERS = ("DECIMAL", "DOUBLE", "FLOAT", "BIGINT", "INTEGER", "HUGEINT", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER")
NO_MEASURE = ("_key", "_id", "_number", "_code")
KINDS: tuple[Kind, ...] = ("added", "removed", "changed")
MEASURES = 3  # measures whose largest changes are shown


@dataclass(frozen=True)
class _Pair:
    """One table on both sides: the columns that are compared, and how each side names it and its values."""

    connection: duckdb.DuckDBPyConnection
    schema: str
    name: str
    before: Columns
    after: Columns

    @property
    def columns(self) -> list[str]:
        return [name for name in self.after if name in self.before and not name.startswith("_")]

    @property
    def measures(self) -> list[str]:
        return [
            name
            for name in self.columns
            if self.after[name].startswith(NUMBERS)
            and self.before[name].startswith(NUMBERS)
            and not name.endswith(NO_MEASURE)
        ]

    @property
    def day(self) -> str | None:
        """The column that tells a fact's event day."""
        if self.name.startswith("dim_"):
            return None
        days = [name for name in self.columns if self.after[name] == "DATE"]
        instants = [name for name in self.columns if self.after[name].startswith("TIMESTAMP")]
        return next(iter(days + instants), None)

    def side(self, side: str, *, as_is: Collection[str] = ()) -> str:
        """The compared columns of one side, in the types of the newer one but for those `as_is`."""
        values = [
            quoted(name)
            if name in as_is or side == "new" or self.before[name] == self.after[name]
            else f"try_cast({quoted(name)} as {self.after[name]}) as {quoted(name)}"
            for name in self.columns
        ]
        return f"(select {', '.join(values) or '1'} from {side}.{quoted(self.schema)}.{quoted(self.name)})"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def row(self, query: str) -> tuple[Any, ...]:
        return self.rows(query)[0]


def compared(
    connection: duckdb.DuckDBPyConnection,
    schema: str,
    name: str,
    before: Columns | None,
    after: Columns | None,
    examples: int,
) -> MartDiff:
    """What differs in one table; `before` and `after` are its columns on each side, None if it is not there."""
    if before is None or after is None:
        side = "new" if before is None else "old"
        (count,) = connection.execute(f"select count(*) from {side}.{quoted(schema)}.{quoted(name)}").fetchall()[0]
        return MartDiff(schema, name, None if before is None else count, None if after is None else count)
    pair = _Pair(connection, schema, name, before, after)
    old, new = _extent(pair, "old"), _extent(pair, "new")
    facts: dict[str, Any] = {
        "columns_added": tuple((it, kind) for it, kind in after.items() if it not in before),
        "columns_removed": tuple((it, kind) for it, kind in before.items() if it not in after),
        "columns_retyped": tuple((it, before[it], kind) for it, kind in after.items() if before.get(it, kind) != kind),
        "measures": tuple(map(Measure, pair.measures, old[2:], new[2:])),
    }
    if old[:2] == new[:2]:
        facts["measures"] = tuple(map(Measure, pair.measures, new[2:], new[2:]))  # sums of doubles depend on the order
    else:
        facts |= _differences(pair, max(old[0], new[0]), examples)
    return MartDiff(schema, name, old[0], new[0], **facts)


def _extent(pair: _Pair, side: str) -> tuple[Any, ...]:
    """Row count, order-free hash, and the sum of every measure of one side."""
    sums = "".join(f", sum({quoted(name)})" for name in pair.measures)
    return pair.row(f"select count(*), sum({_hash(pair.columns)}){sums} from {pair.side(side)}")


def _differences(pair: _Pair, rows: int, examples: int) -> dict[str, Any]:
    for width in range(1, min(KEY_COLUMNS, len(pair.columns)) + 1):
        key = pair.columns[:width]
        if pair.after[key[-1]].startswith(("DECIMAL", "DOUBLE", "FLOAT")):
            break  # a grain has no amounts
        if _is_unique(pair, key, rows) and _match(pair, key, rows):
            return _by_key(pair, key, examples)
    return _without_key(pair, examples)


def _is_unique(pair: _Pair, key: list[str], rows: int) -> bool:
    """Whether the columns may be the key: no value twice, in a large table among one in so many of the values only.

    For a value that differs `_match` makes sure of it.
    """
    every = max(1, rows // ROWS_OF_A_TRIAL)
    trial = f"select 1 from {{}} where {_hash(key)} % {every} = 0 group by {', '.join(map(quoted, key))}"
    return not any(pair.rows(f"{trial.format(pair.side(side))} having count(*) > 1 limit 1") for side in ("old", "new"))


def _match(pair: _Pair, key: list[str], rows: int) -> bool:
    """Fill the table `differing` (key, kind) from the buckets that differ; False if the key is not unique in them."""
    bucket = f"{_hash(key)} % {max(256, rows // ROWS_OF_A_BUCKET)}"
    sums = f"select {bucket} as bucket, count(*) as row_count, sum({_hash(pair.columns)}) as fingerprint from"
    pair.connection.execute(
        f"""
        create or replace temp table buckets as
        select coalesce(o.bucket, n.bucket) as bucket
        from ({sums} {pair.side("old")} group by 1) as o
        full join ({sums} {pair.side("new")} group by 1) as n on o.bucket = n.bucket
        where o.row_count is distinct from n.row_count or o.fingerprint is distinct from n.fingerprint
        """
    )
    names = ", ".join(map(quoted, key))
    for side in ("old", "new"):
        pair.connection.execute(
            f"""
            create or replace temp table {side}_rows as
            select {names}, {_hash(pair.columns)} as fingerprint
            from {pair.side(side)}
            where {bucket} in (select bucket from buckets)
            """
        )
    doubled = "select 1 from {}_rows group by {} having count(*) > 1 limit 1"
    if any(pair.rows(doubled.format(side, names)) for side in ("old", "new")):
        return False
    chosen = ", ".join(f"coalesce(o.{name}, n.{name}) as {name}" for name in map(quoted, key))
    pair.connection.execute(
        f"""
        create or replace temp table differing as
        select {chosen},
            case when o.fingerprint is null then 'added' when n.fingerprint is null then 'removed' else 'changed' end
            as kind
        from old_rows as o full join new_rows as n on {_same("o", "n", key)}
        where o.fingerprint is distinct from n.fingerprint
        """
    )
    return True


def _by_key(pair: _Pair, key: list[str], examples: int) -> dict[str, Any]:
    held = _keep_differing(pair, key)
    counts = dict(pair.rows("select kind, count(*) from differing group by 1"))
    days: dict[Any, dict[str, int]] = {}
    for kind in (kind for kind in KINDS if kind != "changed" and kind in counts):
        for day, count in pair.rows(f"select {_day(pair, kind)}, count(*) from {_joined(key, kind)} group by 1"):
            days.setdefault(day, {})[kind] = count
    values, largest = _changes(pair, key, days, examples) if "changed" in counts else ((), ())
    pair.connection.execute(f"drop {held} old_rows; drop {held} new_rows")
    most = sorted(days.items(), key=lambda it: (-sum(it[1].values()), str(it[0])))[:examples]
    return {
        "key": tuple(key),
        **{kind: counts.get(kind, 0) for kind in KINDS},
        "changed_values": values,
        "days": tuple(Day(day, *(of.get(kind, 0) for kind in KINDS)) for day, of in most) if pair.day else (),
        "largest": largest,
        "examples": tuple(it for kind in KINDS if kind in counts for it in _examples(pair, key, kind, examples)),
    }


def _keep_differing(pair: _Pair, key: list[str]) -> str:
    """Have the differing rows of both sides at hand as `old_rows` and `new_rows`; very many are read anew each time."""
    pair.connection.execute("drop table old_rows; drop table new_rows")
    (count,) = pair.row("select count(*) from differing")
    held = "table" if count <= KEPT_ROWS else "view"
    for side in ("old", "new"):
        pair.connection.execute(
            f"""
            create temp {held} {side}_rows as
            select {side[0]}.*, d.kind as _kind
            from {pair.side(side)} as {side[0]} inner join differing as d on {_same("d", side[0], key)}
            """
        )
    return held


def _joined(key: list[str], kind: Kind) -> str:
    """The differing rows of one kind, with their values on each side as `o` and `n`."""
    if kind != "changed":
        side = "new" if kind == "added" else "old"
        return f"(select * from {side}_rows where _kind = '{kind}') as {side[0]}"
    old, new = (f"(select * from {side}_rows where _kind = 'changed') as {side[0]}" for side in ("old", "new"))
    return f"{old} inner join {new} on {_same('o', 'n', key)}"


def _day(pair: _Pair, kind: Kind) -> str:
    return f"cast({'o' if kind == 'removed' else 'n'}.{quoted(pair.day)} as date)" if pair.day else "null"


def _changes(
    pair: _Pair, key: list[str], days: dict[Any, dict[str, int]], examples: int
) -> tuple[tuple[tuple[str, int], ...], tuple[Largest, ...]]:
    """Changed values of each column, and the largest changes, in one pass over the changed rows; counts them by day."""
    others = [name for name in pair.columns if name not in key]
    measures = [name for name in others if name in pair.measures]
    counted = [f"count(*) filter (o.{name} is distinct from n.{name})" for name in map(quoted, others)]
    keys = ", ".join(f"n.{quoted(name)}" for name in key)
    best = [
        f"max_by(row({keys}, o.{name}, n.{name}), abs(coalesce(n.{name}, 0) - coalesce(o.{name}, 0)), {examples})"
        f" filter (o.{name} is distinct from n.{name})"
        for name in map(quoted, measures)
    ]
    counts, tops = [0] * len(others), [[] for _ in measures]  # type: tuple[list[int], list[list[tuple[Any, ...]]]]
    facts = ", ".join(["count(*)", *counted, *best])
    for day, count, *found in pair.rows(
        f"select {_day(pair, 'changed')}, {facts} from {_joined(key, 'changed')} group by 1"
    ):
        days.setdefault(day, {})["changed"] = count
        counts = [sum(it) for it in zip(counts, found, strict=False)]
        for top, more in zip(tops, found[len(others) :], strict=True):
            top += more or ()
    values = sorted(((name, count) for name, count in zip(others, counts, strict=True) if count), key=lambda it: -it[1])
    rows = dict(zip(measures, tops, strict=True))
    shown = [name for name, _ in values if name in rows][:MEASURES]
    return tuple(values), tuple(Largest(name, _first(key, rows[name], examples)) for name in shown)


def _first(key: list[str], rows: list[tuple[Any, ...]], examples: int) -> tuple[tuple[Any, Any, Any], ...]:
    rows.sort(key=lambda row: (-abs((row[-1] or 0) - (row[-2] or 0)), str(row)))
    return tuple((_named(key, row), row[-2], row[-1]) for row in rows[:examples])


def _examples(pair: _Pair, key: list[str], kind: Kind, examples: int) -> list[Example]:
    others = [name for name in pair.columns if name not in key]
    names = ", ".join(map(quoted, key))
    first = f"(select {names} from differing where kind = '{kind}' order by {names} limit {examples})"
    sides = {"added": ["new"], "removed": ["old"], "changed": ["old", "new"]}[kind]
    joins = " ".join(f"inner join {pair.side(it, as_is=others)} as {it[0]} on {_same('d', it[0], key)}" for it in sides)
    values = [f"{s}.{quoted(name)}" if _has(sides, s) else "null" for name in others for s in ("o", "n")]
    keys = [f"d.{quoted(name)}" for name in key]
    found = []
    for row in pair.rows(f"select {', '.join(keys + values)} from {first} as d {joins} order by {', '.join(keys)}"):
        pairs = zip(others, row[len(key) :: 2], row[len(key) + 1 :: 2], strict=True)
        values_of = tuple((name, old, new) for name, old, new in pairs if kind != "changed" or old != new)
        found.append(Example(kind, _named(key, row), values_of))
    return found


def _has(sides: list[str], alias: str) -> bool:
    return any(side.startswith(alias) for side in sides)


def _without_key(pair: _Pair, examples: int) -> dict[str, Any]:
    """Rows that no columns tell apart, compared as bags: so many more, so many fewer of each."""
    sums = f"select {_hash(pair.columns)} as fingerprint, count(*) as times from"
    pair.connection.execute(
        f"""
        create or replace temp table bags as
        select
            coalesce(o.fingerprint, n.fingerprint) as fingerprint, coalesce(n.times, 0) - coalesce(o.times, 0) as more
        from ({sums} {pair.side("old")} group by 1) as o
        full join ({sums} {pair.side("new")} group by 1) as n on o.fingerprint = n.fingerprint
        where o.times is distinct from n.times
        """
    )
    added, removed = pair.row(
        "select coalesce(sum(greatest(more, 0)), 0), coalesce(sum(greatest(-more, 0)), 0) from bags"
    )
    kinds: tuple[tuple[Kind, str, str], ...] = (("removed", "old", "<"), ("added", "new", ">"))
    found = []
    for kind, side, sign in kinds:
        rows = pair.rows(
            f"""
            select distinct * from {pair.side(side)}
            where {_hash(pair.columns)} in (select fingerprint from bags where more {sign} 0)
            order by all limit {examples}
            """
        )
        for row in rows:
            values = (
                (it, None, value) if kind == "added" else (it, value, None)
                for it, value in zip(pair.columns, row, strict=True)
            )
            found.append(Example(kind, (), tuple(values)))
    return {"added": int(added), "removed": int(removed), "examples": tuple(found)}


def _hash(columns: list[str]) -> str:
    return f"hash({', '.join(map(quoted, columns)) or '0'})"


def _same(one: str, other: str, key: list[str]) -> str:
    return " and ".join(f"{one}.{name} is not distinct from {other}.{name}" for name in map(quoted, key))


def _named(key: list[str], row: tuple[Any, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple(zip(key, row, strict=False))
