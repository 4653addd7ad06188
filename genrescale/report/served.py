"""A report that is watched in a browser: served on loopback, rendered anew as runs go on; nothing is written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from genrescale.report.live import LOOK_S, LiveReport
from genrescale.storage.store import Store

LOOPBACK = "127.0.0.1"
_VERSION_PATH = "/version"
_SCRIPT = """
const shown = document.body.dataset.version;
setInterval(async () => {
  const answer = await fetch("/version").catch(() => null);
  if (answer && answer.ok && await answer.text() !== shown) location.reload();
}, 2000);
"""


class WatchedPage:
    """The page that is served, with a script that loads it again when there is another one."""

    def __init__(self) -> None:
        self.version, self.data = "", b""

    def show(self, page: str) -> None:
        """Serve ``page`` from now on. Its policy, which allows no script, gets to allow this one."""
        version = hashlib.sha256(page.encode()).hexdigest()[:16]
        script_hash = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
        allowed = f"default-src 'none'; script-src 'sha256-{script_hash}'; connect-src 'self'"
        page = page.replace("default-src 'none'", allowed, 1).replace("<body>", f'<body data-version="{version}">', 1)
        page = page.replace("</body>", f"<script>{_SCRIPT}</script></body>")
        self.version, self.data = version, page.encode()


class _Handler(BaseHTTPRequestHandler):
    server_version = "genrescale"
    sys_version = ""

    def __init__(self, page: WatchedPage, *args: object) -> None:
        self._page = page
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        port = self.connection.getsockname()[1]
        if self.headers.get("Host") not in (f"{LOOPBACK}:{port}", f"localhost:{port}"):
            self.send_error(403)  # a site elsewhere whose name leads to this machine
        elif self.path == "/":
            self._send(self._page.data, "text/html; charset=utf-8")
        elif self.path == _VERSION_PATH:
            self._send(self._page.version.encode(), "text/plain")
        elif self.path == "/favicon.ico":
            self._send(b"", "image/x-icon")
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(data))), ("Cache-Control", "no-store")):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are no news."""


@contextmanager
def served(
    files: Store, render: Callable[[], str], port: int = 0, look_s: float = LOOK_S
) -> Iterator[ThreadingHTTPServer]:
    """A server of what ``render`` makes of the runs in ``files``; ``port`` 0 takes a free one.

    The address is said first. The page is rendered again when a run has validated or finished. Raises what ``render``
    raises the first time, and ValueError for a port that is taken.
    """
    page = WatchedPage()
    page.show(render())
    with _listening(page, port) as server:
        address = f"http://{LOOPBACK}:{server.server_port}/"
        with LiveReport(files, address, lambda: page.show(render()), look_s):
            yield server


def _listening(page: WatchedPage, port: int) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((LOOPBACK, port), partial(_Handler, page))  # type: ignore[arg-type]
    except OSError as error:
        raise ValueError(
            f"port={port} of {LOOPBACK} cannot be listened on ({error.strerror}): take another port"
        ) from None


def serve_report(files: Store, render: Callable[[], str], port: int = 0) -> None:
    """Serve a report until Ctrl-C."""
    with served(files, render, port) as server:
        server.serve_forever()
