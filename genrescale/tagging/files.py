"""List the songs to tag, and tag encoded files one by one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from genrescale.addresses import public_address, scrubbed
from genrescale.audio import Clip
from genrescale.data.corpora.song_addresses import root_of
from genrescale.data.corpora.walking import AUDIO_SUFFIXES, NOT_TEXT, PassedOver, is_audio, listed_files, songs_among
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.fetch import fetch_bytes, fetch_once
from genrescale.data.manifest import MANIFEST_PATH
from genrescale.export import Exported
from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store
from genrescale.tagging.scores import SongTags, Untagged, tag_clip
from genrescale.telemetry.terminal import say, utf8_text


def is_corpus(place: Store) -> bool:
    """Whether ``place`` is a sharded corpus, not a file or a folder of files."""
    return not is_audio(public_address(place.uri)) and place.exists(MANIFEST_PATH)


def list_audio(songs: Sequence[str], place: Callable[[str], Store] = Store) -> tuple[list[str], list[Untagged]]:
    """List the addresses of the songs at ``songs``: files, and all audio files in folders, sorted by folder.

    Besides, list those of ``songs`` that cannot be listed: missing files, folders without audio, unknown protocols, and
    corpora, which must be tagged separately. ``place`` makes a store of an address. Raises the first one's error, a
    ValueError or OSError, if nothing can be listed.
    """
    listed: list[str] = []
    failed: list[tuple[str, ValueError | OSError]] = []
    for song in songs:
        try:
            listed += _songs_at(place(song))
        except (ValueError, OSError) as error:
            failed.append((song, error))
    if failed and not listed:
        raise failed[0][1]
    return listed, [Untagged(utf8_text(public_address(song)), scrubbed(str(error))) for song, error in failed]


def _songs_at(place: Store) -> list[str]:
    local = place.local_path()
    if local is not None and local.is_file():
        return [str(local)]
    if is_audio(public_address(place.uri)) and (local is None or not local.is_dir()):
        if local is not None:
            raise FileNotFoundError(f"{local} does not exist")
        return [place.uri]
    if is_corpus(place):
        raise ValueError(f"{place.uri} is a sharded corpus: tag it separately")
    songs, passed = _songs_in(place)
    for line in passed.lines():
        say(f"tag: {place.uri}: {line}", sys.stderr)
    if not songs:
        raise ValueError(f"{place.uri} holds no song (a file with one of the endings {', '.join(AUDIO_SUFFIXES)})")
    return songs


def _songs_in(folder: Store) -> tuple[list[str], PassedOver]:
    """List the songs in a folder, those with odd names last: unlike a song of a corpus, a tagged song may have one."""
    files, passed = listed_files(folder)
    root, odd = root_of(folder), passed.names.pop(NOT_TEXT, [])
    folders = [path for path in odd if Path(root, path).is_dir()]
    files += sorted(set(odd) - set(folders))
    songs = [f"{root}/{path}" for path in songs_among(files, passed)]
    for path in sorted(folders):
        below, passed_below = _songs_in(folder.child(path))
        songs += below
        for reason, names in passed_below.names.items():
            passed.add(reason, *(f"{path}/{name}" for name in names))
    return songs, passed


def decode_song(address: str, internal_urls: bool = False) -> Clip:
    """Decode a song; its key is the public part of the address. Raises DecodeError.

    ``internal_urls`` allows web servers with internal addresses. Raises StoreError for a server that does not answer.
    """
    return _decoded(address, fetch_bytes(address, internal_urls))


def _decoded(address: str, source: bytes | Path) -> Clip:
    return decode_pcm(source, utf8_text(public_address(address)))


@dataclass(frozen=True, eq=False)
class Heard:
    """A song that was tagged: its address, encoded file, decoded clip and scores."""

    address: str
    source: bytes | Path
    clip: Clip
    tags: SongTags


def tag_files(
    exported: Exported,
    addresses: Sequence[str],
    embed: bool = False,
    internal_urls: bool = False,
    whole: bool = False,
    heard: Callable[[Heard], None] | None = None,
) -> Iterator[SongTags | Untagged]:
    """Yield the tags of every song, in order; a song that cannot be fetched or decoded is Untagged.

    ``heard`` gets each tagged song, with what it was decoded from.
    """
    fetch = fetch_bytes
    for address in addresses:
        try:
            source = fetch(address, internal_urls)
            clip = _decoded(address, source)
        except StoreError as error:
            fetch = fetch_once  # until a server answers again: with patience, a thousand songs of a dead one take a day
            yield Untagged(utf8_text(public_address(address)), str(error))
        except DecodeError as error:
            yield Untagged(utf8_text(error.name), error.reason)
        else:
            fetch = fetch_bytes
            tags = tag_clip(exported, clip, embed, whole)
            if heard:
                heard(Heard(address, source, clip, tags))
            yield tags
