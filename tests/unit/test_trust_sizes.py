"""No file from a stranger takes more memory than it may, or ends a process, whatever it says of itself."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from genrescale.data.index import index_path
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.sharding.rebuild import PlannedShard, rebuild_index
from genrescale.data.sharding.scan import read_members
from genrescale.data.upkeep.inspect import inspect
from genrescale.data.upkeep.take_down import take_down
from genrescale.data.upkeep.verify import verify_shard
from genrescale.results.weights import read_header, read_weights
from genrescale.storage.errors import StoreError, TooLargeError
from genrescale.storage.json_bytes import JSON_BYTES, read_json, read_object
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store

MB = 1 << 20
RUN = "0123456789ab"


@pytest.fixture
def liar() -> Iterator[tuple[str, list[int]]]:
    """A server's address, and the bytes that it got rid of: it says 1,000 and sends 256 MB, whatever range is asked."""
    sent = [0]

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()

        def do_GET(self):
            self.send_response(206 if self.headers["Range"] and "partial" in self.path else 200)
            self.send_header("Content-Range", "bytes 0-999/1000")
            self.end_headers()
            try:
                for _ in range(256):
                    self.wfile.write(bytes(MB))
                    sent[0] += MB
            except OSError:
                pass

        def log_message(self, format: str, *args: object):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["partial", "whole"])
def test_a_server_that_sends_more_than_it_says_is_cut_off(liar: tuple[str, list[int]], path: str, tmp_path: Path):
    address, sent = liar
    store = Store(address)
    assert store.size(path) == 1000
    assert len(store.read_at_most(path, 5000)) == 5000
    with pytest.raises(TooLargeError, match=f"{address}/{path} has more than 1,000 bytes, the limit for such a file"):
        store.read_bytes(path, 1000)
    assert len(store.read_range(path, 100, 500)) == 500
    with store.opened(path) as file:
        assert len(file.read()) == 1000
    store.download(path, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size == 1000
    assert sent[0] < 100 * MB  # what lies in the sockets, of 6 answers with 1.5 GB


def test_a_local_range_takes_no_more_memory_than_there_are_bytes(tmp_path: Path):
    store = Store(str(tmp_path))
    store.write_bytes("a", b"0123456789")
    assert store.read_range("a", 3, 1 << 50) == b"3456789"
    assert store.read_range("a", 20, 1 << 50) == b""
    assert store.read_at_most("a", 1 << 50) == b"0123456789"
    for offset, length in ((-1, 5), (0, -5)):
        with pytest.raises(ValueError, match="are no range of a file"):
            store.read_range("a", offset, length)
    with pytest.raises(TooLargeError, match="has more than 9 bytes"):
        store.read_bytes("a", 9)
    assert store.read_bytes("a", 10) == b"0123456789"


def test_a_bucket_that_answers_with_more_than_was_asked_is_not_believed(monkeypatch: pytest.MonkeyPatch):
    def more(bucket: str, ranges: Sequence[tuple[str, int, int]]) -> list[memoryview]:
        return [memoryview(bytes(length + 1)) for *_, length in ranges]

    monkeypatch.setattr("genrescale.storage.store.read_s3_ranges", more)
    with pytest.raises(StoreError, match="s3://music/a: 10 bytes were requested, the server sent 11"):
        Store("s3://music", Patience(0, 0.01, 0.01)).read_range("a", 0, 10)


def test_a_large_file_of_a_bucket_is_read_in_parts_up_to_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("genrescale.storage.store._PART_BYTES", 1000)
    bucket, data = Store("memory://parts"), os.urandom(20_500)
    bucket.write_bytes("a", data)
    for limit in (1, 999, 1000, 1001, 8999, 9000, 20_499, 20_500, 30_000):
        assert bucket.read_at_most("a", limit) == data[:limit]
    with pytest.raises(TooLargeError):
        bucket.read_bytes("a", 20_499)
    with bucket.opened("a") as file:
        file.seek(-500, os.SEEK_END)
        assert file.read() == data[-500:]
        file.seek(100)
        assert file.read(50) == data[100:150]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ('{"a": 1, "b": 2, "a": 3}', "an object has the key 'a' twice"),
        ("[1" + "0" * 5000 + "]", r"the number 1000000000\.\.\. has more than 19 digits"),
        ("{", "Expecting"),
        (" " * JSON_BYTES + "{}", r"it has 16,777,218 bytes, more than 16,777,216"),
    ],
)
def test_json_that_would_end_a_process_is_a_sentence(text: str, words: str):
    with pytest.raises(ValueError, match=f"^the file is not JSON that can be read: .*{words}"):
        read_json(text.encode(), "the file")


