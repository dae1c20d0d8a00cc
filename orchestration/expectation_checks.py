"""Expectations as asset checks of the processed tables; their results are kept for the Data Docs."""

import os
from pathlib import Path

import dagster as dg

from ingestion.expectations.evaluate import evaluate
from ingestion.expectations.result import Result
from ingestion.expectations.sentences import sentence
from ingestion.expectations.store import store
from ingestion.expectations.suite import Suite, suite_for
from ingestion.spec import Source, Table
from lake import read
from lake.layout import Address, Lake
from orchestration import clock

SEVERITY = {"critical": dg.AssetCheckSeverity.ERROR}


def suite(source: Source, table: Table) -> Suite:
    """The suite of a declared table."""
    return suite_for(source.name, table)


def specs(key: dg.AssetKey, suite: Suite) -> list[dg.AssetCheckSpec]:
    """One check for each expectation of a suite; a critical one keeps everything downstream from being built."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=key,
            description=expectation.description or expectation.notes or words,
            blocking=expectation.severity in SEVERITY,
        )
        for (name, words), expectation in zip(_names(suite), suite.expectations, strict=True)
    ]


def results(
    lake: Lake, source: Source, table: Table, suite: Suite, context: dg.AssetExecutionContext
) -> list[dg.AssetCheckResult]:
    """Measure the suite on the whole processed table, in bounded memory."""
    address = Address("processed", source.name, table.name)
    with read.connect(lake) as connection:
        measured = evaluate(connection, read.relation(lake, address), suite, now=clock.now())
    store(Path(os.environ["WATERSHED_STATE"]), measured)
    checked = []
    for (name, _), result in zip(_names(suite), measured.results, strict=True):
        if not result.success:
            context.log.error(_told(source, result))
        checked.append(
            dg.AssetCheckResult(
                passed=result.success,
                check_name=name,
                severity=SEVERITY.get(result.expectation.severity, dg.AssetCheckSeverity.WARN),
                description=None if result.success else _told(source, result),
                metadata={
                    name: result.result[name]
                    for name in ("element_count", "unexpected_count")
                    if isinstance(result.result.get(name), int)
                },
            )
        )
    return checked


def _told(source: Source, result: Result) -> str:
    rules = f"ingestion/sources/{source.name}.yml"
    return f"{sentence(result)}; correct the rows at the source, or what {rules} expects of them"


def _names(suite: Suite) -> list[tuple[str, str]]:
    """A unique name and a readable sentence for each expectation, in the suite's order."""
    named: list[tuple[str, str]] = []
    for expectation in suite.expectations:
        columns = "_".join(expectation.columns)
        base = f"{expectation.type}__{columns}" if columns else expectation.type
        twins = sum(name == base or name.startswith(f"{base}__") for name, _ in named)
        name = f"{base}__{twins + 1}" if twins else base
        named.append((name, expectation.type.replace("_", " ")))
    return named
