"""Fifty analysts ask in loops while twenty versions are published: no question fails, no answer is of two versions."""

import ast
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tiny_warehouse import Tiny

from lake.layout import Lake
from warehouse import publish

HERE = Path(__file__).parent
CONNECTIONS = {"connect": (2, 9), "session": (2, 8), "plain": (4, 4)}  # processes, connections in each
PUBLISHES = 20


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tiny]:
    """In memory, if there is such a place: waiting for a disk would leave the analysts all the time."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        it = Tiny(Path(folder) / "root", Lake(str(Path(folder) / "lake")))
        monkeypatch.setenv("WAREHOUSE_ROOT", str(it.root))
        monkeypatch.setenv("LAKE_ROOT", it.lake.root)
        it.declare()
        yield it


def answers(process: subprocess.Popen[str], said: IO[str]) -> list[list[tuple[int, ...]]]:
    """What one program's connections were told, in the order of the answers."""
    process.communicate("", timeout=120)
    assert process.returncode == 0
    with said:
        said.seek(0)
        lines = said.read().splitlines()
    assert not [line for line in lines if line.startswith("FAILED")]
    return [[tuple(int(value) for value in row) for row in ast.literal_eval(line)] for line in lines]


def test_no_question_fails_and_no_answer_is_mixed_while_versions_come_and_go(tiny: Tiny, tmp_path: Path) -> None:
    tiny.build(1)
    publish.publish(keep=2, curated=False)
    assert sum(processes * each for processes, each in CONNECTIONS.values()) == 50
    programs = []
    for way, (processes, each) in CONNECTIONS.items():
        for _ in range(processes):
            said = (tmp_path / f"said-{len(programs)}").open("w+")
            command = [sys.executable, str(HERE / "analysts.py"), way, str(each)]
            programs.append((way, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, text=True), said))
    for stamp in range(2, PUBLISHES + 2):
        tiny.build(stamp, rows=40 * stamp)
        publish.publish(keep=2, curated=False)
    for way, process, said in programs:
        found = answers(process, said)
        assert len(found) >= CONNECTIONS[way][1]
        versions = set()
        for rows in found:
            [(sold, shop, sales)] = rows  # one version: one stamp
            assert sold == shop, way
            assert sales == 40 * sold
            versions.add(sold)
        assert versions <= set(range(1, PUBLISHES + 2))
        assert len(versions) > 1, f"{way} never saw a newer version"
