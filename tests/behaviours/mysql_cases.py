"""Values of every type of MySQL and MariaDB, and what the lake must hold for each; the docs list them."""

from dataclasses import dataclass

import pyarrow as pa

TEXT = "tab\t, Ünïcödé ☃ 🦆, ''quotes'', \"more\" and\nlines"
ZEROES = ("0000-00-00", "2024-00-00", "2024-02-00", "2024-02-30", "2023-02-29", "0000-01-01")


@dataclass(frozen=True)
class Case:
    """A column's type, what it arrives as, and pairs of a value as the server reads it and as DuckDB shows it.

    None instead of a shown value: it does not fit, stands as NULL and is told of by the condition for misfits. `only`
    names the one server that knows the type. `note` is for people.
    """

    type: str
    arrow: pa.DataType
    values: tuple[tuple[str, str | None], ...]
    declared: str | None = None
    only: str | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """For people: the type, and what was declared."""
        return f"{self.type} declared {self.declared}" if self.declared else self.type


def plain(*values: str) -> tuple[tuple[str, str | None], ...]:
    """Values that are shown as they are written."""
    return tuple((value, value) for value in values)


def quoted(*values: str) -> tuple[tuple[str, str | None], ...]:
    """Texts that are shown as they are."""
    return tuple((f"'{value}'", value.replace("''", "'")) for value in values)


def misfits(*values: str) -> tuple[tuple[str, str | None], ...]:
    """Values that do not fit."""
    return tuple((f"'{value}'", None) for value in values)


def decimal(precision: int, scale: int) -> pa.DataType:
    """Short for a decimal type."""
    return pa.decimal128(precision, scale)


