"""Compare the files of features beside a corpus with its manifest and its takedowns."""

from __future__ import annotations

from collections.abc import Iterator

from genrescale.data.features import FEATURES, feature_files, features_path, held_songs
from genrescale.data.manifest import Manifest
from genrescale.data.takedowns import read_takedowns
from genrescale.data.upkeep.verify import Problem, Remedy
from genrescale.storage.store import Store


def verify_features(manifest: Manifest) -> list[Problem]:
    """Return the problems of the files of features: unknown or unreadable ones, and songs that should not be there.

    Files of an earlier version are no problem: what they hold of songs that remain is used for the next one.
    """
    store = Store(manifest.uri)
    files = feature_files(store)
    extra = sorted(set(store.list(FEATURES)) - set(files))
    columns = (manifest.songs[name].to_pylist() for name in ("key", "crc32", "num_samples"))
    known, gone = set(zip(*columns, strict=True)), read_takedowns(store)
    problems = [Problem(path, "extra, not a file of features", Remedy.EXTRA) for path in extra]
    for path in files:
        try:
            songs = held_songs(store, path)
        except ValueError as error:
            problems.append(Problem(path, str(error), Remedy.FEATURES))
            continue
        if taken_down := [key for key, _, _ in songs if key in gone]:
            what = f"it holds {len(taken_down)} songs that were taken down, the first is {taken_down[0]}"
            problems.append(Problem(path, what, Remedy.FEATURES))
        others = [key for key, crc32, length in songs if (key, crc32, length) not in known and key not in gone]
        current = path.endswith(features_path("", manifest.version).rpartition("/")[2])
        if others and current:
            what = f"{len(others)} of its songs are not those of the manifest, the first is {others[0]}"
            problems.append(Problem(path, what, Remedy.FEATURES))
    return problems


def features_line(manifest: Manifest, key: str) -> Iterator[str]:
    """Yield a line that names the files of features with a song, if there are any."""
    store, holding = Store(manifest.uri), []
    for path in feature_files(store):
        try:
            holding += [path] if any(key == song for song, _, _ in held_songs(store, path)) else []
        except ValueError as error:
            yield f"not ok: {error}"
    if holding:
        yield f"features: {', '.join(holding)}"
