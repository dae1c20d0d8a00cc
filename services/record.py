"""What the local servers are: files of `KEY=value` lines under `<home>/.services`, readable by their owner only.

`env` holds what clients need (DSNs of the plain role, S3 keys) and may be exported to child processes; `state` holds
what only this package needs (the superuser's DSN, ports, which way a server was started).
"""

import errno
import fcntl
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lake.errors import PermanentError

# Ports at and above 32768 are handed out by Linux to outgoing connections, so a server there may find its port taken.
_PORTS = range(20000, 32000)


def folder(home: Path) -> Path:
    """`<home>/.services`, made when absent."""
    path = home.resolve() / ".services"
    path.mkdir(parents=True, exist_ok=True)
    return path


def environment(home: Path) -> dict[str, str]:
    """What clients of the local servers need, as recorded by the last `up`; empty before the first."""
    return _read(home / ".services" / "env")


def state(home: Path) -> dict[str, str]:
    """What this package recorded for itself."""
    return _read(home / ".services" / "state")


def record_environment(home: Path, values: Mapping[str, str]) -> None:
    """Merge `values` into `.services/env`, atomically."""
    _merge(folder(home) / "env", values)


def record_state(home: Path, values: Mapping[str, str]) -> None:
    """Merge `values` into `.services/state`, atomically."""
    _merge(folder(home) / "state", values)


def password() -> str:
    """A new random password of 192 bits, safe in a URL."""
    return secrets.token_urlsafe(24)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; a second process waits. The kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def recorded_port(home: Path, key: str) -> int:
    """The port recorded under `key` while it is free, else a new one, recorded.

    Call it with the server down: a running server makes its own port look taken.
    """
    known = state(home).get(key)
    if known and comes_free(int(known)):
        return int(known)
    port = free_port()
    record_state(home, {key: str(port)})
    return port


def free_port() -> int:
    """A loopback port below 32768 that nobody listens on now."""
    for _ in range(200):
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        if is_free(port):
            return port
    raise PermanentError("services", "found no free port from 20000 to 31999", "stop servers that are not needed")


def comes_free(port: int, patience_s: float = 3) -> bool:
    """Whether `port` is free, now or soon: threads of a killed server may hold it a moment longer than its process."""
    deadline = time.monotonic() + patience_s
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _read(path: Path) -> dict[str, str]:
    with suppress(FileNotFoundError):
        lines = path.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {}


def _merge(path: Path, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        if "\n" in value or "=" in key:
            raise PermanentError(f"services, {path.name}", f"the value of {key} spans lines", "give it on one line")
    with locked(path.with_name(f"{path.name}.lock")):
        merged = _read(path) | dict(values)
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created with mode 600
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{key}={value}\n" for key, value in merged.items())
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
