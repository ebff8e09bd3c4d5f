"""An HTTP proxy before a server, which fails as networks and object stores do.

proxy = Proxy(upstream_port, seed=3)
proxy.error_share = 0.2       # answers "500 Internal Server Error" to a fifth of all requests
proxy.bytes_per_second = 1e5  # answers slowly
proxy.down = True             # closes every connection
"""

import http.client
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}
PIECES = 20
FAILURE = (
    b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>injected</Message></Error>"
)
REFUSAL = b"<Error><Code>AccessDenied</Code><Message>injected</Message></Error>"


class Proxy:
    """Forwards to a port of this machine; its attributes may change at any time."""

    def __init__(self, upstream: int, seed: int = 0) -> None:
        self.upstream = upstream
        self.error_share = 0.0
        self.status = 200  # answered to everything, when it is another
        self.bytes_per_second = None
        self.down = False
        self.requests: list[str] = []
        self.failed = 0
        self.refused = 0
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def note(self, line: str) -> None:
        with self._lock:
            self.requests.append(line)

    def wants_error(self) -> bool:
        with self._lock:
            chosen = self._dice.random() < self.error_share
            self.failed += chosen
            return chosen


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.proxy.note(f"{self.command} {self.path}")
        if self.proxy.down:
            self.proxy.refused += 1
            self.close_connection = True
            return
        if self.proxy.status != 200:
            self._send(self.proxy.status, [("Content-Type", "application/xml")], REFUSAL)
            return
        if self.proxy.wants_error():
            self._send(500, [("Content-Type", "application/xml")], FAILURE)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=120)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in HOP]
        upstream.close()
        self._send(answer.status, kept, content)

    def _send(self, status, headers, content):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        rate = self.proxy.bytes_per_second
        step = len(content) if rate is None else max(1, len(content) // PIECES)
        for first in range(0, len(content), max(step, 1)):
            if self.proxy.down:
                self.close_connection = True
                return
            piece = content[first : first + step]
            self.wfile.write(piece)
            if rate is not None:
                time.sleep(len(piece) / rate)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve
