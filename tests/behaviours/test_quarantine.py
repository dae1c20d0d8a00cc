"""Rows that break the contract go to quarantine with the reason; the others go on."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trial_source import Trial, on_ceph, on_folder

from ingestion import load
from lake import commit, quarantine
from lake.gate import Contract
from lake.replay import Replayed, replay
from watershed import cli

LOOSE = """create table orders (order_id bigint, customer_email text, amount numeric(12, 2),
    ordered_at timestamptz, updated_at timestamptz default clock_timestamp())"""


@pytest.fixture(autouse=True)
def _loose(trial: Trial) -> None:
    trial.sql("drop table orders")
    trial.sql(LOOSE)


@on_ceph
def test_a_row_without_its_key_is_set_aside(trial: Trial) -> None:
    trial.orders(5)
    trial.sql("insert into orders (amount, ordered_at) values (111, '2026-01-05')")
    taken = trial.run().taken
    assert (taken.rows_read, taken.inserted, taken.quarantined) == (6, 5, 1)
    assert taken.reasons == {"order_id (key) is NULL": 1}
    assert trial.rows("order_id, amount, _reason", zone="quarantine") == [(None, 111, "order_id (key) is NULL")]
    assert len(trial.rows()) == 5


@on_folder
def test_of_rows_with_one_key_the_latest_goes_on(trial: Trial) -> None:
    trial.orders(5)
    trial.order(2, amount=20, updated_at="2027-01-01")
    trial.order(2, amount=30, updated_at="2026-06-01")
    loaded = trial.run()
    assert loaded.taken.reasons == {"the key (order_id) is not unique": 2}
    assert "2 quarantined" in loaded.sentence
    assert trial.rows("order_id, amount") == [(1, 1), (2, 20), (3, 3), (4, 4), (5, 5)]
    assert trial.rows("order_id, amount", zone="quarantine") == [(2, 2), (2, 30)]


@on_folder
def test_a_twin_that_comes_with_a_later_load_takes_the_place(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.order(2, amount=20)
    taken = trial.run().taken
    assert (taken.inserted, taken.updated, taken.quarantined) == (0, 1, 0)
    assert trial.rows("amount", where="order_id = 2") == [(20,)]


@on_folder
def test_rows_that_are_equal_in_all_columns_count_once(trial: Trial) -> None:
    for _ in range(3):
        trial.order(1, updated_at="2026-01-06")
    assert trial.run().taken.quarantined == 2
    assert len(trial.rows()) == 1


@on_folder
def test_a_row_without_a_day_is_set_aside(trial: Trial) -> None:
    trial.orders(5)
    trial.order(6, ordered_at=None)
    trial.order(7, ordered_at="infinity")
    trial.order(8, ordered_at="0044-03-15 BC")
    assert trial.run().taken.reasons == {"ordered_at (partition) is NULL": 1, "ordered_at (partition) is no day": 2}
    assert trial.rows("order_id") == [(1,), (2,), (3,), (4,), (5,)]
    assert trial.rows("order_id", zone="quarantine") == [(6,), (7,), (8,)]


@on_folder
def test_a_row_that_loses_its_day_keeps_its_last_good_version(trial: Trial) -> None:
    trial.declare(load="replace")
    trial.orders(5)
    trial.run()
    trial.sql("update orders set ordered_at = null where order_id = 2")
    taken = trial.run().taken
    assert (taken.quarantined, taken.deleted) == (1, 0)
    assert len(trial.rows()) == 5


@on_ceph
def test_a_table_read_whole_is_quarantined_once_and_reported_each_time(trial: Trial) -> None:
    trial.declare(load="replace", partition=None, cursor=None)
    trial.orders(5)
    trial.sql("insert into orders (amount) values (111)")
    trial.order(2, amount=20)
    trial.run()
    before = trial.versions()
    assert trial.run().taken.quarantined == 2
    assert trial.versions() == before
    trial.sql("insert into orders (amount) values (112)")
    assert trial.run().taken.quarantined == 3
    assert len(trial.rows(zone="quarantine")) == 3


@on_folder
def test_a_table_of_bad_rows_only_is_an_empty_table(trial: Trial) -> None:
    trial.sql("insert into orders (amount, ordered_at) values (1, '2026-01-05'), (2, '2026-01-05')")
    assert trial.run().taken.quarantined == 2
    assert trial.rows("order_id") == []


# Replay: what keeps the contract by now is let in.


def _replay(trial: Trial) -> Replayed:
    done = replay(
        trial.lake,
        load.subject(trial.source, trial.table),
        Contract(trial.table.contract.columns, trial.table.contract.types),
    )
    trial.fold()
    return done


def _spoil(trial: Trial) -> None:
    """Five good orders, a sixth with a new column that the contract sets aside, and a seventh that is no number."""
    trial.declare(contract={"columns": "discard_row", "types": "discard_row"})
    trial.orders(5)
    trial.run()
    trial.sql("alter table orders add note text")
    trial.order(6, note="new")
    trial.order(7, amount="NaN")
    assert trial.run().taken.quarantined == 2


def test_rows_enter_once_their_contract_lets_them(trial: Trial) -> None:
    _spoil(trial)
    assert _replay(trial) == Replayed(stayed=2)
    trial.declare(contract={"columns": "evolve", "types": "discard_row"})
    assert _replay(trial) == Replayed(rows=1, stayed=1)
    assert trial.rows("order_id, amount, note", where="order_id > 4") == [(5, 5, None), (6, 10, "new")]
    assert trial.rows("order_id", zone="quarantine") == [(7,)]
    versions = trial.versions()
    assert _replay(trial) == Replayed(stayed=1)
    assert trial.versions() == versions
    assert trial.run().taken.rows_read == 0  # the cursor is where it was


@on_folder
def test_a_row_enters_without_the_value_that_is_then_kept_apart(trial: Trial) -> None:
    _spoil(trial)
    trial.declare(contract={"columns": "evolve", "types": "discard_value"})
    assert _replay(trial) == Replayed(rows=2)
    assert trial.rows("order_id, amount", where="order_id > 5") == [(6, 10), (7, None)]
    assert trial.rows("order_id, _column, _value", zone="quarantine") == [(7, "amount", "NaN")]


@on_folder
def test_values_enter_once_their_column_is_wide_enough(trial: Trial) -> None:
    trial.declare(contract={"types": "discard_value"}, history=True)
    trial.orders(3)
    trial.order(4, amount="NaN")
    trial.order(5, amount="NaN")
    trial.order(6, amount="NaN")
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 5")
    trial.sql("delete from orders where order_id = 6")
    trial.run()
    assert _replay(trial) == Replayed(overtaken=2, stayed=1)
    trial.sql("alter table orders alter amount type text")
    trial.declare(contract={"types": "evolve"})
    assert trial.run().taken.rows_read == 0  # nothing but the lake's type changes
    assert _replay(trial) == Replayed(values=1)
    assert trial.rows("order_id, amount", where="order_id > 3") == [(4, "NaN"), (5, "50.00")]
    assert trial.rows(zone="quarantine") == []


@on_folder
def test_a_replayed_row_never_overwrites_a_newer_one(trial: Trial) -> None:
    _spoil(trial)
    trial.sql("update orders set note = null, amount = 66, updated_at = clock_timestamp() where order_id = 6")
    trial.run()
    trial.declare(contract={"columns": "evolve", "types": "discard_row"})
    versions = trial.versions()
    assert _replay(trial) == Replayed(overtaken=1, stayed=1)
    assert trial.rows("amount", where="order_id = 6") == [(66,)]
    assert trial.versions()["raw"] == versions["raw"]


@on_folder
def test_of_two_quarantined_versions_the_newer_enters(trial: Trial) -> None:
    _spoil(trial)
    trial.sql("update orders set note = 'newer', updated_at = clock_timestamp() where order_id = 6")
    assert trial.run().taken.quarantined == 1
    trial.declare(contract={"columns": "evolve", "types": "discard_row"})
    assert _replay(trial) == Replayed(rows=1, overtaken=1, stayed=1)
    assert trial.rows("note", where="order_id = 6") == [("newer",)]


@on_folder
def test_twins_stay_until_the_other_row_changes(trial: Trial) -> None:
    trial.orders(3)
    trial.order(2, amount=20, updated_at="2026-01-02")
    assert trial.run().taken.quarantined == 1
    assert _replay(trial) == Replayed(stayed=1)
    trial.sql("delete from orders where amount = 20")
    trial.sql("update orders set amount = 22, updated_at = clock_timestamp() where order_id = 2")
    trial.run()
    assert _replay(trial) == Replayed(overtaken=1)
    assert trial.rows("amount", where="order_id = 2") == [(22,)]


@on_folder
@pytest.mark.parametrize("killed_at", ["raw", "quarantine"])
def test_a_replay_that_was_killed_is_done_by_the_next(trial: Trial, killed_at: str) -> None:
    _spoil(trial)
    trial.declare(contract={"columns": "evolve", "types": "discard_row"})

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit if killed_at == "raw" else quarantine, "add" if killed_at == "raw" else "remove", die)
        with pytest.raises(KeyboardInterrupt):
            _replay(trial)
    trial.fold()
    assert len(trial.rows(zone="quarantine")) == 2
    done = _replay(trial)
    assert (done.rows + done.overtaken, done.stayed) == (1, 1)
    assert trial.rows("order_id, note", where="order_id > 5") == [(6, "new")]
    assert trial.rows("order_id", zone="raw", where="order_id = 6") == [(6,)]
    assert len(trial.rows(zone="quarantine")) == 1


@on_folder
def test_a_replay_of_nothing_does_nothing(trial: Trial) -> None:
    assert _replay(trial) == Replayed()
    trial.orders(3)
    trial.run()
    versions = trial.versions()
    assert _replay(trial) == Replayed()
    assert trial.versions() == versions


@on_folder
def test_more_columns_reach_a_quarantine_that_has_fewer(trial: Trial) -> None:
    trial.orders(2)
    trial.sql("insert into orders (amount, ordered_at) values (1, '2026-01-05')")
    trial.run()
    trial.sql("alter table orders add note text")
    trial.sql("insert into orders (amount, ordered_at, note) values (2, '2026-01-05', 'hm')")
    trial.run()
    assert trial.rows("amount, note", zone="quarantine") == [(1, None), (2, "hm")]


# The command.


@pytest.fixture
def command(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`watershed quarantine …` over the trial's lake and declaration."""
    monkeypatch.setenv("WATERSHED_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WATERSHED_SOURCES", str(tmp_path / "sources"))
    for name in ("DAGSTER_HOME", "WAREHOUSE_ROOT", "WATERSHED_STATE", "SHOP", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Result:
        (tmp_path / "sources").mkdir(exist_ok=True)
        declared = {"connector": "postgres", "connection": trial.source.connection, "tables": [trial.declared]}
        (tmp_path / "sources" / "trial.yml").write_text(json.dumps(declared))
        before = dict(os.environ)
        try:
            return CliRunner().invoke(cli.main, ["quarantine", *words])
        finally:  # the command sets the variables of its shop
            os.environ.clear()
            os.environ.update(before)

    return run


@on_folder
def test_the_command_lists_shows_replays_and_clears(trial: Trial, command: Callable[..., Result]) -> None:
    assert command("list").output == "Nothing is in quarantine.\n"
    _spoil(trial)
    listed = command("list").output
    assert "note is new at the source" in listed
    assert "2 rows and values of 1 table are in quarantine; see some with" in listed
    shown = command("show", "trial.orders", "--reason", "note is new at the source").output
    assert "note = new" in shown
    assert shown.endswith(
        "trial.orders: 1 of 2 rows and values in quarantine; they are kept in quarantine/trial/orders.\n"
    )
    trial.declare(contract={"columns": "evolve", "types": "discard_row"})
    replayed = command("replay", "trial.orders")
    assert replayed.output.startswith(
        "trial.orders: 1 rows and 0 values have entered the lake; 1 still break the contract"
    )
    assert trial.rows("note", where="order_id = 6") == [("new",)]
    assert command("clear", "trial.orders").exit_code != 0  # nobody said yes
    assert command("clear", "trial.orders", "--yes").output == (
        "trial.orders: 1 rows and values are out of quarantine; older versions of the lake's table still hold them.\n"
    )
    assert command("clear", "trial.orders", "--yes").output == "trial.orders: nothing is in quarantine.\n"
    assert command("replay", "trial.orders").output == "trial.orders: nothing is in quarantine.\n"


@on_folder
def test_the_command_names_an_unknown_table(command: Callable[..., Result]) -> None:
    for words in (("show",), ("replay",), ("clear", "--yes")):
        done = command(words[0], "trial.ordrs", *words[1:])
        assert done.exit_code == 1
        assert done.output == 'Error: trial.ordrs: no such table is declared; did you mean "trial.orders"?\n'
