"""Sketches: how the values of a bucket are spread, so that percentiles can be read, also of many buckets together.

A sketch counts values in bins whose bounds are the powers of 1.0201, on either side of zero, and holds the bins that
have values as `{bin, count, bin, count, …}`. A percentile is read at the geometric middle of its bin: it is at most 1 %
off the value that `percentile_disc` finds among the rows, and merging sketches adds nothing to that. It is the idea of
DDSketch (Masson, Rim, Lee, 2019), made of aggregates that both editions of TimescaleDB allow in a roll-up.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from metrics.server import Connection
from metrics.spec import SCHEMA

ERROR = 0.01  # of a percentile, relative, against percentile_disc over the rows
Step = tuple[str, str, tuple[sql.Composable, ...]]  # relation, what, statements

_WIDTH = repr(2 * math.log1p(ERROR))  # of a bin, on the logarithmic scale
_ZERO = 40_000  # bins of the smallest and the largest number lie 37,411 below and 35,667 above it
_MANY = 16_384  # entries: a sketch that is being merged is put in order when it grows beyond


@dataclass(frozen=True)
class _Function:
    name: str
    arguments: str
    returns: str
    how: str
    body: str
    comment: str

    @property
    def signature(self) -> str:
        kinds = ", ".join(argument.split(" ", 1)[1] for argument in self.arguments.split(", "))
        return f"{SCHEMA}.{self.name}({kinds})"

    @property
    def statement(self) -> str:
        return (
            f"CREATE OR REPLACE FUNCTION {SCHEMA}.{self.name}({self.arguments}) RETURNS {self.returns} {self.how}"
            f" IMMUTABLE PARALLEL SAFE AS $body${self.body}$body$"
        )


@dataclass(frozen=True)
class _Aggregate:
    name: str
    argument: str
    settings: dict[str, str]
    comment: str

    @property
    def signature(self) -> str:
        return f"{SCHEMA}.{self.name}({self.argument})"

    @property
    def statement(self) -> str:
        settings = ", ".join(f"{key} = {value}" for key, value in self.settings.items())
        return f"CREATE OR REPLACE AGGREGATE {self.signature} ({settings}, PARALLEL = SAFE)"


def steps(connection: Connection) -> Iterator[Step]:
    """The functions that are missing on the server or differ from those here, with the statements that make them."""
    held = {str(row[0]): row[1:] for row in connection.execute(_HELD, (SCHEMA, SCHEMA))}
    if any(held.get(one.signature) != (one.body, None, None, None) for one in _FUNCTIONS) or any(
        held.get(one.signature, ())[1:] != tuple(one.settings.get(key) for key in ("SFUNC", "FINALFUNC", "STYPE"))
        for one in _AGGREGATES
    ):
        statements = [sql.SQL(one.statement) for one in (*_FUNCTIONS, *_AGGREGATES)]
        statements += [sql.SQL(f"COMMENT ON FUNCTION {one.signature} IS '{one.comment}'") for one in _FUNCTIONS]
        statements += [sql.SQL(f"COMMENT ON AGGREGATE {one.signature} IS '{one.comment}'") for one in _AGGREGATES]
        yield f"{SCHEMA}.percentile", "create the functions that make, merge and read sketches", tuple(statements)


# Written so that the planner puts it in line: no call per row.
_BIN = f"""
    SELECT CASE WHEN value = 0 THEN 0 WHEN abs(value) < 'Infinity' THEN
        sign(value)::integer * ({_ZERO} + ceil(ln(abs(value)) / {_WIDTH})::integer) END
"""
_SKETCHED = """
    SELECT array_agg(part ORDER BY bin, at) FROM (
        SELECT bin, count(*) AS number FROM unnest(bins) AS bin WHERE bin IS NOT NULL GROUP BY bin
    ) AS counted, LATERAL (VALUES (1, bin::bigint), (2, number)) AS pair (at, part)
"""
_COMPACTED = """
    SELECT array_agg(part ORDER BY bin, at) FROM (
        SELECT sketch[entry] AS bin, sum(sketch[entry + 1])::bigint AS number
        FROM generate_series(1, cardinality(sketch), 2) AS entry GROUP BY 1
    ) AS counted, LATERAL (VALUES (1, bin), (2, number)) AS pair (at, part)
"""
_MERGED = f"""
BEGIN
    sketch := sketch || part;
    IF cardinality(sketch) > {_MANY} THEN
        sketch := {SCHEMA}.compacted(sketch);
    END IF;
    RETURN sketch;
END
"""
_PERCENTILE = f"""
DECLARE
    rank bigint := 0;
    seen bigint := 0;
BEGIN
    IF NOT p BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'percentile %: is not between 0 and 1; write 0.95 for the 95th', p USING ERRCODE = '22003';
    END IF;
    FOR entry IN 1 .. cardinality(sketch) BY 2 LOOP
        rank := rank + sketch[entry + 1];
    END LOOP;
    rank := greatest(1, ceil(p * rank));
    FOR entry IN 1 .. cardinality(sketch) BY 2 LOOP
        seen := seen + sketch[entry + 1];
        IF seen >= rank THEN
            IF sketch[entry] = 0 THEN
                RETURN 0;
            END IF;
            RETURN sign(sketch[entry]) * exp(least((abs(sketch[entry]) - {_ZERO} - 0.5::float8) * {_WIDTH}, 709.78));
        END IF;
    END LOOP;
    RETURN NULL;
END
"""

_FUNCTIONS = (
    _Function(
        "bin",
        "value double precision",
        "integer",
        "LANGUAGE sql",
        _BIN,
        "Bin of a sketch that a value falls in; NULL for NULL, NaN and infinity.",
    ),
    _Function(
        "sketched", "bins integer[]", "bigint[]", "LANGUAGE sql STRICT", _SKETCHED, "The sketch of a bag of bins."
    ),
    _Function(
        "compacted",
        "sketch bigint[]",
        "bigint[]",
        "LANGUAGE sql STRICT",
        _COMPACTED,
        "A sketch in which each bin stands once, in order.",
    ),
    _Function(
        "merged", "sketch bigint[], part bigint[]", "bigint[]", "LANGUAGE plpgsql STRICT", _MERGED,
        "Two sketches together; used by the aggregate merge.",
    ),
    _Function(
        "percentile", "sketch bigint[], p double precision", "double precision", "LANGUAGE plpgsql STRICT", _PERCENTILE,
        "The value below which the share p of the rows lies, from a sketch; at most 1 % off.",
    ),
)  # fmt: skip
_AGGREGATES = (
    _Aggregate(
        "sketch",
        "integer",
        {"SFUNC": "array_append", "STYPE": "integer[]", "COMBINEFUNC": "array_cat", "FINALFUNC": "metrics.sketched"},
        "Sketch of values: metrics.sketch(metrics.bin(value)).",
    ),
    _Aggregate(
        "merge",
        "bigint[]",
        {
            "SFUNC": "metrics.merged", "STYPE": "bigint[]", "COMBINEFUNC": "metrics.merged",
            "FINALFUNC": "metrics.compacted",
        },
        "One sketch of many: percentiles of a longer time or of many series.",
    ),
)  # fmt: skip
_HELD = """
    SELECT format('%%s.%%s(%%s)', %s::text, proname, oidvectortypes(proargtypes)),
           CASE WHEN prokind = 'f' THEN prosrc END,
           aggtransfn::text, nullif(aggfinalfn::oid, 0)::regproc::text, format_type(aggtranstype, NULL)
    FROM pg_proc LEFT JOIN pg_aggregate ON aggfnoid = pg_proc.oid WHERE pronamespace = to_regnamespace(%s)
"""
