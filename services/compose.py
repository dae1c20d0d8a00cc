"""stub."""
from pathlib import Path
def is_available() -> bool: return False
def up(home: Path, service: str) -> None: ...
def down(home: Path, service: str) -> bool: return False
