"""How many requests and objects an S3 query takes: a proxy on loopback that counts and passes everything on.

The signature of a request is over the host that the client named, and is passed on as it is: so the server must not
look at the name by which it is spoken to, as servers with path-style addresses do not.
"""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LOG = "/_delta_log/"
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


@dataclass
class Seen:
    """The requests that have passed: (method, key without its bucket), listings with an empty key."""

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def data(self) -> list[tuple[str, str]]:
        """Those for objects that are no part of a table's log."""
        return [(method, key) for method, key in self.requests if key and LOG not in f"/{key}"]

    @property
    def objects(self) -> set[str]:
        """The objects that were read, the log's apart."""
        return {key for method, key in self.data if method == "GET"}

    def clear(self) -> None:
        """Forget what has passed so far."""
        self.requests.clear()


@contextmanager
def counted(endpoint: str) -> Iterator[Seen]:
    """A server at `url` that passes requests on to the S3 server at `endpoint` and notes each."""
    target = urlsplit(endpoint)
    seen = Seen("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            path, _, query = self.path.partition("?")
            key = "" if "list-type" in query else unquote(path).lstrip("/").partition("/")[2]
            seen.requests.append((self.command, key))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
            for name, value in answer.headers.items():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()
