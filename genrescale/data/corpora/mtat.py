"""``mtat``: MagnaTagATune, 25,863 clips of 29 s annotated in a game (Law et al. 2009), with the top 50 tags.

There are two layouts, both with the clips as ``{audio}/{0-f}/*.mp3``:

- as published: ``annotations_final.csv`` (tab-separated: ``clip_id``, 188 tags as 0 or 1, ``mp3_path``) and
  ``clip_info_final.csv``, which has the artists. The vocabulary is the 50 most frequent tags, most frequent first.
- the index of musicnn-training (``musicnn.py``), with its 50 tags in its order.

Splits: folders 0-b are train, c is validation, d-f are test. ``split=original`` keeps clips with none of the 50 tags;
``split=clean`` leaves them out, which reduces validation from 1,825 to 1,529 and test from 5,329 to 4,332 clips.
Alternatively, ``clean`` is a table without a header whose last two cells are path and split; clips that it does not
list are left out (the lists of github.com/jongpillee/music_dataset_split also leave out clips without a tag). Folders
keep albums together, not artists: 56 of the 230 are in more than one split. Three clips of the published archive are
empty files; the sharding job finds them.
"""

from __future__ import annotations

from collections.abc import Sequence

from genrescale.audio import SPLITS, Song, Tag, Vocabulary, song_key
from genrescale.data.corpora.cells import carried, most_frequent, one_of
from genrescale.data.corpora.musicnn import index_name, read_clips
from genrescale.data.corpora.reading import column, read_columns, read_rows
from genrescale.data.corpora.song_addresses import below, root_of, split_address
from genrescale.storage.store import Store

ANNOTATIONS, CLIP_INFO = "annotations_final.csv", "clip_info_final.csv"
NUM_TAGS = 50
_VALIDATION, _TEST = "c", "def"


def list_songs(
    audio: str, tables: str = "", clean: str = "", splits: Sequence[str] = SPLITS, split: str = "original"
) -> tuple[list[Song], Vocabulary]:
    """List the clips of ``splits``. ``tables`` is the folder of the tables (default: ``audio``).

    Raises FileNotFoundError if neither layout is found, and ValueError for an unusable row.
    """
    for name in splits:
        one_of("splits", name, SPLITS)
    only_tagged = one_of("split", split, ("original", "clean")) == "clean"
    store = Store(tables or audio)
    if store.exists(index_name("mtt")):
        clips, vocabulary = read_clips(store, "mtt", splits)
        rows = [(clip.path, _artist_of_path(clip.path), clip.tags) for clip in clips.values()]
    else:
        rows, vocabulary = _annotated(store)
    listed = _clean_splits(clean, {path for path, _, _ in rows}, splits) if clean else None
    root, known, songs = root_of(Store(audio)), set(vocabulary.names), []
    for path, artist, tags in rows:
        home, labels = _folder_split(path, store) if listed is None else listed.get(path), carried(tags, known)
        if home in splits and (labels or not only_tagged):
            songs.append(Song(song_key(path), below(root, path), artist, labels, home))
    return songs, vocabulary


def _annotated(store: Store) -> tuple[Sequence[tuple[str, str, Sequence[str]]], Vocabulary]:
    """Read path, artist and tags of every clip, as published."""
    remedy = (
        f"MagnaTagATune needs it, or {index_name('mtt')} of musicnn-training; tables elsewhere: +options.tables=..."
    )
    where = f"{store.uri}/{ANNOTATIONS}"
    table = read_columns(store, ANNOTATIONS, "\t", remedy)
    paths, ids = column(table, "mp3_path", where), column(table, "clip_id", where)
    tags: list[list[str]] = [[] for _ in paths]
    for name in (key for key in table if key not in ("mp3_path", "clip_id")):
        for i, cell in enumerate(table[name]):
            if cell not in ("0", "1"):
                raise ValueError(f"{where}, row {i + 1}, column {name!r}: {cell!r} is neither 0 nor 1")
            if cell == "1":
                tags[i].append(name)
    artists = _artists(store)
    vocabulary = Vocabulary(tuple(Tag(name) for name in most_frequent(tags, NUM_TAGS)))
    rows = [(path, artists.get(clip, ""), row) for clip, path, row in zip(ids, paths, tags, strict=True)]
    return rows, vocabulary


def _artists(store: Store) -> dict[str, str]:
    table = read_columns(store, CLIP_INFO, "\t", "it holds the artists, which splits must keep apart")
    where = f"{store.uri}/{CLIP_INFO}"
    return dict(zip(column(table, "clip_id", where), column(table, "artist", where), strict=True))


def _artist_of_path(path: str) -> str:
    """Return the artist from a clip's name, ARTIST-ALBUM-TRACK-TITLE-FROM-TO.mp3; the index has no other information.

    This gives 230 artists.
    """
    return path.rpartition("/")[2].partition("-")[0]


def _folder_split(path: str, store: Store) -> str:
    folder = path.partition("/")[0]
    if len(folder) != 1 or folder not in "0123456789abcdef":
        raise ValueError(f"{store.uri} names the clip {path!r}; expected a path in one of the folders 0-9 and a-f")
    return "validation" if folder in _VALIDATION else "test" if folder in _TEST else "train"


def _clean_splits(address: str, paths: set[str], splits: Sequence[str]) -> dict[str, str]:
    """Return the split of every path in the list, for the requested splits."""
    listed = {}
    for i, row in enumerate(read_rows(*split_address(address)), 1):
        where = f"{address}, row {i}"
        if len(row) < 2 or row[-1] not in SPLITS:
            raise ValueError(f"{where}: expected a path, a tab and one of {list(SPLITS)}; found {row[-2:]}")
        if row[-1] not in splits:
            continue
        if row[-2] not in paths:
            raise ValueError(f"{where}: clip {row[-2]!r} is not in the tables of MagnaTagATune")
        listed[row[-2]] = row[-1]
    return listed
