"""The results of a suite, in Great Expectations' own JSON form."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ingestion.expectations.registry import SEVERITIES
from ingestion.expectations.suite import Expectation


@dataclass(frozen=True)
class Result:
    """What came of one expectation; `reason` says why it could not be measured, else None."""

    suite: str
    expectation: Expectation
    success: bool
    result: Mapping[str, Any]
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Great Expectations' `ExpectationValidationResult` as JSON."""
        return {
            "success": self.success,
            "expectation_config": self.expectation.to_json(),
            "result": dict(self.result),
            "meta": {},
            "exception_info": {
                "raised_exception": self.reason is not None,
                "exception_message": self.reason,
                "exception_traceback": None if self.reason is None else "",
            },
        }


@dataclass(frozen=True)
class SuiteResult:
    """What came of a suite at one instant (UTC); `row_count` is None if the table could not be read."""

    suite: str
    results: tuple[Result, ...]
    at: datetime.datetime
    row_count: int | None
    parameters: Mapping[str, str]

    @property
    def success(self) -> bool:
        """Whether every expectation held, whatever its severity."""
        return all(item.success for item in self.results)

    def failed(self, *severities: str) -> tuple[Result, ...]:
        """The results that did not hold, of the given severities (all by default), gravest first."""
        wanted = [item for item in self.results if not item.success]
        wanted = [item for item in wanted if not severities or item.expectation.severity in severities]
        return tuple(sorted(wanted, key=lambda item: SEVERITIES.index(item.expectation.severity)))

    def to_json(self) -> dict[str, Any]:
        """Great Expectations' `ExpectationSuiteValidationResult` as JSON."""
        held = sum(item.success for item in self.results)
        count = len(self.results)
        source, _, table = self.suite.partition(".")
        return {
            "success": self.success,
            "suite_name": self.suite,
            "results": [item.to_json() for item in self.results],
            "suite_parameters": dict(self.parameters),
            "statistics": {
                "evaluated_expectations": count,
                "successful_expectations": held,
                "unsuccessful_expectations": count - held,
                "success_percent": held / count * 100 if count else None,
            },
            "meta": {
                "great_expectations_version": version("great-expectations"),
                "run_id": {"run_name": f"{self.at:%Y%m%dT%H%M%SZ}", "run_time": self.at.isoformat()},
                "validation_time": self.at.isoformat(),
                "active_batch_definition": {
                    "datasource_name": source,
                    "data_connector_name": "lake",
                    "data_asset_name": table,
                    "batch_identifiers": {},
                },
                "batch_spec": {"data_asset_name": f"processed/{source}/{table}", "rows": self.row_count},
            },
            "id": None,
        }


def suite_result_from_json(text: Mapping[str, Any]) -> SuiteResult:
    """The result that `SuiteResult.to_json` wrote."""
    results = []
    for item in text["results"]:
        expectation = Expectation(**item["expectation_config"])
        reason = item["exception_info"]["exception_message"]
        results.append(Result(text["suite_name"], expectation, item["success"], item["result"], reason))
    return SuiteResult(
        text["suite_name"],
        tuple(results),
        datetime.datetime.fromisoformat(text["meta"]["validation_time"]),
        text["meta"]["batch_spec"]["rows"],
        text["suite_parameters"],
    )
