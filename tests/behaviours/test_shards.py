"""One logical table on many servers: loaded side by side, each row says from where, one that fails harms no other."""

from collections.abc import Iterator

import fix_servers
import psycopg
import pytest
from trial_source import ORDERS, Trial, on_folder

from ingestion import load
from ingestion.spec import Source
from lake.errors import PlatformError
from lake.fold import fold

pytestmark = on_folder
NORTH, SOUTH = "TRIAL_NORTH_DSN", "TRIAL_SOUTH_DSN"


class Shards:
    """Two databases with a table orders each, declared as one."""

    def __init__(self, trial: Trial, connections: dict[str, psycopg.Connection]) -> None:
        self.trial, self.connections = trial, connections

    @property
    def source(self) -> Source:
        return self.trial.source.model_copy(update={"shards": tuple(self.connections)})

    def order(self, shard: str, number: int, amount: int = 10) -> None:
        self.connections[shard].execute(
            "insert into orders (order_id, amount, ordered_at) values (%s, %s, '2026-01-05 12:00+00')"
            " on conflict (order_id) do update set amount = excluded.amount, updated_at = clock_timestamp()",
            [number, amount],
        )

    def delete(self, shard: str, number: int) -> None:
        self.connections[shard].execute("delete from orders where order_id = %s", [number])

    def run(self) -> load.Loaded:
        try:
            return load.changes(self.trial.lake, self.source, self.trial.table)
        finally:
            fold(self.trial.lake, load.subject(self.source, self.trial.table))

    def rows(self) -> list[tuple[str, int, int]]:
        return self.trial.rows("_shard, order_id, amount::int")


@pytest.fixture
def shards(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shards]:
    with (
        fix_servers.database(fix_servers.address("SHOP_DSN")) as north,
        fix_servers.database(fix_servers.address("SHOP_DSN")) as south,
        psycopg.connect(north, autocommit=True) as one,
        psycopg.connect(south, autocommit=True) as other,
    ):
        for variable, dsn, connection in ((NORTH, north, one), (SOUTH, south, other)):
            monkeypatch.setenv(variable, dsn)
            connection.execute(ORDERS)
        yield Shards(trial, {NORTH: one, SOUTH: other})


def test_rows_of_all_shards_are_one_table_and_say_where_they_are_from(shards: Shards) -> None:
    for shard in (NORTH, SOUTH):
        for number in (1, 2):
            shards.order(shard, number, 10 if shard == NORTH else 20)
    assert shards.run().taken.inserted == 4
    assert shards.rows() == [(NORTH, 1, 10), (NORTH, 2, 10), (SOUTH, 1, 20), (SOUTH, 2, 20)]


def test_each_shard_has_its_own_cursor_and_its_own_deletions(shards: Shards) -> None:
    for number in range(1, 11):
        shards.order(NORTH, number)
        shards.order(SOUTH, number)
    shards.run()
    shards.order(SOUTH, 3, 33)
    shards.delete(NORTH, 3)
    loaded = shards.run()
    assert (loaded.taken.inserted, loaded.taken.updated, loaded.taken.deleted) == (0, 1, 1)
    assert (SOUTH, 3, 33) in shards.rows()
    assert (NORTH, 3, 10) not in shards.rows()
    assert len(shards.rows()) == 19
    assert shards.run().taken.updated == 0


def test_a_shard_that_fails_is_told_and_harms_no_other(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 31):
        shards.order(NORTH, number)
        shards.order(SOUTH, number)
    shards.run()
    whole = shards.rows()
    with monkeypatch.context() as broken:
        broken.setenv(SOUTH, "postgresql://nobody@127.0.0.1:1/nothing")
        shards.order(NORTH, 31)
        with pytest.raises(PlatformError) as raised:
            shards.run()
    said = str(raised.value)
    assert f"1 of 2 shards failed (shard {SOUTH}: the server does not answer" in said
    assert "the other 1 are loaded" in said
    assert shards.rows() == sorted([*whole, (NORTH, 31, 10)])  # and nothing of the south is taken for deleted
    shards.order(SOUTH, 32)
    assert shards.run().taken.inserted == 1


def test_a_shard_whose_table_is_missing_is_told(shards: Shards) -> None:
    shards.order(NORTH, 1)
    shards.connections[SOUTH].execute("drop table orders")
    with pytest.raises(PlatformError, match=r"shard TRIAL_SOUTH_DSN: there is no table public\.orders at the source"):
        shards.run()
    assert shards.rows() == [(NORTH, 1, 10)]


def test_no_shard_that_answers_is_an_error_of_its_own(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (NORTH, SOUTH):
        monkeypatch.setenv(variable, "postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(PlatformError, match="the server does not answer"):
        shards.run()
