"""Real encoded files decode to the level and length of an independent decoder; broken ones name themselves."""

import os
import pickle
import socket
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.formats import by_ffmpeg, by_sndfile, encoded
from scipy.signal import resample_poly

from genrescale.audio import SAMPLE_RATE, Clip
from genrescale.data.decoding import decode, decoders
from genrescale.data.decoding.decode import DecodeError, decode_pcm, middle_excerpt

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
    here_T = by_sndfile(path)
    assert here_T is not None
    there_T = by_ffmpeg(path).astype(float)
    assert abs(len(here_T) - len(there_T)) <= 1
    length = min(len(here_T), len(there_T))
    error = np.square(here_T[:length] - there_T[:length]).sum() / np.square(there_T).sum()
    assert error <= 1e-3


def test_what_libsndfile_does_not_read_goes_to_ffmpeg(tmp_path: Path):
    surround = tmp_path / "surround.wav"
    soundfile.write(surround, np.repeat(stereo_tone(), 3, axis=1), RATE)
    assert by_sndfile(surround) is None
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
    assert reason_of(picture) == "it is no audio file, but a playlist, a script, a picture or another kind of file"


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


# The table in decode.py, row by row, as far as it is not above or in test_decode_agreement.py.


def wav(**header: int) -> bytes:
    """A whole second of 16 kHz mono WAV, with some numbers of its header replaced by others."""
    pcm_T = (8000 * np.sin(np.arange(SAMPLE_RATE) / 10)).astype("<i2").tobytes()
    told = {"channels": 1, "rate": SAMPLE_RATE, "align": 2, "bits": 16, "num_bytes": len(pcm_T)} | header
    form = struct.pack("<HHIIHH", 1, told["channels"], told["rate"], 2 * SAMPLE_RATE, told["align"], told["bits"])
    data = b"data" + struct.pack("<I", told["num_bytes"]) + pcm_T
    return b"RIFF" + struct.pack("<I", 4 + 24 + len(data)) + b"WAVEfmt " + struct.pack("<I", len(form)) + form + data


@pytest.mark.parametrize(
    ("header", "duration_s"),
    [
        ({}, 1.0),
        ({"num_bytes": 2**32 - 1}, 1.0),
        ({"num_bytes": 2**31}, 1.0),
        ({"num_bytes": 0}, 1.0),
        ({"num_bytes": SAMPLE_RATE}, 0.5),
        ({"rate": 8000}, 2.0),
    ],
)
def test_a_header_that_lies_about_its_length(header: dict[str, int], duration_s: float):
    assert decode_pcm(wav(**header), "song").duration_s == pytest.approx(duration_s, abs=1e-3)


@pytest.mark.parametrize("rate", [1, 3999, 384_001, 2**31 - 1])
def test_absurd_rates_are_refused(rate: int):
    assert reason_of(wav(rate=rate)) == f"its sample rate of {rate} Hz is not from 4000 to 384000 Hz"


@pytest.mark.parametrize("header", [{"rate": 0}, {"rate": 2**32 - 1}, {"channels": 0}, {"bits": 0}])
def test_a_header_that_nobody_understands_is_refused(header: dict[str, int]):
    assert reason_of(wav(**header)).startswith("ffmpeg: ")


