"""dbt inside this process: its settings, its manifest kept between calls, its DuckDB handles closed afterwards."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from lake import duck, s3
from lake.errors import BuildFailed, SpecError
from warehouse import calendar
from warehouse.layout import Layout

Event = Any  # dbt's EventMsg, a protobuf message built at run time
SHOP_VARIABLES = ("SHOP_SOURCE", "SHOP_ID_TYPE", "HOLIDAY_COUNTRY")  # what the models are told of the shop in use
PROJECT_FILES = (".sql", ".yml", ".csv", ".py")

_manifests: dict[str, Any] = {}


def invoke(
    place: Layout,
    command: list[str],
    on_event: Callable[[Event], None] | None = None,
    before_close: Callable[[duckdb.DuckDBPyConnection], None] | None = None,
) -> Any:
    """Run one dbt command and return its dbtRunnerResult; parses first if the project has changed.

    dbt writes to `place.target` and `place.logs`, nothing to the terminal. `before_close` is called with dbt's own
    database, if it opened one: another connection would load the extensions again, for a CPU-second. Raises
    BuildFailed if the project does not parse.
    """
    calendar.check()
    with _environment(place):
        manifest = _manifest(place)
        try:
            outcome = _dbt(place, command, manifest, on_event)
            if before_close and (connection := _connection()):
                before_close(connection)
            return outcome
        finally:
            close_handles()


def parse(place: Layout) -> Path:
    """The path of the project's manifest.json; written if it is missing or the project has changed since.

    Costs milliseconds when nothing changed: the key is a hash of the project's files, the lake's root, the shop in
    use and dbt's version. Raises BuildFailed if the project does not parse.
    """
    path, stamp = place.target / "manifest.json", place.target / "manifest.key"
    key = project_key(place)
    if not (path.exists() and stamp.exists() and stamp.read_text() == key):
        _manifests.clear()
        with _environment(place):
            _manifest(place)
    return path


def project_key(place: Layout) -> str:
    """A hash of everything that a manifest depends on."""
    digest = hashlib.sha256()
    shop = (os.environ.get(name, "") for name in SHOP_VARIABLES)
    facts = (
        str(place.root),
        _lake_root(),
        *shop,
        *(importlib.metadata.version(name) for name in ("dbt-core", "dbt-duckdb")),
    )
    digest.update("\0".join(facts).encode())
    for path in project_files(place):
        digest.update(f"\0{path.relative_to(place.project)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def project_files(place: Layout) -> list[Path]:
    """The files that make up the dbt project, by name."""
    found = (path for path in place.project.rglob("*") if path.suffix in PROJECT_FILES)
    return sorted(path for path in found if path.relative_to(place.project).parts[0] not in ("target", "logs"))


def close_handles() -> None:
    """Close the DuckDB handles that dbt-duckdb keeps open after a command, so that the file can be copied.

    The adapter holds its connection in a class attribute until the process ends.
    """
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters

    environment = DuckDBConnectionManager._ENV
    if environment is not None:
        environment.close()
    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
    reset_adapters()  # type: ignore[no-untyped-call]


def _connection() -> duckdb.DuckDBPyConnection | None:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    database = getattr(DuckDBConnectionManager._ENV, "conn", None)
    return database.cursor() if database else None


def _manifest(place: Layout) -> Any:
    key = project_key(place)
    if key not in _manifests:
        _manifests.clear()
        _manifests[key] = _saved(place, key) or _parsed(place, key)
    return _manifests[key]


def _saved(place: Layout, key: str) -> Any:
    """The manifest that dbt left when it parsed this very project; to let dbt look for changes costs thrice the CPU."""
    stamp, saved = place.target / "manifest.key", place.target / "partial_parse.msgpack"
    if not (saved.exists() and stamp.exists() and stamp.read_text() == key):
        return None
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    try:
        manifest: Any = Manifest.from_msgpack(saved.read_bytes(), decoder=extended_mashumuro_decoder)
    except Exception:  # a torn file, in whatever way: dbt writes it anew
        return None
    manifest.build_parent_and_child_maps()
    manifest.build_flat_graph()
    return manifest


def _parsed(place: Layout, key: str) -> Any:
    stamp = place.target / "manifest.key"
    stamp.unlink(missing_ok=True)  # what a parse that is killed leaves must not pass for this project's
    result = _dbt(place, ["parse"], None, None)
    close_handles()
    if not result.success:
        raise BuildFailed("dbt project", one_line(result.exception), f"mend the file it names in {place.project}")
    stamp.write_text(key)
    return result.result


def _dbt(place: Layout, command: list[str], manifest: Any, on_event: Callable[[Event], None] | None) -> Any:
    from dbt.cli.main import dbtRunner  # costs a second: only where dbt is really run

    folders = {"--project-dir": place.project, "--profiles-dir": place.project, "--target-path": place.target}
    settings = ["--log-path", str(place.logs), "--log-level", "none", "--no-use-colors-file", "--no-version-check"]
    arguments = [*settings, *command, *(text for pair in folders.items() for text in map(str, pair))]
    return dbtRunner(manifest=manifest, callbacks=[on_event] if on_event else []).invoke(arguments)


def one_line(error: object) -> str:
    """The message of a dbt or DuckDB error on one line, without its heading and code excerpt."""
    lines = [line.strip() for line in str(error).splitlines()]
    useful = [line for line in lines if line and not line.startswith(("LINE ", "^", "compiled code at", "> in macro"))]
    if len(useful) > 1 and useful[0].startswith(("Runtime Error", "Compilation Error", "Database Error", "Parsing")):
        useful = useful[1:]
    return " ".join(useful)[:600]


def _lake_root() -> str:
    root = os.environ.get("LAKE_ROOT", "")
    if not (root.startswith("s3://") or Path(root).is_absolute()):
        raise SpecError("LAKE_ROOT", f"{root!r} is not absolute", "give an absolute folder or s3://bucket/prefix")
    return root


@contextmanager
def _environment(place: Layout) -> Iterator[None]:
    """What `dbt_project/profiles.yml` reads; dbt has no other way in that keeps the parsed manifest valid."""
    on_s3 = _lake_root().startswith("s3://")
    ours = {
        "WAREHOUSE_BUILD": str(place.build),
        "DUCKDB_EXTENSION_DIRECTORY": str(duck.extension_directory()),
    }
    if on_s3:  # also for keys of a profile or a role, which dbt does not look for
        ours["WAREHOUSE_S3"] = json.dumps({name.lower(): value for name, value in duck.s3_options().items()})
        ours["WAREHOUSE_S3_CA"] = s3.server().ca
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    for folder in (place.build.parent, place.target, place.logs):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
