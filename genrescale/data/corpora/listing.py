"""What reading a corpus gives: its songs, its tags, and the rows of its tables that give no song.

A row that is bad by itself is *rejected*: it goes to the quarantine with its number and reason, and the rest of the
table is a corpus. What makes a table meaningless as a whole is one error instead: ``table.py`` says which is which.
"""

from __future__ import annotations

from dataclasses import dataclass

from genrescale.addresses import public_address, scrubbed
from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.quarantine import Rejected

_MAX_REASON = 300


@dataclass(frozen=True)
class Listing:
    """The songs and tags of a corpus, and the rows that gave none."""

    songs: list[Song]
    vocabulary: Vocabulary
    rejected: tuple[Rejected, ...] = ()

    def strict(self) -> tuple[list[Song], Vocabulary]:
        """Songs and tags. Raises ValueError for the first row that was rejected."""
        if self.rejected:
            raise ValueError(str(self.rejected[0]))
        return self.songs, self.vocabulary


class Rows:
    """The rows of the table at ``address`` as they are read: songs, and what was rejected. Rows count from 1."""

    def __init__(self, address: str) -> None:
        self.address = public_address(address)
        self.songs: list[Song] = []
        self.rejected: list[Rejected] = []
        self._row_of: dict[str, int] = {}
        name = self.address.rpartition("/")[2]
        self._name = name.rpartition(".")[0] or name

    def keep(self, row: int, song: Song) -> None:
        """Raises ValueError where another row has named the song: the first one counts."""
        if (first := self._row_of.setdefault(song.key, row)) != row:
            raise ValueError(f"row {row}: row {first} names the same song, {song.path}")
        self.songs.append(song)

    def reject(self, row: int, reason: str, key: str = "", path: str = "") -> None:
        """``key`` and ``path`` are those of the song, as far as the row tells them."""
        if not key or self._row_of.setdefault(key, row) != row:
            key = song_key(f"{self._name} row {row}")
        # text that a store can hold, of a length that a person can read
        reason = scrubbed(reason).encode(errors="backslashreplace").decode()
        short = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]} ..."
        self.rejected.append(Rejected(key, public_address(path) or self.address, self.address, short))

    def require_songs(self) -> None:
        """Raises ValueError where every row was rejected: then the table is at fault, not its rows."""
        if self.rejected and not self.songs:
            raise ValueError(f"{self.rejected[0]} (and no other row can be used)")
