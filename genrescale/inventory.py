"""What lies in a store: corpora with their versions, sweeps with their runs and checkpoints; and how to delete them.

Nothing is deleted that was not listed first: ``deletion`` says what would go, ``Deletion.run`` does it.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from genrescale.data.lengths import ODD_LENGTHS_PATH
from genrescale.data.manifest import MANIFEST_PATH
from genrescale.data.quarantine import QUARANTINE_PATH
from genrescale.data.shard_plan import PLAN_PATH
from genrescale.data.store import Store
from genrescale.data.takedowns import TAKEDOWNS_PATH
from genrescale.results import PLANNED_PATH, finished_runs, read_planned

MAX_DEPTH = 4  # folders below the store in which sweeps and corpora are looked for
# What makes a folder a corpus or sweep is deleted last, so that a deletion that was cut off can be done again.
CORPUS_FILES = (
    "describe.html",
    "shards",
    "manifest",
    QUARANTINE_PATH,
    TAKEDOWNS_PATH,
    PLAN_PATH,
    ODD_LENGTHS_PATH,
    MANIFEST_PATH,
)
REPORTS = ("report.html", "figure.png", "table.csv", "runs.csv")
SWEEP_FILES = (*REPORTS, "failures.json", "tune", "checkpoints", "runs", PLANNED_PATH)
WHATS = ("sweep", "checkpoints", "corpus", "version")


@dataclass(frozen=True)
class CorpusItem:
    """A sharded corpus: its songs, tags and versions (the current one first; none where sharding has not ended)."""

    path: str
    num_songs: int
    num_tags: int
    versions: tuple[str, ...]
    num_shards: int
    num_bytes: int


@dataclass(frozen=True)
class SweepItem:
    """A sweep: the ids of its planned and finished runs, the bytes of its checkpoints (by run id) and of all."""

    path: str
    planned: set[str]
    finished: set[str]
    checkpoint_bytes: dict[str, int]
    num_bytes: int


def find_items(store: Store, path: str = "", depth: int = 0) -> Iterator[CorpusItem | SweepItem]:
    """The corpora and sweeps in a store, by path. What lies inside of one is looked at for an embedded corpus only."""
    here = store.child(path) if path else store
    if is_corpus(here):
        yield describe_corpus(store, path)
        return
    if is_sweep(here):
        yield describe_sweep(store, path)
        folders = ["shards"] if "shards" in here.folders() else []
    else:
        folders = here.folders()
    if depth < MAX_DEPTH:
        for name in folders:
            yield from find_items(store, f"{path}/{name}" if path else name, depth + 1)


def is_corpus(files: Store) -> bool:
    """Whether a corpus was sharded or begun here; another program's manifest.json is none."""
    return bool(_summary(files)) or files.exists(PLAN_PATH)


def is_sweep(files: Store) -> bool:
    """Whether a sweep was planned or a run has finished here."""
    return files.exists(PLANNED_PATH) or bool(finished_runs(files))


def _summary(files: Store) -> dict[str, Any]:
    """The content of a corpus's manifest.json; {} where there is none of ours."""
    try:
        summary = json.loads(files.read_bytes(MANIFEST_PATH))
    except (FileNotFoundError, ValueError):
        return {}
    return summary if isinstance(summary, dict) and {"version", "num_songs", "vocabulary"} <= set(summary) else {}


def describe_corpus(store: Store, path: str) -> CorpusItem:
    files = store.child(path) if path else store
    summary, sizes = _summary(files), files.sizes("shards")
    current = [summary["version"]] if summary else []
    return CorpusItem(
        path=path,
        num_songs=summary.get("num_songs", 0),
        num_tags=len(summary["vocabulary"]["tags"]) if summary else 0,
        versions=(*current, *sorted(set(files.folders("manifest")) - set(current))) if summary else (),
        num_shards=sum(name.endswith(".tar") for name in sizes),
        num_bytes=sum(sizes.values()),
    )


