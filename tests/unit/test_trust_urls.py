"""Songs by URL come from public servers, by the protocols of a list, and are bounded; one bad row is one song."""

import gzip
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.formats import encoded
from helpers.small_corpus import rock_task, shard_here

from genrescale.audio import Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_corpus, list_songs
from genrescale.data.decoding import decode, fetch
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.fetch import fetch_bytes
from genrescale.data.sharding.writer import write_shard
from genrescale.storage import web
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store
from genrescale.storage.web import is_public

INTERNAL = "its server has an internal address; allow_internal_urls=true allows that"


class Answers:
    """A server's answers by path: a status, headers and a body (or parts of one); ``asked`` are the paths asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes | Iterator[bytes]]] = {}
        self.asked: list[str] = []
        self.address = ""


@contextmanager
def server(host: str) -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            answers.asked.append(self.path)
            status, headers, body = answers.answers.get(self.path, (404, {}, b""))
            if isinstance(body, bytes) and "Accept-Ranges" in headers and (asked := self.headers["Range"]):
                first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
                headers = {**headers, "Content-Range": f"bytes {first}-{min(last, len(body) - 1)}/{len(body)}"}
                status, body = 206, body[first : last + 1]
            self.send_response(status)
            length = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
            for name, value in (length | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                with suppress(OSError):
                    for part in [body] if isinstance(body, bytes) else body:
                        self.wfile.write(part)

        def log_message(self, format: str, *args: object):
            pass

    with ThreadingHTTPServer((host, 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        answers.address = f"http://{host}:{running.server_port}"
        yield answers
        running.shutdown()


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """A server of the internal network with a secret."""
    monkeypatch.setattr(fetch, "HTTP_PATIENCE", Patience(0.2, 0.05, 0.05))
    with server("127.0.0.2") as answers:
        answers.answers["/secret"] = (200, {}, b"CANARY")
        yield answers


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """A server that passes for a public one."""
    monkeypatch.setattr(web, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    with server("127.0.0.1") as answers:
        yield answers


def reason_of(address: str, internal: bool = False) -> str:
    with pytest.raises(DecodeError) as caught:
        fetch_bytes(address, internal)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
        *("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "ff02::1", "fec0::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("64:ff9b:1::a9fe:a9fe", "2002:a00:1::", "::127.0.0.1"),
    ],
)
def test_internal_addresses(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str):
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "127.2", "2130706434", "0x7f000002"])
def test_an_internal_server_is_not_asked(inside: Answers, host: str):
    port = inside.address.rpartition(":")[2]
    reason = reason_of(f"http://{host}:{port}/secret")
    assert reason == INTERNAL or "canonical" in reason
    assert inside.asked == []


def test_a_name_of_this_machine_is_internal(inside: Answers):
    assert reason_of("http://localhost/secret") == INTERNAL


def test_who_needs_it_may_ask_internal_servers(inside: Answers):
    assert fetch_bytes(f"{inside.address}/secret", internal=True) == b"CANARY"


@pytest.mark.parametrize("steps", [1, 3])
def test_a_redirect_into_the_internal_network_is_not_followed(inside: Answers, outside: Answers, steps: int):
    outside.answers = {f"/{i}": (302, {"Location": f"/{i + 1}"}, b"") for i in range(steps)}
    outside.answers[f"/{steps}"] = (307, {"Location": f"{inside.address}/secret"}, b"")
    assert reason_of(f"{outside.address}/0") == INTERNAL
    assert outside.asked[-1] == f"/{steps}"
    assert inside.asked == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.2/x", "gopher://127.0.0.2/x", "data:,CANARY"])
def test_a_redirect_to_another_protocol_is_not_followed(outside: Answers, target: str):
    outside.answers["/x"] = (302, {"Location": target}, b"")
    assert reason_of(f"{outside.address}/x").startswith("it cannot be read (")


def test_redirects_in_a_circle_end(outside: Answers):
    outside.answers["/x"] = (302, {"Location": "/x"}, b"")
    assert "TooManyRedirects" in reason_of(f"{outside.address}/x")


def test_a_name_that_changes_its_address_is_checked_when_it_is_connected_to(
    inside: Answers, monkeypatch: pytest.MonkeyPatch
):
    asked, port = [], int(inside.address.rpartition(":")[2])

    def rebinding(host: str, *_: object, **__: object):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert reason_of(f"http://rebinding.example:{port}/secret") == INTERNAL
    assert asked == ["rebinding.example"]
    assert inside.asked == []


def test_a_song_in_a_parquet_file_of_an_internal_server_is_not_asked_for(inside: Answers):
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": pa.array([{"bytes": b"CANARY"}])}), file)
    inside.answers["/x.parquet"] = (200, {"Accept-Ranges": "bytes"}, file.getvalue())
    assert reason_of(f"{inside.address}/x.parquet#audio/0") == INTERNAL
    assert inside.asked == []
    assert fetch_bytes(f"{inside.address}/x.parquet#audio/0", internal=True) == b"CANARY"


PROTOCOLS = "songs are read from files, s3://, http:// and https:// only"
CHAINED = "an address with :: in it may lead elsewhere and is not opened"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        *((f"{protocol}://127.0.0.1:1/x.mp3", PROTOCOLS) for protocol in ("ftp", "sftp", "smb", "gs", "memory", "")),
        *((f"{protocol}:///etc/passwd", PROTOCOLS) for protocol in ("local", "data", "FILE", "reference", "dir")),
        ("simplecache::http://127.0.0.1:1/x.mp3", CHAINED),
        ("filecache::file:///etc/passwd", CHAINED),
        ("zip://x.mp3::s3://bucket/x.zip", CHAINED),
        ("s3://bucket/x::/etc/passwd", CHAINED),
        ("https://example.org/x::file:///etc/passwd", CHAINED),
        ("/music/simplecache::/x.parquet#audio/0", CHAINED),
        ("file://server/x.mp3", "the address of a file is file:// and its whole path"),
    ],
)
def test_other_protocols_and_chained_addresses_are_refused(address: str, reason: str):
    assert reason_of(address) == reason


def test_a_file_may_have_any_name(tmp_path: Path):
    path = tmp_path / "simplecache::x.mp3"
    assert fetch_bytes(str(path)) == path


# What a server sends is bounded by what is read.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    limit = 1 << 20
    for module in (decode, fetch):
        monkeypatch.setattr(module, "MAX_ENCODED_BYTES", limit)
    return limit


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(1 << 16)


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(1 << 40)}])
def test_a_server_that_sends_without_end_is_read_up_to_the_limit(inside: Answers, small: int, headers: dict[str, str]):
    inside.answers["/x"] = (200, headers, endless())
    assert reason_of(f"{inside.address}/x", internal=True) == "the file has 1,048,577 bytes, more than 1,048,576"


def test_a_server_that_says_less_than_it_sends_is_not_believed(inside: Answers, small: int):
    inside.answers["/x"] = (200, {"Content-Length": "1000"}, endless())
    with suppress(DecodeError):  # where the rest comes in time to be noticed
        data = fetch_bytes(f"{inside.address}/x", internal=True)
        assert isinstance(data, bytes)
        assert len(data) == 1000


def test_a_compressed_answer_is_unpacked_up_to_the_limit(inside: Answers, small: int):
    inside.answers["/bomb"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(100 << 20)))
    assert reason_of(f"{inside.address}/bomb", internal=True) == "the file has 1,048,577 bytes, more than 1,048,576"
    inside.answers["/song"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"a song"))
    assert fetch_bytes(f"{inside.address}/song", internal=True) == b"a song"
    inside.answers["/other"] = (200, {"Content-Encoding": "br"}, b"?")
    assert reason_of(f"{inside.address}/other", internal=True) == "its server sends it in the encoding 'br'"
    inside.answers["/broken"] = (200, {"Content-Encoding": "gzip"}, b"no gzip")
    assert reason_of(f"{inside.address}/broken", internal=True).startswith("it cannot be read (error: ")


# Tables.


def test_a_table_that_lies_elsewhere_names_no_file_of_this_machine(inside: Answers):
    rows = ["/etc/passwd", "file:///etc/passwd", "../../other/x.mp3", "a/../../x.mp3", "a/../x.mp3"]
    table = "\n".join(["path,labels", *(f"{row},rock" for row in rows)])
    inside.answers["/list/songs.csv"] = (200, {}, table.encode())
    listing = list_corpus("table", f"{inside.address}/list/songs.csv")
    assert [row.reason for row in listing.rejected] == [
        "row 1: the path '/etc/passwd' is a file of this machine, but the table is not on it",
        "row 2: the path 'file:///etc/passwd' is a file of this machine, but the table is not on it",
        f"row 3: the path '../../other/x.mp3' leads out of {inside.address}/list",
        f"row 4: the path 'a/../../x.mp3' leads out of {inside.address}/list",
    ]
    assert [song.path for song in listing.songs] == [f"{inside.address}/list/a/../x.mp3"]


def test_a_relative_path_stays_below_its_table(tmp_path: Path):
    (tmp_path / "list").mkdir()
    song = encoded("flac", 1.0, tmp_path)
    (tmp_path / "list/songs.csv").write_text(f"path,labels\n../{song.name},rock\n{song},rock\n")
    listing = list_corpus("table", str(tmp_path / "list/songs.csv"))
    assert [row.reason for row in listing.rejected] == [
        f"row 1: the path '../{song.name}' leads out of {tmp_path}/list"
    ]
    assert [song.path for song in listing.songs] == [str(song)]  # an absolute path of this machine, by its own table
    (tmp_path / "list/metadata.csv").write_text(f"file_name,label\n../{song.name},rock\n")
    with pytest.raises(ValueError, match=r"metadata.csv, row 1: the path '\.\./.*' leads out of "):
        list_songs("audiofolder", str(tmp_path / "list"))


def test_published_tables_name_files_below_the_songs_only(tmp_path: Path):
    (tmp_path / "id_genres.csv").write_text("id\tgenres\n../../secret\trock\n")
    (tmp_path / "id_information.csv").write_text("id\tartist\n../../secret\tsomeone\n")
    with pytest.raises(ValueError, match=r"the path '\.\./\.\./secret.mp3' leads out of "):
        list_songs("music4all", str(tmp_path))


# One bad row is one song.


def test_rows_with_any_address_cost_no_other_song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch, "HTTP_PATIENCE", Patience(0.2, 0.05, 0.05))
    good = [encoded(kind, 1.0, tmp_path) for kind in ("flac", "wav")]
    (tmp_path / "closed.mp3").write_bytes(b"x")
    bad = [
        *("ftp://127.0.0.1:1/x.mp3", "nobody://knows/x.mp3", "simplecache::https://127.0.0.1/x.mp3", "://", "http://["),
        *("http://127.0.0.1:1/x.mp3", "http://169.254.169.254/latest/meta-data", "http:///x", "https://h:99999/x.mp3"),
        *("file://server/x.mp3", "data:,x", "x.parquet#audio/99999999999999999999", "none.mp3", "a\0b.mp3", "x" * 5000),
    ]
    table = tmp_path / "songs.jsonl"
    rows = [{"path": str(path), "labels": "rock"} for path in (*good, *bad)]
    table.write_text("\n".join(map(json.dumps, rows)))
    listing = list_corpus("table", str(table))
    settings = ShardSettings(val_fraction=0.0, test_fraction=0.0, songs_per_shard=64, min_s=0.5, max_failure_rate=1.0)
    out = Store(str(tmp_path / "out"))
    result = shard_here(listing.songs, out, settings=settings, vocabulary=listing.vocabulary, rejected=listing.rejected)
    assert len(result.manifest) == len(good)
    assert len(result.quarantined) == len(bad)
    assert all(song.reason and "\n" not in song.reason for song in result.quarantined)


def test_a_song_that_its_bucket_refuses_is_one_song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch, "BUCKETS", ("memory://",))
    data = encoded("flac", 1.5, tmp_path).read_bytes()
    for i in range(3):
        Store("memory://trust_bucket").write_bytes(f"{i}.flac", data)
    size = Store.size

    def denied(store: Store, path: str) -> int:
        if path in refused:
            raise StoreError(f"{store.uri}/{path}: access denied")
        return size(store, path)

    monkeypatch.setattr(Store, "size", denied)
    songs = [Song(f"s{i}", f"memory://trust_bucket/{i}.flac", "", {"rock": 1.0}) for i in range(3)]
    refused = {"1.flac"}
    report = write_shard(rock_task(Store(str(tmp_path / "out")), songs))
    assert list(report.quarantined) == ["s1"]
    assert report.quarantined["s1"].endswith("1.flac: access denied")
    refused = {"0.flac", "1.flac", "2.flac"}  # the bucket is closed: that is no fault of its songs
    with pytest.raises(StoreError, match="access denied"):
        write_shard(rock_task(Store(str(tmp_path / "other")), songs))
