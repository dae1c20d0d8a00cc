"""Values of every type of PostgreSQL, and what the lake must hold for each; the published matrix is made from them."""

from dataclasses import dataclass

import pyarrow as pa

# What has to be there before the types: each a statement.
SETUP = (
    "create extension citext",
    "create extension hstore",
    "create extension ltree",
    "create type mood as enum ('happy', 'it''s \"so\", so')",
    "create type place as (label text, size numeric(6, 2), tags text[], seen_at timestamptz)",
    "create domain price as numeric(8, 2) check (value >= 0 or value = 'NaN')",
    "create domain net_price as price check (value < 1000 or value = 'NaN')",
    "create domain day as date",
    "create domain email as citext",
    "create domain labels as text[]",
    "create domain amount as money",
    "create domain code as varchar(4)",
    'create type "Odd ""kind"".x" as enum (\'a\')',
)
FAR = ("infinity", "-infinity", "10000-01-01", "0001-12-31 BC", "4713-01-01 BC")
TEXT = "tab\t, Ünïcödé ☃ 🦆, 'quotes', \"more\", a \\ and\nlines"


@dataclass(frozen=True)
class Case:
    """A column type, what it arrives as, and pairs of a value as PostgreSQL reads it and as DuckDB shows it.

    None instead of a shown value: it does not fit, stands as NULL and is told of by the condition for misfits.
    """

    type: str
    arrow: pa.DataType
    values: tuple[tuple[str, str | None], ...]
    declared: str | None = None

    @property
    def name(self) -> str:
        """For people: the type, and what was declared."""
        return f"{self.type} declared {self.declared}" if self.declared else self.type


def same(*values: str) -> tuple[tuple[str, str | None], ...]:
    """Values that are shown as they are written."""
    return tuple((value, value) for value in values)


def misfits(*values: str) -> tuple[tuple[str, str | None], ...]:
    """Values that do not fit."""
    return tuple((value, None) for value in values)


def decimal(precision: int, scale: int) -> pa.DataType:
    """Short for a decimal type."""
    return pa.decimal128(precision, scale)


