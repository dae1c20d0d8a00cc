"""Keep the results of suites as files: `<home>/expectations/<source>.<table>/<UTC time>.json` and `latest.json`."""

import json
import os
import tempfile
from pathlib import Path

from ingestion.expectations.result import SuiteResult, suite_result_from_json

FOLDER = "expectations"
LATEST = "latest.json"
KEEP = 20


def store(home: Path, result: SuiteResult) -> Path:
    """Write a result under `home`, drop all but the last 20 of its table, and give the file's path.

    Files appear whole or not at all; two results of the same second overwrite each other.
    """
    folder = home / FOLDER / result.suite
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    path = folder / f"{result.at:%Y%m%dT%H%M%SZ}.json"
    _write(path, text)
    _write(folder / LATEST, text)
    for old in stored_files(home, result.suite)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def stored_files(home: Path, suite: str) -> list[Path]:
    """The files of a table's results, newest first, without `latest.json`."""
    found = (home / FOLDER / suite).glob("*.json")
    return sorted((path for path in found if path.name != LATEST), reverse=True)


def stored_suites(home: Path) -> list[str]:
    """The names of the suites that have results, in order."""
    return sorted(path.parent.name for path in (home / FOLDER).glob(f"*/{LATEST}"))


def latest(home: Path, suite: str) -> SuiteResult | None:
    """The last result of a table, or None if it was never evaluated."""
    path = home / FOLDER / suite / LATEST
    return read(path) if path.exists() else None


def read(path: Path) -> SuiteResult:
    """The result in one file."""
    return suite_result_from_json(json.loads(path.read_text(encoding="utf-8")))


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
