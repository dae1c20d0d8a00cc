"""The works that are killed, by name: each brings a trial's lake forward, and may be done again at any time."""

from collections.abc import Callable

from trial_source import Trial

from ingestion import load
from lake.gate import Contract
from lake.replay import replay


def let_in(trial: Trial) -> None:
    """Put quarantine through the gate again, and fold."""
    words = trial.table.contract
    replay(trial.lake, load.subject(trial.source, trial.table), Contract(words.columns, words.types))
    trial.fold()


WORKS: dict[str, Callable[[Trial], object]] = {
    "run": lambda trial: trial.run(),
    "days": lambda trial: trial.reload("2026-01-05", "2026-01-06"),
    "load": lambda trial: trial.load(),
    "fold": lambda trial: trial.fold(),
    "replay": let_in,
}
