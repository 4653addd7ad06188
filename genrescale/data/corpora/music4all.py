"""``music4all``: 109,269 clips of 30 s with genres and Last.fm tags (Santana et al. 2020).

Layout, as it unpacks: ``id_genres.csv``, ``id_tags.csv`` and ``id_information.csv`` (tab-separated, with the columns
``id``, ``genres``, ``tags`` and ``artist``; genres and tags are separated by commas), and the clips as
``audios/{id}.mp3``. If ``tables`` names another folder for the tables, ``audio`` is the folder of the clips. There are
no official splits.
"""

from __future__ import annotations

from dataclasses import dataclass

from genrescale.audio import Song, Tag, Vocabulary, song_key
from genrescale.data.corpora.cells import carried, most_frequent, one_of, tag_names
from genrescale.data.corpora.reading import column, read_columns
from genrescale.data.corpora.song_addresses import below, root_of
from genrescale.storage.store import Store

FILES = {"genres": "id_genres.csv", "tags": "id_tags.csv"}
INFORMATION = "id_information.csv"


@dataclass(frozen=True)
class Track:
    id: str
    artist: str
    path: str
    tags: tuple[str, ...]


def list_songs(audio: str, labels: str = "genres", top: int = 50, tables: str = "") -> tuple[list[Song], Vocabulary]:
    """List the songs with any of the ``top`` most frequent genres or tags (0: all), which form the vocabulary.

    The vocabulary is in order of frequency. Songs with none of its tags are left out. Raises FileNotFoundError for a
    missing table, and ValueError for an unusable row.
    """
    one_of("labels", labels, tuple(FILES))
    if top < 0:
        raise ValueError(f"option top={top} must be 0 (all) or more")
    tracks = read_tracks(audio, labels, tables)
    names = most_frequent([track.tags for track in tracks], top)
    if not names:
        raise ValueError(f"{tables or audio}: {FILES[labels]} has no label in any row")
    known = set(names)
    songs = [Song(song_key(t.id), t.path, t.artist, own) for t in tracks if (own := carried(t.tags, known))]
    return songs, Vocabulary(tuple(Tag(name) for name in names))


def read_tracks(audio: str, labels: str, tables: str = "") -> list[Track]:
    """Read the tracks in the order of the table of genres or tags."""
    store = Store(tables or audio)
    root = root_of(Store(audio)) + ("" if tables else "/audios")
    remedy = "Music4All has it beside its audios; tables elsewhere: +options.tables=..."
    table = read_columns(store, FILES[labels], "\t", remedy)
    information = read_columns(store, INFORMATION, "\t", remedy)
    where = f"{store.uri}/{INFORMATION}"
    artists = dict(zip(column(information, "id", where), column(information, "artist", where), strict=True))
    where = f"{store.uri}/{FILES[labels]}"
    tracks = []
    for i, (track, cell) in enumerate(zip(column(table, "id", where), column(table, labels, where), strict=True), 1):
        if track not in artists:
            raise ValueError(f"{where}, row {i}: id {track!r} is not in {INFORMATION}")
        tracks.append(Track(track, artists[track], below(root, f"{track}.mp3"), tuple(tag_names(cell, ","))))
    return tracks
