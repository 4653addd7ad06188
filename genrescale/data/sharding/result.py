"""What a sharding job did, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from genrescale.audio import earlier_key
from genrescale.data.manifest import DECODERS, Manifest
from genrescale.data.quarantine import Quarantined
from genrescale.data.sharding.lengths import read_odd_lengths, sentence
from genrescale.data.sharding.plan import PLAN_PATH
from genrescale.data.sharding.splits import ArtistOverlap
from genrescale.display.text import count_text

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class ShardingResult:
    """The result of a sharding job: ``written`` counts new shards, ``skipped`` those that were finished before.

    ``held_out`` counts added songs that are in no shard because their artists or groups are in validation or test.
    ``overlap`` is the artist overlap of official splits, None if the splits are ours. ``rejected_rows`` counts the
    quarantined entries that are rows of a table without a song. ``noted`` are the paths of songs in the shards by what
    decoding noted. ``warnings`` tell which songs of one group, or which songs that look like it, are in several splits.
    """

    manifest: Manifest
    quarantined: list[Quarantined]
    written: int
    skipped: int
    held_out: int
    overlap: ArtistOverlap | None
    rejected_rows: int = 0
    noted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def given(self) -> int:
        """The number of songs and rejected rows that the corpus listed: in shards, in quarantine or held out."""
        return len(self.manifest) + len(self.quarantined) + self.held_out

    def check_given(self, keys: Iterable[str]) -> None:
        """Raise AssertionError unless the songs and rows with these keys, which the corpus lists, are those given.

        Songs that were taken down need not be listed any more, and earlier versions gave other keys.
        """
        listed = [{key, earlier_key(key)} for key in keys]
        known = set().union(*listed)
        unlisted = sum(not song.path and song.key not in known for song in self.quarantined)
        if lost := len(listed) - (self.given - unlisted):
            raise AssertionError(
                f"{len(listed)} songs and rows were listed, but {self.given - unlisted} were given to the job, which "
                f"leaves {lost}: this is a bug in genrescale, please report it"
            )

    def summary(self) -> str:
        """Describe in text what the job did."""
        manifest = self.manifest
        num_bytes = sum(manifest.shards["num_bytes"].to_pylist())
        excluded = sum(bool(reason) for reason in manifest.songs["excluded"].to_pylist())
        rows = f", {self.rejected_rows} of them rows of a table without a song" if self.rejected_rows else ""
        lines = [
            f"{self.given} songs given: {len(manifest)} in shards ({excluded} excluded as copies across splits), "
            f"{len(self.quarantined)} in quarantine, {self.held_out} held out",
            f"{len(manifest.shards)} shards, {num_bytes:,} bytes; {self.written} written now, {self.skipped} before",
            f"{count_text(len(self.quarantined), 'song')} in quarantine{rows}",
            *(f"  {song.path or song.key}: {song.reason}" for song in self.quarantined[:_SHOWN]),
        ]
        if self.held_out:
            lines.append(
                f"{self.held_out} added songs held out (listed in {PLAN_PATH}): their artists or groups are in "
                "validation or test"
            )
        if self.overlap is not None:
            lines.append(f"official splits: {self.overlap.sentence()}")
        lines += self.warnings
        if odd := read_odd_lengths(manifest):
            lines.append(sentence(odd))
        lines += [
            f"songs in the shards with the note {note!r}: {len(paths)}, "
            f"{'namely' if len(paths) <= _SHOWN else 'the first'} {', '.join(paths[:_SHOWN])}"
            for note, paths in sorted(self.noted.items())
        ]
        if len(decoders := manifest.settings.get(DECODERS, ())) > 1:
            lines.append(f"several versions of the decoders made shards, which may differ: {'; '.join(decoders)}")
        return "\n".join(lines)
