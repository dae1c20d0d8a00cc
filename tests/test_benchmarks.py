"""What the benchmarks stand on: a process's cost is its own, a failure is told, the docs keep what is not theirs."""

import os
import signal
import socket
import sys
from pathlib import Path

from benchmarks import cpu, extract_report

BURN = "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 0.3: pass"


def _measured(code: str, **options: object) -> cpu.Measured:
    return cpu.measured([sys.executable, "-c", code], dict(os.environ), **options)  # type: ignore[arg-type]


def test_cpu_and_memory_are_those_of_the_process_and_its_children():
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}], check=True)"
    run = _measured(f"{child}\nheld = bytearray(200_000_000)\nimport time; time.sleep(0.3)")
    assert not run.failure
    assert 0.3 <= run.client_cpu_s < 5
    assert 200_000_000 < run.peak_bytes < 400_000_000
    assert run.server_cpu_s is None


def test_a_process_that_fails_is_killed_or_stays_too_long_is_told_with_its_last_words():
    assert _measured("print('before'); raise SystemExit('no room')").failure == "ended with 1: no room"
    killed = _measured("import time; time.sleep(60)", watch=lambda pid: os.kill(pid, signal.SIGKILL))
    assert killed.failure == "killed by signal 9"
    assert _measured("import time; time.sleep(60)", patience_s=0.2).failure == "ran too long"


def test_a_password_in_what_a_process_says_is_not_shown():
    run = _measured("raise SystemExit('cannot reach postgresql://me:very-secret@127.0.0.1/x')")
    assert run.failure
    assert "very-secret" not in run.failure + run.said


def test_the_process_that_listens_on_a_port_is_found_and_no_other():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert cpu.listener(port) == os.getpid()
    assert cpu.listener(port) is None


def test_the_section_is_replaced_in_the_docs_and_the_others_stay(tmp_path: Path):
    file = tmp_path / "benchmarks.md"
    file.write_text("# Benchmarks\n\nAbout.\n\n## Whole job\n\nold job\n")
    extract_report.write(file, "first figures")
    file.write_text(file.read_text() + "\n## Later\n\nlater text\n")
    extract_report.write(file, r"second \1 figures")
    text = file.read_text()
    assert "first figures" not in text
    assert text.count(r"second \1 figures") == text.count("## Extraction") == 1
    assert text.index("old job") < text.index("## Extraction") < text.index("## Later")
    assert text.endswith("later text\n")
