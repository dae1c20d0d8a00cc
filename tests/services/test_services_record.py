"""What is recorded about servers, and how their processes are known again."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import PermanentError
from services import record
from services.process import Server, birth, run


def _server(folder: Path) -> Server:
    return Server("test", folder / "pid", folder / "log")


def test_values_are_merged_and_the_file_is_for_its_owner_only(tmp_path: Path):
    record.record_environment(tmp_path, {"A": "1", "B": "postgresql://u:p=q@h/d?x=y"})
    record.record_environment(tmp_path, {"A": "2"})
    assert record.environment(tmp_path) == {"A": "2", "B": "postgresql://u:p=q@h/d?x=y"}
    assert stat.S_IMODE((tmp_path / ".services" / "env").stat().st_mode) == 0o600


def test_a_value_of_two_lines_is_refused(tmp_path: Path):
    with pytest.raises(PermanentError, match="the value of A spans lines"):
        record.record_environment(tmp_path, {"A": "1\nB=2"})


def test_nothing_is_recorded_before_the_first_up(tmp_path: Path):
    assert record.environment(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_many_writers_at_once_lose_nothing(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from services import record\n"
        "for i in range(20): record.record_state(Path(sys.argv[1]), {f'{sys.argv[2]}{i}': '1'})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b", "c")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(record.state(tmp_path)) == 60


def test_a_port_is_kept_while_free_and_replaced_when_taken(tmp_path: Path):
    port = record.recorded_port(tmp_path, "PORT")
    assert port < 32768
    assert record.recorded_port(tmp_path, "PORT") == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert record.recorded_port(tmp_path, "PORT") != port


def test_a_started_process_outlives_its_starter_and_is_known_again(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from services.process import Server\n"
        "folder = Path(sys.argv[1]); Server('t', folder / 'pid', folder / 'log').start(['sleep', '60'])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    server = _server(tmp_path)
    assert server.pid() is not None
    assert server.stop() is True
    assert server.pid() is None
    assert server.stop() is False


def test_another_process_with_the_recorded_number_is_neither_ours_nor_stopped(tmp_path: Path):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "pid").write_text(f"{bystander.pid} another-boot 1\n")
        assert _server(tmp_path).pid() is None
        assert _server(tmp_path).stop() is False
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path):
    server = _server(tmp_path)
    server.start(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
    assert server.stop(signal.SIGTERM, patience_s=0.5) is True
    assert server.pid() is None


def test_a_dead_process_not_yet_reaped_counts_as_gone():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert birth(child.pid) is None
    child.wait()


def test_a_failing_program_is_told_in_one_sentence_with_its_last_words():
    with pytest.raises(PermanentError, match=r"^here: E: no such package; do that$"):
        run(["sh", "-c", "echo fine; echo 'E: no such package' >&2; exit 3"], "here", "do that")
