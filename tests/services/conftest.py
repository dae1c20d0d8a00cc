"""Homes of their own for servers under test; the unpacked Debian trees are shared with the project's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import services

_PROJECT = Path(__file__).resolve().parents[2]
_GIVEN = (
    "SHOP_DSN", "METRICS_DSN", "MYSQL_DSN", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in _GIVEN:
        monkeypatch.delenv(key, raising=False)


@pytest.fixture(scope="session")
def postgres_tree() -> Path:
    return _PROJECT / ".services" / "root"


@pytest.fixture(scope="session")
def s3_tree() -> Path:
    return _PROJECT / ".services" / "s3.root"


@pytest.fixture(scope="session")
def mariadb_tree() -> Path:
    return _PROJECT / ".services" / "mariadb.root"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose servers are stopped when the module is done."""
    saved = {key: os.environ.pop(key) for key in _GIVEN if key in os.environ}
    path = tmp_path_factory.mktemp("home")
    yield path
    services.down(path, lambda _: None)
    os.environ.update(saved)
