"""A URL that fails for ever is one song's fault where its server gives other songs; one that gives none is down."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers.formats import encoded
from helpers.small_corpus import rock_task

from genrescale.audio import Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.decoding import fetch
from genrescale.data.sharding.writer import ShardReport, write_shard
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store


class Handler(SimpleHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if "503" in self.path:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object):
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(fetch, "HTTP_PATIENCE", Patience(0.2, 0.05, 0.05))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def songs(*addresses: str) -> list[Song]:
    return [Song(f"s{i}", address, "", {"rock": 1.0}) for i, address in enumerate(addresses)]


def write(out: Store, *addresses: str) -> ShardReport:
    return write_shard(rock_task(out, songs(*addresses), ShardSettings(allow_internal_urls=True)))


def test_one_failing_url_is_quarantined_wherever_it_stands_in_the_shard(tmp_path: Path, web: str):
    encoded("flac", 1.5, tmp_path).rename(tmp_path / "sound.flac")
    addresses = (f"{web}/503.flac", f"{web}/gone.flac", f"{web}/sound.flac", f"{web}/503-too.flac")
    report = write(Store(str(tmp_path / "out")), *addresses)
    assert sorted(report.quarantined) == ["s0", "s1", "s3"]
    assert report.quarantined["s1"] == "the file does not exist"
    for key in ("s0", "s3"):
        assert report.quarantined[key].startswith(
            "its server or bucket failed at it, not at other songs of the shard: "
        )
        assert "503" in report.quarantined[key]
    assert report.num_songs == 1


def test_a_server_with_one_song_that_cannot_be_reached_is_that_songs_fault(tmp_path: Path, web: str):
    encoded("flac", 1.5, tmp_path).rename(tmp_path / "sound.flac")
    report = write(Store(str(tmp_path / "out")), "http://127.0.0.1:1/gone.flac", f"{web}/sound.flac")
    assert list(report.quarantined) == ["s0"]
    assert report.num_songs == 1


def test_a_server_that_gives_no_song_stops_the_job(tmp_path: Path, web: str):
    local = encoded("flac", 1.5, tmp_path)
    out = Store(str(tmp_path / "out"))
    # the song on the disk and the one on another server say nothing about this server
    other = "http://127.0.0.1:1/sound.flac"
    with pytest.raises(StoreError, match=r"503.flac cannot be read \(503, "):
        write(out, f"{web}/503.flac", f"{web}/503-too.flac", f"{web}/gone.flac", str(local), other)
    assert not out.exists("shards/train-000000.tar")
