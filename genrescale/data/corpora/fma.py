"""``fma``: Free Music Archive, 106,574 songs with genres chosen by their artists (Defferrard et al. 2017).

Layout, as the archives of github.com/mdeff/fma unpack: ``fma_metadata/tracks.csv`` (three header rows: group, column,
index name), ``fma_metadata/genres.csv``, and the songs as ``fma_{subset}/000/000002.mp3``, in folders of a thousand
ids. If ``tables`` names the folder of the two tables, ``audio`` is the folder that contains 000, 001, ...

=========  ======================================================================================================
small      8,000 clips of 30 s, 8 genres of equal size, one per clip
medium     25,000 clips of 30 s, 16 genres, one per clip; contains small
large      106,574 clips of 30 s, any number of the 16 top genres per clip, or none; contains medium
full       the same songs at full length
=========  ======================================================================================================

Splits are the official ones, which are artist-disjoint. Clips known to be broken or short are listed like all others,
with their nominal length (30 s; for ``full`` the column ``track.duration``). The sharding job quarantines those that it
cannot decode and those shorter than ``min_s``; it keeps and reports other short ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.cells import carried, official_split, one_of, seconds_of, vocabulary_of
from genrescale.data.corpora.reading import column, read_columns, read_rows
from genrescale.data.corpora.song_addresses import root_of
from genrescale.storage.json_bytes import read_json
from genrescale.storage.store import Store

SUBSETS = ("small", "medium", "large", "full")
TRACKS, GENRES = "tracks.csv", "genres.csv"
CLIP_S = 30.0
_COLUMNS = (("set", "split"), ("set", "subset"), ("artist", "id"), ("track", "genre_top"), ("track", "genres_all"))
_DURATION = ("track", "duration")
_SINGLE_LABEL = ("small", "medium")


def list_songs(audio: str, subset: str = "small", tables: str = "") -> tuple[list[Song], Vocabulary]:
    """List the songs of a subset in the order of ``tracks.csv``. The vocabulary is exclusive for small and medium.

    Raises FileNotFoundError for a missing table, and ValueError, naming file and row, for an unusable one.
    """
    one_of("subset", subset, SUBSETS)
    store = Store(tables) if tables else Store(audio).child("fma_metadata")
    root = root_of(Store(audio)) + ("" if tables else f"/fma_{subset}")
    top_genre = {} if subset in _SINGLE_LABEL else _top_genres(store)
    nested = SUBSETS[: SUBSETS.index(subset) + 1]
    songs = []
    for track, split, home, artist, genre, genres, duration, where in _tracks(store):
        if home not in nested:
            continue
        names = [genre] if subset in _SINGLE_LABEL else _genres_of(genres, top_genre, where)
        if not all(names):
            raise ValueError(f"{where}: a track of subset {subset} has no genre_top")
        path = f"{root}/{track // 1000:03d}/{track:06d}.mp3"
        expected_s = duration if subset == "full" else CLIP_S
        key, official = song_key(f"fma/{track:06d}"), official_split(split, where)
        songs.append(Song(key, path, artist, carried(names), official, expected_s))
    if not songs:
        raise ValueError(f"{store.uri}/{TRACKS} has no track of subset {subset}")
    names = [song.labels for song in songs]
    return songs, vocabulary_of(names, f"{store.uri}/{TRACKS}")


def _tracks(store: Store) -> list[tuple[int, str, str, str, str, str, float, str]]:
    """Read the rows: id, split, subset, artist id, top genre, ids of all genres, seconds (0: unknown), location."""
    rows = read_rows(
        store, TRACKS, ",", remedy="unpack fma_metadata.zip there, or name its folder: +options.tables=..."
    )
    where = f"{store.uri}/{TRACKS}"
    groups, names, index = (next(rows, [""]) for _ in range(3))
    header = list(zip(groups, names, strict=False))
    missing = [".".join(name) for name in _COLUMNS if name not in header]
    if missing or index[0] != "track_id":
        raise ValueError(f"{where} does not begin with FMA's three header rows; missing: {missing or ['track_id']}")
    at = [header.index(name) for name in _COLUMNS]
    timed = header.index(_DURATION) if _DURATION in header else None
    tracks = []
    for i, row in enumerate(rows, 1):
        if len(row) != len(header) or not row[0].isdigit():
            raise ValueError(
                f"{where}, row {i}: expected {len(header)} cells, the first a track id; unpack the file again"
            )
        split, subset, artist, genre, genres = (row[k] for k in at)
        seconds = 0.0 if timed is None else seconds_of(row[timed], f"{where}, row {i}")
        tracks.append((int(row[0]), split, subset, artist, genre, genres, seconds, f"{where}, row {i}"))
    return tracks


def _top_genres(store: Store) -> dict[int, str]:
    """Map every genre id to the title of its top genre."""
    where = f"{store.uri}/{GENRES}"
    table = read_columns(store, GENRES, remedy="it names the genres; unpack fma_metadata.zip there")
    ids, tops, titles = (column(table, name, where) for name in ("genre_id", "top_level", "title"))
    title_of = dict(zip(ids, titles, strict=True))
    unknown = sorted(set(tops) - set(ids))
    if unknown:
        raise ValueError(f"{where}: top_level {unknown[0]} is not the id of a genre")
    return {int(genre): title_of[top] for genre, top in zip(ids, tops, strict=True)}


def _genres_of(cell: str, top_genre: dict[int, str], where: str) -> Sequence[str]:
    try:
        return [top_genre[genre] for genre in read_json(cell, where)]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{where}: genres_all {cell!r} is not a list of ids in {GENRES}") from None
