"""Time travel: warehouse and lake as they were at an instant, on small files of their own."""

import datetime
import io
from datetime import UTC, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from lake import commit, journal, upkeep
from lake.layout import Address, Lake
from warehouse import prompt
from warehouse.layout import layout

ORDERS = Address("processed", "shop", "orders")
STORES = Address("processed", "shop", "stores")
DAY = datetime.date(2026, 1, 5)
COUNT = "select count(*) as n from shop.orders"


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Table orders in three versions of one, two and three rows."""
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path / "warehouse"))
    found = Lake(str(tmp_path / "lake"))
    for number in range(3):
        _add(found, ORDERS, number)
    return found


@pytest.fixture
def published(tmp_path: Path) -> list[str]:
    """Two published versions: of 2026-11-01, with 1 row, and of 2026-11-20, with 2."""
    place = layout(tmp_path / "warehouse")
    place.published.mkdir(parents=True)
    stamps = ["20261101T060000Z", "20261120T060000Z"]
    for number, stamp in enumerate(stamps, 1):
        path = place.published / f"warehouse-{stamp}-{number}.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("create schema marts; create schema metrics")
            connection.execute(f"create table marts.fct_sales as select * from range({number}) as t(n)")
    place.pointer.symlink_to(path.relative_to(place.root))
    return stamps


def _add(lake: Lake, address: Address, number: int) -> None:
    rows = pa.table({"order_id": [number], "_day": [DAY]})
    commit.append(lake, address, rows.to_reader(), {"n": number}, base=commit.table(lake, address))


def _made(lake: Lake, version: int, address: Address = ORDERS) -> str:
    made = journal.told_at(journal.actions(lake, address, version))
    assert made is not None
    return made.isoformat()


def _ask(command: str | None, as_of: str | None = None, stdin: str = "") -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = prompt.run(command, form="csv", stdin=io.StringIO(stdin), out=out, err=err, as_of=as_of)
    return code, out.getvalue(), err.getvalue()


def test_the_lake_is_shown_as_it_was_at_an_instant(lake: Lake) -> None:
    for version in range(3):
        assert _ask(COUNT, _made(lake, version)) == (0, f"n\n{version + 1}\n", "")


def test_an_instant_between_two_versions_shows_the_older_one(lake: Lake) -> None:
    just_before = datetime.datetime.fromisoformat(_made(lake, 2)) - timedelta(milliseconds=1)
    assert _ask(COUNT, just_before.isoformat())[1] in ("n\n2\n", "n\n1\n")


def test_today_is_what_there_is_now_and_tomorrow_is_refused(lake: Lake) -> None:
    today = datetime.datetime.now(UTC).date()
    assert _ask(COUNT, today.isoformat())[1] == "n\n3\n"
    tomorrow = (today + timedelta(days=1)).isoformat()
    sentence = f"--as-of: {tomorrow} is in the future; choose a time that has passed\n"
    assert _ask(COUNT, tomorrow) == (1, "", sentence)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("as_of", "rows"), [("2026-11-01", 1), ("2026-11-19", 1), ("2026-11-20T05:59Z", 1), ("2026-11-20", 2)]
)
def test_the_warehouse_is_the_one_that_was_in_force(lake: Lake, as_of: str, rows: int) -> None:
    assert _ask("select count(*) as n from fct_sales", as_of) == (0, f"n\n{rows}\n", "")


@pytest.mark.usefixtures("published")
def test_a_table_that_began_later_says_since_when_it_is_there(lake: Lake) -> None:
    _, _, err = _ask(COUNT, "2026-11-20")
    first = _made(lake, 0)[:19].replace("T", " ")
    assert err == f"lake table processed/shop/orders: its first version is of {first} UTC; choose a later time\n"


def test_a_version_that_upkeep_has_removed_says_how_far_back_one_can_go(lake: Lake) -> None:
    _add(lake, STORES, 1)
    when = _made(lake, 0, STORES)
    upkeep.keep(lake, ORDERS)
    now = datetime.datetime.now(UTC) + timedelta(seconds=1)
    upkeep.keep(lake, ORDERS, now=now, retention=timedelta(), grace=timedelta(), force=True)
    assert _ask("select count(*) as n from shop.stores", when)[1] == "n\n1\n"
    code, _, err = _ask(COUNT, when)
    assert code == 1
    assert "its files of" in err
    assert f"were removed by upkeep; time travel reaches back to {now:%Y-%m-%d %H:%M} UTC" in err


def test_before_everything_the_way_out_is_named(lake: Lake) -> None:
    code, _, err = _ask(COUNT, "2020-01-01")
    assert code == 1
    assert err.startswith("--as-of 2020-01-01 23:59 UTC: no published warehouse of then is kept, and the lake shows")
    assert "its first version is of" in err


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "20.11.2026"])
def test_what_is_no_time_is_refused_with_an_example(lake: Lake, text: str) -> None:
    assert _ask(COUNT, text)[2] == (
        f"--as-of: {text} is no time; write a day like 2026-11-20 (its end is meant, in UTC) or an instant like "
        "2026-11-20T12:00Z\n"
    )


@pytest.mark.usefixtures("published")
def test_without_a_time_the_lake_is_there_beside_the_warehouse_as_it_is_now(lake: Lake) -> None:
    code, out, err = _ask(None, stdin=f"{COUNT};\n\\d\nselect count(*) as m from fct_sales, shop.orders")
    assert (code, err) == (0, "")
    assert out.startswith("n\n3\n")
    assert "shop,orders,,as it is in the lake now" in out
    assert out.endswith("m\n6\n")


@pytest.mark.usefixtures("published")
def test_a_table_that_is_nowhere_is_still_said_in_one_sentence(lake: Lake) -> None:
    code, out, err = _ask("select * from shop.nothing")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "nothing does not exist" in err


@pytest.mark.usefixtures("published")
def test_a_file_that_is_gone_is_named_with_its_table(lake: Lake) -> None:
    path = commit.files(commit.table(lake, ORDERS))[0].path  # type: ignore[arg-type]
    (Path(lake.uri(ORDERS)) / path).unlink()
    _, _, err = _ask("select sum(order_id) from shop.orders")
    assert err.startswith(f"lake table processed/shop/orders: file {path} is missing; run `watershed lake check")


@pytest.mark.usefixtures("published")
def test_without_a_lake_the_warehouse_answers_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LAKE_ROOT", raising=False)
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path / "warehouse"))
    assert _ask("select count(*) as n from fct_sales")[1] == "n\n2\n"
    assert _ask("select * from shop.orders")[2].startswith("LAKE_ROOT: is not set")
