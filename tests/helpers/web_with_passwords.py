"""A web server that gives songs to those who know its password and its signature, and a table that holds both."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PASSWORD, SIGNATURE, TOKEN = "CANARYpassword", "CANARYsignature", "CANARYtoken"
CANARY = b"CANARY"


class Handler(SimpleHTTPRequestHandler):
    """``/download?id=NAME&token=...`` gives a file by its query."""

    def do_GET(self):
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        known = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        allowed = (
            self.headers.get("Authorization") == f"Basic {known}"
            or query.get("X-Amz-Signature", "").startswith(SIGNATURE)
            or query.get("token") == TOKEN
        )
        if not allowed:
            self.send_error(403)
            return
        if address.path == "/download":
            self.path = f"/{query['id']}"
        super().do_GET()

    def log_message(self, format: str, *args: object):
        pass


@contextmanager
def web_of(folder: Path) -> Iterator[str]:
    """The host and port of a server of the files in ``folder``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def rows_of(host: str, names: list[str], signed: str = "1") -> list[str]:
    """Paths of songs with credentials of every kind: of good songs, then of six that are none."""
    signature = f"X-Amz-Algorithm=AWS4&X-Amz-Signature={SIGNATURE}{signed}&X-Amz-Expires=900"
    ways = (
        "http://user:{p}@{h}/{n}",
        "http://{h}/{n}?{s}",
        "http://user:{p}@{h}/{n}?{s}",
        "http://{h}/download?id={n}&token={t}",
    )
    good = [
        ways[i % len(ways)].format(p=PASSWORD, h=host, n=name, s=signature, t=TOKEN) for i, name in enumerate(names)
    ]
    bad = [
        f"http://user:{PASSWORD}@{host}/none.flac",
        f"http://{host}/no-music.flac?{signature}",
        f"http://user:{PASSWORD}@127.0.0.1:1/closed.flac?{signature}",
        f"ftp://user:{PASSWORD}@{host}/x.flac?{signature}",
        f"simplecache::http://user:{PASSWORD}@{host}/x.flac?{signature}",
        f"{good[0]}&X-Amz-Signature={SIGNATURE}" if "?" in good[0] else f"{good[0]}?X-Amz-Signature={SIGNATURE}",
    ]
    return [*good, *bad]
