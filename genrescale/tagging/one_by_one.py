"""Tag files and write all that was asked for: tags, embeddings, pages, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from genrescale.export import Exported
from genrescale.storage.store import Store
from genrescale.tagging.embeddings import keep_embeddings
from genrescale.tagging.files import decode_song, tag_files
from genrescale.tagging.output import Show, write_tags
from genrescale.tagging.pages import SongPages
from genrescale.tagging.picture import write_picture
from genrescale.tagging.scores import Untagged


@dataclass(frozen=True)
class Wanted:
    """Where the outputs go. None: the terminal for the tags, nowhere for the others."""

    out: Store | None = None
    embeddings: Store | None = None
    html: Store | None = None
    picture: Store | None = None


def tag_listed(
    exported: Exported, songs: Sequence[str], unlisted: Sequence[Untagged], wanted: Wanted, show: Show, internal: bool
) -> int:
    """Tag the songs that ``list_audio`` found, and write what is wanted; returns the exit status of ``write_tags``.

    ``internal`` allows web servers with internal addresses. Raises ValueError if a picture of several songs is wanted.
    """
    count = len(songs) + len(unlisted)
    if wanted.picture and count > 1:
        raise ValueError(f"picture= is of one song; these are {count}")
    pages = SongPages(wanted.html, exported, show, count > 1) if wanted.html else None
    tagged = tag_files(exported, songs, bool(wanted.embeddings), internal, show.whole, pages.add if pages else None)
    results = keep_embeddings(chain(unlisted, tagged), wanted.embeddings)
    failed = write_tags(pages.keep(results) if pages else results, count, exported.vocabulary, show, wanted.out)
    if wanted.picture and not failed:
        write_picture(wanted.picture, exported, decode_song(songs[0], internal), show)
    return failed
