"""Real encoded files decode to the level and length of an independent decoder; broken ones name themselves."""

import pickle
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from genrescale.audio import SAMPLE_RATE, Clip
from genrescale.data import decoders
from genrescale.data.decode import DecodeError, decode_pcm, middle_excerpt

RATE = 44_100
SECONDS = 3.0
# seconds by which the length may differ, and the share of the energy by which the signal may
TOLERANCE = {"wav": (1e-3, 1e-3), "flac": (1e-3, 1e-3), "ogg": (1e-3, 1e-3), "mp3": (1e-3, 1e-3)}


def stereo_tone() -> np.ndarray:
    """Chords with vibrato below 6 kHz, left and right different, (T, 2) in [-1, 1]."""
    t = np.arange(round(RATE * SECONDS)) / RATE
    left = sum(np.sin(2 * np.pi * f * t + np.sin(5 * t)) for f in (220.0, 440.0, 1234.5)) / 4
    right = sum(np.sin(2 * np.pi * f * t) for f in (330.0, 990.0, 5000.0)) / 6
    return np.stack([left, right], axis=1)


def encode(folder: Path, kind: str) -> Path:
    path = folder / f"song.{kind}"
    soundfile.write(path, stereo_tone(), RATE)
    return path


@pytest.mark.parametrize("kind", sorted(TOLERANCE))
def test_level_and_length_agree_with_soundfile(tmp_path: Path, kind: str):
    path = encode(tmp_path, kind)
    wave_TC, rate = soundfile.read(path, dtype="float64")
    expected_T = resample_poly(wave_TC.mean(axis=1), 160, 441)
    found_T = decode_pcm(path, "song").pcm_T / 32768.0
    seconds, energy = TOLERANCE[kind]
    assert rate == RATE
    assert abs(len(found_T) - len(expected_T)) / SAMPLE_RATE <= seconds
    # away from the ends, where the two resamplers' filters meet silence
    inner = slice(1600, min(len(found_T), len(expected_T)) - 1600)
    error = np.square(found_T[inner] - expected_T[inner]).sum() / np.square(expected_T[inner]).sum()
    assert error <= energy


@pytest.mark.parametrize("kind", sorted(TOLERANCE))
def test_both_decoders_agree(tmp_path: Path, kind: str):
    path = encode(tmp_path, kind)
    here_T = decoders.decode_here(path, "song", 60)
    assert here_T is not None
    there_T = decoders.decode_with_ffmpeg(path, "song", 60).astype(float)
    assert abs(len(here_T) - len(there_T)) <= 1
    length = min(len(here_T), len(there_T))
    error = np.square(here_T[:length] - there_T[:length]).sum() / np.square(there_T).sum()
    assert error <= 1e-3


def test_what_libsndfile_does_not_read_goes_to_ffmpeg(tmp_path: Path):
    named_raw = encode(tmp_path, "flac").rename(tmp_path / "song.raw")
    assert decoders.decode_here(named_raw, "song", 60) is None
    assert decode_pcm(named_raw, "song").duration_s == SECONDS
    surround = tmp_path / "surround.wav"
    soundfile.write(surround, np.repeat(stereo_tone(), 3, axis=1), RATE)
    assert decoders.decode_here(surround, "song", 60) is None
    assert decode_pcm(surround, "song").duration_s == SECONDS


def test_samples_that_are_not_numbers_are_refused(tmp_path: Path):
    wave_TC = stereo_tone()
    wave_TC[1000] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave_TC, RATE, subtype="FLOAT")
    assert reason_of(tmp_path / "nan.wav") == "it holds samples that are not numbers"


@pytest.mark.parametrize("kind", sorted(TOLERANCE))
def test_bytes_and_path_give_the_same_samples(tmp_path: Path, kind: str):
    path = encode(tmp_path, kind)
    assert (decode_pcm(path, "a").pcm_T == decode_pcm(path.read_bytes(), "b").pcm_T).all()


def test_the_format_is_found_by_content_not_by_suffix(tmp_path: Path):
    path = encode(tmp_path, "flac").rename(tmp_path / "song.mp3")
    assert len(decode_pcm(path, "song").pcm_T) == SECONDS * SAMPLE_RATE


def reason_of(source: bytes | Path, **options: float) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_pcm(source, "rock/song.mp3", **options)
    assert str(caught.value) == f"rock/song.mp3: {caught.value.reason}"
    return caught.value.reason


def test_broken_files_say_which_and_why(tmp_path: Path):
    whole = encode(tmp_path, "mp3")
    assert reason_of(b"") == "the file is empty (0 bytes)"
    assert reason_of(tmp_path / "none.mp3") == "the file does not exist"
    assert "Invalid data" in reason_of(b"Dear listener, this is a letter.\n" * 50)
    assert "Invalid data" in reason_of(np.random.default_rng(0).bytes(200))
    assert reason_of(whole, min_s=10.0) == f"{SECONDS:.2f} s is shorter than min_s=10"
    silent = tmp_path / "silent.flac"
    soundfile.write(silent, np.zeros((RATE, 1)), RATE)
    assert reason_of(silent) == "it is silent"
    picture = tmp_path / "picture.png"
    picture.write_bytes(_png())
    assert reason_of(picture) == "it has no audio stream"


def _png() -> bytes:
    """One grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    )


def test_a_temporary_file_is_not_named_in_the_reason():
    assert "genrescale-" not in reason_of(b"no music" * 100)


def test_a_file_cut_short_gives_what_it_holds(tmp_path: Path):
    data = encode(tmp_path, "mp3").read_bytes()
    assert 1.0 < decode_pcm(data[: len(data) // 2], "half").duration_s < 2.0


def test_a_file_that_takes_too_long_is_stopped(tmp_path: Path):
    assert "took more than 0.001 s" in reason_of(encode(tmp_path, "mp3"), limit_s=0.001)


def test_a_playlist_cannot_open_addresses():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/song.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXT-X-ENDLIST\n"
        reason_of(playlist.encode(), limit_s=10.0)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_decode_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(DecodeError("song", "it is silent")))
    assert (error.name, error.reason, str(error)) == ("song", "it is silent", "song: it is silent")


def test_the_middle_is_kept():
    clip = Clip("song", np.arange(10 * SAMPLE_RATE, dtype=np.int64))
    assert middle_excerpt(clip, 0.0) is clip
    assert middle_excerpt(clip, 10.0) is clip
    excerpt = middle_excerpt(clip, 4.0)
    assert (len(excerpt.pcm_T), excerpt.pcm_T[0]) == (4 * SAMPLE_RATE, 3 * SAMPLE_RATE)
