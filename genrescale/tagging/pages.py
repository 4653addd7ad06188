"""Write the pages of tagged songs: one page for one song; for several, an index and a page for each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from urllib.parse import quote

from genrescale.addresses import public_address
from genrescale.audio import song_key
from genrescale.export import Exported
from genrescale.storage.store import Store
from genrescale.tagging.files import Heard
from genrescale.tagging.output import Show
from genrescale.tagging.page import Listed, likeliest, render_index, render_song
from genrescale.tagging.scores import SongTags, Untagged
from genrescale.telemetry.terminal import printable, say, utf8_text

ENDING = ".html"


class SongPages:
    """Writes a song's page when it is tagged, and the index at the end.

    With one song, its page is the file ``to``. With several, the file ``to`` is the index, and the pages lie in the
    folder beside it that has its name without the ending. Raises ValueError if ``to`` is no name of a page: the
    address of a song, given by mistake, must not be written to.
    """

    def __init__(self, to: Store, exported: Exported, show: Show, several: bool) -> None:
        folder, _, self._name = to.uri.rpartition("/")
        if not self._name.endswith(ENDING) or self._name == ENDING:
            raise ValueError(f"html={to.uri} is no name of a page; take one that ends in {ENDING}")
        self._files = Store(folder or "/")
        self._exported, self._show, self._several = exported, show, several
        self._listed: list[Listed] = []

    def add(self, heard: Heard) -> None:
        """Write the page of a song."""
        path, index = self._name, ""
        if self._several:
            below = self._name.removesuffix(ENDING)
            path = f"{below}/{song_key(utf8_text(public_address(heard.address)))}{ENDING}"
            index = quote(f"../{self._name}")
            tags = likeliest(self._exported, heard.tags, self._show)
            self._listed.append(Listed(printable(heard.tags.song), quote(path), heard.tags.seconds, tags))
        local = self._files.local_path(str(PurePosixPath(path).parent))
        page = render_song(self._exported, heard, self._show, local, index)
        self._files.write_bytes(path, page.encode())

    def keep(self, results: Iterable[SongTags | Untagged]) -> Iterator[SongTags | Untagged]:
        """Pass results through; after the last one, write the index, which names the songs that have no page."""
        untagged = []
        for result in results:
            if isinstance(result, Untagged):
                untagged.append(result)
            yield result
        if self._several:
            page = render_index(self._exported.spec.model, self._listed, untagged)
            self._files.write_bytes(self._name, page.encode())
        if self._several or not untagged:
            say(f"[page] {self._files.uri.rstrip('/')}/{self._name}", sys.stderr)
