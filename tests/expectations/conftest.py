"""Great Expectations as the reference: imported once per session, for it costs 4 to 6 CPU-seconds."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest

from lake import duck


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect() as opened:
        yield opened


@pytest.fixture(scope="session")
def gx() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    return great_expectations


@pytest.fixture(scope="session")
def gx_verdict(gx: Any) -> Callable[..., dict[str, Any]]:
    """`gx_verdict(frame, type, kwargs)`: the JSON of Great Expectations' own result on a pandas frame."""
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("reference").add_dataframe_asset("frame")
    definition = asset.add_batch_definition_whole_dataframe("whole")

    def verdict(frame: Any, kind: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        expectation = ExpectationConfiguration(type=kind, kwargs=kwargs).to_domain_obj()
        result = definition.get_batch({"dataframe": frame}).validate(expectation, result_format="SUMMARY")
        return dict(result.to_json_dict())

    return verdict
