"""A real S3 server for tests: SeaweedFS on loopback, with keys of its own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import s3fs

WEED = Path(sys.executable).with_name("weed")
GRPC_OFFSET = 10_000  # every port of the server has a second one above it


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    """Free ports whose second ones are free: none that Ray's workers or outgoing connections may take meanwhile."""
    places = [20_000 + (os.getpid() * 7 + i) % 2_700 for i in range(2_700)]
    free = (port for port in places if _is_free(port) and _is_free(port + GRPC_OFFSET))
    return [next(free) for _ in range(count)]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """The server, with its data and log in ``folder`` and one bucket, ``music``."""
    s3, master, volume, filer, metrics = _free_ports(5)
    server = S3Server(f"http://127.0.0.1:{s3}", secrets.token_hex(8), "canary" + secrets.token_hex(16))
    identity = f'{{"accessKey":"{server.access_key}","secretKey":"{server.secret_key}"}}'
    (folder / "s3.json").write_text(
        f'{{"identities":[{{"name":"music","credentials":[{identity}],"actions":["Admin"]}}]}}'
    )
    (folder / "data").mkdir()
    command = [
        *(str(WEED), "-logtostderr=true", "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *("-metricsIp=127.0.0.1", f"-metricsPort={metrics}", f"-s3.config={folder / 's3.json'}", "-bucket=music"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_healthy(server, process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_healthy(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=1)
            client = s3fs.S3FileSystem(
                key=server.access_key, secret=server.secret_key, endpoint_url=server.endpoint, use_listings_cache=False
            )
            if client.exists("music"):  # it comes after the server
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError(log.read_text()[-2000:])
