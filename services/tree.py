"""A Debian 13 tree in a folder, and programs run inside it, by root as well as by a plain user.

The tree holds unpacked packages only: no maintainer script ran, nothing outside the folder was touched. A program
inside sees one folder of the host, as `/srv`. It runs as the user `service` (5432), never as root: for root by
chroot, for a plain user in a user namespace where that user appears as 5432.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lake.errors import PermanentError
from services import apt
from services.process import program, run
from services.record import locked

RELEASE = "trixie"
USER = 5432

_ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/srv", "TZ=UTC")

# $1 tree, $2 folder shown as /srv, then the command. /dev is the host's own: a plain user may not make devices.
_AS_ROOT = f"""
set -e; tree=$1; folder=$2; shift 2
mount --rbind /dev "$tree/dev"; mount --bind "$folder" "$tree/srv"
exec chroot --userspec={USER}:{USER} "$tree" "$@"
"""
# The outer namespace gives the right to mount, the inner one the user id: PostgreSQL refuses to be uid 0 even there.
_AS_USER = f"""
set -e; tree=$1; folder=$2; shift 2
mount --rbind /dev "$tree/dev"; mount --bind "$folder" "$tree/srv"
exec unshare --user --map-user={USER} --map-group={USER} --root="$tree" --wd=/ -- "$@"
"""


@dataclass(frozen=True)
class Tree:
    """An unpacked Debian tree and the host's folder that its programs see as `/srv`."""

    root: Path
    folder: Path

    def command(self, *words: str) -> list[str]:
        """The host's command line that runs `words` inside; it is replaced by them, so its pid stays theirs."""
        shell = [program("sh"), "-c", _AS_ROOT if os.geteuid() == 0 else _AS_USER, "sh"]
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        return [
            program("env"), "-i", *_ENVIRONMENT, program("unshare"), *user, "--mount", "--",
            *shell, str(self.root.resolve()), str(self.folder.resolve()), *words,
        ]  # fmt: skip

    def own_folder(self) -> None:
        """Make the folder and give it to the user that programs inside run as."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.folder, USER, USER)


def build(root: Path, packages: Sequence[str], say: Callable[[str], None]) -> None:
    """Unpack `packages` and what they need into `root`, once; a second caller waits for the first.

    Raises:
        PermanentError: no mmdebstrap, no user namespaces, or no Debian mirror that answers.
    """
    with locked(root.with_name(f"{root.name}.lock")):
        if root.exists():
            return
        mmdebstrap = _mmdebstrap(say)
        lines = apt.suite_lines(RELEASE)
        say(f"unpacking {packages[0]} from Debian into {root} (once, under a minute on a good line)")
        for leftover in root.parent.glob(f"{root.name}.partial-*"):  # of a build that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(dir=root.parent, prefix=f"{root.name}.partial-"))
        try:
            _unpack(mmdebstrap, partial, packages, lines)
            _furnish(partial)
            partial.rename(root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def is_possible() -> bool:
    """Whether the kernel lets this user have the namespaces that `command` needs."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    try:
        run([program("unshare"), *user, "--mount", "--", program("true")], "services, namespaces", "", timeout_s=20)
    except PermanentError:
        return False
    return True


def _mmdebstrap(say: Callable[[str], None]) -> str:
    if shutil.which("mmdebstrap") is None:
        if os.geteuid() != 0:
            raise PermanentError(
                "services",
                "neither a Docker engine nor mmdebstrap is here",
                "install one: start Docker, or run `sudo apt-get install mmdebstrap debian-archive-keyring`",
            )
        say("installing mmdebstrap")
        apt.install("mmdebstrap", "debian-archive-keyring")
    return program("mmdebstrap")


def _unpack(mmdebstrap: str, root: Path, packages: Sequence[str], lines: Sequence[str]) -> None:
    included = ",".join([*packages, "base-files", "dash", "libc-bin"])
    run(
        [
            mmdebstrap, f"--mode={'root' if os.geteuid() == 0 else 'chrootless'}", "--variant=extract",
            f"--include={included}", '--aptopt=Apt::Install-Recommends "false"', RELEASE, str(root), *lines,
        ],
        f"services, Debian {RELEASE}",
        "check that the mirrors in /etc/apt answer (`apt-get update`)",
        timeout_s=1800,
    )  # fmt: skip


def _furnish(root: Path) -> None:
    """What maintainer scripts would have made: mount points, a user, a world-writable /tmp."""
    for name in ("dev", "proc", "srv", "tmp", "run", "etc"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    root.chmod(0o755)
    (root / "etc" / "passwd").write_text(f"root:x:0:0::/:/bin/sh\nservice:x:{USER}:{USER}::/srv:/bin/sh\n")
    (root / "etc" / "group").write_text(f"root:x:0:\nservice:x:{USER}:\n")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
