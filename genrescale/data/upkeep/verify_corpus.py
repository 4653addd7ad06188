"""A whole corpus against its manifest: every chosen shard as a Ray task, then the manifest itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from genrescale.data.manifest import Manifest, with_indexes
from genrescale.data.sharding.duplicates import Duplicates, find_duplicates
from genrescale.data.tasks import run_tasks
from genrescale.data.upkeep.verify import (
    Problem,
    Remedy,
    check_shard,
    remedies,
    shard_checks,
    verify_exclusions,
    verify_manifest,
)
from genrescale.data.upkeep.verify_features import verify_features
from genrescale.storage.lease import writing
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress
from genrescale.telemetry.recorder import recorder
from genrescale.telemetry.stages import shards_done, stage_begins


@dataclass(frozen=True, eq=False)
class VerifiedCorpus:
    """What was found. ``rebuilt`` are the shards whose index was written anew, ``num_shards`` those that were read.

    Songs with the same audio (``copies``) are worth a note and no problem.
    """

    manifest: Manifest
    num_shards: int
    deep: bool
    problems: list[Problem]
    rebuilt: list[str]
    copies: list[Duplicates]

    def lines(self) -> Iterator[str]:
        """The findings for people: what was rebuilt, notes, problems, a summary, and what mends the problems."""
        manifest = self.manifest
        yield from (f"{name}: its index was rebuilt" for name in self.rebuilt)
        yield from (f"note: {copies}" for copies in self.copies)
        yield from map(str, self.problems)
        of = f" of {manifest.shards.num_rows}" if self.num_shards < manifest.shards.num_rows else ""
        how = "every byte" if self.deep else "sizes and indexes"
        yield (
            f"{manifest.uri}, version {manifest.version}: {self.num_shards}{of} shards, {how} read, "
            f"{len(self.problems)} problems"
        )
        yield from (f"To mend it: {remedy}" for remedy in remedies(self.problems))


def verify_corpus(manifest: Manifest, shards: Sequence[int], deep: bool, rebuild: bool) -> VerifiedCorpus:
    """Check ``shards`` (rows of the manifest's table) on the connected Ray cluster, and the manifest.

    ``deep`` reads every byte, otherwise sizes and indexes are compared. ``rebuild`` writes indexes that are missing or
    damaged anew where their shards are intact. Raises BusyError if another job writes to the corpus meanwhile.
    """
    with writing(Store(manifest.uri), "verify_corpus") if rebuild else nullcontext():
        return _verify_corpus(manifest, shards, deep, rebuild)


def _verify_corpus(manifest: Manifest, shards: Sequence[int], deep: bool, rebuild: bool) -> VerifiedCorpus:
    problems: set[Problem] = set()
    rebuilt: dict[int, str] = {}
    sizes = manifest.shards["num_bytes"]
    stage_begins("verify_corpus", len(shards))
    for remedy in Remedy:
        recorder().add("genrescale_verify_problems_total", 0, remedy=remedy.name.lower())
    with Progress("verify_corpus", len(shards), "shards") as progress:
        for done in run_tasks(check_shard, shard_checks(manifest, shards, deep, rebuild), name="verify_shard"):
            problems.update(done.problems)
            shards_done("verify_corpus", 1, sizes[done.shard].as_py() if deep else 0)
            for problem in done.problems:
                recorder().add("genrescale_verify_problems_total", remedy=problem.remedy.name.lower())
            rebuilt |= {done.shard: done.index_sha256} if done.index_sha256 else {}
            progress.advance(note=f"{len(problems)} problems" if problems else "")
    manifest = with_indexes(manifest, rebuilt)
    problems.update(verify_manifest(manifest), verify_exclusions(manifest), verify_features(manifest))
    return VerifiedCorpus(
        manifest,
        len(shards),
        deep,
        sorted(problems, key=str),
        [manifest.shard_name(shard) for shard in sorted(rebuilt)],
        find_duplicates(manifest),
    )
