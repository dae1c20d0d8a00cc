"""Great Expectations' Data Docs of stored results: static pages that open from disk, without a network."""

import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingestion.expectations.store import stored_files, stored_suites
from ingestion.expectations.suite import Suite
from lake.errors import PermanentError

RUNS = 5
_PAGES = "ingestion.expectations.pages"


def build_data_docs(home: Path, suites: Iterable[Suite], out: Path, *, runs: int = RUNS) -> Path:
    """Render the pages of `suites` and of each one's last `runs` results stored under `home`; the index page.

    `out` is replaced as a whole once all pages are there. Suites and results become Great Expectations' own objects,
    so what they cannot load is an error, not a gap. Costs 5 CPU-seconds to import it once, then 0.1 per page;
    nothing is sent anywhere or written outside `out`'s parent.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with _quietly(staging) as context:
            for suite in suites:
                _add_suite(context, suite)
            for name in stored_suites(home):
                for path in stored_files(home, name)[:runs]:
                    _add_result(context, name, path)
            _render(context, staging / "site")
        _swap(staging / "site", out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out / "index.html"


@contextmanager
def _quietly(folder: Path) -> Iterator[Any]:
    """A context of Great Expectations in memory that reports to nobody and keeps its settings in `folder`."""
    before = os.environ.get("GX_ANALYTICS_ENABLED")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read while it is imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import great_expectations
            from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

            config = DataContextConfig(
                store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
                analytics_enabled=False,
                plugins_directory=str(folder),
            )
            yield great_expectations.get_context(project_config=config, mode="ephemeral")
    finally:
        os.environ.pop("GX_ANALYTICS_ENABLED")
        if before is not None:
            os.environ["GX_ANALYTICS_ENABLED"] = before


def _add_suite(context: Any, suite: Suite) -> None:
    from great_expectations.core import ExpectationSuite

    context.suites.add(ExpectationSuite(**suite.to_json()))


def _add_result(context: Any, name: str, path: Path) -> None:
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    result = expectationSuiteValidationResultSchema.load(json.loads(path.read_text(encoding="utf-8")))
    identifier = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(name),
        run_id=RunIdentifier(**result.meta["run_id"]),
        batch_identifier=path.stem,
    )
    context.validation_results_store.set(identifier, result)


def _render(context: Any, site: Path) -> None:
    from great_expectations.render.renderer.site_builder import SiteBuilder

    view = {"view": {"module_name": _PAGES, "class_name": "OfflinePageView"}}
    builder = SiteBuilder(
        context,
        store_backend={"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
        site_name="Watershed",
        site_index_builder={
            "class_name": "DefaultSiteIndexBuilder",
            "view": {"module_name": _PAGES, "class_name": "OfflineIndexView"},
        },
        site_section_builders={"expectations": view, "validations": view, "profiling": "None"},
        show_how_to_buttons=False,
    )
    with _raising("great_expectations.render"):
        builder.build()


@contextmanager
def _raising(logger: str) -> Iterator[None]:
    """Turn the errors that Great Expectations logs, and then leaves a page out for, into an error of ours."""
    errors: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(record.getMessage())

    collector = Collector(logging.ERROR)
    logging.getLogger(logger).addHandler(collector)
    try:
        yield
    finally:
        logging.getLogger(logger).removeHandler(collector)
    if errors:
        reason = errors[0].split("Traceback:")[0].strip().splitlines()[-1].strip()
        raise PermanentError(
            "Data Docs", f"a page could not be rendered: {reason}", "report this with the result's file"
        )


def _swap(site: Path, out: Path) -> None:
    """Put `site` in the place of `out`; for an instant there is neither, never a mixture."""
    old = site.parent / "old"
    if out.exists():
        out.rename(old)
    site.rename(out)
