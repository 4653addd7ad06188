"""How a page plays a song: its file inside the page, its file beside the page, or what the model hears."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from genrescale.audio import Clip
from genrescale.display.html import data_uri
from genrescale.display.sound import flac_bytes

MAX_EMBEDDED = 32_000_000
"""Larger files are not copied into the page; as text they take a third more."""
_HEAD = 64
_MP3_SYNC, _AAC_SYNC = (b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2"), (b"\xff\xf1", b"\xff\xf9")
_WAV_CODES = (1, 3)  # whole numbers and floating-point numbers


@dataclass(frozen=True)
class Sound:
    """What an ``<audio>`` plays: its address, and a sentence that says where that comes from."""

    address: str
    words: str


def sound_of(source: bytes | Path, clip: Clip, page: Path | None) -> Sound:
    """Choose how a page plays a song; the song's file is read, never written.

    ``source`` is the encoded file, ``page`` the folder of the page where that is on this machine. A file that browsers
    play is put into the page as it is; one of more than MAX_EMBEDDED bytes stays where it is, and the page names it by
    its path from the page. In all other cases the page has the clip: 16 kHz, mono, FLAC.
    """
    path = source if isinstance(source, Path) else None
    size = path.stat().st_size if path else len(source)  # type: ignore[arg-type]
    if kind := _media_type(source):
        if size <= MAX_EMBEDDED:
            data = path.read_bytes() if path else source
            return Sound(data_uri(data, kind), "The song is inside this page.")  # type: ignore[arg-type]
        if path and page:
            between = os.path.relpath(path.absolute(), page.absolute())
            return Sound(
                quote(os.fsencode(between)),
                f"The song has {size / 1e6:,.0f} MB, too much for a page: it is played from where it lies beside it.",
            )
    reason = "has too many bytes for a page" if kind else "is of a kind that not every browser plays"
    return Sound(
        data_uri(flac_bytes(clip.pcm_T), "audio/flac"),
        f"The song's file {reason}: what plays is what the model heard, 16 kHz mono.",
    )


def _media_type(source: bytes | Path) -> str:
    """The media type of an encoded file that all browsers play, by its first bytes; "" for others."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(_HEAD)
    else:
        head = source[:_HEAD]
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt ":
        return "audio/wav" if int.from_bytes(head[20:22], "little") in _WAV_CODES else ""
    if head.startswith((b"ID3", *_MP3_SYNC)):
        return "audio/mpeg"
    return "audio/aac" if head.startswith(_AAC_SYNC) else "audio/flac" if head[:4] == b"fLaC" else ""
