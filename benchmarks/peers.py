"""The tools that extraction is measured beside: each in a Python of its own under `.data/peers`, with its version said.

Sling and ingestr are pinned to the last versions whose wheel holds the program: later ones fetch it from a code host
at first use, and Sling from 1.4 on fetches DuckDB's as well to write Parquet.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import PROJECT

HOME = PROJECT / ".data" / "peers"
# dlt's ConnectorX asks for psycopg by way of SQLAlchemy, though it does not use it.
PACKAGES: Mapping[str, Sequence[str]] = {
    "connectorx": ("connectorx", "pyarrow"),
    "adbc": ("adbc-driver-postgresql", "adbc-driver-manager", "pyarrow"),
    "dlt": ("dlt[filesystem,parquet,sql_database]", "connectorx", "pyarrow", "psycopg[binary]", "pymysql"),
    "sling": ("sling==1.3.5",),
    "ingestr": ("ingestr<1",),
}
SHOWN = {"adbc": "adbc-driver-postgresql"}


@dataclass(frozen=True)
class Peer:
    """A tool that is installed: its Python and what it calls itself; or why it is not (`failure`)."""

    python: Path
    version: str = ""
    failure: str = ""


def installed(name: str) -> Peer:
    """Install a tool unless it is there. What stands in the way is told, not raised."""
    folder = HOME / name
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        uv = [str(Path(sys.executable).with_name("uv"))]
        steps = [
            [*uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)],
            [*uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(python), *PACKAGES[name]],
        ]
        for words in steps:
            try:
                subprocess.run(words, check=True, capture_output=True, text=True, cwd=PROJECT)
            except (subprocess.CalledProcessError, OSError) as error:
                said = getattr(error, "stderr", "") or str(error)
                return Peer(python, failure=f"{name} does not install: {said.strip().splitlines()[-1][:200]}")
        (folder / ".ready").touch()
    return Peer(python, _version(python, SHOWN.get(name, name)))


def _version(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return f"{package} {done.stdout.strip()}"
