"""`python -m services up|down|status [s3|mariadb]`: the local servers without the `watershed` command."""

import argparse
import sys
from pathlib import Path

from lake.errors import PlatformError
from services import down, mariadb, postgres, s3, status

_SERVERS = {"postgres": postgres, "s3": s3, "mariadb": mariadb}
_HOME = Path(__file__).resolve().parents[1]


def main(words: list[str] | None = None) -> int:
    """Do what the command line says; 1 after an error, told in one line."""
    parser = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("server", nargs="?", choices=tuple(_SERVERS), help="default: postgres (up), all (down)")
    parser.add_argument("--home", type=Path, default=_HOME, help="the folder that gets .services")
    chosen = parser.parse_args(words)
    try:
        _act(chosen.action, chosen.server, chosen.home)
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _act(action: str, server: str | None, home: Path) -> None:
    if action == "status":
        for name, line in status(home).items():
            _say(f"{name}: {line}")
    elif action == "up":
        _SERVERS[server or "postgres"].up(home, _say)
    elif server is None:
        down(home, _say)
    else:
        _SERVERS[server].down(home, _say)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