def describe_sweep(store: Store, path: str) -> SweepItem:
    files = store.child(path) if path else store
    planned = {trial.run_id for trial in read_planned(files)} if files.exists(PLANNED_PATH) else set[str]()
    finished = set(finished_runs(files))
    checkpoints: dict[str, int] = {}
    for name, size in files.sizes("checkpoints").items():
        run_id = name.split("/")[1]
        checkpoints[run_id] = checkpoints.get(run_id, 0) + size
    num_bytes = sum(sum(files.sizes(name).values()) for name in ("runs", "tune")) + sum(checkpoints.values())
    return SweepItem(path, planned, finished, checkpoints, num_bytes)


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
    kind = "corpus" if what in ("corpus", "version") else "sweep"
    if not (is_corpus(files) if kind == "corpus" else is_sweep(files)):
        raise ValueError(f"{files.uri} is no {kind}: it holds neither the files nor the beginnings of one")
    if what == "version":
        candidates = [_version_path(files, version)]
    elif what == "checkpoints":
        candidates = [f"checkpoints/{run_id}" for run_id in sorted(finished_runs(files))]
    else:
        candidates = list(CORPUS_FILES if what == "corpus" else SWEEP_FILES)
    sizes = {path: files.sizes(path) for path in candidates}
    kept = tuple(path for path in candidates if sizes[path])
    return Deletion(
        files, kept, sum(len(sizes[path]) for path in kept), sum(sum(sizes[path].values()) for path in kept)
    )


def _version_path(files: Store, version: str) -> str:
    current = _summary(files).get("version")
    versions = files.folders("manifest")
    if version == current:
        raise ValueError(
            f"version {version} is the corpus as it is; delete the corpus (what=corpus) or another version"
        )
    if version not in versions:
        raise ValueError(f"version={version!r} is none of {versions} of {files.uri}")
    return f"manifest/{version}"


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def format_items(items: Sequence[CorpusItem | SweepItem], uri: str, runs: bool = False) -> str:
    """The items for a terminal; with ``runs`` also a line for each run of a sweep."""
    table = Table(title=f"{len(items)} sweeps and corpora in {uri}")
    for name in ("path", "kind", "holds", "size"):
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for item in items:
        kind, text = ("corpus", _corpus_text(item)) if isinstance(item, CorpusItem) else ("sweep", _sweep_text(item))
        table.add_row(item.path or ".", kind, text, megabytes(item.num_bytes))
    sink = io.StringIO()
    console = Console(file=sink, width=shutil.get_terminal_size((120, 1)).columns, highlight=False)
    console.print(table, *(_runs_table(item) for item in items if runs and isinstance(item, SweepItem)))
    return sink.getvalue()


def _corpus_text(item: CorpusItem) -> str:
    if not item.versions:
        return f"{item.num_shards} shards of a corpus that is not finished"
    earlier = f", before it {', '.join(item.versions[1:])}" if item.versions[1:] else ""
    counts = f"{item.num_songs:,} songs, {item.num_tags} tags, {item.num_shards} shards"
    return f"{counts}; version {item.versions[0]}{earlier}"


def _sweep_text(item: SweepItem) -> str:
    other = len(item.finished - item.planned)
    runs = f"{len(item.finished & item.planned)} of {len(item.planned)} planned runs finished"
    checkpoints = megabytes(sum(item.checkpoint_bytes.values()))
    return f"{runs}{f', {other} others' if other else ''}; {checkpoints} of checkpoints"


def _runs_table(item: SweepItem) -> Table:
    table = Table("run", "state", "checkpoints", title=f"runs of {item.path or '.'}")
    for run in sorted(item.planned | item.finished | set(item.checkpoint_bytes)):
        state = "finished" if run in item.finished else "not finished"
        table.add_row(run, state if run in item.planned else f"{state}, of another plan",
                      megabytes(item.checkpoint_bytes.get(run, 0)))  # fmt: skip
    return table
