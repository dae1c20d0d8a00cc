"""A Chromium for the tests of the report page: the one that CHROMIUM names, this machine's, or Debian's.

Nothing is downloaded but Debian packages: as root they are installed, else unpacked into a folder and run from there.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from lake.errors import PermanentError
from services import apt, record, tree
from services.process import program

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")

# $1 tree, then the browser's words. It sees the host's temporary folder, which holds its profile and the pages.
_INSIDE = """#!{sh}
exec {unshare} {user} --mount -- {sh} -c '
set -e; tree=$1; shift
for folder in /dev /proc {seen}; do mkdir -p "$tree$folder"; mount --rbind "$folder" "$tree$folder"; done
HOME=/tmp LANG=C.UTF-8 exec chroot "$tree" /usr/lib/chromium/chromium "$@"
' sh {tree} "$@"
"""


def executable(home: Path, say: Callable[[str], None]) -> Path:
    """The path of a Chromium that runs here; installs one if there is none.

    Raises:
        PermanentError: CHROMIUM names none, or none can be had.
    """
    given = os.environ.get("CHROMIUM")
    if given:
        if not os.access(given, os.X_OK):
            raise PermanentError("CHROMIUM", f"{given} is no program", "name the path of a Chromium, or unset it")
        return Path(given)
    return _on_path() or _installed(say) or _unpacked(home, say)


def _on_path() -> Path | None:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


def _installed(say: Callable[[str], None]) -> Path | None:
    is_debian = Path("/etc/debian_version").is_file() and "ID=ubuntu" not in Path("/etc/os-release").read_text()
    if os.geteuid() != 0 or shutil.which("apt-get") is None or not is_debian:  # Ubuntu's package is a snap
        return None
    say("installing Chromium from Debian for the browser tests")
    apt.install(*PACKAGES)
    return _on_path()


def _unpacked(home: Path, say: Callable[[str], None]) -> Path:
    if not tree.is_possible():
        mend = "install it (`sudo apt-get install chromium`), or set CHROMIUM to its path"
        raise PermanentError("browser tests", "there is no Chromium, and the kernel forbids namespaces", mend)
    root = record.folder(home).resolve() / "browser.root"
    tree.build(root, PACKAGES, say)
    seen = sorted({"/tmp", tempfile.gettempdir()})  # noqa: S108 - shown as it is
    launcher = root.with_name("browser")
    launcher.write_text(
        _INSIDE.format(
            sh=program("sh"),
            unshare=program("unshare"),
            user="" if os.geteuid() == 0 else "--map-root-user",
            seen=" ".join(seen),
            tree=root,
        )
    )
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    return launcher
