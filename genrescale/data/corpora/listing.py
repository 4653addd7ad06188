"""The result of reading a corpus: its songs, its tags, and the rows of its tables without a usable song.

A row that is bad by itself is *rejected*: it is quarantined with its number and reason, and the other rows form the
corpus. A problem that makes the whole table unreliable is an error instead; ``table.py`` lists which problems are
which.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from genrescale.addresses import identity, public_address, scrubbed
from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.cells import look_alikes
from genrescale.data.corpora.song_addresses import canonical
from genrescale.data.corpora.walking import PassedOver
from genrescale.data.quarantine import Rejected

_MAX_REASON = 300


@dataclass(frozen=True)
class Listing:
    """The songs and tags of a corpus, the rejected rows, the files passed over, and notes on likely mistakes."""

    songs: list[Song]
    vocabulary: Vocabulary
    rejected: tuple[Rejected, ...] = ()
    passed: PassedOver = field(default_factory=PassedOver)
    notes: tuple[str, ...] = ()

    def strict(self) -> tuple[list[Song], Vocabulary]:
        """Return songs and tags. Raises ValueError for the first rejected row."""
        if self.rejected:
            raise ValueError(str(self.rejected[0]))
        return self.songs, self.vocabulary

    def lines(self) -> list[str]:
        """Describe what is passed over and what looks like a mistake, a line each."""
        alike = [f"labels that look alike: {names}" for names in look_alikes(self.vocabulary.names)]
        return [*self.passed.lines(), *(f"note: {note}" for note in (*self.notes, *alike))]


class Rows:
    """Collects songs and rejected rows while the table at ``address`` is read. Rows are numbered from 1."""

    def __init__(self, address: str) -> None:
        self.address = public_address(address)
        self.songs: list[Song] = []
        self.rejected: list[Rejected] = []
        self._row_of: dict[int, int] = {}  # by a hash of the address (64 bits), because there may be millions
        name = self.address.rpartition("/")[2]
        self._name = name.rpartition(".")[0] or name

    def keep(self, row: int, song: Song) -> None:
        """Add a song. Raises ValueError if an earlier row named it, also if it spelled its address differently."""
        if (first := self._row_of.setdefault(hash(canonical(identity(song.address))), row)) != row:
            raise ValueError(f"row {row}: row {first} names the same song, {song.path}")
        self.songs.append(song)

    def reject(self, row: int, reason: str, key: str = "", path: str = "") -> None:
        """Record a rejected row. ``key`` and ``path`` are those of its song, if the row gives them."""
        if not key or self._row_of.setdefault(hash(canonical(identity(path))), row) != row:
            key = song_key(f"{self._name} row {row}")
        # encodable text of a readable length
        reason = scrubbed(reason).encode(errors="backslashreplace").decode()
        short = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]} ..."
        self.rejected.append(Rejected(key, public_address(path) or self.address, self.address, short))

    def require_songs(self) -> None:
        """Raise ValueError if every row was rejected, because then the table is at fault, not its rows."""
        if self.rejected and not self.songs:
            raise ValueError(f"{self.rejected[0]} (and no other row can be used)")
