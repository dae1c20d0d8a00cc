"""CSV as columns of text: header, delimiter, quotes, mixed line ends, and lines with too few or too many fields.

Tokenised by Arrow's parser, which hands over each line that does not fit the header, tells a quoted empty text from
nothing, and reads CR, LF and CRLF side by side. What the texts mean is not this module's business.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lake.errors import PermanentError

HEADER_BYTES = 1 << 20
BLOCK = 8 << 20
DELIMITERS = ",;\t|"
END = b"\n\x00the end\n"  # no text holds a zero byte
MISFITS = 100_000  # they are kept until a line fits


@dataclass(frozen=True)
class Header:
    """A file's column names as they stand there, and its delimiter; no names if the file is empty."""

    names: tuple[str, ...]
    delimiter: str


def header(stream: io.BufferedReader, delimiter: str | None) -> Header:
    """The first record of a stream of UTF-8, of which it reads up to a megabyte."""
    text = stream.read(HEADER_BYTES).decode("utf-8", "ignore")
    line = next((line for line in text.splitlines() if line), "")
    chosen = delimiter or max(DELIMITERS, key=re.sub('"[^"]*"', "", line).count)
    csv.field_size_limit(HEADER_BYTES)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=chosen)
    names = next((record for record in records if record), [])
    return Header(() if names == [END.decode().strip()] else tuple(names), chosen)


def batches(where: str, stream: io.BufferedReader, found: Header, null: Sequence[str]) -> Iterator[pa.Table]:
    """The records below the header: columns `c0`, `c1`, ... (text), `_row` (from 1), `_ragged` (a misfit line's text).

    In a row with `_ragged` the columns are NULL. Empty lines are no records. `stream` begins at the header and ends
    with END, by which a quote is noticed that is never closed.
    """
    import pyarrow.csv

    if not found.names:
        return
    while stream.peek(1)[:1] in (b"\r", b"\n"):  # the parser would take an empty line for the header
        stream.read(1)
    names = [f"c{number}" for number in range(len(found.names))]
    left_out = _LeftOut()
    try:
        reader = pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=BLOCK, column_names=names, skip_rows_after_names=1
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=found.delimiter, newlines_in_values=True, invalid_row_handler=left_out
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=list(null),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        yield from _numbered(reader, left_out, found.delimiter)
    except pa.ArrowInvalid as error:
        what = f"is no CSV ({str(error).splitlines()[0]})"
        if "straddling" in str(error):
            what = "has a record of more than 8 MB, perhaps for a quote that is not closed"
        if left_out.too_many:
            what = f"has {MISFITS:,} lines in a row with more or fewer fields than its header"
        raise PermanentError(where, what, "mend the file and drop it again, or take it away") from None


class _LeftOut:
    """Takes the lines that do not fit the header, by record number from 1, until they are asked for."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.too_many = False

    def __call__(self, row: Any) -> str:
        self.too_many = len(self.texts) >= MISFITS
        text, end, _ = row.text.partition(END.decode().strip())
        if text.strip() or not end:
            self.texts[row.number - 1] = text
        return "error" if self.too_many else "skip"

    def before(self, number: int, schema: pa.Schema) -> pa.Table:
        """Those before record `number`, which are then forgotten."""
        numbers = sorted(at for at in self.texts if at < number)
        texts = [self.texts.pop(at) for at in numbers]
        columns: list[Any] = [pa.nulls(len(numbers), entry.type) for entry in schema]
        columns += [pa.array(numbers, pa.int64()), pa.array(texts, pa.string())]
        return pa.table(columns, names=[*schema.names, "_row", "_ragged"])


def _numbered(reader: Any, left_out: _LeftOut, delimiter: str) -> Iterator[pa.Table]:
    """The parser leaves misfit lines out but counts them: here each record has its number again."""
    import numpy as np

    number = 1
    for batch in reader:
        batch, swallowed = _without_end(batch, delimiter)
        if batch.num_rows:
            numbers = np.arange(number, number + batch.num_rows + len(left_out.texts))
            numbers = numbers[~np.isin(numbers, list(left_out.texts))][: batch.num_rows]
            number = int(numbers[-1]) + 1
            ragged = pa.nulls(batch.num_rows, pa.string())
            yield pa.table([*batch.columns, numbers, ragged], names=[*batch.schema.names, "_row", "_ragged"])
        if swallowed is not None:
            left_out.texts[max([number - 1, *left_out.texts]) + 1] = swallowed
        yield left_out.before(number, batch.schema)
    yield left_out.before(sys.maxsize, reader.schema)


def _without_end(batch: pa.RecordBatch, delimiter: str) -> tuple[pa.RecordBatch, str | None]:
    """The batch without a last row that holds END, and what that row holds before it, if anything."""
    if not batch.num_rows:
        return batch, None
    last = [column[-1].as_py() for column in batch.columns]
    if last[-1] is None or END.decode().strip() not in last[-1]:
        return batch, None
    text = delimiter.join(value or "" for value in last).partition(END.decode().strip())[0]
    return batch.slice(0, batch.num_rows - 1), text if text.strip() else None
