"""Running the notebooks as a reader would, in a process of their own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))


def executed(path: Path, environment: Mapping[str, str], folder: Path) -> Any:
    """The notebook with its outputs, run in `folder` with nothing but `environment`; raises if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    own = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "jupyter")}
    with patch.dict(os.environ, {**environment, **own}, clear=True):
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def charts(notebook: Any) -> int:
    """How many of its cells drew a chart with something in it."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = [str(output["data"]["image/svg+xml"]) for output in outputs if "image/svg+xml" in output.get("data", {})]
    return sum('role="graphics-symbol"' in picture for picture in drawn)