TRUTHS_AND_NUMBERS = (
    Case("boolean", pa.bool_(), same("true", "false")),
    Case("smallint", pa.int16(), same("-32768", "32767")),
    Case("integer", pa.int32(), same("-2147483648", "2147483647")),
    Case("bigint", pa.int64(), same("-9223372036854775808", "9223372036854775807")),
    Case(
        "real",
        pa.float32(),
        (
            ("NaN", "nan"),
            ("Infinity", "inf"),
            ("-Infinity", "-inf"),
            ("-0", "-0.0"),
            ("1e-45", "1e-45"),
            ("0.1", "0.1"),
        ),
    ),
    Case(
        "double precision",
        pa.float64(),
        (
            ("NaN", "nan"),
            ("Infinity", "inf"),
            ("-Infinity", "-inf"),
            ("-0", "-0.0"),
            ("5e-324", "5e-324"),
            ("0.30000000000000004", "0.30000000000000004"),
        ),
    ),
    Case("numeric(12,2)", decimal(12, 2), same("-9999999999.99", "0.00") + misfits("NaN")),
    Case("numeric(5)", decimal(5, 0), same("12345") + misfits("NaN")),
    Case("numeric(18,6)", decimal(18, 6), same("-999999999999.999999")),
    Case(
        "numeric(38,10)",
        decimal(38, 10),
        same("1234567890123456789012345678.0123456789", "-9999999999999999999999999999.9999999999"),
    ),
    Case("numeric(3,5)", decimal(5, 5), (("0.00123", ".00123"), ("-0.00999", "-.00999"), *misfits("NaN"))),
    Case("numeric(3,-2)", decimal(5, 0), same("-99900", "12300") + misfits("NaN")),
    Case("numeric(40,2)", pa.string(), (("1.5", "1.50"), ("NaN", "NaN"))),
    Case("numeric(50,20)", pa.string(), same("123456789012345678901234567890.12345678901234567890", "NaN")),
    Case("numeric(30,-20)", pa.string(), same("12300000000000000000000")),
    Case(
        "numeric",
        pa.string(),
        same("0.1000000000000000000000000000000000000000001", "1.50", "NaN", "Infinity", "-Infinity", "1" + "0" * 300),
    ),
    Case(
        "money",
        decimal(21, 2),
        (("-92233720368547758.08", "-92233720368547758.08"), ("12.5", "12.50"), ("1234567.89", "1234567.89")),
    ),
)
TEXTS = (
    Case("text", pa.string(), same(TEXT, "", "NULL", "infinity", "x" * 10_000)),
    Case("varchar(20)", pa.string(), same("short", " blanks  ")),
    Case("varchar", pa.string(), same("any length")),
    Case("character(5)", pa.string(), (("ab", "ab"), ("  c", "  c"), ("", ""))),
    Case("name", pa.string(), same("a name")),
    Case('"char"', pa.string(), (*same("a", ""), ("\\377", "\\377"))),
    Case("citext", pa.string(), same("MiXeD", "é")),
    Case("bytea", pa.binary(), (("\\x00ff275c", "\\x00\\xFF\\x27\\x5C"), ("", ""), ("\\x61", "a"))),
)
DAYS_AND_TIMES = (
    Case(
        "date",
        pa.date32(),
        same("2024-02-29", "0001-01-01", "9999-12-31", "1582-10-10") + misfits(*FAR) + misfits("5874897-12-31"),
    ),
    Case(
        "timestamp",
        pa.timestamp("us"),
        same("2026-03-29 02:30:00.123456", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.5")
        + misfits(*FAR, "294276-12-31 23:59:59.999999"),
    ),
    Case("timestamp(0)", pa.timestamp("us"), (("2026-03-29 02:30:00.6", "2026-03-29 02:30:01"),)),
    Case(
        "timestamptz",
        pa.timestamp("us", "UTC"),
        (
            ("2026-03-29 02:30:00.123456-05", "2026-03-29 07:30:00.123456+00"),
            ("0001-01-01 00:00:00+00", "0001-01-01 00:00:00+00"),
            ("9999-12-31 23:59:59.999999+00", "9999-12-31 23:59:59.999999+00"),
            ("9999-12-31 23:59:59-01", None),
            ("0001-01-01 00:00:00+01", None),
            *misfits(*FAR, "294276-12-31 23:59:59.999999+00"),
        ),
    ),
    Case("time", pa.string(), same("23:59:59.999999", "24:00:00", "00:00:00")),
    Case("timetz", pa.string(), same("23:59:59.999999+05:30", "24:00:00-12", "00:00:00+00")),
    Case(
        "interval",
        pa.string(),
        (
            ("1 year 2 mons 3 days 04:05:06.7", "1 year 2 mons 3 days 04:05:06.7"),
            ("-1 years 2 days -03:04:05", "-1 years 2 days -03:04:05"),
            ("0", "00:00:00"),
            ("100 hours -0.000001 s", "99:59:59.999999"),
            ("178000000 years", "178000000 years"),
            ("infinity", "infinity"),
        ),
    ),
)
DOCUMENTS = (
    Case("uuid", pa.string(), same("ffffffff-ffff-ffff-ffff-fffffffffffe", "00000000-0000-0000-0000-000000000000")),
    Case("json", pa.string(), same('{"a":  [1, null], "a": "\\u0000", "n": 1.10}', "null")),
    Case(
        "jsonb",
        pa.string(),
        (('{"b": 1.10, "a": "é"}', '{"a": "é", "b": 1.10}'), ("null", "null"), ("1e400", "1" + "0" * 400)),
    ),
    Case("xml", pa.string(), same("<a b='1'>&#233;<!-- c --></a>", "text <b/>")),
    Case("hstore", pa.string(), (('"a b"=>"1", c=>NULL, d=>""', '{"c": null, "d": "", "a b": "1"}'), ("", "{}"))),
    Case(
        "place",
        pa.string(),
        (
            (
                '("x, \\"y\\"",1.50,"{a,NULL}","2026-01-01 00:00:00+01")',
                '{"label":"x, \\"y\\"","size":1.50,"tags":["a",null],"seen_at":"2025-12-31T23:00:00+00:00"}',
            ),
            ("(,NaN,,infinity)", '{"label":null,"size":"NaN","tags":null,"seen_at":"infinity"}'),
            ("(,,[0:0]={a},)", "(,,[0:0]={a},)"),
        ),
    ),
)
ARRAYS = (
    Case(
        "integer[]",
        pa.string(),
        (
            ("{1,NULL,-3}", "[1,null,-3]"),
            ("{}", "[]"),
            ("{{1,2},{3,NULL}}", "[[1,2],[3,null]]"),
            ("{{{1}}}", "[[[1]]]"),
            ("[0:1]={1,2}", "[0:1]={1,2}"),
            ("[1:1][-1:0]={{1,2}}", "[1:1][-1:0]={{1,2}}"),
        ),
    ),
    Case(
        "text[]",
        pa.string(),
        (('{"a,b",NULL,"NULL","","\\"q\\"","[0:1]=x"}', '["a,b",null,"NULL","","\\"q\\"","[0:1]=x"]'),),
    ),
    Case("numeric(6,2)[]", pa.string(), (("{1.50,NaN}", '[1.50,"NaN"]'),)),
    Case("double precision[]", pa.string(), (("{1e300,-Infinity,0.1}", '[1e+300,"-Infinity",0.1]'),)),
    Case("boolean[]", pa.string(), (("{t,f}", "[true,false]"),)),
    Case("date[]", pa.string(), (("{2024-02-29,infinity,10000-01-01}", '["2024-02-29","infinity","10000-01-01"]'),)),
    Case(
        "timestamptz[]",
        pa.string(),
        (("{2026-03-29 02:30:00.5-05,-infinity}", '["2026-03-29T07:30:00.5+00:00","-infinity"]'),),
    ),
    Case("interval[]", pa.string(), (("{1 day 00:00:01}", '["1 day 00:00:01"]'),)),
    Case("bytea[]", pa.string(), (('{"\\\\x00ff"}', '["\\\\x00ff"]'),)),
    Case("money[]", pa.string(), (("{$1.50,NULL,-$2000.00}", "[1.50,null,-2000.00]"),)),
    Case("mood[]", pa.string(), (("{happy}", '["happy"]'),)),
    Case("inet[]", pa.string(), (("{10.0.0.1}", '["10.0.0.1"]'),)),
    Case("jsonb[]", pa.string(), (('{"{\\"a\\": 1}"}', '[{"a": 1}]'),)),
    Case("place[]", pa.string(), (('{"(x,1,,)"}', '[{"label":"x","size":1.00,"tags":null,"seen_at":null}]'),)),
)
RANGES_AND_MORE = (
    Case("mood", pa.string(), same("happy", 'it\'s "so", so')),
    Case('"Odd ""kind"".x"', pa.string(), same("a")),
    Case("int4range", pa.string(), (("[1,5]", "[1,6)"), ("empty", "empty"), ("(,)", "(,)"))),
    Case("numrange", pa.string(), same("(1.50,2.0]")),
    Case("daterange", pa.string(), same("[2024-01-01,infinity)")),
    Case("tstzrange", pa.string(), (("[2026-01-01 00:00+01,)", '["2025-12-31 23:00:00+00",)'),)),
    Case("int4multirange", pa.string(), same("{[1,3),[5,8)}", "{}")),
    Case("inet", pa.string(), same("10.1.2.3", "10.1.2.3/8", "::1", "2001:db8::/32")),
    Case("cidr", pa.string(), (("10.1.0.0/16", "10.1.0.0/16"), ("10.1.2.3", "10.1.2.3/32"))),
    Case("macaddr", pa.string(), same("08:00:2b:01:02:03")),
    Case("macaddr8", pa.string(), same("08:00:2b:01:02:03:04:05")),
    Case("bit(3)", pa.string(), same("101")),
    Case("varbit", pa.string(), same("", "0011")),
    Case("tsvector", pa.string(), (("'a':1 'cat':2A", "'a':1 'cat':2A"),)),
    Case("tsquery", pa.string(), (("a & !b", "'a' & !'b'"),)),
    Case("ltree", pa.string(), same("top.science")),
    Case("point", pa.string(), (("(0.1,1e300)", "(0.1,1e+300)"), ("(NaN,Infinity)", "(NaN,Infinity)"))),
    Case("line", pa.string(), same("{1,-1,0}")),
    Case("lseg", pa.string(), same("[(0,0),(1,1)]")),
    Case("box", pa.string(), same("(1,1),(0,0)")),
    Case("path", pa.string(), same("((0,0),(1,1))", "[(0,0),(1,1)]")),
    Case("polygon", pa.string(), same("((0,0),(1,1),(2,0))")),
    Case("circle", pa.string(), same("<(0,0),2>")),
)
DOMAINS = (
    Case("price", decimal(8, 2), same("12.50") + misfits("NaN")),
    Case("net_price", decimal(8, 2), same("999.99") + misfits("NaN")),
    Case("day", pa.date32(), same("2024-02-29") + misfits("infinity")),
    Case("email", pa.string(), same("Ada@Example.org")),
    Case("labels", pa.string(), (("{a,NULL}", '["a",null]'), ("[5:5]={a}", "[5:5]={a}"))),
    Case("amount", decimal(21, 2), same("0.10")),
    Case("amount[]", pa.string(), (("{$0.10}", "[0.10]"),)),
    Case("code", pa.string(), same("ab")),
)
SYSTEM = (
    Case("oid", pa.int64(), same("4294967295")),
    Case("regclass", pa.string(), (("pg_class", "pg_class"), ("public.place", "public.place"))),
    Case("regtype", pa.string(), (("mood", "public.mood"), ("int4", "integer"))),
    Case("xid", pa.int64(), same("4294967295")),
    Case("cid", pa.int64(), same("4294967295")),
    Case("xid8", decimal(20, 0), same("18446744073709551615")),
    Case("tid", pa.string(), same("(4294967295,65535)")),
    Case("pg_lsn", pa.string(), same("FFFFFFFF/FFFFFFFF")),
    Case("pg_snapshot", pa.string(), same("10:20:10,14,15")),
    Case("int2vector", pa.string(), same("1 2 3")),
    Case("oidvector", pa.string(), same("1 2")),
    Case("jsonpath", pa.string(), (("$.a[*]", '$."a"[*]'),)),
)
DECLARED = (
    Case(
        "numeric",
        decimal(20, 4),
        (
            ("1.5", "1.5000"),
            ("-9999999999999999.9999", "-9999999999999999.9999"),
            *misfits("1.23456", "10000000000000000", "NaN", "Infinity", "-Infinity"),
        ),
        "decimal(20, 4)",
    ),
    Case("numeric(12,2)", decimal(20, 4), (("1.50", "1.5000"), ("NaN", None)), "decimal(20, 4)"),
    Case(
        "numeric(12,2)",
        decimal(5, 1),
        (("1.50", "1.5"), ("9999.90", "9999.9"), *misfits("1.55", "10000.00", "NaN")),
        "decimal(5, 1)",
    ),
    Case(
        "numeric(50,20)",
        decimal(38, 20),
        (("1", "1.00000000000000000000"), *misfits("1000000000000000000")),
        "decimal(38, 20)",
    ),
    Case(
        "bigint",
        decimal(10, 2),
        (("99999999", "99999999.00"), *misfits("100000000", "-9223372036854775808")),
        "decimal(10, 2)",
    ),
    Case("integer", decimal(12, 2), (("-2147483648", "-2147483648.00"),), "decimal(12, 2)"),
    Case(
        "double precision",
        decimal(10, 2),
        (("19.99", "19.99"), ("-0", "0.00"), *misfits("0.001", "1e300", "NaN", "Infinity", "-Infinity")),
        "decimal(10, 2)",
    ),
    Case(
        "text",
        decimal(10, 2),
        (
            (" -1.5 ", "-1.50"),
            ("+1e3", "1000.00"),
            (".5", "0.50"),
            ("7.", "7.00"),
            ("1.500", "1.50"),
            *misfits(
                "",
                "n/a",
                "1,5",
                "1.555",
                "1e9",
                "1e999999",
                "NaN",
                "Infinity",
                "0x1F",
                "1_000",
                "\u0661",
                "1\n2",
                "1" * 300,
            ),
        ),
        "decimal(10, 2)",
    ),
    Case("citext", decimal(4, 2), (("1.5", "1.50"), ("x", None)), "decimal(4, 2)"),
    Case("jsonb", decimal(4, 2), (("1.5", "1.50"), ('"1.5"', None), ("[1]", None)), "decimal(4, 2)"),
    Case("money", decimal(10, 2), (("1.5", "1.50"), ("100000000", None)), "decimal(10, 2)"),
    Case("boolean", decimal(1, 0), misfits("true"), "decimal(1, 0)"),
    Case(
        "date",
        pa.string(),
        (("infinity", "infinity"), ("0044-03-15 BC", "0044-03-15 BC"), ("2024-02-29", "2024-02-29")),
        "text",
    ),
    Case(
        "timestamptz",
        pa.string(),
        (("2026-01-01 00:00+01", "2025-12-31 23:00:00+00"), ("10000-01-01 00:00+00", "10000-01-01 00:00:00+00")),
        "text",
    ),
    Case("numeric(12,2)", pa.string(), (("NaN", "NaN"), ("1.5", "1.50")), "text"),
    Case("double precision", pa.string(), (("0.30000000000000004", "0.30000000000000004"), ("NaN", "NaN")), "text"),
    Case("bytea", pa.string(), (("\\x00ff", "\\x00ff"),), "text"),
    Case("money", pa.string(), (("1234.5", "1234.50"),), "text"),
    Case("boolean", pa.string(), (("true", "true"),), "text"),
    Case("character(5)", pa.string(), (("ab", "ab"),), "text"),
    Case("integer[]", pa.string(), (("{1,2}", "[1,2]"),), "text"),
    Case("price", pa.string(), (("12.5", "12.50"), ("NaN", "NaN")), "text"),
    Case("net_price", decimal(10, 4), (("12.5", "12.5000"), ("NaN", None)), "decimal(10, 4)"),
)
GROUPS = {
    "Truth and numbers": TRUTHS_AND_NUMBERS,
    "Text and bytes": TEXTS,
    "Days and times": DAYS_AND_TIMES,
    "Documents and composites": DOCUMENTS,
    "Arrays": ARRAYS,
    "Enums, ranges, networks, shapes": RANGES_AND_MORE,
    "Domains": DOMAINS,
    "The server's own": SYSTEM,
    "With a declared type": DECLARED,
}
CASES = tuple(case for group in GROUPS.values() for case in group)
# Words of the published page: before its tables, and beside a type whose values do not tell enough.
WORDS = {
    "Text and bytes": [
        "In a database of encoding `SQL_ASCII`, which takes any bytes for text, a value that is no UTF-8 arrives with "
        "its bytes escaped (`caf\\351`)."
    ],
    "page": [
        "Every column has one target, whatever the server's settings are. What Parquet under a Delta log can hold "
        "arrives as such, everything else as the text or JSON that stands below, without loss. A value that does not "
        "fit its target never stops a table and is never bent: it stands as NULL, and its text goes to "
        "[quarantine](../how-to/recover.md) with the row's key, or the row is set aside, as the table's contract "
        "says (`types:`). Types that are not listed arrive as PostgreSQL's own text. "
        "`columns: {name: text}` or `decimal(p, s)` in the declaration takes the place of what stands here."
    ],
    "Days and times": [
        "Delta's log and Python know the years 1 to 9999 only: a single date before year 1 makes a whole Delta table "
        "unreadable through its Arrow reader, an infinite one makes the writer fail. Declare such a column `text` to "
        "keep it all."
    ],
    "Arrays": [
        "PostgreSQL's arrays may have any number of dimensions, row by row, and start at any index; Parquet's lists "
        "may not. They arrive as JSON: `CAST(x AS INTEGER[])`, `json_extract` and `unnest` of DuckDB read it. An array "
        "that does not start at index 1 keeps PostgreSQL's text, which is no JSON."
    ],
    "Domains": ["A domain is read as the type below it, over any number of domains, with that type's modifiers."],
    "With a declared type": [
        "A declared decimal never rounds: a value with more digits does not fit. A float is taken with the 15 digits "
        "(`real`: 6) of PostgreSQL's own cast. Text must be a plain number, with an exponent of up to three digits if "
        "any."
    ],
}
NOTES = {
    "numeric": "text, all digits",
    "numeric(40,2)": "text, all digits: more than 38",
    "numeric(50,20)": "text, all digits: more than 38",
    "numeric(30,-20)": "text, all digits: more than 38",
    "money": "the amount in the server's currency; a third decimal (dinar) would not fit",
    "character(5)": "without the padding",
    "time": "text: Delta has no time of day",
    "timetz": "text with its offset: Delta has no time of day",
    "interval": "text; `CAST(x AS INTERVAL)` reads it in DuckDB",
    "json": "text, to the letter",
    "place": "a composite: JSON object; PostgreSQL's text if an array in it does not start at index 1",
    "mood": "an enum: the label",
    "inet": "a host without `/32`, as PostgreSQL shows it",
    "regclass": "with its schema",
}
