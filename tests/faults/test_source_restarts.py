"""A source that restarts, or is cut off, in the middle of a reading: told, and exact after the next run."""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
import trial_source
from kills import SEED, chance
from psycopg.conninfo import conninfo_to_dict
from trial_source import Trial

from ingestion import extract
from ingestion.connectors import postgres
from lake.errors import SourceUnavailable

CUTS = 6
ROWS = 6000


class Line:
    """A way to a server that can be cut after so many bytes of its answers, and refuses until it is mended."""

    def __init__(self, host: str, port: int) -> None:
        """Listen on a free port of loopback."""
        self.behind = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.left: int | None = None
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int | None) -> None:
        """Pass on so many bytes of answers from now on; all, if None."""
        self.left, self.passed = count, 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if not self._is_cut():
                with socket.create_connection(self.behind) as server:
                    self._pass_on(client, server)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while not self._is_cut():
            for side in select.select([client, server], [], [], 0.1)[0]:
                received = side.recv(4096)
                if not received:
                    return
                if side is server:
                    self.passed += len(received)
                    if self._is_cut():
                        return
                (client if side is server else server).sendall(received)

    def _is_cut(self) -> bool:
        return self.left is not None and self.passed >= self.left


@pytest.fixture
def line(trial: Trial, operational_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The way from the platform to a source with six thousand orders, which are read in chunks."""
    parts = conninfo_to_dict(operational_dsn)
    it = Line(str(parts["host"]), int(str(parts["port"])))
    whole = "postgresql://{user}:{password}@127.0.0.1:{port}/{dbname}".format(**parts | {"port": it.port})
    monkeypatch.setenv(trial_source.VARIABLE, whole)
    monkeypatch.setattr(extract, "CHUNK_ROWS", 500)
    monkeypatch.setattr(postgres, "PAGES", 4)
    for number in range(6):
        trial.orders(ROWS // 6, day=f"2026-01-0{number + 1}", first=1 + number * (ROWS // 6))
    trial.sql("analyze orders")
    yield it
    it.listener.close()


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "later"])
def test_a_source_that_is_cut_off_anywhere_and_stays_away_is_told_and_read_exactly_later(
    trial: Trial, line: Line, is_known: bool
) -> None:
    line.cut_after(None)
    if is_known:
        trial.run()
    else:
        trial.load()  # counts the bytes of a reading; of another lake
        trial.lake = type(trial.lake)(f"{trial.lake.root}-anew")
    # What is staged is not read again: all cuts together come before the end of a first reading.
    share, dice = (60_000 if is_known else line.passed / CUTS * 0.8), chance(f"cut {is_known}")
    for number in range(CUTS):
        trial.sql("update orders set amount = %s, updated_at = clock_timestamp() where order_id %% 3 = 0", [number])
        trial.sql("delete from orders where order_id = %s", [10 + number])
        trial.order(100_000 + number)
        before = trial.versions()
        line.cut_after(int(dice.uniform(500, share)))
        with pytest.raises(SourceUnavailable) as raised:
            trial.run()
        said = str(raised.value)
        assert said == "source trial: the server does not answer; start it, or correct TRIAL_DSN", SEED
        with pytest.raises(SourceUnavailable):  # it is still starting up
            trial.run()
        assert trial.versions() == before
        line.cut_after(None)
        if is_known:
            trial.run()
            trial.assert_same()
    trial.run()
    trial.assert_same()
    assert trial.rows("count(*)", zone="raw", where="_op = 'i'") == [(ROWS + CUTS - (0 if is_known else CUTS),)]