def test_json_that_is_no_text_and_what_is_no_object_are_refused():
    with pytest.raises(ValueError, match="the file is not JSON that can be read"):
        read_json(b'{"a": "\xff"}', "the file")
    with pytest.raises(ValueError, match="the file is not a JSON object"):
        read_object(b"[]", "the file")


def test_honest_json_is_read_as_it_is():
    value = {"a": [1, -2.5, None, True, '"[[[\\"{', {"b": {}}], "ü": [[[[]]]], "brackets": "[" * 1000}
    assert read_json(json.dumps(value).encode(), "it") == value
    assert read_json(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode(), "it") == value
    assert read_json("[" * 64 + "]" * 64, "it") == json.loads("[" * 64 + "]" * 64)


def test_a_manifest_of_nested_json_is_a_sentence(copy: Manifest):
    path = Path(copy.uri, "manifest.json")
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"manifest\.json is not JSON that can be read: its lists and objects"):
        read_manifest(copy.uri)


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (safetensors(b'{"a":' * 100_000), "nested more than 64 deep"),
        (safetensors(b"{}", 1 << 60), "its header is said to have 1,152,921,504,606,846,976 bytes"),
        (safetensors(b'{"w": {"shape": 3}}'), "not iterable"),
        (safetensors(b"[]"), "is not a JSON object"),
    ],
)
def test_a_model_whose_header_is_hostile_is_a_sentence(tmp_path: Path, data: bytes, words: str):
    files, path = Store(str(tmp_path)), f"runs/{RUN}/model.safetensors"
    files.write_bytes(path, data)
    for read in (lambda: read_weights(files, path), lambda: read_header(files, RUN)):
        with pytest.raises(ValueError, match=f"{path} is no safetensors file, or a damaged one .*{words}"):
            read()


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """A member of a tar: its header and its data, in blocks."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data) if size is None else size, "target"
    header = info.tobuf(tarfile.GNU_FORMAT)
    return header + data + bytes(-len(data) % 512)


def sparse_member(name: str, size: int) -> bytes:
    """A sparse file without data that unpacks to ``size`` bytes, as GNU tar writes it."""
    header = bytearray(member(name, kind=tarfile.GNUTYPE_SPARSE))
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "sparse": (sparse_member("b.json", 3_900_000_000), "it holds 'b.json', a sparse file, where a shard has plain"),
    "sparse audio": (sparse_member("b.pcm", 3_900_000_000), "it holds 'b.pcm', a sparse file"),
    "symbolic link": (member("b.pcm", kind=tarfile.SYMTYPE), "it holds 'b.pcm', a symbolic link"),
    "link": (member("b.pcm", kind=tarfile.LNKTYPE), "it holds 'b.pcm', a link"),
    "device": (member("b.pcm", kind=tarfile.CHRTYPE), "it holds 'b.pcm', a device"),
    "pipe": (member("b.pcm", kind=tarfile.FIFOTYPE), "it holds 'b.pcm', a device"),
    "folder": (member("b/", kind=tarfile.DIRTYPE), "it holds 'b', a file of another kind"),
    "header of anything": (
        member("x", b"30 GNU.sparse.realsize=4000000\n", tarfile.XHDTYPE),
        "a header that may stand",
    ),
    "name of a gigabyte": (member("x", b"a", tarfile.GNUTYPE_LONGNAME, 1 << 30), "a file of another kind"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_tar_is_read_up_to_what_is_no_plain_file(kind: str):
    hostile, words = HOSTILE[kind]
    facts = b'{"key": "a"}'
    tar = member("a.json", facts) + member("a.pcm", b"\1\2") + hostile + member("c.pcm", b"\3\4") + bytes(1024)
    songs, refused = read_members(io.BytesIO(tar))
    assert [(song.key, song.facts, song.offset, song.num_bytes) for song in songs] == [("a", {"key": "a"}, 1536, 2)]
    assert words in refused


def test_a_member_of_json_that_is_too_long_or_too_deep_is_one_songs_fault():
    for facts in (b" " * (2 * MB) + b"{}", b"[" * 100_000, b'{"a": 1, "a": 2}'):
        tar = member("a.json", facts) + member("a.pcm", b"\1\2") + member("b.json", b"{}") + member("b.pcm", b"\1\2")
        songs, refused = read_members(io.BytesIO(tar + bytes(1024)))
        assert [(song.key, song.facts) for song in songs] == [("a", None), ("b", {})]
        assert refused == ""


@pytest.fixture
def swapped(copy: Manifest) -> Manifest:
    """A corpus whose first shard has a sparse file of 3.9 GB in the place of its second song's .json member."""
    path = Path(copy.uri, copy.shard_name(0))
    data = path.read_bytes()
    second = [song for song in read_members(io.BytesIO(data))[0]][1]
    start = second.offset - 512
    while data[start + 257 : start + 262] != b"ustar" or b".json" not in data[start : start + 100]:
        start -= 512
    path.write_bytes(data[:start] + sparse_member(f"{second.key}.json", 3_900_000_000) + data[start + 512 :])
    return copy


