"""InfluxDB line protocol as Arrow: measurement, tags, fields, time; escapes and quoted strings as InfluxDB has them.

`measurement,tag=value field=1.5,count=3i,note="a b" 1700000000000000000`. Lines of one shape (the same tags and fields
in the same order, as a program writes them) are taken apart together by one regular expression; a block of lines has
few shapes. The libraries that parse the protocol do so line by line in Python, or were last released years ago.

Grammar: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metrics.spec import Hypertable

PRECISIONS = {"ns": -1000, "us": 1, "ms": 1000, "s": 1_000_000}  # µs in one, or minus how many of one are in a µs
_PLAIN = r"(?:[^\\, =\"]|\\.|\")+"  # a name or a tag's value
_FIELD = r"\"(?:[^\"\\]|\\.)*\"|[^\", ]+"
_HEAD = re.compile(r"^((?:[^\\, ]|\\.)+)((?:,(?:[^\\ ]|\\.)*)?) +")
_TAG = re.compile(rf",({_PLAIN})=({_PLAIN})")
_ONE = re.compile(rf"({_PLAIN})=({_FIELD})(,?)")
_END = re.compile(r"(?: +-?[0-9]+)?[ \r]*$")


class Malformed(ValueError):
    """A line that is not line protocol, or that names what is not declared; the message says what."""


@dataclass(frozen=True)
class _Shape:
    measurement: str
    raw_measurement: str
    tags: tuple[str, ...]  # as they stand in the line
    fields: tuple[str, ...]

    def pattern(self) -> str:
        tags = "".join(rf",{_quoted(tag)}=(?P<t{at}>{_PLAIN})" for at, tag in enumerate(self.tags))
        fields = ",".join(rf"{_quoted(name)}=(?P<f{at}>{_FIELD})" for at, name in enumerate(self.fields))
        return rf"^{_quoted(self.raw_measurement)}{tags} +{fields}(?: +(?P<at>-?[0-9]+))?[ \r]*$"


class Lines:
    """Takes blocks of lines of one measurement apart; `others` counts the lines of other measurements, by name."""

    def __init__(self, hypertable: Hypertable, measurement: str, precision: str) -> None:
        self._hypertable, self._measurement, self._precision = hypertable, measurement, PRECISIONS[precision]
        self.others: dict[str, int] = {}
        names = [name for name in hypertable.columns if name != hypertable.time]
        self.schema = pa.schema(
            [(hypertable.time, pa.timestamp("us", "UTC")), *((name, pa.string()) for name in names)]
        )

    def rows(self, lines: Any, undeclared: Callable[[str], str]) -> pa.RecordBatch:
        """The rows of an Arrow array of lines, in their order: the time, and all other columns as text.

        A column may come as a tag or as a field. Raises Malformed; `undeclared` words what is said of a name that is
        not a column.
        """
        parts: list[pa.Table] = []
        left = pc.indices_nonzero(pc.invert(pc.match_substring_regex(lines, r"^\s*(#|$)")))
        while len(left):
            rest = lines.take(left)
            shape = _shape(rest[0].as_py())
            found = pc.extract_regex(rest, shape.pattern())
            matched = found.is_valid()
            if not matched[0].as_py():
                raise Malformed(f"the line `{_short(rest[0].as_py())}` is not line protocol")
            if shape.measurement == self._measurement:
                taken = left.filter(matched)
                parts.append(self._columns(shape, found.filter(matched), undeclared).append_column("_at", [taken]))
            else:
                count = matched.true_count
                self.others[shape.measurement] = self.others.get(shape.measurement, 0) + count
            left = left.filter(pc.invert(matched))
        if not parts:
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        together = pa.concat_tables(parts)
        if len(parts) > 1:
            together = together.sort_by("_at")
        return together.drop_columns(["_at"]).combine_chunks().to_batches()[0]

    def _columns(self, shape: _Shape, found: Any, undeclared: Callable[[str], str]) -> pa.Table:
        given: dict[str, Any] = {}
        for at, raw in enumerate(shape.tags):
            given[_unescaped(raw)] = _without_escapes(found.field(f"t{at}"))
        for at, raw in enumerate(shape.fields):
            name = _unescaped(raw)
            if name in given:
                raise Malformed(f"{name} comes twice in a line")
            given[name] = _field(found.field(f"f{at}"), self._kind(name))
        for name in given:
            if name not in self._hypertable.columns or name == self._hypertable.time:
                raise Malformed(undeclared(name))
        time = self._hypertable.time
        columns = [given.get(name, pa.nulls(len(found), pa.string())) for name in self.schema.names if name != time]
        return pa.Table.from_arrays([self._instants(found.field("at")), *columns], schema=self.schema)

    def _kind(self, name: str) -> str:
        column = self._hypertable.columns.get(name)
        return column.type if column else "text"

    def _instants(self, texts: Any) -> Any:
        # extract_regex gives an empty text where an optional group is not there.
        numbers = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts).cast(pa.int64())
        if self._precision < 0:
            numbers = pc.divide(numbers, -self._precision)  # the server keeps microseconds
        elif self._precision > 1:
            numbers = pc.multiply_checked(numbers, self._precision)
        return numbers.cast(pa.timestamp("us", "UTC"))


def _shape(line: str) -> _Shape:
    head = _HEAD.match(line)
    if not head:
        raise Malformed(f"the line `{_short(line)}` is not line protocol")
    tags = [match[1] for match in _TAG.finditer(head[2])]
    fields, place = [], head.end()
    while match := _ONE.match(line, place):
        fields.append(match[1])
        place = match.end()
        if not match[3]:
            break
    if not fields or not _END.match(line, place):
        raise Malformed(f"the line `{_short(line)}` is not line protocol")
    return _Shape(_unescaped(head[1]), head[1], tuple(tags), tuple(fields))


def _field(values: Any, kind: str) -> Any:
    """A field's values as text that converts to `kind`: `12i` as 12, `t` as true, a quoted string without quotes."""
    if kind == "boolean":
        for letter, word in (("^[tT]$", "true"), ("^[fF]$", "false")):
            values = pc.replace_substring_regex(values, letter, word)
        return values
    if kind == "text":
        inner = pc.replace_substring_regex(values, r'^"((?s:.*))"$', r"\1")
        return pc.replace_substring_regex(inner, r'\\(["\\])', r"\1")
    return pc.replace_substring_regex(values, r"^(-?[0-9]+)[iu]$", r"\1")


def _without_escapes(values: Any) -> Any:
    return pc.replace_substring_regex(values, r"\\([,= ])", r"\1")


def _unescaped(raw: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", raw)


def _quoted(raw: str) -> str:
    return "".join(one if one.isalnum() or one == "_" or ord(one) > 127 else f"\\{one}" for one in raw)


def _short(line: str) -> str:
    return line if len(line) <= 80 else f"{line[:77]}…"


def blocks(batches: Iterator[pa.RecordBatch]) -> Iterator[Any]:
    """The lines of each batch of a one-column reader."""
    for batch in batches:
        yield batch.column(0)
