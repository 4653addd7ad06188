"""A song in a process of its own: the same samples, the same refusals, and a crash is a refusal too."""

import os
import pickle
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.deadly import HANG, LIMIT_S, MARK, make_deadly, write_deadly_soundfile
from helpers.formats import encoded
from helpers.small_corpus import rock_task

from genrescale.audio import Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.decoding import isolated, watchdog
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.isolated import decode_isolated
from genrescale.data.index import index_path
from genrescale.data.sharding.writer import decode_song, write_shard
from genrescale.storage.store import Store

NAME = "shards/train-000000.tar"


@pytest.mark.parametrize("name", ["mp3", "m4a"])
def test_the_samples_are_those_of_decoding_in_process(tmp_path: Path, name: str):
    path = encoded(name, 1.0, tmp_path)
    for source in (path, path.read_bytes()):
        clip = decode_isolated(source, "song")
        assert clip.key == "song"
        assert (clip.pcm_T == decode_pcm(path, "song").pcm_T).all()


def reason_of(source: bytes | Path, **options: float) -> str:
    with pytest.raises(DecodeError, match=r"song\.mp3: ") as caught:
        decode_isolated(source, "song.mp3", **options)
    return caught.value.reason


def test_the_refusals_are_those_of_decoding_in_process(tmp_path: Path):
    assert reason_of(b"") == "the file is empty (0 bytes)"
    assert reason_of(tmp_path / "none.mp3") == "the file does not exist"
    assert reason_of(encoded("flac", 1.0, tmp_path), min_s=2.0) == "1.00 s is shorter than min_s=2"


def test_a_process_of_little_memory_decodes_as_well(tmp_path: Path):
    path = encoded("m4a", 1.0, tmp_path)
    code = f"""import pathlib, resource
from genrescale.data.decoding.isolated import decode_isolated, decode_pcm
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for decode in (decode_pcm, decode_isolated):
    print(len(decode(pathlib.Path({str(path)!r}), "song").pcm_T))"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["16000", "16000"], done.stderr


def deadly_song(folder: Path, monkeypatch: pytest.MonkeyPatch, mark: bytes = MARK) -> Path:
    path = folder / "deadly.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(40_000), 16_000)
    make_deadly(path, mark)
    write_deadly_soundfile(folder / "modules")
    monkeypatch.syspath_prepend(folder / "modules")
    return path


def test_a_crash_is_a_refusal_that_names_the_song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert reason_of(deadly_song(tmp_path, monkeypatch)) == "the decoder crashed (signal 11)"


def test_a_child_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolated, "START_LIMIT_S", 0.0)
    assert reason_of(encoded("flac", 1.0, tmp_path), limit_s=0.01) == "decoding took more than 0.01 s"


def test_an_isolated_shard_has_the_same_bytes_and_survives_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sane = [Song(name, str(encoded(name, 1.5, tmp_path)), "", {"rock": 1.0}) for name in ("flac", "mp3", "wma")]
    deadly = Song("deadly", str(deadly_song(tmp_path, monkeypatch)), "", {"rock": 1.0})
    plain = rock_task(Store(str(tmp_path / "plain")), sane)
    write_shard(plain)
    alone = replace(plain, store=Store(str(tmp_path / "alone")), isolated=True)
    write_shard(alone)
    for path in (NAME, index_path(NAME)):
        assert alone.store.read_bytes(path) == plain.store.read_bytes(path)

    # the deadly song last, so that the others keep their places
    report = write_shard(replace(rock_task(Store(str(tmp_path / "with")), [*sane, deadly]), isolated=True))
    assert report.quarantined == {"deadly": "the decoder crashed (signal 11)"}
    assert (tmp_path / "with" / NAME).read_bytes() == plain.store.read_bytes(NAME)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("core")]


def test_a_decoder_that_hangs_ends_its_process_and_then_its_song_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hanging = Song("hanging", str(deadly_song(tmp_path, monkeypatch, HANG)), "", {"rock": 1.0})
    sane = Song("sane", str(encoded("flac", 1.5, tmp_path)), "", {"rock": 1.0})
    task = rock_task(Store(str(tmp_path / "out")), [sane, hanging])
    (tmp_path / "task").write_bytes(pickle.dumps(task))
    code = (
        "import pickle, sys; from genrescale.data.sharding.writer import write_shard; "
        "write_shard(pickle.load(sys.stdin.buffer))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "task").open("rb") as file:
        died = subprocess.run(
            [sys.executable, "-c", code], stdin=file, env=environment, capture_output=True, timeout=300
        )
    assert died.returncode != 0
    assert b"Timeout (0:00:04)!" in died.stderr
    assert b"decode_here" in died.stderr  # where it hung
    assert not task.store.exists(NAME)

    monkeypatch.setattr(watchdog, "HANG_LIMIT_S", LIMIT_S)  # as in its child
    report = write_shard(replace(task, isolated=True))  # what the job does next
    assert report.quarantined == {"hanging": f"decoding took more than {LIMIT_S:g} s"}
    assert report.num_songs == 1


def test_a_song_that_is_done_in_time_disarms_the_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    monkeypatch.setattr(watchdog.faulthandler, "dump_traceback_later", lambda *_, **__: calls.append("armed"))
    monkeypatch.setattr(watchdog.faulthandler, "cancel_dump_traceback_later", lambda: calls.append("disarmed"))
    song = Song("sane", str(encoded("flac", 1.5, tmp_path)), "", {"rock": 1.0})
    decode_song(song, ShardSettings())
    with pytest.raises(DecodeError):
        decode_song(replace(song, path=str(tmp_path / "none.flac")), ShardSettings())
    assert calls == ["armed", "disarmed"] * 2


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_no_file_is_refused_unopened(tmp_path: Path, scheme: str):
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "link.mp3").symlink_to(tmp_path / "pipe.mp3")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(tmp_path / "s.mp3"))
        for path in (tmp_path / "pipe.mp3", tmp_path / "link.mp3", tmp_path / "s.mp3", Path("/dev/zero"), tmp_path):
            with pytest.raises(DecodeError, match="it is not a file"):
                decode_song(Song("song", f"{scheme}{path}", "", {}), ShardSettings())
