"""A trial in a folder for each fault."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trial_source


@pytest.fixture
def trial(operational_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trial_source.Trial]:
    """The table orders in a database of its own, and an empty lake in a folder."""
    monkeypatch.setenv(trial_source.VARIABLE, operational_dsn)
    monkeypatch.setenv("WATERSHED_MASK_SALT", trial_source.SALT)
    with trial_source.trial(operational_dsn, str(tmp_path / "lake")) as it:
        yield it
