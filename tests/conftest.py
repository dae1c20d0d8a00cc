"""Plug-ins for all tests: real servers, and folders of their own for lake, warehouse and records."""

import sys
from pathlib import Path

import pytest

pytest_plugins = ["fix_servers", "fix_browser"]


@pytest.fixture(autouse=True)
def staging_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Staged rows of a test lie in a folder of its own."""
    folder = tmp_path_factory.mktemp("staging")
    monkeypatch.setenv("WATERSHED_STAGING", str(folder))
    return folder


def pytest_configure() -> None:
    """Let a worker of pytest-xdist look like a program: PySpark takes one without a file for a run of doctests."""
    main = sys.modules["__main__"]
    if not hasattr(main, "__file__"):
        main.__file__ = __file__


def pytest_report_header() -> list[str]:
    import fix_servers

    return fix_servers.header()
