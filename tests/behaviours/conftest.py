"""A trial on every kind of lake root."""

from collections.abc import Iterator

import pytest
import trial_source


@pytest.fixture
def trial(operational_dsn: str, lake_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[trial_source.Trial]:
    """The table orders in a database of its own, and an empty lake."""
    monkeypatch.setenv(trial_source.VARIABLE, operational_dsn)
    monkeypatch.setenv("WATERSHED_MASK_SALT", trial_source.SALT)
    with trial_source.trial(operational_dsn, lake_root) as it:
        yield it