def test_a_shard_with_a_sparse_file_is_a_problem_of_that_shard(swapped: Manifest):
    store = Store(swapped.uri)
    problems = [str(problem) for problem in verify_shard(store, swapped, 0)]
    assert any(
        f"{swapped.shard_name(0)}: it holds 's" in problem and "a sparse file" in problem for problem in problems
    )
    assert verify_shard(store, swapped, 1) == []
    assert any("a sparse file" in line for line in inspect(swapped, "train-000000"))
    second = swapped.songs["key"][int(swapped.shard_rows(0)[1])].as_py()
    assert any(line.startswith("not ok: it holds") for line in inspect(swapped, second))


def test_a_shard_with_a_sparse_file_is_neither_rebuilt_nor_rewritten(swapped: Manifest):
    store, before = Store(swapped.uri), Path(swapped.uri, swapped.shard_name(0)).read_bytes()
    with pytest.raises(ValueError, match=r"only \d of \d songs can be read \(it holds .* a sparse file"):
        take_down(store, [swapped.songs["key"][int(swapped.shard_rows(0)[0])].as_py()], "asked")
    Path(swapped.uri, index_path(swapped.shard_name(0))).unlink()
    with pytest.raises(ValueError, match="its index cannot be rebuilt"):
        rebuild_index(store, swapped, 0, PlannedShard())
    assert Path(swapped.uri, swapped.shard_name(0)).read_bytes() == before


def test_what_a_shard_says_reaches_the_terminal_as_text(copy: Manifest):
    path = Path(copy.uri, copy.shard_name(0))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"artist":"artist', b'"artist":"\x7f[2J', 1).replace(b"\x7f[2J", b"\\t[2Jx", 1))
    lines = [*map(str, verify_shard(Store(copy.uri), copy, 0)), *inspect(copy, "train-000000")]
    assert any("[2J" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_checking_a_hostile_corpus_takes_little_memory(swapped: Manifest):
    """In a process of its own, which may take 3 GB more than it has when it has imported everything."""
    code = (
        "import resource, sys\n"
        "from genrescale.data.manifest import read_manifest\n"
        "from genrescale.data.upkeep.verify import verify_shard\n"
        "from genrescale.storage.store import Store\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 30),) * 2)\n"
        "manifest = read_manifest(sys.argv[1])\n"
        "print(len(verify_shard(Store(manifest.uri), manifest, 0)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, swapped.uri], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 0
