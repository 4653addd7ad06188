"""``jamendo``: MTG-Jamendo, 55,000 full songs under Creative Commons with their artists' tags (Bogdanov et al. 2019).

Layout: the songs are ``{audio}/{PATH}``, e.g. ``15/215.mp3`` (with ``low``, ``15/215.low.mp3``: smaller files of the
same songs). ``tables`` (default: ``audio``) contains the files of one split folder of
github.com/MTG/mtg-jamendo-dataset, ``autotagging_{subset}-{train,validation,test}.tsv``, with the columns TRACK_ID,
ARTIST_ID, ALBUM_ID, PATH, DURATION and TAGS; every further cell is a tag, too: ``genre---rock``, ``mood/theme---calm``.

The official splits are artist-disjoint. 990 files are bit-exact duplicates of others; the sharding job finds them, and
tracks whose length is far from DURATION.
"""

from __future__ import annotations

from dataclasses import dataclass

from genrescale.audio import SPLITS, Song, Vocabulary, song_key
from genrescale.data.corpora.cells import carried, one_of, seconds_of, vocabulary_of
from genrescale.data.corpora.reading import read_rows
from genrescale.data.corpora.song_addresses import below, root_of
from genrescale.storage.store import Store

SUBSETS = ("moodtheme", "top50tags", "genre", "instrument", "all")
HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]


@dataclass(frozen=True)
class Track:
    id: str
    artist: str
    path: str
    tags: tuple[str, ...]
    duration_s: float


def list_songs(
    audio: str, subset: str = "moodtheme", tables: str = "", low: bool = False
) -> tuple[list[Song], Vocabulary]:
    """List the songs of a subset in its official splits. The vocabulary is every tag in the three files, sorted.

    Raises FileNotFoundError for a missing file, and ValueError, naming file and row, for an unusable row.
    """
    one_of("subset", subset, SUBSETS)
    root, store = root_of(Store(audio)), Store(tables or audio)
    songs = []
    for split in SPLITS:
        for track in read_tracks(store, _file_name(subset, split)):
            path = f"{track.path.removesuffix('.mp3')}.low.mp3" if low else track.path
            key, address = song_key(track.id), below(root, path)
            songs.append(Song(key, address, track.artist, carried(track.tags), split, track.duration_s))
    return songs, vocabulary_of([song.labels for song in songs], store.uri)


def _file_name(subset: str, split: str) -> str:
    return f"autotagging-{split}.tsv" if subset == "all" else f"autotagging_{subset}-{split}.tsv"


def read_tracks(store: Store, name: str) -> list[Track]:
    remedy = "copy it from a folder of data/splits in mtg-jamendo-dataset, or name that folder: +options.tables=..."
    rows = read_rows(store, name, remedy=remedy)
    where, header = f"{store.uri}/{name}", next(rows, [])
    if header != HEADER:
        raise ValueError(f"{where} begins with {header}; expected the columns {' '.join(HEADER)}, tab separated")
    tracks = []
    for i, row in enumerate(rows, 1):
        if len(row) < len(HEADER):
            raise ValueError(f"{where}, row {i}: {len(row)} cells; expected at least {len(HEADER)}, the last ones tags")
        tags = row[len(HEADER) - 1 :]
        if not row[3] or not all(tags):
            raise ValueError(f"{where}, row {i}: the path or a tag is empty")
        seconds = seconds_of(row[4], f"{where}, row {i}, DURATION")
        tracks.append(Track(id=row[0], artist=row[1], path=row[3], tags=tuple(tags), duration_s=seconds))
    return tracks
