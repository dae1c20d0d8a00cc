"""Plug-ins for all tests: real servers, and folders of their own for lake, warehouse and records."""

from pathlib import Path

import pytest

pytest_plugins = ["fix_servers", "fix_browser"]


@pytest.fixture(autouse=True)
def staging_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Staged rows of a test lie in a folder of its own."""
    folder = tmp_path_factory.mktemp("staging")
    monkeypatch.setenv("WATERSHED_STAGING", str(folder))
    return folder


def pytest_report_header() -> list[str]:
    import fix_servers

    return fix_servers.header()
