"""A way to a server that is cut once so many bytes have been sent to it."""

import contextlib
import socket
import struct
import threading
from types import TracebackType

from metrics_rows import address
from psycopg.conninfo import conninfo_to_dict


class CutLine:
    """Passes on what a client sends to the server of a DSN, at most `limit` bytes; then both sides get a reset."""

    def __init__(self, dsn: str, limit: int) -> None:
        parts = conninfo_to_dict(dsn)
        self._behind = (str(parts["host"]), int(str(parts["port"])))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._left = limit
        self.dsn = address(dsn, port=str(self._listener.getsockname()[1]), sslmode="disable")

    def __enter__(self) -> "CutLine":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.create_connection(self._behind)
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()
            while self._left > 0 and (data := client.recv(min(65_536, self._left))):
                server.sendall(data)
                self._left -= len(data)
            for side in (client, server):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.shutdown(socket.SHUT_RDWR)
                side.close()

    @staticmethod
    def _back(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)
