"""Files as rows for a load: Parquet, CSV and InfluxDB line protocol, plain or gzipped, a block at a time.

An instant without a zone names no instant: a file that has one is refused unless the zone is said. Text that does not
convert to its column's type is left to the load, which sets the row aside.
"""

import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet
from pyarrow import types as kinds

from lake.errors import ContractBroken, SpecError
from metrics import units
from metrics.gate import fitted
from metrics.lines import Lines, Malformed, blocks
from metrics.spec import Hypertable

Form = Literal["parquet", "csv", "lines"]

BLOCK = 4 * 1024 * 1024  # bytes of text read at a time
ROWS = 65_536
_FORMS: dict[str, Form] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".lp": "lines", ".line": "lines", ".lines": "lines",
    ".influx": "lines",
}  # fmt: skip
_DATED = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?)?$"  # a time without a zone
_DAY = 10  # characters of a date alone


@dataclass(frozen=True)
class Reading:
    """How files are to be read. None: told from the file's name, no zone, the hypertable's own name."""

    form: Form | None = None
    zone: str | None = None
    """Zone of instants that say none, as `Europe/Berlin`; of an hour that comes twice in autumn, the first is meant."""
    precision: Literal["ns", "us", "ms", "s"] = "ns"
    """Unit of line protocol's times, since 1970; digits below the microsecond are cut off."""
    measurement: str | None = None
    """The measurement whose lines are taken from line protocol."""


@dataclass
class Opened:
    """A file's rows. `is_text`: columns may stand there as text. `others`: lines of other measurements, by name."""

    rows: pa.RecordBatchReader
    is_text: bool = False
    others: dict[str, int] = field(default_factory=dict)


@contextmanager
def opened(path: Path, hypertable: Hypertable, how: Reading) -> Iterator[Opened]:
    """The rows of a file for `metrics.load.load`, read as they are taken.

    Raises ContractBroken for a file that is not what it is taken for, that gives a column in another unit, or that has
    instants without a zone where none is said; SpecError for a zone that is not known. Some of it only on reading.
    """
    if how.zone is not None and how.zone not in zoneinfo.available_timezones():
        raise SpecError("--zone", f"`{how.zone}` is not a time zone", "write it as UTC or Europe/Berlin")
    with _explained(path):
        readers: dict[Form, Callable[[Path, Hypertable, Reading], Any]] = {
            "parquet": _parquet,
            "csv": _csv,
            "lines": _lines,
        }
        with readers[how.form or _form(path)](path, hypertable, how) as found:
            yield found


def _form(path: Path) -> Form:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    form = _FORMS.get(suffixes[-1]) if suffixes else None
    if form is None:
        known = ", ".join(f"`{suffix}`" for suffix in _FORMS)
        raise SpecError(str(path), "does not say by its name what it is", f"say --format, or name it {known}")
    return form


@contextmanager
def _parquet(path: Path, hypertable: Hypertable, how: Reading) -> Iterator[Opened]:
    # Without pre_buffer a row group is read page by page, not as a whole.
    with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1024 * 1024) as file:
        schema = _named(path, file.schema_arrow, hypertable)
        naive = [entry.name for entry in schema if kinds.is_timestamp(entry.type) and entry.type.tz is None]
        if naive and how.zone is None:
            raise _without_zone(path, naive[0])
        target = pa.schema([_zoned(entry) if entry.name in naive else entry for entry in schema])

        def rows() -> Iterator[pa.RecordBatch]:
            for batch in file.iter_batches(ROWS):
                columns = [
                    _local(values, how.zone) if name in naive else values
                    for name, values in zip(schema.names, batch.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=target)

        yield Opened(pa.RecordBatchReader.from_batches(target, _said(path, rows())))


@contextmanager
def _csv(path: Path, hypertable: Hypertable, how: Reading) -> Iterator[Opened]:
    with _text(path) as stream:
        names = csv.open_csv(stream, read_options=csv.ReadOptions(block_size=BLOCK)).schema.names
    as_text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=False,
    )
    with _text(path) as stream:
        reading = csv.ReadOptions(block_size=BLOCK, use_threads=False)
        file = csv.open_csv(stream, read_options=reading, convert_options=as_text)
        schema = _named(path, file.schema, hypertable)
        times = [name for name, column in hypertable.columns.items() if column.type == "timestamptz"]

        def rows() -> Iterator[pa.RecordBatch]:
            for batch in file:
                columns = [
                    _with_zone(path, name, values, how.zone) if name in times else values
                    for name, values in zip(schema.names, batch.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

        yield Opened(pa.RecordBatchReader.from_batches(schema, _said(path, rows())), is_text=True)


@contextmanager
def _lines(path: Path, hypertable: Hypertable, how: Reading) -> Iterator[Opened]:
    lines = Lines(hypertable, how.measurement or hypertable.name, how.precision)
    with _text(path) as stream:
        # One column that no delimiter divides: a line as it stands.
        file = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=BLOCK, use_threads=False, column_names=["line"]),
            parse_options=csv.ParseOptions(delimiter="\x01", quote_char=False, escape_char=False),
            convert_options=csv.ConvertOptions(column_types={"line": pa.string()}),
        )

        def undeclared(name: str) -> str:
            return units.other(name, hypertable) or f"the lines have {name}, which is not a column of {hypertable.name}"

        def rows() -> Iterator[pa.RecordBatch]:
            taken = 0
            for block in blocks(file):
                try:
                    found = lines.rows(block, undeclared)
                except Malformed as error:
                    raise _refused(path, str(error)) from None
                taken += found.num_rows
                if found.num_rows:
                    yield found
            if not taken and lines.others:
                named = ", ".join(list(lines.others)[:5])
                wanted = how.measurement or hypertable.name
                raise _refused(path, f"has no line of measurement {wanted}, only of {named}: say --measurement")

        yield Opened(
            pa.RecordBatchReader.from_batches(lines.schema, _said(path, rows())), is_text=True, others=lines.others
        )


