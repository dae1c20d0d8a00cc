"""One PostgreSQL data directory: make it, start its server, stop it. Roles and databases are not this module's."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from lake.errors import PermanentError
from services.process import Server, run

# For a small shared machine. jit costs more than it saves below seconds; telemetry stays off; no socket, because its
# path may not pass 107 characters and a project folder can be deeper.
_SETTINGS = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
password_encryption = 'scram-sha-256'
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 8
max_worker_processes = 20
max_parallel_workers_per_gather = 1
shared_buffers = '256MB'
work_mem = '16MB'
maintenance_work_mem = '128MB'
effective_cache_size = '1GB'
max_wal_size = '2GB'
checkpoint_timeout = '15min'
wal_compression = on
random_page_cost = 1.1
fsync = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
"""


@dataclass(frozen=True)
class Cluster:
    """A data directory and the programs that serve it.

    `folder` holds `data/`, the log and the server's identity. `command` turns a program of PostgreSQL and its
    arguments into the host's command line, run as a user other than root; `inside` is `folder` as those programs see
    it.
    """

    folder: Path
    inside: str
    command: Callable[..., list[str]]

    @property
    def server(self) -> Server:
        """The background process."""
        return Server("PostgreSQL", self.folder.parent / "postgres.pid", self.folder.parent / "postgres.log")

    def create(self, password: str) -> None:
        """Initialise the data directory, with this superuser password, unless it is there."""
        if (self.folder / "data" / "PG_VERSION").exists():
            return
        # initdb works beside and the result is renamed, so that a kill half-way leaves nothing that looks finished.
        draft, secret = self.folder / "data.draft", self.folder / "password.draft"
        shutil.rmtree(draft, ignore_errors=True)
        self._hand_over(secret, f"{password}\n")
        try:
            run(
                self.command(
                    "initdb", f"--pgdata={self.inside}/{draft.name}", f"--pwfile={self.inside}/{secret.name}",
                    "--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums",
                    "--locale=C.UTF-8", "--no-instructions",
                ),
                "services, PostgreSQL",
                f"look at {self.folder}",
            )  # fmt: skip
        finally:
            secret.unlink()
        with (draft / "postgresql.conf").open("a") as file:
            file.write("\ninclude_if_exists = 'watershed.conf'\n")
        draft.rename(self.folder / "data")

    def start(self, port: int) -> None:
        """Start the server on loopback `port`; `answer` waits for it."""
        self._settle_stale()
        settings = _SETTINGS + f"dynamic_shared_memory_type = {_shared_memory()}\n"
        self._hand_over(self.folder / "data" / "watershed.conf", settings)
        self.server.start(self.command("postgres", "-D", f"{self.inside}/data", "-p", str(port)))

    def answer(self, dsn: str, patience_s: float = 120) -> None:
        """Wait until the server accepts `dsn`; recovery after a crash may take a while.

        Raises:
            PermanentError: the server ended, or did not answer in time.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                psycopg.connect(dsn, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if self.server.pid() is None or time.monotonic() > deadline:
                    raise PermanentError(
                        "services, PostgreSQL",
                        f"the server does not answer: {self.server.last_words()}",
                        f"read {self.server.log}",
                    ) from None
            time.sleep(0.03)

    def stop(self) -> bool:
        """Fast shutdown: sessions are cut, data is safe; whether a server was running."""
        return self.server.stop(signal.SIGINT, patience_s=60)

    def _hand_over(self, path: Path, text: str) -> None:
        """Write a file that only the server's user may read."""
        path.touch(mode=0o600)
        path.write_text(text)
        if os.geteuid() == 0:
            owner = self.folder.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def adopt(self) -> bool:
        """Take back a server of this directory whose identity was lost; whether there is one now."""
        if self.server.pid() is not None:
            return True
        named = self._named()
        if named is None or named not in _workers(self.folder / "data"):
            return False
        self.server.adopt(named)
        return True

    def _settle_stale(self) -> None:
        """Get a `postmaster.pid` out of the way that PostgreSQL would stop at.

        PostgreSQL clears a stale file itself, unless the number in it belongs to another program by now. And after
        its main process was killed it refuses to start while a session still works: such orphans end by themselves.
        """
        deadline = time.monotonic() + 15
        while _workers(self.folder / "data") and time.monotonic() < deadline:
            time.sleep(0.1)
        named = self._named()
        # A zombie counts here, as it does for PostgreSQL's own look at the number.
        if named is not None and Path(f"/proc/{named}").exists() and not _workers(self.folder / "data"):
            (self.folder / "data" / "postmaster.pid").unlink()

    def _named(self) -> int | None:
        """The process id in `postmaster.pid`."""
        try:
            first = (self.folder / "data" / "postmaster.pid").read_text().partition("\n")[0].strip()
        except FileNotFoundError:
            return None
        return int(first) if first.isdigit() else None


def _workers(data: Path) -> set[int]:
    """The processes whose working directory is `data`: PostgreSQL's, whatever namespace they live in."""
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _works_in(entry, data)}


def _works_in(process: Path, data: Path) -> bool:
    try:
        return (process / "cwd").samefile(data)
    except OSError:  # gone meanwhile, or another user's
        return False


def _shared_memory() -> str:
    """Files instead of /dev/shm where that is as small as a container's default of 64 MB."""
    try:
        room = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return "mmap"
    return "posix" if room.f_blocks * room.f_frsize >= 256 << 20 else "mmap"
