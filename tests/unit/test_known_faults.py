"""The faults that published corpora are known for are found by the job: clips cut short, broken files, copies."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.small_corpus import shard_here

from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_corpus
from genrescale.data.sharding.lengths import ODD_LENGTHS_PATH, read_odd_lengths
from genrescale.data.sharding.result import ShardingResult
from genrescale.data.upkeep.take_down import take_down
from genrescale.describe.words import describe_text
from genrescale.storage.store import Store

RATE = 8000


def make_song(path: Path, seconds: float, seed: int) -> Path:
    """Noise, as a WAV whatever its name ends in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave_T = 0.1 * np.random.default_rng(seed).standard_normal(round(RATE * seconds))
    soundfile.write(path, wave_T, RATE, format="WAV")
    return path


def shard(folder: Path, corpus: str, max_s: float = 0.0, **options: str) -> ShardingResult:
    listing = list_corpus(corpus, str(folder), **options)
    settings = ShardSettings(val_fraction=0.0, test_fraction=0.0, songs_per_shard=8, max_s=max_s)
    return shard_here(listing.songs, Store(str(folder / "out")), False, settings, listing.vocabulary, listing.rejected)


def odd(result: ShardingResult) -> dict[str, tuple[float, float]]:
    found = {Path(song.path).name: song for song in read_odd_lengths(result.manifest)}
    return {name: (song.expected_s, round(song.found_s, 1)) for name, song in found.items()}


def quarantined(result: ShardingResult) -> dict[str, str]:
    return {Path(song.path).name: song.reason for song in result.quarantined}


def fma(folder: Path, seconds: dict[int, float], stated: dict[int, float]) -> None:
    """Tracks with the audio that they have, in FMA's folders, and the tables of FMA."""
    (folder / "fma_metadata").mkdir()
    rows = [
        f"{track},1,training,small,{('Rock', 'Pop')[track % 2]},[{12 + track % 2}],{stated[track]}" for track in stated
    ]
    header = ",artist,set,set,track,track,track\n,id,split,subset,genre_top,genres_all,duration\ntrack_id,,,,,,\n"
    (folder / "fma_metadata/tracks.csv").write_text(header + "\n".join(rows))
    (folder / "fma_metadata/genres.csv").write_text("genre_id,title,top_level\n12,Rock,12\n13,Pop,13\n")
    for track, length in seconds.items():
        for name in ("fma_small", "fma_full"):
            make_song(folder / f"{name}/{track // 1000:03d}/{track:06d}.mp3", length, track)


def test_short_and_broken_clips_of_fma(tmp_path: Path):
    # in fma_small 98565, 98567 and 98569 have 0.5 to 1.6 s, 99134, 108925 and 133297 are cut short or hold no audio
    fma(tmp_path, {2: 30.0, 5: 29.98, 98565: 1.6, 98567: 0.5, 108925: 15.0, 133297: 30.0}, dict.fromkeys(
        (2, 5, 98565, 98567, 108925, 133297, 140), 300
    ))  # fmt: skip
    (tmp_path / "fma_small/133/133297.mp3").write_bytes(b"")
    result = shard(tmp_path, "fma")
    assert odd(result) == {"098565.mp3": (30.0, 1.6), "108925.mp3": (30.0, 15.0)}
    assert quarantined(result) == {
        "098567.mp3": "0.50 s is shorter than min_s=1",
        "133297.mp3": "the file is empty (0 bytes)",
        "000140.mp3": "the file does not exist",
    }
    words = "2 songs are far from the length that their corpus states, 2 of them shorter: "
    for text in (result.summary(), describe_text(result.manifest)):
        assert words in text
        assert "098565.mp3 has 1.6 s, not 30.0 s" in text
    assert len(result.manifest) == 4  # short ones are kept


def test_whole_tracks_of_fma_have_the_length_of_their_table(tmp_path: Path):
    fma(tmp_path, {2: 60.0, 5: 30.0, 6: 29.0}, {2: 60, 5: 300, 6: 28})
    assert odd(shard(tmp_path, "fma", subset="full")) == {"000005.mp3": (300.0, 30.0)}