@contextmanager
def _text(path: Path) -> Iterator[Any]:
    compression = "gzip" if path.suffix.lower() == ".gz" else None
    with pa.input_stream(str(path), compression=compression) as stream:
        yield stream


def _said(path: Path, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _explained(path):
        yield from rows


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What a reader finds wrong with a file, at its beginning or in the middle, as a sentence."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _refused(path, f"cannot be read ({str(error).splitlines()[0][:200]})") from None


def _named(path: Path, schema: pa.Schema, hypertable: Hypertable) -> pa.Schema:
    """The file's schema with units taken out of its headers, once they are found to be the declared ones."""
    entries = []
    for entry in schema:
        name, unit = (entry.name, None) if entry.name in hypertable.columns else units.split(entry.name)
        said = (entry.metadata or {}).get(b"unit")
        unit = unit or (said.decode("utf-8", "replace") if said else None)
        if name in hypertable.columns and unit and (wrong := units.contradiction(name, unit, hypertable)):
            raise _refused(path, wrong)
        entries.append(pa.field(name, entry.type))
    return pa.schema(entries)


def _zoned(entry: pa.Field) -> pa.Field:
    return pa.field(entry.name, pa.timestamp(entry.type.unit, "UTC"))


def _local(values: Any, zone: str | None) -> Any:
    """Instants that say no zone, as those of `zone`."""
    instants = pc.assume_timezone(values, zone, ambiguous="earliest", nonexistent="earliest")
    return instants.cast(pa.timestamp(values.type.unit, "UTC"))


def _with_zone(path: Path, name: str, texts: Any, zone: str | None) -> Any:
    """Texts of instants, those without a zone put into `zone`; refused if there are some and no zone is said."""
    naive = pc.fill_null(pc.match_substring_regex(texts, _DATED), False)
    if not naive.true_count:
        return texts
    if zone is None:
        raise _without_zone(path, name, texts.filter(naive)[0].as_py())
    dates = pc.and_(naive, pc.fill_null(pc.equal(pc.utf8_length(texts), _DAY), False))
    full = pc.if_else(dates, pc.binary_join_element_wise(texts, "00:00", " "), texts)
    if zone == "UTC":
        return pc.if_else(naive, pc.binary_join_element_wise(full, "Z", ""), texts)
    local, unfit = fitted(pc.if_else(naive, full, pa.scalar(None, pa.string())), pa.timestamp("us"))
    inside = naive if unfit is None else pc.and_not(naive, unfit)
    return pc.if_else(inside, _local(local, zone).cast(pa.string()), texts)


def _without_zone(path: Path, name: str, example: str = "") -> ContractBroken:
    shown = f" (`{example}`)" if example else ""
    return _refused(path, f"column {name} has instants without a zone{shown}: say it, as in --zone UTC")


def _refused(path: Path, what: str) -> ContractBroken:
    return ContractBroken(str(path), what, "nothing of this file was loaded")
