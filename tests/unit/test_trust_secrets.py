"""Credentials and queries of songs' addresses fetch the songs, and are in no file, key, message or log."""

import csv
import os
import re
from pathlib import Path

import pytest
from helpers.formats import encoded
from helpers.small_corpus import contents, shard_here
from helpers.web_with_passwords import CANARY, PASSWORD, SIGNATURE, rows_of, web_of

from genrescale.addresses import identity, public_address, scrubbed
from genrescale.audio import Song, song_key
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_corpus
from genrescale.data.decoding import fetch
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.quarantine import read_quarantine
from genrescale.data.sharding.result import ShardingResult
from genrescale.describe.words import describe_text
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store

KINDS = ("flac", "mp3", "ogg", "wav", "m4a", "opus", "au", "aiff")
SETTINGS = ShardSettings(
    val_fraction=0.2, test_fraction=0.0, songs_per_shard=4, min_s=0.5, max_failure_rate=1.0, allow_internal_urls=True
)


def shard(folder: Path, rows: list[str]) -> ShardingResult:
    """The corpus of a table with these paths, and two rows whose other cells hold an address, too."""
    secret = f"https://user:{PASSWORD}@host/x.flac?X-Amz-Signature={SIGNATURE}"
    table = folder / "songs.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "split", "regress:energy"])
        writer.writerows([[row, "rock", "", "0.5"] for row in rows])
        writer.writerows([[f"{secret}1", "rock", secret, "0.5"], [f"{secret}2&id=2", "rock", "", secret]])
    listing = list_corpus("table", str(table))
    out = Store(str(folder / "out"))
    return shard_here(listing.songs, out, settings=SETTINGS, vocabulary=listing.vocabulary, rejected=listing.rejected)


def test_credentials_of_a_table_are_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(fetch, "HTTP_PATIENCE", Patience(0.2, 0.05, 0.05))
    caplog.set_level("DEBUG")
    music = tmp_path / "music"
    music.mkdir()
    names = [encoded(kind, 1.0 + i / 8, music).name.replace(" ", "%20") for i, kind in enumerate(KINDS)]
    (music / "no-music.flac").write_text("no music")
    with web_of(music) as host:
        rows = rows_of(host, names)
        result = shard(tmp_path, rows)
        assert len(result.manifest) == len(KINDS)  # they were fetched, also those that only a query tells apart
        assert len(read_quarantine(Store(result.manifest.uri))) == len(rows) - len(KINDS) + 2
        told = result.summary() + describe_text(result.manifest) + repr(result)
        found = contents(result.manifest.uri) | {"told": told.encode()}
        assert not [name for name, data in found.items() if CANARY in data]

        # signed anew, it is the same corpus
        assert shard(tmp_path, rows_of(host, names, signed="2")).written == 0
    captured = capfd.readouterr()
    assert CANARY.decode() not in captured.out + captured.err + caplog.text


def test_a_song_shows_no_credentials():
    address = f"https://user:{PASSWORD}@host/x.mp3?sig={SIGNATURE}"
    song = Song(song_key(address), address, "", {})
    assert (song.path, song.address) == ("https://host/x.mp3", address)
    assert not re.search("CANARY", repr(song) + song.key)


def test_keys_of_before_stay_what_they_were():
    assert song_key("a/b c?d.mp3") == "a_b_c_d-4b5e7dd3"
    assert song_key("https://host/a.mp3") == "https_host_a-3b95b809"
    assert song_key("s3://bucket/What? Is this.mp3") == "s3_bucket_What_Is_this-40cceffc"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("/music/a?b#c@d.mp3", "/music/a?b#c@d.mp3"),
        ("a/b.mp3", "a/b.mp3"),
        ("file:///a?b.mp3", "file:///a?b.mp3"),
        ("https://user:pass@host:8/a.mp3?q=1#f", "https://host:8/a.mp3"),
        ("https://user:p@ss@host/a@b.mp3", "https://host/a@b.mp3"),
        ("https://host?q=/x", "https://host/x"),
        ("https://host/x.parquet?sig=1#audio/3", "https://host/x.parquet#audio/3"),
        ("s3://bucket/What? a@b.mp3", "s3://bucket/What? a@b.mp3"),
        ("s3://key:secret@bucket/a.mp3?X-Amz-Signature=1", "s3://bucket/a.mp3"),
        ("simplecache::https://u:p@host/a.mp3?q=1", "simplecache::https://host/a.mp3"),
    ],
)
def test_public_addresses(address: str, public: str):
    assert public_address(address) == public


def test_what_signs_an_address_does_not_tell_songs_apart():
    for signed in ("X-Amz-Signature=a", "Expires=1&Signature=b&Key-Pair-Id=c", "se=1&sp=r&sig=d", "token=e"):
        assert identity(f"https://u:p@host/a.mp3?{signed}") == "https://host/a.mp3"
        assert song_key(f"https://host/a?id=7&{signed}") == song_key("https://host/a?id=7")
    assert song_key("https://host/a?id=7") != song_key("https://host/a?id=8")


def test_an_error_repeats_no_address_with_a_password(monkeypatch: pytest.MonkeyPatch):
    address = f"https://user:{PASSWORD}@host/x.mp3?sig={SIGNATURE}"
    for error in (StoreError(f"{address} cannot be read"), DecodeError(address, f"no {address}, ({address})")):
        assert "CANARY" not in str(error) + repr(error)
        assert "https://host/x.mp3" in str(error)
    assert scrubbed(f"My Song.mp3?X-Amz-Signature={SIGNATURE}&b={SIGNATURE}") == "My Song.mp3?...&..."
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{PASSWORD}@127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"check AWS_ACCESS_KEY_ID.*http://127.0.0.1:9") as caught:
        Store(f"s3://bucket{os.getpid()}", Patience(0.1, 0.05, 0.05)).read_range("x", 0, 1)
    assert "CANARY" not in str(caught.value)
