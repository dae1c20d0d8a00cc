"""A trial in a folder for each fault, and a program that runs are killed in."""

from collections.abc import Iterator
from pathlib import Path

import fix_servers
import kills
import pytest
import trial_source
from faulty_s3 import FaultyS3


@pytest.fixture
def trial(operational_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trial_source.Trial]:
    """The table orders in a database of its own, and an empty lake in a folder."""
    monkeypatch.setenv(trial_source.VARIABLE, operational_dsn)
    monkeypatch.setenv("WATERSHED_MASK_SALT", trial_source.SALT)
    with trial_source.trial(operational_dsn, str(tmp_path / "lake")) as it:
        yield it


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kills.Zygote]:
    """What forks the runs that are killed."""
    it = kills.Zygote(tmp_path_factory.mktemp("zygote") / "log")
    yield it
    it.close()


@pytest.fixture(scope="session")
def proxy() -> Iterator[FaultyS3]:
    """What stands between a lake and its S3 server, and lets requests fail."""
    it = FaultyS3(fix_servers.address("AWS_ENDPOINT_URL"))
    yield it
    it.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many runs were killed, and by which seed."""
    if kills.COUNTED["kills"]:
        said = f"{kills.COUNTED['kills']} runs killed, {kills.SPENT[0]:.0f} CPU-seconds in them"
        terminalreporter.write_line(f"faults: {said}; WATERSHED_FAULT_SEED={kills.SEED}")
