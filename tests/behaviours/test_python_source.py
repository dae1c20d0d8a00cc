"""`connector: python`: rows of a function, its errors in one sentence."""

import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingestion import load
from ingestion.connectors import Window
from ingestion.connectors.function import Function
from ingestion.spec import Source
from lake import read
from lake.errors import PermanentError, SchemaDrift, SourceUnavailable, SpecError
from lake.fold import fold
from lake.layout import Address, Lake

MODULE = """
import datetime
import pyarrow as pa

calls = []

def noted(**given):
    calls.append(given)

def dictionaries():
    yield {"id": 1, "name": "a", "amount": 1.5}
    yield [{"id": 2, "name": "b", "tags": ["x"]}]

def arrow():
    yield pa.table({"id": [1, 2]})
    yield pa.record_batch({"id": [3]})

def frame():
    import pandas
    return pandas.DataFrame({"id": [1, 2], "name": ["a", "b"]})

def windowed(after=None, connection=None):
    noted(after=after, connection=connection)
    start = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
    for number in range(3 if after is None else 4):
        at = start + datetime.timedelta(hours=number)
        if after is None or at.isoformat() > after:
            yield {"id": number, "at": at}

def days(first=None, last=None):
    noted(first=first, last=last)
    for day in (5, 6, 7):
        yield {"id": day, "at": datetime.datetime(2026, 1, day, tzinfo=datetime.UTC)}

def failing():
    yield {"id": 1}
    raise ValueError("token=abc123 is wrong\\nand more")

def offline():
    raise ConnectionResetError("gone")

def numbers():
    yield 7

def drifting():
    for number in range(10_000):
        yield {"id": number}
    yield {"id": "x"}

def late():
    for number in range(10_000):
        yield {"id": number}
    yield {"id": 1, "more": "x"}

def nothing():
    return []

def empty_column():
    return [{"id": 1, "note": None}]

no_function = 3.5
"""


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    (tmp_path / "own_source.py").write_text(MODULE)
    (tmp_path / "broken_source.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("own_source", "broken_source"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("OWN_URL", "https://example.org")
    return Lake(str(tmp_path / "lake"))


def source(function: str, **declared: Any) -> Source:
    function = function if ":" in function else f"own_source:{function}"
    table = {"name": "rows", "key": ["id"], "load": "replace", "function": function} | declared
    return Source(name="own", connector="python", connection="OWN_URL", tables=[table])


def run(lake: Lake, function: str, **declared: Any) -> load.Loaded:
    one = source(function, **declared)
    loaded = load.changes(lake, one, one.tables[0])
    fold(lake, load.subject(one, one.tables[0]))
    return loaded


def rows(lake: Lake, columns: str) -> list[Any]:
    with read.connect(lake) as connection:
        relation = read.relation(lake, Address("processed", "own", "rows"))
        return connection.execute(f"SELECT {columns} FROM {relation} ORDER BY ALL").fetchall()


def calls() -> list[dict[str, Any]]:
    return sys.modules["own_source"].calls


def test_dictionaries_become_rows(lake: Lake) -> None:
    run(lake, "dictionaries")
    assert rows(lake, "id, name, amount, tags") == [(1, "a", 1.5, None), (2, "b", None, ["x"])]
    assert run(lake, "dictionaries").taken.inserted == 0


def test_tables_and_batches_become_rows(lake: Lake) -> None:
    run(lake, "arrow")
    assert rows(lake, "id") == [(1,), (2,), (3,)]


def test_a_data_frame_becomes_rows(lake: Lake) -> None:
    run(lake, "frame")
    assert rows(lake, "id, name") == [(1, "a"), (2, "b")]


def test_the_function_is_told_where_the_last_load_ended(lake: Lake) -> None:
    declared = {"load": "merge", "cursor": "at", "partition": "day(at)"}
    run(lake, "windowed", **declared)
    assert calls() == [{"after": None, "connection": "https://example.org"}]
    taken = run(lake, "windowed", **declared).taken
    assert (taken.rows_read, taken.inserted) == (1, 1)
    assert calls()[-1]["after"] == "2026-01-05T02:00:00+00:00"
    assert rows(lake, "id, month, day") == [(number, "01", "05") for number in range(4)]


def test_days_are_asked_for_and_others_left_out(lake: Lake) -> None:
    one = source("days", partition="day(at)")
    import datetime

    session = Function(one)
    shape = session.shape(one.tables[0])
    day = datetime.date(2026, 1, 6)
    window = Window(first=day, last=day)
    (chunk,) = session.chunks(one.tables[0], shape, window, 1)
    found = [row for batch in session.read(one.tables[0], shape, window, chunk) for row in batch.to_pylist()]
    assert [row["id"] for row in found] == [6]
    assert calls()[-1] == {"first": day, "last": day}
    extent = session.extent(one.tables[0])
    assert extent == (datetime.date(2026, 1, 5), datetime.date(2026, 1, 7))
    session.close()


def test_declared_types_masks_and_drops_hold_here_too(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSHED_MASK_SALT", "a long and random text")
    run(lake, "dictionaries", columns={"amount": "decimal(8,2)"}, mask={"name": "sha256"}, drop=["tags"])
    ((one, amount, name), _) = rows(lake, "id, amount, name")
    assert (one, amount, len(name)) == (1, Decimal("1.50"), 64)
    assert "tags" not in [name for name, *_ in described(lake)]


def described(lake: Lake) -> Iterator[Any]:
    with read.connect(lake) as connection:
        relation = read.relation(lake, Address("processed", "own", "rows"))
        yield from connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()


def test_an_error_in_the_function_is_one_sentence_with_its_line(lake: Lake) -> None:
    line = MODULE.splitlines().index('    raise ValueError("token=abc123 is wrong\\nand more")') + 1
    with pytest.raises(PermanentError) as raised:
        run(lake, "failing")
    said = "source own, table rows: function own_source:failing failed with ValueError in own_source.py "
    assert str(raised.value).startswith(f"{said}line {line}: ")
    assert "abc123" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_lost_connection_is_tried_again(lake: Lake) -> None:
    with pytest.raises(SourceUnavailable, match=r"own_source:offline failed with ConnectionResetError"):
        run(lake, "offline")


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        ("nowhere.at_all:rows", SpecError, r"there is no module nowhere\.at_all; correct `function:`, or put"),
        ("own_source:missing", SpecError, "module own_source has no missing"),
        ("broken_source:rows", PermanentError, "failed with ModuleNotFoundError in broken_source.py line 1"),
        ("numbers", PermanentError, "TypeError.*yielded int; yield dictionaries, tables or record batches"),
        ("no_function", PermanentError, "TypeError.*yielded float"),
        ("nothing", SchemaDrift, "has yielded no row yet"),
        ("late", SchemaDrift, r'column "more" has its first value after .* declare `columns: \{more: text\}`'),
    ],
)
def test_what_cannot_be_read_is_one_sentence(lake: Lake, function: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        run(lake, function)
    assert "\n" not in str(raised.value)


def test_a_value_that_does_not_fit_is_set_aside(lake: Lake) -> None:
    taken = run(lake, "drifting", key=["id"]).taken
    assert (taken.inserted, taken.quarantined) == (10_000, 1)


def test_a_column_without_a_value_has_no_type_yet(lake: Lake) -> None:
    run(lake, "own_source:empty_column")
    assert "note" not in [name for name, *_ in described(lake)]
