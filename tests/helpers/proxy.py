"""A faulty network on loopback: a proxy before an S3 server that cuts, refuses, answers 503 and is slow."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Fault:
    """What happens to one request for an object: ``cut`` after some bytes of its answer, ``refuse``, ``busy`` (503).

    ``slow`` passes the answer on in pieces with pauses.
    """

    kind: Literal["cut", "refuse", "busy", "slow"]
    after_bytes: int = 0


@dataclass
class FaultyProxy:
    """``coming`` are the faults of the next GETs, one each; ``always`` is that of every GET. ``delay_s`` is latency.

    ``of_shards`` come in turns, one for each fifth GET of a shard.
    """

    target: int
    port: int = 0
    delay_s: float = 0.0
    always: Fault | None = None
    coming: deque[Fault] = field(default_factory=deque)
    of_shards: tuple[Fault, ...] = ()
    shard_requests: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _fault(self, request: bytes) -> Fault | None:
        self.requests += 1
        fault = self.coming.popleft() if self.coming else self.always
        if self.of_shards and b".tar" in request.split(b"\r\n", 1)[0]:
            self.shard_requests += 1
            turn, rest = divmod(self.shard_requests, 5)
            fault = self.of_shards[turn % len(self.of_shards)] if rest == 0 else fault
        if fault:
            self.happened[fault.kind] += 1
        return fault

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """One connection of a client; its requests come one after the other, each in one piece if it is a GET."""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        allowed: list[Fault | None] = [None]
        back = asyncio.create_task(self._answers(up_reader, answer, allowed))
        with suppress(ConnectionError, asyncio.CancelledError):
            while data := await client.read(_CHUNK):
                if data.startswith(b"GET "):
                    await asyncio.sleep(self.delay_s)
                    allowed[0] = fault = self._fault(data)
                    if fault and fault.kind == "refuse":
                        break
                    if fault and fault.kind == "busy":
                        head = f"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: {len(_BUSY)}\r\n\r\n"
                        answer.write(head.encode() + _BUSY)
                        await answer.drain()
                        break
                up_writer.write(data)
                await up_writer.drain()
        back.cancel()
        up_writer.close()
        if allowed[0] and allowed[0].kind == "refuse":
            answer.transport.abort()
        answer.close()

    async def _answers(
        self, server: asyncio.StreamReader, answer: asyncio.StreamWriter, allowed: list[Fault | None]
    ) -> None:
        passed, of = 0, None
        with suppress(ConnectionError):
            while data := await server.read(_CHUNK):
                fault = allowed[0]
                passed, of = (passed if of is fault else 0), fault
                if fault and fault.kind == "cut" and passed + len(data) > fault.after_bytes:
                    answer.write(data[: max(0, fault.after_bytes - passed)])
                    await answer.drain()
                    answer.transport.close()
                    return
                if fault and fault.kind == "slow":
                    for i in range(0, len(data), 1 << 16):
                        answer.write(data[i : i + (1 << 16)])
                        await asyncio.sleep(0.05)
                else:
                    answer.write(data)
                passed += len(data)
                await answer.drain()


@contextmanager
def faulty_proxy(endpoint: str) -> Iterator[FaultyProxy]:
    """A proxy before the server at ``endpoint``, in a thread of this process."""
    port = urlsplit(endpoint).port
    assert port
    proxy, ready, ended = FaultyProxy(port), threading.Event(), threading.Event()

    async def listen() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)  # it cancels what is still open
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        ended.set()
        thread.join(10)
