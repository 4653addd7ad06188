"""Start, length, level and content of every format are those of a plain ffmpeg command."""

from pathlib import Path

import numpy as np
import pytest
from helpers.formats import FORMATS, by_sndfile, encoded, plain_ffmpeg, run_ffmpeg

from genrescale.data.decoding.decode import decode_pcm

SECONDS = 3.0
MAX_LEN, MAX_DB, MAX_ENERGY = 1, 0.01, 1e-4
IN_PROCESS = {"mp3", "mp3 48 kHz mono", "flac", "ogg", "wav", "wav 8 kHz", "au", "aiff"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


def lag(found_T: np.ndarray, expected_T: np.ndarray) -> int:
    """Samples by which ``found_T`` comes late: where the cross-correlation peaks."""
    size = 2 * max(len(found_T), len(expected_T))
    spectrum = np.fft.rfft(found_T, size) * np.conj(np.fft.rfft(expected_T, size))
    peak = int(np.fft.irfft(spectrum, size).argmax())
    return peak - size if peak > size // 2 else peak


def assert_agrees(found_T: np.ndarray, expected_T: np.ndarray) -> None:
    assert abs(len(found_T) - len(expected_T)) <= MAX_LEN
    length = min(len(found_T), len(expected_T))
    found_T, expected_T = found_T[:length].astype(float), expected_T[:length].astype(float)
    assert lag(found_T, expected_T) == 0
    assert abs(10 * np.log10(np.square(found_T).sum() / np.square(expected_T).sum())) <= MAX_DB
    assert np.square(found_T - expected_T).sum() <= MAX_ENERGY * np.square(expected_T).sum()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_agrees_with_ffmpeg(folder: Path, name: str):
    path = encoded(name, SECONDS, folder)
    found_T, expected_T = decode_pcm(path, name).pcm_T, plain_ffmpeg(path)
    assert abs(len(expected_T) / 16_000 - SECONDS) < 0.06  # encoders pad: AAC without a container, WMA, MP3
    assert_agrees(found_T, expected_T)


def test_the_common_formats_are_decoded_in_process(folder: Path):
    assert {name for name in FORMATS if by_sndfile(encoded(name, SECONDS, folder)) is not None} >= IN_PROCESS


@pytest.mark.parametrize("name", FORMATS)
def test_the_ending_of_the_name_means_nothing(folder: Path, tmp_path: Path, name: str):
    path = encoded(name, SECONDS, folder)
    other = tmp_path / ("song.txt" if name in ("mp3", "m4a") else "song.mp3")
    other.write_bytes(path.read_bytes())
    assert (decode_pcm(other, name).pcm_T == decode_pcm(path, name).pcm_T).all()


def test_a_big_picture_before_an_mp3_changes_nothing(folder: Path, tmp_path: Path):
    path = encoded("mp3", SECONDS, folder)
    picture = np.random.default_rng(0).bytes(2_000_000)
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    (tmp_path / "song.mp3").write_bytes(b"ID3\3\0\0" + size + frame + path.read_bytes())
    assert_agrees(decode_pcm(tmp_path / "song.mp3", "").pcm_T, decode_pcm(path, "").pcm_T)


def test_a_picture_inside_an_m4a_is_not_taken_for_the_song(folder: Path, tmp_path: Path):
    path, cover = encoded("m4a", SECONDS, folder), tmp_path / "cover.m4a"
    run_ffmpeg("-f", "lavfi", "-i", "color=red:s=600x600:d=0.04:r=25", "-frames:v", "1", tmp_path / "cover.png")
    options = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic")
    run_ffmpeg("-i", path, "-i", tmp_path / "cover.png", *options, cover)
    assert_agrees(decode_pcm(cover, "").pcm_T, plain_ffmpeg(path))


@pytest.mark.parametrize("name", ["mp3", "ogg", "opus", "flac", "wav", "m4a", "wma", "au", "aiff", "aac adts"])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_file_cut_short_gives_what_ffmpeg_finds_in_it(folder: Path, tmp_path: Path, name: str, share: float):
    data = encoded(name, SECONDS, folder).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data[: int(share * len(data))])
    if name == "m4a":  # its index lies at the end
        with pytest.raises(ValueError, match=r"song: ffmpeg: "):
            decode_pcm(cut, "song")
        return
    found_T = decode_pcm(cut, "song").pcm_T
    assert abs(len(found_T) - len(plain_ffmpeg(cut))) <= MAX_LEN
    assert abs(len(found_T) / 16_000 - share * SECONDS) < 1.0  # an Ogg page may last a second
    whole_T = decode_pcm(data, "song").pcm_T
    assert lag(found_T.astype(float), whole_T[: len(found_T)].astype(float)) == 0
