"""A server before an S3 server that denies methods, and tells another time."""

from __future__ import annotations

import email.utils
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"


@dataclass
class Picky:
    """``denied`` are the methods that are refused; ``list`` is one of them. ``ahead_s`` is added to its clock."""

    endpoint: str
    denied: set[str] = field(default_factory=set)
    ahead_s: float = 0.0


@contextmanager
def picky(target: str) -> Iterator[Picky]:
    """Serve on loopback what the S3 server ``target`` serves, by the rules that are set on what is yielded."""
    host = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = "list" if self.command == "GET" and "list-type" in self.path else self.command
            if kind in rules.denied:
                self.reply(403, {}, _DENIED)
            else:
                there = http.client.HTTPConnection(host, timeout=20)
                there.request(self.command, self.path, body, dict(self.headers.items()))
                answer = there.getresponse()
                self.reply(answer.status, dict(answer.getheaders()), answer.read())
                there.close()

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            kept = {name: v for name, v in headers.items() if name.lower() not in ("date", "transfer-encoding")}
            if self.command != "HEAD":
                kept = {name: v for name, v in kept.items() if name.lower() != "content-length"}
                kept["Content-Length"] = str(len(body))
            for name, value in kept.items():
                self.send_header(name, value)
            self.send_header("Date", email.utils.formatdate(time.time() + rules.ahead_s, usegmt=True))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    rules = Picky(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield rules
    finally:
        server.shutdown()
        server.server_close()