def test_of_an_excerpt_no_more_is_expected(tmp_path: Path):
    fma(tmp_path, {2: 60.0, 5: 30.0, 6: 5.0}, {2: 60, 5: 300, 6: 28})
    assert odd(shard(tmp_path, "fma", subset="full", max_s=10.0)) == {"000006.mp3": (10.0, 5.0)}


def test_short_corrupt_and_repeated_clips_of_gtzan(tmp_path: Path):
    for i, seconds in enumerate((30.0, 29.93, 30.65, 12.0)):
        make_song(tmp_path / f"blues/blues.{i:05d}.wav", seconds, i)
    copy = make_song(tmp_path / "jazz/jazz.00000.wav", 30.0, 9).read_bytes()
    (tmp_path / "jazz/jazz.00051.wav").write_bytes(copy)
    (tmp_path / "jazz/jazz.00052.wav").write_bytes(copy[: len(copy) // 3])
    (tmp_path / "jazz/jazz.00054.wav").write_bytes(np.random.default_rng(0).bytes(100_000))
    result = shard(tmp_path, "gtzan")
    assert odd(result) == {"blues.00003.wav": (30.0, 12.0), "jazz.00052.wav": (30.0, 10.0)}
    assert [*quarantined(result)] == ["jazz.00054.wav"]
    assert "note: 1 recording more than once in one split." in describe_text(result.manifest)


HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"


def test_copies_in_jamendo_and_tracks_that_are_not_as_long_as_stated(tmp_path: Path):
    places = {"train": (1, 2, 3, 4), "validation": (5,), "test": (6,)}
    for split, tracks in places.items():
        rows = [f"track_{i}\tartist_{i}\talbum\t0{i}/{i}.mp3\t{20 + i / 10}\tmood/theme---calm\n" for i in tracks]
        (tmp_path / f"autotagging_moodtheme-{split}.tsv").write_text(HEADER + "".join(rows))
        for i in tracks:
            make_song(tmp_path / f"0{i}/{i}.mp3", 20 + i / 10, i)
    make_song(tmp_path / "03/3.mp3", 25.0, 3)
    (tmp_path / "06/6.mp3").write_bytes((tmp_path / "01/1.mp3").read_bytes())
    (tmp_path / "04/4.mp3").write_bytes((tmp_path / "02/2.mp3").read_bytes())
    result = shard(tmp_path, "jamendo")
    assert odd(result) == {"3.mp3": (20.3, 25.0)}
    text = describe_text(result.manifest)
    assert "1 recording in more than one split" in text
    assert "1 recording more than once in one split" in text
    excluded = dict(zip(*(result.manifest.songs[name].to_pylist() for name in ("path", "excluded")), strict=True))
    assert [Path(path).name for path, reason in excluded.items() if reason] == ["1.mp3"]
    assert "6 songs given: 6 in shards (1 excluded" in result.summary()


def test_a_song_that_was_taken_down_is_named_no_more(tmp_path: Path):
    fma(tmp_path, {2: 30.0, 5: 30.0, 6: 15.0}, dict.fromkeys((2, 5, 6), 300))
    result = shard(tmp_path, "fma")
    (found,) = read_odd_lengths(result.manifest)
    gone = take_down(Store(result.manifest.uri), [found.key], "asked to")
    assert read_odd_lengths(gone.manifest) == []
    assert shard(tmp_path, "fma").manifest.version == gone.manifest.version
    assert not Path(result.manifest.uri, ODD_LENGTHS_PATH).exists()


def test_a_stated_length_changes_no_shard(tmp_path: Path):
    fma(tmp_path, {2: 30.0, 5: 30.0}, {2: 30, 5: 30})
    before = shard(tmp_path, "fma", subset="full").manifest
    table = tmp_path / "fma_metadata/tracks.csv"
    table.write_text(table.read_text().replace(",30", ",300"))
    again = shard(tmp_path, "fma", subset="full")
    assert (again.written, again.manifest.version) == (0, before.version)
    assert len(read_odd_lengths(again.manifest)) == 2
    table.write_text(table.read_text().replace(",300", ",half an hour"))
    with pytest.raises(ValueError, match=r"tracks.csv, row 1: 'half an hour' is not a length in seconds"):
        shard(tmp_path, "fma", subset="full")
