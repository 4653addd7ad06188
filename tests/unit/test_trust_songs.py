"""A song of a stranger opens no other file, learns nothing of this process, and takes no more than it is given."""

import json
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.formats import encoded, run_ffmpeg
from helpers.small_corpus import rock_task

from genrescale.audio import Song
from genrescale.data.decoding import decoders, isolated
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import DecodeError, ffmpeg_exe
from genrescale.data.sharding.writer import write_shard
from genrescale.storage.store import Store

OTHER = "it is no audio file, but a playlist, a script, a picture or another kind of file"
MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S" '
    'profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period duration="PT3S"><AdaptationSet mimeType="audio/mp4" '
    'contentType="audio"><Representation id="1" bandwidth="64000" mimeType="audio/mp4" codecs="mp4a.40.2">'
    "<BaseURL>file:{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
SCRIPTS = {
    "playlist.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n",
    "playlist.m3u": "#EXTM3U\n{}\n",
    "manifest.mpd": MPD,
    "concat.mp3": "ffconcat version 1.0\nfile '{}'\n",
    "concat.ffconcat": "ffconcat version 1.0\nfile 'secret.m4a'\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "composition.xml": "<CompositionPlaylist xmlns='http://www.smpte-ra.org/schemas/2067-3/2016'>{}"
    "</CompositionPlaylist>",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_song_that_names_other_files_opens_none_and_costs_no_other_song(tmp_path: Path, name: str):
    secret = tmp_path / "secret.m4a"
    run_ffmpeg("-i", encoded("wav", 1.5, tmp_path), "-c:a", "aac", "-movflags", "+faststart", secret)
    hostile = tmp_path / name
    hostile.write_text(SCRIPTS[name].format(secret))
    for source in (hostile, hostile.read_bytes()):
        with pytest.raises(DecodeError) as caught:
            decode_pcm(source, "song")
        assert caught.value.reason == OTHER or caught.value.reason.startswith("ffmpeg: Error opening input")
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
    songs = [Song("bad", str(hostile), "", {"rock": 1.0}), Song("good", str(secret), "", {"rock": 1.0})]
    report = write_shard(rock_task(Store(str(tmp_path / "out")), songs))
    assert (list(report.quarantined), report.num_songs) == (["bad"], 1)


def test_ffmpeg_knows_no_format_that_opens_other_files():
    opening = {
        "concat",
        "hls",
        "dash",
        "imf",
        "image2",
        "sdp",
        "rtsp",
        "webm_dash_manifest",
        "avisynth",
        "vobsub",
        "tty",
    }
    assert not opening & set(decoders.AUDIO_FORMATS)
    arguments = decoders._arguments(False)
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "fd"
    assert arguments.index("-format_whitelist") < arguments.index("-i")


# What a decoder that was taken over could do. The stand-ins answer instead of decoding.

PROBE = """
import json, os, resource, socket, subprocess, sys, threading

def tried(act):
    try:
        act()
    except OSError as error:
        return error.strerror
    return "done"

def probe():
    parent = os.getppid()
    thread = threading.Thread(target=lambda: None)
    return {
        "environment": sorted(os.environ),
        "files": sorted(int(name) for name in os.listdir("/proc/self/fd")) if "%(lists)s" else [],
        "limits": [resource.getrlimit(getattr(resource, name))[1] for name in ("RLIMIT_AS", "RLIMIT_FSIZE")],
        "process": tried(os.fork),
        "program": tried(lambda: subprocess.run(["/bin/true"])),
        "socket": tried(socket.socket),
        "signal": tried(lambda: os.kill(parent, 0)),
        "memory": tried(lambda: open(f"/proc/{parent}/mem").close()) if not "%(lists)s" else "",
        "file": tried(lambda: open("/etc/passwd").close()) if not "%(lists)s" else "",
        "thread": tried(lambda: (thread.start(), thread.join())),
    }
"""
REFUSED = "Operation not permitted"


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has keys, and opens files for others."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY")
    isolated._server.cache_clear()
    with ExitStack() as opened:
        # so many that the fork server's socket gets a high number
        files = [opened.enter_context(open("/etc/hostname")) for _ in range(200)]
        for file in files:
            os.set_inheritable(file.fileno(), True)
        yield
    isolated._server.cache_clear()


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Path:
    """An ffmpeg of our own."""
    script = folder / "ffmpeg"
    script.write_text(f"#!{sys.executable} -I\n{code}")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(decoders, "_arguments", lambda whole: [str(script)])
    return script


