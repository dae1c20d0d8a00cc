"""The works that are killed, by name: each brings a trial's lake forward, and may be done again at any time."""

import datetime
from collections.abc import Callable

from trial_source import Trial

from ingestion import load
from lake import upkeep
from lake.gate import Contract
from lake.layout import Address
from lake.replay import replay
from warehouse import publish


def let_in(trial: Trial) -> None:
    """Put quarantine through the gate again, and fold."""
    words = trial.table.contract
    replay(trial.lake, load.subject(trial.source, trial.table), Contract(words.columns, words.types))
    trial.fold()


def addresses(trial: Trial) -> dict[str, Address]:
    """The lake's tables of a trial."""
    return {
        "raw": trial.address("raw"),
        "processed": trial.address(),
        "history": trial.address(suffix="_history"),
        "quarantine": trial.address("quarantine"),
    }


def tidy(trial: Trial, later: datetime.timedelta = datetime.timedelta(days=60)) -> None:
    """Keep all tables in order, as if so much time had gone by since."""
    now = upkeep.clock(trial.lake) + later
    for address in addresses(trial).values():
        upkeep.keep(trial.lake, address, now=now)


WORKS: dict[str, Callable[[Trial], object]] = {
    "run": lambda trial: trial.run(),
    "days": lambda trial: trial.reload("2026-01-05", "2026-01-06"),
    "load": lambda trial: trial.load(),
    "fold": lambda trial: trial.fold(),
    "replay": let_in,
    "upkeep": tidy,
    # of the warehouse that WAREHOUSE_ROOT and LAKE_ROOT name
    "publish": lambda _: publish.publish(),
    "rollback": lambda _: publish.rollback(),
}
