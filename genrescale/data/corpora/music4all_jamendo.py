"""``music4all_jamendo``: MTG-Jamendo plus matching songs of Music4All in train (Knox et al. 2020, MediaEval).

A Music4All song is added with those of its tags that equal a tag of the Jamendo subset (``happy`` matches
``mood/theme---happy``); without any it is left out. Jamendo's official splits are kept; Music4All songs are in train
only. The study added 5,666 songs with 52 of the 56 mood and theme tags (6,143 labels). The two corpora name artists
differently, so their overlap is not detected.

Layout: ``audio`` as in ``jamendo.py``, ``music4all_audio`` (an address) as in ``music4all.py``.
"""

from __future__ import annotations

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora import jamendo, music4all
from genrescale.data.corpora.cells import carried


def list_songs(
    audio: str,
    music4all_audio: str,
    subset: str = "moodtheme",
    tables: str = "",
    low: bool = False,
    music4all_tables: str = "",
) -> tuple[list[Song], Vocabulary]:
    """List Jamendo's songs, then the matching songs of Music4All.

    Raises what both corpora raise, and ValueError if no song matches or a tag name without its category is ambiguous.
    """
    songs, vocabulary = jamendo.list_songs(audio, subset, tables, low)
    full_name = _by_bare_name(vocabulary)
    added = []
    for track in music4all.read_tracks(music4all_audio, "tags", music4all_tables):
        if labels := carried([full_name[tag] for tag in track.tags if tag in full_name]):
            added.append(Song(song_key(track.id), track.path, track.artist, labels, split="train"))
    if not added:
        raise ValueError(f"no song of music4all_audio={music4all_audio} has a tag of {sorted(full_name)[:5]}, ...")
    return songs + added, vocabulary


def _by_bare_name(vocabulary: Vocabulary) -> dict[str, str]:
    full_name: dict[str, str] = {}
    for name in vocabulary.names:
        bare = name.rpartition("---")[2]
        if bare in full_name:
            raise ValueError(f"tag {bare!r} of Music4All could be {full_name[bare]!r} or {name!r}; take another subset")
        full_name[bare] = name
    return full_name
