"""`watershed reconcile`: what people see, its exit code, and its lock."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from click.testing import CliRunner, Result
from deltalake import DeltaTable
from trial_source import VARIABLE, Trial, on_folder

from orchestration.lock import alone
from watershed.cli import main

pytestmark = on_folder


@pytest.fixture
def site(trial: Trial, tmp_path: Path) -> Iterator[Trial]:
    """The trial's source as the only one of a shop of its own, loaded."""
    sources = tmp_path / "sources"
    sources.mkdir()
    text = {"connector": "postgres", "connection": VARIABLE, "tables": [trial.declared]}
    (sources / "trial.yml").write_text(yaml.safe_dump(text))
    own = {"WATERSHED_HOME": str(tmp_path / "home"), "WATERSHED_SOURCES": str(sources), "COLUMNS": "160"}
    with patch.dict(os.environ, own):
        os.environ.pop("WAREHOUSE_ROOT", None)
        trial.orders(10)
        trial.orders(10, day="2026-01-06", first=11)
        trial.run()
        yield trial


def reconcile(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reconcile", *arguments])


def damage(trial: Trial) -> None:
    DeltaTable(trial.lake.uri(trial.address())).delete("order_id in (3, 4)")


def last(result: Result) -> str:
    return result.stdout.strip().splitlines()[-1]


def test_what_agrees_is_said_in_a_sentence(site: Trial) -> None:
    result = reconcile()
    assert result.exit_code == 0, result.output
    assert last(result) == "1 table and 0 marts compared: nothing differs."
    assert result.stdout.splitlines()[2].split() == ["trial.orders", "2", "20", "20", "20", "-", "ok"]
    assert "asking the source" in result.stderr


def test_what_differs_is_named_with_its_mend_and_fails(site: Trial) -> None:
    damage(site)
    result = reconcile("trial", "--since", "2026-01-05")
    assert result.exit_code == 1
    assert "differs  trial.orders, 2026-01-05: 2 rows missing in processed" in result.stdout
    assert last(result) == (
        "1 table and 0 marts compared: trial.orders differs; mend it with `watershed reconcile trial.orders --repair`."
    )
    assert reconcile("trial.orders", "--since", "2026-01-06").exit_code == 0


def test_a_repair_says_what_it_found_and_mended(site: Trial) -> None:
    damage(site)
    result = reconcile("trial.orders", "--repair", "--pause", "0.1")
    assert result.exit_code == 0, result.output
    assert "found     trial.orders, 2026-01-05: 2 rows missing in processed" in result.stdout
    assert "mended    trial.orders: 1 day folded anew from raw, 10 rows" in result.stdout
    assert last(result) == "1 table and 0 marts compared: nothing differs. Mended: trial.orders."
    site.assert_same()


def test_what_is_not_mended_is_said_to_differ_still(site: Trial) -> None:
    site.orders(20, day="2026-01-08", first=100)
    site.run()
    site.sql("delete from orders where order_id < 100 or order_id > 110")
    result = reconcile("--repair")
    assert result.exit_code == 1
    assert "29 of 40 rows have vanished at the source, more than a fifth" in result.stdout
    assert "trial.orders still differs (see above)" in last(result)


def test_a_repair_waits_for_nobody(site: Trial, tmp_path: Path) -> None:
    with alone(tmp_path / "home" / "retail"):
        assert reconcile().exit_code == 0
        result = reconcile("--repair")
    assert result.exit_code == 1
    assert "is running already; wait until it has ended and run again" in result.stderr


def test_a_source_that_does_not_answer_fails_the_comparison(site: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://nobody:secret@127.0.0.1:1/none")
    result = reconcile()
    assert result.exit_code == 1
    assert "not compared  source trial: the server does not answer" in result.stdout
    assert "secret" not in result.output


def test_an_unknown_table_is_refused_with_a_guess(site: Trial) -> None:
    result = reconcile("trial.ordres")
    assert result.exit_code == 1
    assert 'trial.ordres: no such table is declared; did you mean "trial.orders"?' in result.stderr
