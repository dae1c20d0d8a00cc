"""A proxy in front of an S3 server that lets chosen requests fail, each in a way that networks and servers know.

Bytes are passed on as they are, so signatures hold: clients sign for the proxy's address, and the server takes the
`Host` that it is sent. Requests are held in memory: for small tables only. It runs in threads of the test's process,
so what keeps Python's lock while it waits for an answer (deltalake's `history`) waits for ever.
"""

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

STATUSES = {
    "500": ("500 Internal Server Error", "InternalError"),
    "503": ("503 Service Unavailable", "SlowDown"),
    "429": ("429 Too Many Requests", "TooManyRequests"),
    "skewed": ("403 Forbidden", "RequestTimeTooSkewed"),
}
# reset: no answer. lost: done, but no answer. half sent, half answered: cut in the middle of the body. slow: drop by
# drop. hang: no answer and no end.
KINDS = (*STATUSES, "reset", "lost", "half sent", "half answered", "slow", "hang")
HANG_S = 120


@dataclass(frozen=True)
class Request:
    """One request: its number (from 1), method, path with query, and whole text."""

    number: int
    method: str
    path: str
    head: bytes
    body: bytes

    @property
    def is_write(self) -> bool:
        """Whether it changes what the server holds."""
        return self.method in ("PUT", "POST", "DELETE")


Decide = Callable[[Request], str]


class FaultyS3:
    """The proxy; `decide` names the fault of each request (of KINDS), or is empty for none; `done` hears of answers."""

    def __init__(self, endpoint: str) -> None:
        """Listen on a free port of loopback, before the server at `endpoint`."""
        behind = urlsplit(endpoint)
        self.behind = (str(behind.hostname), int(behind.port or 80))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.decide: Decide = lambda _: ""
        self.done: Callable[[Request], None] = lambda _: None
        self.numbers = itertools.count(1)
        self.met: Counter[str] = Counter()
        self.is_closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def start_over(self, decide: Decide = lambda _: "", done: Callable[[Request], None] = lambda _: None) -> None:
        """Count requests from 1 again, and decide on them anew."""
        self.numbers, self.decide, self.done = itertools.count(1), decide, done

    def close(self) -> None:
        """Take no more connections, and let those that hang go."""
        self.is_closed.set()
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ConnectionError), client:
            stream = _Stream(client)
            while (request := self._heard(stream)) is not None:
                fault = self.decide(request)
                self.met[fault] += 1
                answer = self._answer(request, fault)
                self.done(request)
                if fault == "hang":
                    self.is_closed.wait(HANG_S)
                if answer is None:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                    return
                for piece in _drops(answer) if fault == "slow" else [answer]:
                    client.sendall(piece)
                    time.sleep(0.05 if fault == "slow" else 0)
                if fault == "half answered":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return

    def _heard(self, stream: "_Stream") -> Request | None:
        head = stream.head()
        if not head:
            return None
        if b"100-continue" in head.lower():
            stream.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = stream.body(head, is_answer=False)
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        return Request(next(self.numbers), method, path, head, body)

    def _answer(self, request: Request, fault: str) -> bytes | None:
        """The whole answer; None for a connection that is cut."""
        if fault in STATUSES:
            status, code = STATUSES[fault]
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>later</Message></Error>".encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n"
            return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + (b"" if request.method == "HEAD" else body)
        if fault in ("reset", "hang"):
            return None
        with socket.create_connection(self.behind) as server:
            whole = request.head + request.body
            if fault == "half sent":
                server.sendall(request.head + request.body[: len(request.body) // 2])
                return None
            server.sendall(whole)
            stream = _Stream(server)
            head = stream.head()
            while head.startswith(b"HTTP/1.1 100"):
                head = stream.head()
            body = b"" if request.method == "HEAD" else stream.body(head, is_answer=True)
        if fault == "lost":
            return None
        answer = head + body
        return answer[: len(head) + len(body) // 2] if fault == "half answered" else answer


class _Stream:
    """Messages of HTTP/1.1, one after the other, byte by byte as they came."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket, self.held = connection, b""

    def head(self) -> bytes:
        """The first lines with the empty one at their end; empty at the end of the connection."""
        while b"\r\n\r\n" not in self.held:
            if not self._more():
                return b""
        head, self.held = self.held.split(b"\r\n\r\n", 1)
        return head + b"\r\n\r\n"

    def body(self, head: bytes, *, is_answer: bool) -> bytes:
        """What follows a head."""
        lines = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
        fields = {name.strip(): value.strip() for name, _, value in lines}
        status = head.split(b" ", 2)[1]
        if is_answer and (status in (b"204", b"304") or status.startswith(b"1")):
            return b""
        if b"content-length" in fields:
            return self._take(int(fields[b"content-length"]))
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            return self._chunks()
        return self._rest() if is_answer else b""

    def _more(self, *, is_needed: bool = False) -> bool:
        more = self.socket.recv(65536)
        if is_needed and not more:
            raise ConnectionError("cut off")
        self.held += more
        return bool(more)

    def _take(self, count: int) -> bytes:
        while len(self.held) < count:
            self._more(is_needed=True)
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    def _chunks(self) -> bytes:
        whole = b""
        while True:
            while b"\r\n" not in self.held:
                self._more(is_needed=True)
            line = self.held.split(b"\r\n", 1)[0]
            size = int(line.split(b";")[0], 16)
            whole += self._take(len(line) + 2 + size + 2)
            if size == 0:
                return whole

    def _rest(self) -> bytes:
        while self._more():
            pass
        rest, self.held = self.held, b""
        return rest


def _drops(answer: bytes) -> list[bytes]:
    return [
        answer[start : start + max(1, len(answer) // 8)] for start in range(0, len(answer), max(1, len(answer) // 8))
    ]
