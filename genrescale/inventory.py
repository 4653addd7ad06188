"""What lies in a store: corpora with their versions, sweeps with their runs and checkpoints; and how to delete them.

Nothing is deleted that was not listed first: ``deletion`` says what would go, ``Deletion.run`` does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from genrescale.data.manifest import MANIFEST_PATH
from genrescale.data.store import Store
from genrescale.results import read_planned, read_results

MAX_DEPTH = 4  # folders below the store in which sweeps and corpora are looked for
CORPUS_FILES = (MANIFEST_PATH, "manifest", "shards", "plan.parquet", "quarantine.parquet")
SWEEP_FILES = ("sweep.json", "failures.json", "runs", "checkpoints", "tune")
REPORTS = ("report.html", "figure.png", "table.csv", "runs.csv")
WHATS = ("sweep", "checkpoints", "corpus", "version")


@dataclass(frozen=True)
class CorpusItem:
    """A sharded corpus: its songs, tags and versions (the current one first)."""

    path: str
    num_songs: int
    num_tags: int
    versions: tuple[str, ...]
    num_shards: int
    num_bytes: int


@dataclass(frozen=True)
class SweepItem:
    """A sweep: runs planned and finished, and the bytes of its checkpoints (run id -> bytes) and in all."""

    path: str
    num_planned: int
    num_finished: int
    num_other: int  # finished runs that the plan does not hold
    checkpoint_bytes: dict[str, int]
    num_bytes: int


def find_items(store: Store, path: str = "", depth: int = 0) -> Iterator[CorpusItem | SweepItem]:
    """The corpora and sweeps in a store, by path. What lies inside of one is looked at for an embedded corpus only."""
    here = store.child(path) if path else store
    if here.exists(MANIFEST_PATH):
        yield describe_corpus(store, path)
        return
    if here.exists("sweep.json"):
        yield describe_sweep(store, path)
        folders = ["shards"] if "shards" in here.folders() else []
    else:
        folders = here.folders()
    if depth < MAX_DEPTH:
        for name in folders:
            yield from find_items(store, f"{path}/{name}" if path else name, depth + 1)


def describe_corpus(store: Store, path: str) -> CorpusItem:
    files = store.child(path) if path else store
    summary = json.loads(files.read_bytes(MANIFEST_PATH))
    earlier = sorted(set(files.folders("manifest")) - {summary["version"]})
    sizes = files.sizes("shards")
    return CorpusItem(
        path=path,
        num_songs=summary["num_songs"],
        num_tags=len(summary["vocabulary"]["tags"]),
        versions=(summary["version"], *earlier),
        num_shards=sum(name.endswith(".tar") for name in sizes),
        num_bytes=sum(sizes.values()),
    )


def describe_sweep(store: Store, path: str) -> SweepItem:
    files = store.child(path) if path else store
    planned = {trial.run_id for trial in read_planned(files)}
    finished = set(read_results(files))
    checkpoints: dict[str, int] = {}
    for name, size in files.sizes("checkpoints").items():
        run_id = name.split("/")[1]
        checkpoints[run_id] = checkpoints.get(run_id, 0) + size
    num_bytes = sum(sum(files.sizes(name).values()) for name in ("runs", "tune")) + sum(checkpoints.values())
    return SweepItem(path, len(planned), len(finished & planned), len(finished - planned), checkpoints, num_bytes)


@dataclass(frozen=True)
class Deletion:
    """Paths below ``files`` that would go, and how much that is."""

    files: Store
    paths: tuple[str, ...]
    num_files: int
    num_bytes: int

    def run(self) -> None:
        for path in self.paths:
            self.files.delete(path)


def deletion(files: Store, what: str, version: str = "") -> Deletion:
    """What deleting ``what`` (one of WHATS) of the sweep or corpus at ``files`` takes away. Raises ValueError.

    ``checkpoints`` are those of finished runs: an unfinished run continues from its own. ``version`` is an earlier one
    of a corpus: its tables go, the shards stay.
    """
    if what not in WHATS:
        raise ValueError(f"what={what!r} is none of {list(WHATS)}")
    marker = MANIFEST_PATH if what in ("corpus", "version") else "sweep.json"
    if not files.exists(marker):
        raise ValueError(f"{files.uri} holds no {marker}: it is no {'corpus' if marker == MANIFEST_PATH else 'sweep'}")
    if what == "version":
        candidates = [_version_path(files, version)]
    elif what == "checkpoints":
        candidates = [f"checkpoints/{run_id}" for run_id in sorted(read_results(files))]
    else:
        candidates = [*(CORPUS_FILES if what == "corpus" else (*SWEEP_FILES, *REPORTS))]
    sizes = {path: files.sizes(path) for path in candidates}
    kept = tuple(path for path in candidates if sizes[path])
    return Deletion(
        files, kept, sum(len(sizes[path]) for path in kept), sum(sum(sizes[path].values()) for path in kept)
    )


def _version_path(files: Store, version: str) -> str:
    current = json.loads(files.read_bytes(MANIFEST_PATH))["version"]
    versions = files.folders("manifest")
    if version == current:
        raise ValueError(
            f"version {version} is the corpus as it is; delete the corpus (what=corpus) or another version"
        )
    if version not in versions:
        raise ValueError(f"version={version!r} is none of {versions} of {files.uri}")
    return f"manifest/{version}"
