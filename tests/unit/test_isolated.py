"""Every song is decoded in a process of its own: a crash, a hang or a greedy decoder is the end of that song only."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.deadly import HANG, LIMIT_S, MARK, make_deadly, write_deadly_soundfile
from helpers.formats import encoded
from helpers.small_corpus import rock_task

from genrescale.audio import Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.decoding import isolated
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.sharding.writer import decode_song, write_shard
from genrescale.storage.store import Store

NAME = "shards/train-000000.tar"


def reason_of(source: bytes | Path, **options: float) -> str:
    with pytest.raises(DecodeError, match=r"song\.mp3: ") as caught:
        decode_pcm(source, "song.mp3", **options)
    return caught.value.reason


def test_a_process_of_little_memory_decodes_as_well(tmp_path: Path):
    path = encoded("m4a", 1.0, tmp_path)
    code = f"""import pathlib, resource
from genrescale.data.decoding.decode import decode_pcm
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
print(len(decode_pcm(pathlib.Path({str(path)!r}), "song").pcm_T))"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["16000"], done.stderr


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Songs that crash or hang libsndfile, and a fork server whose libsndfile they crash."""
    write_deadly_soundfile(tmp_path / "modules")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    isolated._server.cache_clear()
    yield lambda mark: deadly_song(tmp_path, mark)
    isolated._server.cache_clear()


def deadly_song(folder: Path, mark: bytes) -> Path:
    path = folder / f"{mark.decode()}.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(40_000), 16_000)
    make_deadly(path, mark)
    return path


def test_a_crash_or_a_hang_is_the_end_of_one_song(tmp_path: Path, deadly):
    sane = [Song(name, str(encoded(name, 1.5, tmp_path)), "", {"rock": 1.0}) for name in ("flac", "mp3", "wma")]
    write_shard(rock_task(Store(str(tmp_path / "without")), sane))
    bad = [Song(mark.decode(), str(deadly(mark)), "", {"rock": 1.0}) for mark in (MARK, HANG)]
    # the bad songs last, so that the others keep their places
    started = time.monotonic()
    report = write_shard(rock_task(Store(str(tmp_path / "with")), [*sane, *bad]))
    assert report.quarantined == {
        MARK.decode(): "the decoder crashed (signal 11)",
        HANG.decode(): "decoding took more than 60 s",
    }
    assert time.monotonic() - started > LIMIT_S
    assert (tmp_path / "with" / NAME).read_bytes() == (tmp_path / "without" / NAME).read_bytes()
    assert not [name for name in os.listdir(tmp_path) if name.startswith("core")]


def test_a_fork_server_that_was_killed_is_started_anew(tmp_path: Path):
    path = encoded("mp3", 1.0, tmp_path)
    before = decode_pcm(path, "song").pcm_T
    server = isolated._server(os.getpid())
    server._process.kill()
    server._process.wait()
    assert np.array_equal(decode_pcm(path, "song").pcm_T, before)


def test_a_fork_server_that_cannot_start_is_no_fault_of_the_song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "soundfile.py").write_text("raise ImportError('no libsndfile here')")
    monkeypatch.syspath_prepend(tmp_path)
    isolated._server.cache_clear()
    task = rock_task(Store(str(tmp_path / "out")), [Song("a", str(encoded("mp3", 1.0, tmp_path)), "", {"rock": 1.0})])
    with pytest.raises(ChildProcessError, match=r"(?s)process that starts decoders has ended: .*no libsndfile here"):
        write_shard(task)
    isolated._server.cache_clear()


def test_a_decoder_whose_process_is_gone_leaves_no_other_behind(tmp_path: Path):
    path = encoded("mp3", 1.0, tmp_path)
    code = f"""import os, pathlib
from genrescale.data.decoding import isolated
from genrescale.data.decoding.decode import decode_pcm
decode_pcm(pathlib.Path({str(path)!r}), "song")
print(isolated._server(os.getpid())._process.pid, flush=True)
os.kill(os.getpid(), 9)"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    server = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{server}/stat").exists() or Path(f"/proc/{server}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the fork server is still there")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_no_file_is_refused_unopened(tmp_path: Path, scheme: str):
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "link.mp3").symlink_to(tmp_path / "pipe.mp3")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(tmp_path / "s.mp3"))
        for path in (tmp_path / "pipe.mp3", tmp_path / "link.mp3", tmp_path / "s.mp3", Path("/dev/zero"), tmp_path):
            with pytest.raises(DecodeError, match="it is not a file"):
                decode_song(Song("song", f"{scheme}{path}", "", {}), ShardSettings())
