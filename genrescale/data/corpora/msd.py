"""``msd``: Million Song Dataset, 30 s previews by 7digital with the top 50 Last.fm tags (Bertin-Mahieux et al. 2011).

There are two layouts; ``tables`` selects one:

- a table (CSV, TSV, JSON lines, Parquet) with the columns ``track_id``, ``tags`` (``rock|indie`` or a list) and
  optionally ``artist``, ``group``, ``split`` and ``path`` (``columns`` renames them). The vocabulary is the 50 most
  frequent tags, most frequent first. Songs with none of them are left out: nobody tagged them, which says nothing about
  the music.
- a folder with the index of musicnn-training (``musicnn.py``), with its 50 tags in its order, 201,680 / 11,774 / 28,435
  songs. It has no artists.

A song without a ``path`` is at ``{audio}/A/B/C/TRABC....mp3``: its folders are three letters of its id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from genrescale.audio import SPLITS, Song, Tag, Vocabulary, song_key
from genrescale.data.corpora.cells import carried, most_frequent, official_split, one_form, one_of, tag_names, texts
from genrescale.data.corpora.musicnn import read_clips
from genrescale.data.corpora.reading import TABLE_SUFFIXES, column, optional_column, read_columns
from genrescale.data.corpora.song_addresses import below, resolve, root_of, split_address
from genrescale.storage.store import Store

NUM_TAGS = 50
_TRACK_ID = re.compile(r"TR[A-Z]{5}[0-9A-F]{11}")


def list_songs(
    audio: str, tables: str = "", splits: Sequence[str] = SPLITS, columns: Mapping[str, str] | None = None
) -> tuple[list[Song], Vocabulary]:
    """List the songs of ``splits``. ``tables`` is a table, or the folder of the index (default: ``audio``).

    Raises FileNotFoundError if there are no tables, and ValueError for an unusable row.
    """
    for split in splits:
        one_of("splits", split, SPLITS)
    root = root_of(Store(audio))
    if tables.endswith(TABLE_SUFFIXES):
        return _of_table(root, tables, splits, columns or {})
    if columns:
        raise ValueError(f"columns={columns} needs a table: +options.tables=...")
    clips, vocabulary = read_clips(Store(tables or audio), "msd", splits)
    songs = [
        Song(song_key(track), below(root, clip.path), artist="", labels=carried(clip.tags), split=clip.split)
        for track, clip in clips.items()
    ]
    return songs, vocabulary


def _of_table(
    root: str, address: str, splits: Sequence[str], columns: Mapping[str, str]
) -> tuple[list[Song], Vocabulary]:
    table = read_columns(*split_address(address))
    tracks = texts(column(table, "track_id", address))
    tags = [tag_names(cell) for cell in column(table, columns.get("labels", "tags"), address)]
    names = most_frequent(tags, NUM_TAGS)
    if not names:
        raise ValueError(f"{address} has no tag in any row")
    known, songs = set(names), []
    artists, groups, official, paths = (
        optional_column(table, name, columns, len(tracks), address) for name in ("artist", "group", "split", "path")
    )
    for i, track in enumerate(tracks):
        where = f"{address}, row {i + 1}"
        if not _TRACK_ID.fullmatch(track):
            raise ValueError(f"{where}: {track!r} is not an id of the Million Song Dataset, like TRAAAAK128F9318786")
        split, labels = official_split(official[i], where), carried(tags[i], known)
        if labels and (split is None or split in splits):
            path = paths[i] or f"{track[2]}/{track[3]}/{track[4]}/{track}.mp3"
            artist, group = one_form(artists[i]), one_form(groups[i])
            songs.append(Song(song_key(track), resolve(root, path, where), artist, labels, split, group=group))
    return songs, Vocabulary(tuple(Tag(name) for name in names))
