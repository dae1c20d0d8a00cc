"""A code location of one's own, loaded in this process: fresh home, fresh databases, the variables put back after."""

import os
from collections.abc import Iterator
from unittest.mock import patch

import dagster as dg
import pytest
from fix_site import KEPT, Site, opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A retail shop's site with two empty databases; its variables are set as a run sets them."""
    from orchestration import site as sites

    with opened(tmp_path_factory.mktemp("home")) as place, patch.dict(os.environ):
        for name in set(os.environ) - {*KEPT, "PYTEST_CURRENT_TEST"}:
            del os.environ[name]
        os.environ.update(place.environment)
        sites.enter()
        yield place


@pytest.fixture(scope="module")
def definitions(site) -> dg.Definitions:
    from orchestration.definitions import defs

    return defs()


@pytest.fixture
def instance(site) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance
