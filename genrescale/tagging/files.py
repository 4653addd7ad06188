"""List the songs to tag, and tag encoded files one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from genrescale.addresses import public_address
from genrescale.audio import Clip
from genrescale.data.corpora.song_addresses import root_of
from genrescale.data.corpora.walking import AUDIO_SUFFIXES, is_audio, listed_files, songs_among
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.fetch import fetch_bytes
from genrescale.data.manifest import MANIFEST_PATH
from genrescale.export import Exported
from genrescale.storage.store import Store
from genrescale.tagging.scores import SongTags, Untagged, tag_clip
from genrescale.telemetry.terminal import say


def is_corpus(place: Store) -> bool:
    """Whether ``place`` is a sharded corpus, not a file or a folder of files."""
    return not is_audio(public_address(place.uri)) and place.exists(MANIFEST_PATH)


def list_audio(places: Sequence[Store]) -> list[str]:
    """List the addresses of the songs at ``places``: files, and all audio files in folders, sorted by folder.

    Raises FileNotFoundError for a missing file, and ValueError for a folder without audio and for a corpus, which must
    be tagged separately.
    """
    return [song for place in places for song in _songs_at(place)]


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
    files, passed = listed_files(place)
    songs = [f"{root_of(place)}/{path}" for path in songs_among(files, passed)]
    for line in passed.lines():
        say(f"tag: {place.uri}: {line}", sys.stderr)
    if not songs:
        raise ValueError(f"{place.uri} holds no song (a file with one of the endings {', '.join(AUDIO_SUFFIXES)})")
    return songs


def decode_song(address: str, internal_urls: bool = False) -> Clip:
    """Decode a song; its key is the public part of the address. Raises DecodeError.

    ``internal_urls`` allows web servers with internal addresses.
    """
    return decode_pcm(fetch_bytes(address, internal_urls), public_address(address))


def tag_files(
    exported: Exported, addresses: Sequence[str], embed: bool = False, internal_urls: bool = False
) -> Iterator[SongTags | Untagged]:
    """Yield the tags of every song, in order; a song that cannot be decoded is Untagged."""
    for address in addresses:
        try:
            clip = decode_song(address, internal_urls)
        except DecodeError as error:
            yield Untagged(error.name, error.reason)
        else:
            yield tag_clip(exported, clip, embed)
