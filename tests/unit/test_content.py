"""What a header calls samples and is something else is decoded as what it is, or refused by its name."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.formats import bitstream, encoded, plain_ffmpeg, run_ffmpeg

from genrescale.data.decoding.content import found_in
from genrescale.data.decoding.decode import DecodeError, decode_pcm

SECONDS = 1.0
RATE = 48_000
SILENCE = bytes(4 * RATE)
IEC_61937 = "an AC-3, DTS or other bitstream (IEC 61937)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("content")


def samples(data: bytes, width: int = 2) -> np.ndarray:
    """Bytes as stereo samples of 16 or 8 bits."""
    data = data[: len(data) // (2 * width) * 2 * width]
    return np.frombuffer(data, "<i2" if width == 2 else np.uint8).reshape(-1, 2)


def dressed(words_TC: np.ndarray, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    """Samples of 16 bits in the file that a program makes of them."""
    file = io.BytesIO()
    soundfile.write(file, words_TC.astype("<i4") << 16, RATE, subtype, format=kind)
    return file.getvalue()


def reason_of(data: bytes | Path) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_pcm(data, "song")
    return caught.value.reason


def assert_named(data: bytes | Path, name: str) -> None:
    assert reason_of(data) == f"its header promises samples, but what it holds is {name}"


@pytest.mark.parametrize("codec", ["ac3", "dca"])
@pytest.mark.parametrize("cut", [0, 4 * 3001])
def test_a_bitstream_in_wav_is_decoded_as_ffmpeg_does(folder: Path, codec: str, cut: int):
    path = folder / f"{codec} {cut}.wav"
    path.write_bytes(dressed(samples(bitstream(codec, SECONDS, folder)[cut:])))
    found_T, expected_T = decode_pcm(path, "song").pcm_T / 32768, plain_ffmpeg(path) / 32768
    assert abs(len(found_T) - len(expected_T)) <= 1
    length = min(len(found_T), len(expected_T))
    error = np.square(found_T[:length] - expected_T[:length]).sum()
    assert error <= 1e-4 * np.square(expected_T).sum()
    assert np.abs(found_T).max() > 0.3


@pytest.mark.parametrize(
    ("codec", "container"), [("ac3", "ac3"), ("dca", "dts"), ("libmp3lame", "mp3"), ("aac", "adts")]
)
def test_encoded_frames_in_wav_are_decoded_as_what_they_are(folder: Path, codec: str, container: str):
    path = folder / f"{container}.wav"
    path.write_bytes(dressed(samples(bitstream(codec, SECONDS, folder, container))))
    assert decode_pcm(path, "song").duration_s == pytest.approx(SECONDS, abs=0.1)
    assert np.array_equal(decode_pcm(path, "song").pcm_T[:8000], plain_ffmpeg(path)[:8000])


@pytest.mark.parametrize("codec", ["ac3", "dca"])
@pytest.mark.parametrize(
    ("kind", "subtype"), [("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("WAV", "PCM_24"), ("CAF", "PCM_16")]
)
def test_a_bitstream_that_ffmpeg_plays_as_noise_is_refused(folder: Path, codec: str, kind: str, subtype: str):
    assert_named(dressed(samples(bitstream(codec, SECONDS, folder)), kind, subtype), IEC_61937)


@pytest.mark.parametrize("suffix", ["wv", "m4a", "tta", "mka"])
def test_so_it_is_in_the_files_that_only_ffmpeg_reads(folder: Path, suffix: str):
    (folder / "late.flac").write_bytes(dressed(samples(SILENCE + bitstream("dca", SECONDS, folder)), "FLAC"))
    codec = {"m4a": "alac", "wv": "wavpack", "tta": "tta", "mka": "flac"}[suffix]
    run_ffmpeg("-i", folder / "late.flac", "-c:a", codec, folder / f"late.{suffix}")
    assert_named(folder / f"late.{suffix}", IEC_61937)


def test_a_bitstream_that_begins_late_is_refused(folder: Path):
    """ffmpeg judges by the first bytes of the samples and plays this one as noise."""
    data = bitstream("ac3", SECONDS, folder)
    assert_named(dressed(samples(SILENCE + data)), IEC_61937)
    music_TC = (soundfile.read(encoded("wav", SECONDS, folder), dtype="int16")[0]).astype("<i2")
    assert_named(dressed(np.concatenate([music_TC, samples(data + data + data)])), IEC_61937)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([0x7FFE, 0x8001, 0xFC3C], "a DTS bitstream"),
        ([0x1FFF, 0xE800, 0x07F1], "a DTS bitstream"),
        ([0x6458, 0x2025], "a DTS bitstream"),
        ([0x96F8, 0xA54E], "a Dolby E bitstream (SMPTE 337)"),
        ([0xF872, 0x6FBA], "a TrueHD bitstream"),
        ([0xF872, 0x4E1F], IEC_61937),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_sync_words_are_known_in_both_byte_orders(words: list[int], name: str, swapped: bool):
    noise = np.random.default_rng(0).integers(0, 1 << 16, 40_000).astype("<u2")
    for at in range(501, 40_000, 4001):
        noise[at : at + len(words)] = words
    noise = noise.byteswap() if swapped else noise
    assert found_in(noise.view("<i2").reshape(-1, 2).astype(np.int32) << 16, 2) == name
    twice = np.random.default_rng(0).integers(0, 1 << 16, 40_000).astype("<u2")
    for at in (501, 4001):
        twice[at : at + len(words)] = words
    assert found_in(twice.view("<i2").reshape(-1, 2).astype(np.int32) << 16, 2) == ""


def test_an_encoded_file_in_the_place_of_samples_is_named(folder: Path):
    assert_named(dressed(samples(encoded("flac", SECONDS, folder).read_bytes())), "an encoded file (FLAC)")
    assert_named(dressed(samples(encoded("m4a", SECONDS, folder).read_bytes())), "an encoded file (MP4)")
    frames = samples(bitstream("libmp3lame", SECONDS, folder, "mp3")[500:])
    assert_named(dressed(frames.byteswap()), "MPEG (MP3) frames")


def test_numbers_of_another_form_are_named():
    t = np.arange(RATE) / RATE
    wave_T = 0.3 * np.sin(2 * np.pi * 440 * t)
    words_T1 = (32767 * wave_T).astype("<i2")[:, None]
    assert_named(dressed(words_T1.byteswap()), "samples in the other byte order")
    floats = io.BytesIO()
    soundfile.write(floats, wave_T, RATE, "FLOAT", format="WAV")
    data = bytearray(floats.getvalue())
    data[data.index(b"fmt ") + 8] = 1  # PCM
    assert_named(bytes(data), "samples of 32-bit floating point, not whole numbers")
    loud = io.BytesIO()
    soundfile.write(loud, 20_000 * wave_T, RATE, "FLOAT", format="WAV")
    assert re.fullmatch(
        r"its samples reach 6,0\d\d times full scale, so they are not the .* promises", reason_of(loud.getvalue())
    )


@pytest.mark.parametrize(("high", "low", "noise"), [(0.5, -0.5, 0.0), (0.5, -0.5, 0.002), (0.3, -0.6, 0.002)])
def test_a_square_wave_of_whole_numbers_is_no_floating_point(high: float, low: float, noise: float):
    wave_T1 = np.where(np.arange(RATE) // 50 % 2, high, low)[:, None]
    wave_T1 = wave_T1 + np.random.default_rng(0).uniform(-noise, noise, wave_T1.shape)
    assert found_in((wave_T1 * 2.0**31).astype(np.int32), 4) == ""


def test_dsd_in_the_place_of_samples_is_named():
    rng = np.random.default_rng(0)
    markers_T = np.where(np.arange(RATE) % 2, 0xFA, 0x05)[:, None]
    samples_TC = (markers_T << 16 | rng.integers(0, 1 << 16, (RATE, 2))).astype(np.int64)
    file = io.BytesIO()
    soundfile.write(file, (samples_TC << 8).astype(np.uint32).view(np.int32), RATE, "PCM_24", format="FLAC")
    assert_named(file.getvalue(), "DSD (DoP)")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["noise", "quiet noise", "tone", "square", "clipped", "silence", "music"])
def test_sound_is_sound(width: int, kind: str, folder: Path):
    """Also a chip's square wave between the two largest values, which are DTS's sync word, and quiet noise."""
    t = np.arange(RATE)[:, None]
    rng = np.random.default_rng(0)
    wave_TC = {
        "noise": rng.uniform(-1, 1, (RATE, 2)),
        "quiet noise": 3e-3 * rng.standard_normal((RATE, 2)),
        "tone": 0.9 * np.sin(2 * np.pi * 200 * np.hstack([t, t + 40]) / RATE),
        "square": np.where(t % 2, -32767, 32766) / 32768 * [1, 1],
        "clipped": np.clip(20 * np.sin(t / 5), -1, 1) * [1, -1],
        "silence": np.zeros((RATE, 2)),
        "music": soundfile.read(encoded("wav", SECONDS, folder))[0],
    }[kind]
    samples_TC = np.clip(np.floor(wave_TC * 2**31), -(2**31), 2**31 - 1).astype(np.int64).astype(np.int32)
    assert found_in(samples_TC >> 32 - 8 * width << 32 - 8 * width, width) == ""


def test_the_reason_of_a_decoder_that_gives_up_is_the_reason_and_not_its_aftermath(folder: Path):
    data = bytearray(encoded("wav", SECONDS, folder).read_bytes())
    data[data.index(b"fmt ") + 8] = 0x55  # MP3, which it is not
    assert reason_of(bytes(data)).endswith("Decode error rate 1 exceeds maximum 0.666667")