def shown(*parts: str) -> str:
    """Bytes in hexadecimal digits as DuckDB shows them."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'\"" else f"\\x{byte:02X}"
        for byte in bytes.fromhex("".join(parts))
    )


POINT = "000000000000f03f0000000000000040"  # 1 and 2 as doubles
NUMBERS = (
    Case("tinyint(1)", pa.int8(), plain("0", "1", "2", "-128", "127"), note="a number: it may hold more than 0 and 1"),
    Case("boolean", pa.int8(), (("true", "1"), ("false", "0")), note="another word for tinyint(1)"),
    Case("tinyint", pa.int8(), plain("-128", "127")),
    Case("tinyint unsigned", pa.int16(), plain("0", "255")),
    Case("smallint", pa.int16(), plain("-32768", "32767")),
    Case("smallint unsigned", pa.int32(), plain("65535")),
    Case("mediumint", pa.int32(), plain("-8388608", "8388607")),
    Case("mediumint unsigned", pa.int32(), plain("16777215")),
    Case("int", pa.int32(), plain("-2147483648", "2147483647")),
    Case("int unsigned", pa.int64(), plain("4294967295")),
    Case("int(6) zerofill", pa.int64(), plain("42", "4294967295"), note="without the zeroes"),
    Case("bigint", pa.int64(), plain("-9223372036854775808", "9223372036854775807")),
    Case("bigint unsigned", decimal(20, 0), plain("18446744073709551615"), note="Delta has no unsigned numbers"),
    Case("year", pa.int16(), (("1901", "1901"), ("2155", "2155"), ("'0000'", "0"))),
    Case("bit(1)", pa.bool_(), (("b'1'", "true"), ("b'0'", "false"))),
    Case("bit(7)", pa.int64(), (("b'1000001'", "65"),)),
    Case("bit(64)", decimal(20, 0), (("0xffffffffffffffff", "18446744073709551615"), ("b'1'", "1"))),
    Case("float", pa.float32(), plain("0.1", "-3.4028235e+38", "1.1754944e-38")),
    Case("double", pa.float64(), plain("0.30000000000000004", "-1.7976931348623157e+308", "2.2250738585072014e-308")),
    Case("double(8,2)", pa.float64(), (("1.005", "1.0"), ("-999999.99", "-999999.99"))),
    Case("decimal(5,0)", decimal(5, 0), plain("-99999", "99999")),
    Case("decimal(5,2) unsigned", decimal(5, 2), plain("999.99")),
    Case("decimal(12,2)", decimal(12, 2), plain("-9999999999.99", "0.01")),
    Case("decimal(38,10)", decimal(38, 10), plain("-1234567890123456789012345678.0123456789")),
    Case("decimal(38,0)", decimal(38, 0), plain("-" + "9" * 38)),
    Case("decimal(38,38)", decimal(38, 38), (("-0." + "9" * 38, "-." + "9" * 38),), only="MariaDB"),
    Case("decimal(37,0) unsigned", decimal(37, 0), plain("9" * 37)),
    Case("decimal(39,1)", pa.string(), plain("-" + "9" * 38 + ".9"), note="more than 38 digits: text"),
    Case("decimal(65,30)", pa.string(), plain("-" + "9" * 35 + "." + "9" * 30, "0." + "0" * 29 + "1")),
)
TEXTS = (
    Case("varchar(200)", pa.string(), quoted(TEXT, "", "NULL", "  blanks  ")),
    Case("char(5)", pa.string(), (("'ab'", "ab"), ("' c'", " c"), ("'d   '", "d")), note="without padding"),
    Case("varchar(20) character set latin1", pa.string(), quoted("é€ÿ")),
    Case("varchar(20) character set utf8mb3", pa.string(), quoted("☃")),
    Case("varchar(20) character set utf16", pa.string(), quoted("🦆")),
    Case("varchar(20) character set sjis", pa.string(), quoted("表示")),
    Case("varchar(20) character set ascii", pa.string(), quoted("plain")),
    Case("varchar(20) collate utf8mb4_bin", pa.string(), quoted("é🦆")),
    Case("varchar(20) character set latin1 collate latin1_bin", pa.string(), quoted("é")),
    Case("tinytext", pa.string(), quoted("🦆")),
    Case("text", pa.string(), (("repeat('🦆', 10000)", "🦆" * 10_000),)),
    Case("mediumtext", pa.string(), (("repeat('é', 100000)", "é" * 100_000),)),
    Case("longtext", pa.string(), quoted("long")),
    Case("enum('a','it''s','','Ü')", pa.string(), (*quoted("a", "it''s", "", "Ü"), ("0", "")), note="the word"),
    Case("enum('x','y') collate utf8mb4_bin", pa.string(), quoted("y")),
    Case("set('a','b','c d')", pa.string(), quoted("", "a", "a,c d"), note="words with commas between"),
    Case("json", pa.string(), (('\'{"a": [1, null], "b": "é"}\'', '{"a": [1, null], "b": "é"}'), ("'null'", "null"))),
    Case("uuid", pa.string(), quoted("123e4567-e89b-12d3-a456-426655440000"), only="MariaDB"),
    Case("inet4", pa.string(), quoted("10.1.2.3"), only="MariaDB"),
    Case("inet6", pa.string(), quoted("2001:db8::ff00:42:8329", "::ffff:192.0.2.128"), only="MariaDB"),
)
BYTES = (
    Case("binary(4)", pa.binary(), (("X'00ff27'", "\\x00\\xFF\\x27\\x00"),), note="padded, as the server does"),
    Case("varbinary(20)", pa.binary(), (("X'00ff275c'", "\\x00\\xFF\\x27\\x5C"), ("''", ""))),
    Case("char(3) character set binary", pa.binary(), (("X'ff'", "\\xFF\\x00\\x00"),)),
    Case("tinyblob", pa.binary(), (("X'80'", "\\x80"),)),
    Case("blob", pa.binary(), (("X'e9'", "\\xE9"),)),
    Case("mediumblob", pa.binary(), (("repeat(X'00', 70000)", "\\x00" * 70_000),)),
    Case("longblob", pa.binary(), (("'a'", "a"),)),
    Case(
        "geometry",
        pa.binary(),
        (
            ("st_geomfromtext('POINT(1 2)')", shown("0101000000", POINT)),
            ("st_geomfromtext('POINT(1 2)', 3857)", shown("0101000020110f0000", POINT)),
        ),
        note="WKB; with an SRID, EWKB",
    ),
    Case("point", pa.binary(), (("st_geomfromtext('POINT(1 2)')", shown("0101000000", POINT)),), note="WKB"),
    Case(
        "geometrycollection",
        pa.binary(),
        (
            (
                "st_geomfromtext('GEOMETRYCOLLECTION(POINT(1 2))', 3857)",
                shown("0107000020110f0000", "01000000", "0101000000", POINT),
            ),
        ),
        note="WKB; with an SRID, EWKB",
    ),
)
DAYS_AND_TIMES = (
    Case("date", pa.date32(), quoted("2024-02-29", "0001-01-01", "9999-12-31", "1582-10-10") + misfits(*ZEROES)),
    Case(
        "datetime",
        pa.timestamp("us"),
        quoted("2024-03-31 02:30:00", "1000-01-01 00:00:00", "9999-12-31 23:59:59")
        + misfits(*(f"{day} 00:00:00" for day in ZEROES)),
        note="without a zone, as it stands",
    ),
    Case("datetime(3)", pa.timestamp("us"), (("'2024-01-01 10:00:00.12'", "2024-01-01 10:00:00.12"),)),
    Case(
        "datetime(6)",
        pa.timestamp("us"),
        quoted("2024-01-01 10:00:00.123456", "9999-12-31 23:59:59.999999") + misfits("2024-02-30 10:00:00.5"),
    ),
    Case(
        "timestamp",
        pa.timestamp("us", "UTC"),
        (
            ("'1970-01-01 00:00:01'", "1970-01-01 00:00:01+00"),
            ("'2038-01-19 03:14:07'", "2038-01-19 03:14:07+00"),
            *misfits("0000-00-00 00:00:00"),
        ),
        note="an instant; the server's time zone has no part in it",
    ),
    Case(
        "timestamp(6)", pa.timestamp("us", "UTC"), (("'2024-03-31 01:30:00.000001'", "2024-03-31 01:30:00.000001+00"),)
    ),
    Case("time", pa.string(), quoted("-838:59:59", "838:59:59", "00:00:00", "-00:00:01"), note="up to 35 days: text"),
    Case("time(6)", pa.string(), quoted("-838:59:58.999999", "23:59:59.000001")),
)
DECLARED = (
    Case(
        "varchar(50)",
        decimal(10, 2),
        (
            ("' -1.5 '", "-1.50"),
            ("'.5'", "0.50"),
            ("'7.'", "7.00"),
            ("'1.500'", "1.50"),
            ("'+2'", "2.00"),
            *misfits("", "n/a", "1,5", "1.555", "1e3", "NaN", "123456789.5"),
        ),
        "decimal(10, 2)",
    ),
    Case("decimal(65,30)", decimal(38, 2), (("1.5", "1.50"), ("1.555", None)), "decimal(38, 2)"),
    Case("double", decimal(10, 2), (("19.99", "19.99"), ("0.001", None)), "decimal(10, 2)"),
    Case("bigint unsigned", decimal(21, 1), (("18446744073709551615", "18446744073709551615.0"),), "decimal(21, 1)"),
    Case("date", pa.string(), quoted("0000-00-00", "2024-02-30", "2024-02-29"), "text"),
    Case("bit(3)", pa.string(), (("b'101'", "5"),), "text"),
    Case("double", pa.string(), plain("0.30000000000000004"), "text"),
    Case("varbinary(9)", pa.string(), (("X'00ff'", "\\x00\\xFF"),), "text"),
    Case("json", pa.string(), (("'[1]'", "[1]"),), "text"),
)
GROUPS = {
    "Numbers": NUMBERS,
    "Text": TEXTS,
    "Bytes and shapes": BYTES,
    "Days and times": DAYS_AND_TIMES,
    "With a declared type": DECLARED,
}
CASES = tuple(case for group in GROUPS.values() for case in group)