def test_flac_whose_header_knows_no_length_is_decoded_whole(tmp_path: Path):
    data = bytearray(encode(tmp_path, "flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert decode_pcm(bytes(data), "song").duration_s == SECONDS


def test_mp3_headers_that_lie_cost_no_music(tmp_path: Path):
    data = encode(tmp_path, "mp3").read_bytes()
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    for few in (data[:at] + struct.pack(">I", 10) + data[at + 4 :], data[: at + 4] + bytes(4) + data[at + 8 :]):
        assert decode_pcm(few, "song").duration_s == pytest.approx(SECONDS, abs=0.08)
    many = data[:at] + struct.pack(">I", 10**6) + data[at + 4 :]
    assert decode_pcm(many, "song").duration_s == pytest.approx(SECONDS, abs=0.08)


def test_an_id3_tag_that_claims_to_end_with_the_file_costs_no_music(tmp_path: Path):
    path = encode(tmp_path, "mp3")
    data = path.read_bytes()
    tail = b"\xff\xfb\x90\x00Xing"  # where the false tag ends, cut off before its counts
    size = len(data)  # from behind the tag's own 10 bytes to the tail
    tag = b"ID3\3\0\0" + bytes(size >> shift & 0x7F | 0x80 for shift in (21, 14, 7, 0))
    path.write_bytes(tag + data + tail)
    assert decode_pcm(path, "song").duration_s == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("kind", ["mp3", "ogg"])
def test_streams_behind_each_other_are_all_decoded(tmp_path: Path, kind: str):
    data = encode(tmp_path, kind).read_bytes()
    assert decode_pcm(data + data, "song").duration_s == pytest.approx(2 * SECONDS, abs=0.1)


def test_damage_in_the_middle_of_an_mp3_does_not_cost_its_second_half(tmp_path: Path):
    data = encode(tmp_path, "mp3").read_bytes()
    half = len(data) // 2
    assert decode_pcm(data[:half] + data[half + 3000 :], "song").duration_s > 0.8 * SECONDS


def test_few_samples(tmp_path: Path):
    path = tmp_path / "song.wav"
    for num_samples, reason in ((0, "it holds no audio samples"), (1, "it holds no audio samples")):
        soundfile.write(path, np.full((num_samples, 1), 0.5), RATE)
        assert reason_of(path) == reason
    soundfile.write(path, np.full((1, 1), 0.5), SAMPLE_RATE)
    assert len(decode_pcm(path, "song").pcm_T) == 1
    assert reason_of(path, min_s=0.1) == "0.00 s is shorter than min_s=0.1"


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers_are_refused_by_both_decoders(tmp_path: Path, channels: int, bad: float):
    wave_TC = np.repeat(stereo_tone()[:, :1], channels, axis=1)
    wave_TC[1000] = bad
    soundfile.write(tmp_path / "bad.wav", wave_TC, RATE, subtype="FLOAT")
    assert reason_of(tmp_path / "bad.wav") == "it holds samples that are not numbers"


@pytest.mark.parametrize("channels", [1, 6])
def test_what_is_too_loud_is_clipped(tmp_path: Path, channels: int):
    soundfile.write(tmp_path / "loud.wav", np.full((RATE, channels), 10.0), RATE, subtype="FLOAT")
    assert set(decode_pcm(tmp_path / "loud.wav", "song").pcm_T[100:-100]) == {32767}


def peak(folder: Path, wave_TC: np.ndarray) -> float:
    soundfile.write(folder / "song.wav", wave_TC, RATE)
    return float(np.abs(decode_pcm(folder / "song.wav", "song").pcm_T).max() / 32768)


def test_stereo_is_the_mean_of_both_channels(tmp_path: Path):
    left_T1 = stereo_tone()[:, :1]
    mono = peak(tmp_path, left_T1)
    assert mono == pytest.approx(np.abs(left_T1).max(), rel=0.02)
    assert peak(tmp_path, np.hstack([left_T1, left_T1])) == mono
    assert peak(tmp_path, np.hstack([left_T1, 0 * left_T1])) == pytest.approx(mono / 2, rel=1e-3)


def test_what_is_no_file(tmp_path: Path):
    assert reason_of(tmp_path) == "it is not a file"
    os.mkfifo(tmp_path / "pipe")
    assert reason_of(tmp_path / "pipe") == "it is not a file"
    assert reason_of(tmp_path / ("x" * 300)) == "the file cannot be read (File name too long)"
    assert "null byte" in reason_of(tmp_path / "a\0b")


@pytest.mark.parametrize("kind", ["flac", "m4a"])
@pytest.mark.parametrize("name", [b"caf\xe9.mp3", "ü 'x' $(y) 50%d: [1].mp3".encode(), b"-i"])
def test_names_of_any_bytes(tmp_path: Path, kind: str, name: bytes):
    path = encoded(kind, SECONDS, tmp_path).rename(tmp_path / os.fsdecode(name))
    assert decode_pcm(path, "song").duration_s == SECONDS


def test_large_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with (tmp_path / "large.wav").open("wb") as file:
        file.truncate(decode.MAX_ENCODED_BYTES + 1)  # a hole: it takes no space
    assert reason_of(tmp_path / "large.wav") == "the file has 1,073,741,825 bytes, more than 1,073,741,824"
    monkeypatch.setattr(decode, "MAX_ENCODED_BYTES", 100)
    assert reason_of(wav()) == "the file has 32,044 bytes, more than 100"


@pytest.mark.parametrize("kind", ["flac", "m4a"])
def test_long_songs_are_refused_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    path = encoded(kind, SECONDS, tmp_path)
    monkeypatch.setattr(decoders, "MAX_SONG_S", 1.0)
    monkeypatch.setattr(decode, "MAX_SONG_S", 1.0)
    monkeypatch.setattr(decoders, "_arguments", decoders._arguments.__wrapped__)
    held = by_sndfile(path)
    held = by_ffmpeg(path) if held is None else held
    assert len(held) == 2 * SAMPLE_RATE
    assert reason_of(path) == "it is longer than 1 s"


@pytest.mark.parametrize("kind", ["flac", "m4a", "mp3 vbr without a Xing header"])
def test_of_a_long_song_an_excerpt_is_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    path = encoded(kind, SECONDS, tmp_path)
    whole = by_ffmpeg(path)
    excerpt_len = SAMPLE_RATE // 2
    start = (len(whole) - excerpt_len) // 2
    monkeypatch.setattr(decoders, "MAX_SONG_S", 1.0)
    monkeypatch.setattr(decode, "MAX_SONG_S", 1.0)
    monkeypatch.setattr(decoders, "_arguments", decoders._arguments.__wrapped__)
    excerpt = decode_pcm(path, "song", max_s=0.5)
    assert np.array_equal(excerpt.pcm_T, whole[start : start + excerpt_len])
    assert reason_of(path) == "it is longer than 1 s"


def test_a_long_song_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seconds = 1200
    noise_T = (3000 * np.random.default_rng(0).standard_normal(8000 * seconds)).astype(np.int16)
    soundfile.write(tmp_path / "long.wav", noise_T, 8000)
    monkeypatch.setattr(decoders, "MAX_SONG_S", 60.0)
    tracemalloc.start()
    try:
        clip = decode_pcm(tmp_path / "long.wav", "song", max_s=30.0)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert clip.duration_s == 30.0
    assert peak_bytes < 12e6 < seconds * SAMPLE_RATE * 2 / 3


def test_ffmpeg_cannot_take_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = encoded("m4a", SECONDS, tmp_path)
    monkeypatch.setattr(decoders, "MEMORY_LIMIT", 1 << 20)
    with pytest.raises(DecodeError, match=r"^song: ffmpeg"):
        decode_pcm(path, "song")
