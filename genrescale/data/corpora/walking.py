"""List the files in a folder, and count by reason what is passed over, so that no song gets lost in silence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from genrescale.data.corpora.reading import TABLE_SUFFIXES
from genrescale.data.corpora.song_addresses import canonical, root_of
from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store
from genrescale.storage.web import WEB

AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".caf", ".dsf"),
    *(".dts", ".eac3", ".flac", ".flv", ".m4a", ".m4b", ".m4r", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4"),
    *(".mpc", ".oga", ".ogg", ".oma", ".opus", ".ra", ".rm", ".snd", ".tak", ".tta", ".voc", ".w64", ".wav"),
    *(".webm", ".wma", ".wv", ".xwma"),
)
"""Of files that are songs: suffixes of the formats that decoding allows."""
HIDDEN = "hidden, because the name begins with a dot"
LINKED = "linked folders, which are not followed; cp -rL makes a copy"
BROKEN = "links that lead nowhere"
FORBIDDEN = "not readable for this user"
SPECIAL = "no plain files"
UNNAMED_ROWS = "songs that no row of the table names"
UNNAMED = "songs that no table names, or not the chosen part of it"
NOT_TEXT = "names that are not Unicode text; rename them"
_SHOWN = 3
_LONGEST_SUFFIX = 6  # with its dot


@dataclass
class PassedOver:
    """Names of files and folders that are no songs of the corpus, by reason.

    ``found`` counts what lies in the folder: files, and folders that were not entered; ``songs`` and ``tables`` count
    those that the corpus uses. What is not listed (over HTTP, say) is not counted; ``unlisted`` says why a listing
    failed.
    """

    names: dict[str, list[str]] = field(default_factory=dict)
    found: int = 0
    songs: int = 0
    tables: int = 0
    unlisted: str = ""

    def account(self) -> str:
        """Say in numbers what lies there. Raises AssertionError if something is neither used nor passed over."""
        if lost := self.found - self.songs - self.tables - len(self):
            raise AssertionError(
                f"{self.found:,} files were found, but {self.songs:,} are songs, {self.tables:,} tables and "
                f"{len(self):,} passed over, which leaves {lost:,}: this is a bug in genrescale, please report it"
            )
        tables = f", {self.tables:,} tables" if self.tables else ""
        return f"{self.found:,} files found: {self.songs:,} of songs{tables}, {len(self):,} passed over"

    def add(self, reason: str, *names: str) -> None:
        if names:
            self.names.setdefault(reason, []).extend(names)

    def __len__(self) -> int:
        return sum(map(len, self.names.values()))

    def lines(self) -> list[str]:
        """Return a line for each reason: the count and the first names."""
        unlisted = [f"what lies beside the songs could not be listed: {self.unlisted}"] if self.unlisted else []
        return unlisted + [
            f"passed over ({reason}): {len(names):,}, {first_names(names)}"
            for reason, names in sorted(self.names.items())
        ]


def first_names(names: Sequence[str]) -> str:
    """Return the first of some names for a sentence: "namely a, b", or "the first a, b, c" of more."""
    return f"{'namely' if len(names) <= _SHOWN else 'the first'} {', '.join(map(_shown, sorted(names)[:_SHOWN]))}"


def _shown(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def listed_files(store: Store) -> tuple[list[str], PassedOver]:
    """List all files in a folder and its subfolders, sorted, and what is passed over: it is hidden or cannot be read.

    Raises FileNotFoundError if there is no folder, and ValueError for HTTP, which has no reliable listing.
    """
    if store.uri.startswith(WEB):
        raise ValueError(f"{store.uri} cannot be listed over HTTP; name its tables, or its songs in one (corpus=table)")
    if not store.exists():
        raise FileNotFoundError(f"audio={store.uri} does not exist")
    passed = PassedOver()
    if (folder := store.local_path()) is not None:
        files = _on_disk(folder, passed)
    else:
        passed.found = len(files := store.list())
    hidden = [path for path in files if any(part.startswith(".") for part in path.split("/"))]
    passed.add(HIDDEN, *hidden)
    return sorted(set(files) - set(hidden)), passed


def _on_disk(root: Path, passed: PassedOver) -> list[str]:
    files, folders = [], [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except PermissionError:
            passed.add(FORBIDDEN, folder or ".")
            passed.found += 1
            continue
        for entry in entries:
            passed.found += 1
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not _is_text(path):
                passed.add(NOT_TEXT, path)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                passed.add(BROKEN, path)
            elif entry.is_symlink() and entry.is_dir():
                passed.add(LINKED, path)
            elif entry.is_dir():
                folders.append(path)
                passed.found -= 1
            elif not entry.is_file():
                passed.add(SPECIAL, path)
            elif not os.access(entry.path, os.R_OK):
                passed.add(FORBIDDEN, path)
            else:
                files.append(path)
    return files


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def passed_over(store: Store, addresses: Iterable[str]) -> PassedOver:
    """Account for what lies in the folder of a corpus whose songs, at ``addresses``, come from its tables.

    Nothing but the reason is told of a folder that cannot be listed: its songs may be readable all the same.
    """
    try:
        if store.uri.startswith(WEB) or not store.exists():
            return PassedOver()
        files, passed = listed_files(store)
    except (StoreError, OSError) as error:
        return PassedOver(unlisted=str(error))
    root, used = root_of(store), set(map(canonical, addresses))
    rest = [path for path in files if canonical(f"{root}/{path}") not in used]
    passed.songs = len(files) - len(rest)
    tables = [path for path in rest if path.endswith(TABLE_SUFFIXES)]
    passed.tables = len(tables)
    passed.add(UNNAMED, *songs_among(sorted(set(rest) - set(tables)), passed))
    return passed


def beside_table(store: Store, addresses: Iterable[str]) -> PassedOver:
    """Account for the songs that lie where those of a table lie, at ``addresses``, and that no row names.

    A table often lies in a folder with much else, so only the folders that its paths begin with are looked into, and
    of files beside the table itself those with a suffix of a song.
    """
    root, used = root_of(store), set(map(canonical, addresses))
    inside = [path[len(root) + 1 :] for path in used if path.startswith(f"{root}/")]
    passed = PassedOver()
    try:
        if store.uri.startswith(WEB) or not inside:
            return passed
        files = [name for name in store.files() if is_audio(name)] if any("/" not in path for path in inside) else []
        passed.found = len(files)
        for folder in sorted({path.split("/")[0] for path in inside if "/" in path}):
            if store.folders(folder) or store.files(folder):
                found, other = listed_files(store.child(folder))
                files += [f"{folder}/{path}" for path in found]
                passed.found += other.found
                for reason, names in other.names.items():
                    passed.add(reason, *(f"{folder}/{name}" for name in names))
    except (StoreError, OSError) as error:
        return PassedOver(unlisted=str(error))
    rest = [path for path in files if canonical(f"{root}/{path}") not in used]
    passed.songs = len(files) - len(rest)
    passed.add(UNNAMED_ROWS, *songs_among(rest, passed))
    return passed


def is_audio(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in AUDIO_SUFFIXES


def songs_among(files: Iterable[str], passed: PassedOver) -> list[str]:
    """Return the files with a suffix of a song, and pass over the others by their suffix."""
    songs = []
    for path in files:
        if is_audio(path):
            songs.append(path)
        else:
            suffix = PurePosixPath(path).suffix.lower()
            # the end of a name like take.2024 is no suffix, and each would be a reason of its own
            is_short = len(suffix) <= _LONGEST_SUFFIX and not suffix[1:].isdecimal()
            passed.add((f"suffix {suffix}" if suffix else "no suffix") if is_short else "other suffixes", path)
    return songs
