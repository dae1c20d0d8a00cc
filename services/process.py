"""Start a server in the background, know it again later, stop it: by its process id and its start time.

A process id alone is not enough: after a crash or a reboot another program may carry it.
"""

import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lake.errors import PermanentError

_LOG_LIMIT = 16 << 20  # bytes; a longer log is set aside at the next start


@dataclass(frozen=True)
class Server:
    """A background process: where its identity is kept and where it writes its log."""

    name: str
    identity: Path
    log: Path

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run `command` detached from this process and its session, and record its identity."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        with self.log.open("a") as log:
            # The shell leaves at once, so the server's parent is init and no zombie stays with a long-lived caller.
            launched = subprocess.run(  # noqa: S603
                [program("sh"), "-c", '"$@" >&2 & echo $!', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                check=True,
                text=True,
                start_new_session=True,
                env=None if environment is None else dict(environment),
            )
        self.adopt(int(launched.stdout))

    def adopt(self, pid: int) -> None:
        """Record `pid` as this server's process."""
        self.identity.write_text(f"{pid} {birth(pid)}\n")

    def pid(self) -> int | None:
        """The process id while the very process we started is alive, else None."""
        try:
            pid, born = self.identity.read_text().split(maxsplit=1)
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if birth(int(pid)) == born.strip() else None

    def stop(self, how: signal.Signals = signal.SIGTERM, patience_s: float = 30) -> bool:
        """Ask the process to end, wait, and kill it when it does not; whether there was one to stop."""
        pid = self.pid()
        if pid is None:
            self.identity.unlink(missing_ok=True)
            return False
        try:
            os.kill(pid, how)
        except PermissionError:
            raise PermanentError(
                f"services, {self.name}", f"process {pid} belongs to another user", "stop it as that user"
            ) from None
        if not self._gone_within(patience_s):
            os.kill(pid, signal.SIGKILL)
            if not self._gone_within(5):
                raise PermanentError(f"services, {self.name}", f"process {pid} does not end", "see what it waits for")
        self.identity.unlink(missing_ok=True)
        return True

    def last_words(self) -> str:
        """The last telling line of the log."""
        with self.log.open(errors="replace") as file:
            lines = [line.strip() for line in deque(file, 40) if line.strip()]
        grave = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "rror", "denied"))]
        return (grave or lines or ["its log is empty"])[-1]

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.pid() is None:
                return True
            time.sleep(0.02)
        return self.pid() is None


def birth(pid: int) -> str | None:
    """When the process `pid` started: boot id and clock ticks since boot; None for none or a dead one (zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def program(name: str) -> str:
    """The absolute path of a system program, also where /usr/sbin is not on the PATH of a plain user."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise PermanentError("services", f"the program {name} is not installed", f"install {name}")
    return found


def run(
    command: Sequence[str], where: str, mend: str, timeout_s: float = 600, environment: Mapping[str, str] | None = None
) -> str:
    """Run `command` to its end and return its standard output; a failure becomes one sentence with its last line."""
    try:
        done = subprocess.run(  # noqa: S603
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
            env=None if environment is None else dict(environment),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PermanentError(where, f"{Path(command[0]).name} did not end in {timeout_s:.0f} s", mend) from None
    if done.returncode:
        words = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        telling = [line for line in words if line.startswith(("E:", "FATAL", "ERROR")) or "rror" in line] or words
        last = telling[-1] if telling else f"{Path(command[0]).name} ended with exit code {done.returncode}"
        raise PermanentError(where, last, mend)
    return done.stdout
