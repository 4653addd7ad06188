"""What a listener should know of a song that is kept: it is noted, stays noted, and is counted by the job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.formats import encoded, music, run_ffmpeg
from helpers.small_corpus import make_song, shard_here

from genrescale.data.decoding.content import CANCELS
from genrescale.data.decoding.decode import DecodeError, decode_pcm
from genrescale.data.decoding.decoders import DAMAGED
from genrescale.data.index import index_from_bytes, index_path, index_to_bytes
from genrescale.data.upkeep.take_down import take_down
from genrescale.storage.store import Store

RATE = 44_100
SECONDS = 1.0


def two_channels(folder: Path, right: float, kind: str) -> Path:
    """Music and, on the other channel, ``right`` times the same."""
    left_T = music(SECONDS)[:, 0]
    path = folder / f"song.{kind}"
    soundfile.write(folder / "source.wav", np.stack([left_T, right * left_T], 1), RATE)
    run_ffmpeg("-i", folder / "source.wav", *(["-c:a", "alac"] if kind == "m4a" else []), path)
    return path


@pytest.mark.parametrize("kind", ["wav", "flac", "m4a", "wv"])
def test_an_inverted_channel_is_the_reason_and_not_silence(tmp_path: Path, kind: str):
    with pytest.raises(DecodeError) as caught:
        decode_pcm(two_channels(tmp_path, -1.0, kind), "song")
    assert caught.value.reason == "its channels cancel each other (one is inverted)"


@pytest.mark.parametrize("kind", ["wav", "m4a"])
@pytest.mark.parametrize(
    ("right", "notes"), [(-0.98, (CANCELS,)), (-0.75, (CANCELS,)), (-0.5, ()), (0.0, ()), (0.9, ()), (1.0, ())]
)
def test_a_mix_that_loses_most_of_its_level_is_noted(tmp_path: Path, kind: str, right: float, notes: tuple[str, ...]):
    assert decode_pcm(two_channels(tmp_path, right, kind), "song").notes == notes


def test_silence_is_silence(tmp_path: Path):
    for name, channels in (("mono", 1), ("stereo", 2), ("surround", 6)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros((RATE, channels)), RATE)
        with pytest.raises(DecodeError, match="it is silent"):
            decode_pcm(tmp_path / f"{name}.wav", "song")


def test_a_quiet_song_is_not_noted(tmp_path: Path):
    for name, channels in (("mono", 1), ("stereo", 2), ("surround", 6)):
        soundfile.write(tmp_path / f"{name}.wav", 0.01 * np.repeat(music(SECONDS)[:, :1], channels, axis=1), RATE)
        assert decode_pcm(tmp_path / f"{name}.wav", "song").notes == ()


@pytest.mark.parametrize("name", ["mp3", "mp3 vbr without a Xing header", "flac", "aac adts"])
def test_a_damaged_song_is_noted_and_nothing_is_printed(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]):
    whole = encoded(name, 3.0, tmp_path)
    assert decode_pcm(whole, "song").notes == ()
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    assert decode_pcm(bytes(data), "song").notes == (DAMAGED,)
    assert capfd.readouterr() == ("", "")


def test_notes_stay_with_their_songs_and_are_counted(tmp_path: Path):
    songs = [make_song(tmp_path, i) for i in range(8)]
    cancelled = two_channels(tmp_path, -0.98, "wav")
    for i in (2, 5):
        songs[i] = replace(songs[i], path=str(cancelled.rename(tmp_path / f"cancelled {i}.wav")))
        cancelled = two_channels(tmp_path, -0.98, "wav")
    out = Store(str(tmp_path / "out"))
    result = shard_here(songs, out)
    (paths,) = result.noted.values()
    assert sorted(paths) == [songs[2].path, songs[5].path]
    told = f"songs in the shards with the note {CANCELS!r}: 2, namely {', '.join(paths)}"
    assert told in result.summary().splitlines()
    again = shard_here(songs, out)
    assert again.noted == result.noted
    take_down(out, ["s02"], "asked to")
    assert shard_here(songs, out).noted == {CANCELS: [songs[5].path]}


def test_an_index_without_notes_has_the_bytes_that_it_had(tmp_path: Path):
    result = shard_here([make_song(tmp_path, i) for i in range(8)], Store(str(tmp_path / "out")))
    data = Store(result.manifest.uri).read_bytes(index_path(result.manifest.shard_name(0)))
    index = index_from_bytes(data)
    assert b"notes" not in data
    noted = replace(index, notes={index.keys[0]: (CANCELS,)})
    assert index_from_bytes(index_to_bytes(noted)).notes == noted.notes
