"""A page is put in its place in one piece: readers see the old one or the new one."""

import os
from pathlib import Path


def replaced(path: Path, text: str) -> None:
    """Write `text` to `path` by an atomic rename."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
