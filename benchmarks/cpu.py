"""What a process costs: seconds by the wall, CPU of it and of the server it talks to, peak memory. Reads /proc (Linux).

The server's CPU is that of the process that listens on the server's port, of its children, and of those that ended
meanwhile; it holds all that the server did, so other work on it shows in it. What the rest of the machine used is
counted too, so that a figure from a busy hour can be told from one of a quiet hour.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lake.errors import redact

PROJECT = Path(__file__).resolve().parents[1]
PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
# A process answers in the file that this variable names, so that what it prints stays free for messages.
ANSWER = "BENCH_ANSWER"
SAMPLED_EVERY_S = 0.05
# A PostgreSQL backend ends a moment after its client; only then is its CPU its parent's.
SETTLES_S = 0.3


@dataclass(frozen=True)
class Measured:
    """One process: CPU-seconds of it with its children, of its server (None: elsewhere), and of all others.

    `said` is the end of what it printed.
    """

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float | None
    others_cpu_s: float
    peak_bytes: int
    answer: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    said: str = ""

    @property
    def cpu_s(self) -> float:
        """Client and server."""
        return self.client_cpu_s + (self.server_cpu_s or 0)


def measured(
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int | None = None,
    *,
    cores: int | None = None,
    patience_s: float = 3600,
    watch: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Run `command` on `cores` of the machine's cores; `port` is its local server's; `watch` sees its pid now and then.

    A process that fails, is killed or outlives `patience_s` is a measurement with a `failure`.
    """
    allowed = sorted(os.sched_getaffinity(0))[: cores or None]
    server = listener(port) if port else None
    with tempfile.TemporaryDirectory(prefix="watershed-bench-") as folder, tempfile.TemporaryFile("w+") as output:
        answer = Path(folder, "answer.json")
        used, machine, began = server_cpu_s(server), machine_cpu_s(), time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=PROJECT,
            env={**environment, ANSWER: str(answer)}, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
        )  # fmt: skip
        peak, usage = _watched(process, began + patience_s, watch)
        wall = time.perf_counter() - began
        time.sleep(SETTLES_S)
        client = usage.ru_utime + usage.ru_stime
        by_server = None if used is None else (server_cpu_s(server) or 0) - used
        others = machine_cpu_s() - machine - client - (by_server or 0)
        said = json.loads(answer.read_text()) if answer.exists() else {}
        output.seek(0)
        text = redact(output.read())[-4000:]
        failure = _failure(process.returncode, text, wall > patience_s)
    peak = max(peak, said.get("peak_bytes", 0))
    return Measured(wall, client, by_server, max(others, 0), peak, said, failure, text)


def answer(said: Mapping[str, Any]) -> None:
    """Answer `said` to the process that measures this one, with this one's own peak."""
    Path(os.environ[ANSWER]).write_text(json.dumps({**said, "peak_bytes": peak_bytes("self")}))


def peak_bytes(pid: int | str) -> int:
    """The most memory a process has held (VmHWM); 0 if it is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def listener(port: int) -> int | None:
    """The process that listens on a TCP port of this machine; None if there is none that may be looked at."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    # The lowest number is the one that opened it: children that inherit a socket are younger.
    for entry in sorted(PROC.glob("[0-9]*"), key=lambda entry: int(entry.name)):
        try:
            if any(str(file.readlink()) in sockets for file in (entry / "fd").iterdir()):
                return int(entry.name)
        except OSError:
            continue
    return None


def server_cpu_s(pid: int | None) -> float | None:
    """CPU-seconds so far of a server process and all children it has or had."""
    if pid is None:
        return None
    total = 0
    for entry in PROC.glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == pid or int(fields[1]) == pid:
            total += sum(int(value) for value in fields[11:15])
    return total / TICKS


def process_cpu_s(pid: int) -> float:
    """CPU-seconds so far of one process of this machine."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_cpu_s() -> float:
    """CPU-seconds that all processes of the machine have used."""
    user, nice, system, _idle, _wait, irq, soft = (
        int(text) for text in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + irq + soft) / TICKS


def _watched(process: subprocess.Popen[bytes], deadline: float, watch: Callable[[int], None]) -> tuple[int, Any]:
    """The most memory that a process and its children held together, and its resource usage, once it has ended."""
    peak = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return peak, usage
        if time.perf_counter() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
        peak = max(peak, sum(peak_bytes(member) for member in _family(process.pid)))
        watch(process.pid)
        time.sleep(SAMPLED_EVERY_S)


def _family(pid: int) -> list[int]:
    try:
        threads = list((PROC / str(pid) / "task").iterdir())
        children = {int(child) for thread in threads for child in (thread / "children").read_text().split()}
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in _family(child))]


def _listening(port: int) -> Collection[str]:
    found = set()
    for name in ("tcp", "tcp6"):
        table = PROC / "net" / name
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _failure(code: int, output: str, is_late: bool) -> str:
    if code == 0:
        return ""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    ended = "ran too long" if is_late else f"killed by signal {-code}" if code < 0 else f"ended with {code}"
    return f"{ended}: {lines[-1][:300]}" if lines else ended
