"""The command that serves Prometheus: it says where, ends on a signal with a sentence, and wants a free port."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

NOBODY = "postgresql://somebody:hidden-word@127.0.0.1:1/none"  # a store that is down must not keep it from serving


def serving(home: Path, port: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "METRICS_READER_DSN": NOBODY, "METRICS_DSN": NOBODY, "WATERSHED_HOME": str(home)}
    command = [str(Path(sys.executable).parent / "watershed"), "metrics", "serve", "--port", str(port)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_told_and_ends_with_a_sentence(tmp_path, port, ending):
    process = serving(tmp_path, port)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.strip() == f"Figures of retail for Prometheus: http://127.0.0.1:{port}/metrics (Ctrl-C ends it)"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"\nwatershed_metrics_store_up 0.0\n" in answer.read()
    process.send_signal(ending)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.strip() == "Stopped: nothing is served any more."
    assert "does not answer" in err
    assert "hidden-word" not in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_one_sentence(tmp_path, port):
    with socket.create_server(("127.0.0.1", port)):
        out, err = serving(tmp_path, port).communicate(timeout=60)
    assert out == ""
    assert err == (
        f"Error: 127.0.0.1:{port}: the port is taken; perhaps it is served already; end what listens there, or choose "
        f"another with `--port {port + 1}`\n"
    )
