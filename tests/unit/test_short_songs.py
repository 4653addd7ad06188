"""A corpus with many songs that are too short: told before anything is decoded, and mended without starting over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.formats import encoded
from helpers.small_corpus import NUM_SONGS, SETTINGS, VOCABULARY, contents, make_song, shard_here

from genrescale.audio import Clip, Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.quarantine import read_quarantine
from genrescale.data.sharding import job, writer
from genrescale.data.sharding.census import take_census
from genrescale.data.sharding.errors import FailureBudgetError
from genrescale.data.sharding.header_lengths import told_seconds
from genrescale.data.sharding.job import write_corpus
from genrescale.data.sharding.plan_file import fix_plan
from genrescale.data.sharding.result import ShardingResult
from genrescale.storage.store import Store

LENIENT = replace(SETTINGS, max_failure_rate=1.0)


@pytest.fixture
def songs(tmp_path: Path) -> list[Song]:
    """Twenty songs of 1 to 3.02 s, of which ten are shorter than 2.01 s."""
    return [make_song(tmp_path, i) for i in range(NUM_SONGS)]


def no_decoding(*_: object, **__: object) -> None:
    raise AssertionError("it was decoded")


def keys(result: ShardingResult) -> list[str]:
    return result.manifest.songs["key"].to_pylist()


def test_the_census_fails_before_anything_is_decoded(
    songs: list[Song], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out, settings = Store(str(tmp_path / "out")), replace(SETTINGS, min_s=2.0)
    monkeypatch.setattr(job, "run_tasks", no_decoding)
    with pytest.raises(FailureBudgetError) as caught:
        write_corpus(fix_plan(songs, VOCABULARY, settings, out), out)
    told = str(caught.value)
    assert told.startswith("10 of 20 songs failed, more than the 3 that max_failure_rate=0.01 allows. The first: ")
    assert "1.00 s is shorter than min_s=2" in told
    assert "10 of them are too short, and a lower min_s keeps them (also in a begun corpus). Repair" in told
    assert "10 of 20 songs whose headers tell a length are shorter than min_s=2" in capsys.readouterr().out
    assert len(read_quarantine(out)) == 10
    assert out.list("shards") == []


def test_the_census_of_songs_that_are_long_enough_says_nothing(songs: list[Song]):
    assert take_census(songs).sentence(1.0) == ""
    assert take_census(songs).short(1.0) == {}
    assert take_census([]).sentence(1.0) == ""


def test_another_min_s_needs_no_new_start_and_decodes_no_song_again(
    songs: list[Song], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = Store(str(tmp_path / "out"))
    few = shard_here(songs, out, settings=replace(LENIENT, min_s=2.0))
    assert len(few.quarantined) == 10
    shards = {name: data for name, data in contents(out.uri).items() if name.startswith("shards/")}
    decoded: list[str] = []
    decode = writer.decode_song

    def counted(song: Song, settings: ShardSettings) -> Clip:
        decoded.append(song.key)
        return decode(song, settings)

    monkeypatch.setattr(writer, "decode_song", counted)
    more = shard_here(songs, out, settings=replace(LENIENT, min_s=1.5))
    assert set(keys(few)) < set(keys(more))
    assert sorted(decoded) == [f"s{i:02}" for i in range(10)]  # those of the quarantine, no other
    again = shard_here(songs, out, settings=replace(LENIENT, min_s=2.0))
    assert max(decoded) == "s09"
    assert [song.reason for song in again.quarantined] == [song.reason for song in few.quarantined]
    assert shards == {name: data for name, data in contents(out.uri).items() if name.startswith("shards/")}
    assert again.manifest.version == few.manifest.version


def test_a_kill_while_shards_are_written_for_another_min_s_leaves_none_as_it_was(
    songs: list[Song], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, lower = Store(str(tmp_path / "out")), replace(LENIENT, min_s=0.5)
    few = shard_here(songs[6:14], out, settings=replace(LENIENT, min_s=2.0))
    fix_plan(songs[6:14], VOCABULARY, lower, out)
    for index in Path(out.uri).glob("shards/*.index.parquet"):
        index.unlink()  # as before each new tar appears
    for song in songs[10:14]:
        Path(song.path).unlink()  # they are in the shards
    monkeypatch.setattr(job, "run_tasks", lambda function, items, **_: map(function, items))
    more = write_corpus(fix_plan(songs[6:14], VOCABULARY, lower, out), out)
    assert (len(few.manifest), len(more.manifest), more.quarantined) == (4, 8, [])


def test_another_failure_rate_goes_on(songs: list[Song], tmp_path: Path):
    out, settings = Store(str(tmp_path / "out")), replace(SETTINGS, min_s=2.0)
    with pytest.raises(FailureBudgetError):
        write_corpus(fix_plan(songs, VOCABULARY, settings, out), out)
    assert len(shard_here(songs, out, settings=replace(settings, max_failure_rate=0.5)).quarantined) == 10


def test_other_settings_are_still_another_plan(songs: list[Song], tmp_path: Path):
    out = Store(str(tmp_path / "out"))
    fix_plan(songs, VOCABULARY, SETTINGS, out)
    with pytest.raises(ValueError, match=r"begun with another plan: seed was 0 and is 1\."):
        fix_plan(songs, VOCABULARY, replace(SETTINGS, seed=1, min_s=1.0), out)


@pytest.mark.parametrize("name", ["wav", "wav 5.1", "wav 8 kHz", "wav float 192 kHz", "flac 24 bit 96 kHz", "aiff"])
def test_headers_tell_the_length(tmp_path: Path, name: str):
    assert told_seconds(encoded(name, 1.0, tmp_path)) == 1.0


@pytest.mark.parametrize("seconds", [0.4, 12.0])
@pytest.mark.parametrize(
    "name",
    ["mp3", "mp3 48 kHz mono", "mp2", "ogg", "ogg 32 kHz mono", "opus", "opus of short pages", "m4a", "m4a lossless"],
)
def test_a_header_tells_no_less_than_is_decoded(tmp_path: Path, name: str, seconds: float):
    path = encoded(name, seconds, tmp_path)
    told, found = told_seconds(path), decode_pcm(path, "song").duration_s
    if name == "mp2" and path.stat().st_size > 65_536:
        assert told == 0.0  # it has no tag, and only all its frames would tell
    else:
        assert told == pytest.approx(found, abs=0.15)
        assert told > found - 1e-3


def test_a_long_song_whose_tag_does_not_fit_the_file_tells_nothing(tmp_path: Path):
    data = encoded("mp3", 12.0, tmp_path).read_bytes()
    for other in (data[:-1000], data + data[1000:], data.replace(b"Info", b"Inf_").replace(b"Xing", b"Xin_")):
        (tmp_path / "other.mp3").write_bytes(other)
        assert told_seconds(tmp_path / "other.mp3") == 0.0
    data = encoded("m4a", 1.0, tmp_path).read_bytes()
    for other in (
        data[:-20],
        data.replace(b"moov", b"moof"),
        data.replace(b"mdhd", b"free"),
        data.replace(b"udta", b"mvex"),
    ):
        (tmp_path / "other.m4a").write_bytes(other)
        assert told_seconds(tmp_path / "other.m4a") == 0.0


def test_a_large_mp3_whose_bit_rate_varies_is_not_told_by_its_first_frame(tmp_path: Path):
    loud, quiet = (b"\xff\xfb" + rate + bytes(length - 3) for rate, length in ((b"\xe0", 1044), (b"\x10", 104)))
    (tmp_path / "song.mp3").write_bytes(loud + 1500 * quiet)  # of 39 s, as at the first bit rate 4 s
    assert told_seconds(tmp_path / "song.mp3") == 0.0


def test_streams_behind_each_other_are_not_told_by_the_last(tmp_path: Path):
    data = encoded("ogg", 0.4, tmp_path).read_bytes()
    (tmp_path / "two.ogg").write_bytes(data + data)
    assert told_seconds(tmp_path / "two.ogg") == 0.0
    long = encoded("ogg", 6.0, tmp_path).read_bytes()
    (tmp_path / "two.ogg").write_bytes(long + data)
    assert told_seconds(tmp_path / "two.ogg") == 0.0
    last = data.rfind(b"OggS")
    for changed in (  # a page of another stream, one that ends no frame
        data[: last + 14] + b"else" + data[last + 18 :],
        data[: last + 6] + b"\xff" * 8 + data[last + 14 :],
    ):
        (tmp_path / "changed.ogg").write_bytes(changed)
        assert told_seconds(tmp_path / "changed.ogg") == 0.0
    data = encoded("mp3", 0.4, tmp_path).read_bytes()
    middle = len(data) // 2
    for other in (data + data, data[:middle] + b"noise" + data[middle:]):  # a tag, or noise, in the middle
        (tmp_path / "other.mp3").write_bytes(other)
        assert told_seconds(tmp_path / "other.mp3") == 0.0


@pytest.mark.parametrize("name", ["wav adpcm", "au", "flac in ogg", "webm"])
def test_headers_that_decide_nothing_are_not_believed(tmp_path: Path, name: str):
    assert told_seconds(encoded(name, 1.0, tmp_path)) == 0.0


@pytest.mark.parametrize("damage", [b"", b"RIFF", b"RIFF____WAVE", b"FORM____AIFF", b"fLaC", b"fLaC" + bytes(40)])
def test_headers_of_nothing_tell_nothing(tmp_path: Path, damage: bytes):
    (tmp_path / "song").write_bytes(damage)
    assert told_seconds(tmp_path / "song") == 0.0
    assert told_seconds(tmp_path) == told_seconds(tmp_path / "none") == 0.0


def test_a_wav_that_was_cut_short_or_written_to_a_pipe_tells_nothing(tmp_path: Path):
    path = tmp_path / "song.wav"
    soundfile.write(path, np.full(16_000, 0.1), 16_000)
    data = path.read_bytes()
    assert told_seconds(path) == 1.0
    path.write_bytes(data[:-1000])
    assert told_seconds(path) == 0.0
    for size in (0, 0xFFFFFFFF):
        path.write_bytes(data[:40] + size.to_bytes(4, "little") + data[44:])
        assert told_seconds(path) == 0.0
