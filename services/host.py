"""PostgreSQL from this machine's own packages, run on a data directory of ours."""

import os
import pwd
import re
import shutil
from pathlib import Path

from services import apt
from services.process import program

_PACKAGE = "postgresql-17-timescaledb"
_USER = "postgres"


def programs(usr: Path = Path("/usr")) -> Path | None:
    """The folder of the newest PostgreSQL programs on this machine that have TimescaleDB."""
    found = [
        (int(version.name), version / "bin")
        for version in (usr / "lib" / "postgresql").glob("*")
        if re.fullmatch(r"\d+", version.name)
        and (usr / "share" / "postgresql" / version.name / "extension" / "timescaledb.control").is_file()
    ]
    return max(found)[1] if found else None


def can_install() -> bool:
    """Whether we may and apt can: only root, and from Debian 13 on."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and apt.offers(_PACKAGE)


def install() -> None:
    """Install the packages without the cluster and server on port 5432 that Debian would make along with them."""
    own = Path("/etc/postgresql-common/createcluster.d")
    own.mkdir(parents=True, exist_ok=True)
    (own / "watershed.conf").write_text("create_main_cluster = false\n")
    apt.install(_PACKAGE)


def is_reachable(folder: Path) -> bool:
    """Whether the server's user can get to `folder`: as root that is another user, shut out below e.g. /root."""
    return os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents)


def own(folder: Path) -> None:
    """Make `folder` and give it to the server's user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)


def command(programs: Path, name: str, *words: str) -> list[str]:
    """The command line of a program of PostgreSQL, which never runs as root."""
    plain = [program("env"), "LC_ALL=C.UTF-8", "TZ=UTC", str(programs / name), *words]
    if os.geteuid() != 0:
        return plain
    return [program("setpriv"), f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", *plain]