def ffmpeg_answers(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return decoders.decode_with_ffmpeg(file.fileno(), "song", 30.0).pcm_T


@pytest.mark.usefixtures("secretive")
def test_ffmpeg_has_no_environment_no_other_file_no_network_and_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answer = "data = json.dumps(probe()).encode()\nimport struct\n"
    answer += "sys.stdout.buffer.write(struct.pack(f'<{len(data)}f', *(byte / 32768 for byte in data)))"
    stand_in(tmp_path, monkeypatch, PROBE % {"lists": "yes"} + answer)
    found = json.loads(bytes(ffmpeg_answers(encoded("mp3", 1.0, tmp_path)).tolist()))
    assert set(found.pop("environment")) <= {"LC_CTYPE", "LD_LIBRARY_PATH"}  # the first is Python's own
    assert found.pop("files") in ([0, 1, 2, 3], [0, 1, 2])  # 3: the listing itself
    assert found == {
        "limits": [decoders.MEMORY_LIMIT, 1 << 20],
        **dict.fromkeys(("process", "program", "socket", "signal"), REFUSED),
        "memory": "",
        "file": "",
        "thread": "done",
    }


@pytest.mark.usefixtures("secretive")
def test_libsndfile_can_open_no_file_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "modules").mkdir()
    code = PROBE % {"lists": ""} + (
        "real, sys.modules['soundfile'] = sys.modules.pop('soundfile'), None\n"
        "sys.path.remove(os.path.dirname(__file__))\n"
        "import importlib; del sys.modules['soundfile']; theirs = importlib.import_module('soundfile')\n"
        "sys.modules['soundfile'] = real\n"
        "SoundFileError, write = theirs.SoundFileError, theirs.write\n"
        "calls = []\n"
        "def SoundFile(file, **options):\n"
        "    calls.append(file)\n"
        "    if len(calls) <= 2: return theirs.SoundFile(file, **options)\n"  # before the songs: to warm up
        "    found = probe(); raise ValueError(' '.join(map(str, found.values())))\n"
    )
    (tmp_path / "modules/soundfile.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    isolated._server.cache_clear()
    with pytest.raises(DecodeError) as caught:
        decode_pcm(encoded("mp3", 1.0, tmp_path), "song")
    variables = caught.value.reason.partition("]")[0]
    assert "AWS" not in variables
    assert "PYTHONPATH" in variables
    assert caught.value.reason.endswith(" ".join([REFUSED] * 6) + " done")


def test_a_decoder_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stand_in(tmp_path, monkeypatch, "import os, sys; os.write(2, str(os.getpid()).encode())\nwhile True: pass")
    song = encoded("mp3", 1.0, tmp_path)
    with song.open("rb") as file, pytest.raises(DecodeError, match=r"decoding took more than 2 s"):
        decoders.decode_with_ffmpeg(file.fileno(), "song", 2.0)


def test_a_decoder_that_writes_without_end_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stand_in(tmp_path, monkeypatch, "import sys\nwhile True: sys.stdout.buffer.write(bytes(1 << 16))")
    monkeypatch.setattr(decoders, "MAX_SONG_S", 3.0)
    started = time.monotonic()
    with pytest.raises(DecodeError, match="it is longer than 3 s"):
        ffmpeg_answers(encoded("mp3", 1.0, tmp_path))
    assert time.monotonic() - started < 20


def test_what_a_decoder_tells_is_short_and_printable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = "import sys\nfor _ in range(100): sys.stderr.write('x' * 99999 + '\\x1b[31m\\r\\u202e')\nsys.exit(1)"
    stand_in(tmp_path, monkeypatch, code)
    with pytest.raises(DecodeError) as caught:
        ffmpeg_answers(encoded("mp3", 1.0, tmp_path))
    assert len(caught.value.reason) < 400
    assert caught.value.reason.isprintable()


def test_the_ffmpeg_of_the_path_goes_before_the_bundled_one_where_it_can_read_an_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for protocols, chosen in (("file\nfd\npipe", True), ("file\npipe", False)):
        script = tmp_path / "ffmpeg"
        script.write_text(f"#!/bin/sh\ncat <<END\nInput:\n{protocols}\nEND\n")
        script.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        assert (ffmpeg_exe.__wrapped__() == str(script)) == chosen


def test_a_file_that_lies_about_its_length_takes_no_memory_for_it(tmp_path: Path):
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 2**32 - 1, b"WAVE", b"fmt ", 16, 1, 2, 44100, 176400, 4, 16, b"data", 2**32 - 9
    )
    soundfile.write(tmp_path / "tone.wav", 0.1 * np.sin(np.arange(44100) / 10), 44100)
    (tmp_path / "lies.wav").write_bytes(head + (tmp_path / "tone.wav").read_bytes()[44:])
    assert decode_pcm(tmp_path / "lies.wav", "song").duration_s < 1.0
