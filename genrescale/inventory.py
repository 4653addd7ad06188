"""List the content of a store (corpora with their versions, sweeps with their runs and checkpoints), and delete items.

Deletion has two steps: ``deletion`` lists what would be deleted, ``Deletion.run`` deletes it.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescale.data.features import FEATURES, feature_files
from genrescale.data.manifest import MANIFEST_PATH, PAGE_PATH
from genrescale.data.quarantine import QUARANTINE_PATH
from genrescale.data.sharding.lengths import ODD_LENGTHS_PATH
from genrescale.data.sharding.plan import PLAN_PATH
from genrescale.data.synthesis.write import FACTS_FILE, SONGS_FOLDER, SONGS_TABLE, VOCABULARY_FILE
from genrescale.data.takedowns import TAKEDOWNS_PATH
from genrescale.results import PLANNED_PATH, finished_runs, read_planned
from genrescale.results.baseline import BASELINES, finished_baselines
from genrescale.results.search import SEARCH_PATH
from genrescale.storage.errors import OutsideError, StoreError
from genrescale.storage.json_bytes import JSON_BYTES, read_json
from genrescale.storage.lease import LEASE_PATH, refuse_busy, writing
from genrescale.storage.names import RUN_ID, VERSION, is_ours
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import printable

MAX_DEPTH = 4  # levels of folders in which sweeps and corpora are searched
# The file that marks a folder as a corpus or sweep is deleted last, so that an interrupted deletion can be repeated.
CORPUS_FILES = (
    PAGE_PATH,
    FEATURES,
    "shards",
    "manifest",
    QUARANTINE_PATH,
    TAKEDOWNS_PATH,
    PLAN_PATH,
    ODD_LENGTHS_PATH,
    MANIFEST_PATH,
)
REPORTS = ("report.html", "figure.png", "table.csv", "runs.csv", "search.csv")
STUDY_FILES = (
    "study.html",
    "songs.html",
    "tables",
    "figures",
)  # of genrescale.studies; songs.html plays clips of songs
# The encoded songs of a sweep that synthesised its corpus; the corpus itself, in shards/, is a separate item.
SONG_FILES = tuple(f"audio/{name}" for name in (SONGS_FOLDER, SONGS_TABLE, VOCABULARY_FILE, FACTS_FILE))
WHATS = ("sweep", "checkpoints", "corpus", "version")


@dataclass(frozen=True)
class CorpusItem:
    """A sharded corpus: its songs, tags and versions, the current one first; no version if sharding is not finished."""

    path: str
    num_songs: int
    num_tags: int
    versions: tuple[str, ...]
    num_shards: int
    num_bytes: int


@dataclass(frozen=True)
class SweepItem:
    """A sweep, or the runs of jobs/train.py: ids of planned, begun and finished runs, and sizes.

    ``checkpoint_bytes`` is by run id. ``song_bytes`` counts encoded songs that the sweep synthesised. ``num_bytes``
    counts all that a deletion of the sweep removes.
    """

    path: str
    planned: set[str]
    begun: set[str]
    finished: set[str]
    checkpoint_bytes: dict[str, int]
    song_bytes: int
    num_bytes: int


@dataclass(frozen=True)
class UnreadItem:
    """A folder that could not be looked at, and why; the others are listed all the same."""

    path: str
    reason: str


Item = CorpusItem | SweepItem | UnreadItem


def find_items(store: Store, path: str = "", depth: int = 0) -> Iterator[Item]:
    """The corpora and sweeps in a store, by path. What lies inside of one is looked at for an embedded corpus only."""
    try:
        yield from _items_at(store, path, depth)
    except StoreError:
        raise
    except ValueError as error:  # its files are damaged, or lead out of the store
        yield UnreadItem(path, str(error))


def _items_at(store: Store, path: str, depth: int) -> Iterator[Item]:
    folder = store.child(path) if path else store
    if is_corpus(folder):
        yield describe_corpus(store, path)
        return
    if is_sweep(folder):
        yield describe_sweep(store, path)
        folders = ["shards"] if "shards" in folder.folders() else []
    else:
        folders = folder.folders()
    if depth < MAX_DEPTH:
        for name in folders:
            yield from find_items(store, f"{path}/{name}" if path else name, depth + 1)


def is_corpus(files: Store) -> bool:
    """Whether a corpus was sharded or begun here. The manifest.json of another program does not count."""
    return bool(_summary(files)) or files.exists(PLAN_PATH)


def is_sweep(files: Store) -> bool:
    """Whether a sweep was planned, a search begun, songs were synthesised, a run begun or a baseline trained here."""
    planned = files.exists(PLANNED_PATH) or files.exists(SEARCH_PATH) or synthesised(files)
    return planned or bool(begun_runs(files)) or bool(finished_baselines(files))


def synthesised(files: Store) -> bool:
    """Whether a sweep synthesised its songs here. Songs made by themselves have other facts in the same file."""
    return {"synthesis", "shards"} <= set(_read_dict(files, FACTS_FILE))


def begun_runs(files: Store) -> set[str]:
    """Return the ids of runs that have written a checkpoint or anything else."""
    names = {path.split("/")[1] for folder in ("checkpoints", "runs") for path in files.list(folder)}
    return {name for name in names if RUN_ID.fullmatch(name)}


def _summary(files: Store) -> dict[str, Any]:
    """Read a corpus's manifest.json; {} if there is none written by genrescale."""
    summary = _read_dict(files, MANIFEST_PATH)
    vocabulary = summary.get("vocabulary")
    is_ours = (
        isinstance(version := summary.get("version"), str)
        and VERSION.fullmatch(version)
        and isinstance(summary.get("num_songs"), int)
        and isinstance(vocabulary, dict)
        and isinstance(vocabulary.get("tags"), list)
    )
    return summary if is_ours else {}


def _read_dict(files: Store, path: str) -> dict[str, Any]:
    """Read a JSON file that holds a dict; {} if there is none."""
    try:
        content = read_json(files.read_bytes(path, JSON_BYTES), f"{files.uri}/{path}")
    except (StoreError, OutsideError):
        raise
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def describe_corpus(store: Store, path: str) -> CorpusItem:
    files = store.child(path) if path else store
    summary, sizes = _summary(files), files.sizes("shards") | files.sizes(FEATURES)
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
    checkpoints: dict[str, int] = {}
    for name, size in files.sizes("checkpoints").items():
        run_id = name.split("/")[1]
        checkpoints[run_id] = checkpoints.get(run_id, 0) + size
    whole = deletion(files, "sweep")
    return SweepItem(
        path=path,
        planned={trial.run_id for trial in read_planned(files)} if files.exists(PLANNED_PATH) else set(),
        begun=begun_runs(files),
        finished=set(finished_runs(files)),
        checkpoint_bytes=checkpoints,
        song_bytes=sum(sum(files.sizes(name).values()) for name in SONG_FILES if name in whole.paths),
        num_bytes=whole.num_bytes,
    )


def sweep_files(files: Store) -> tuple[str, ...]:
    """List the files of the sweep at ``files`` in the order of deletion; the one that marks it as a sweep is last."""
    songs = (*SONG_FILES, FACTS_FILE) if synthesised(files) else ()
    pages = (*REPORTS, *STUDY_FILES, "evaluations")
    found = (*pages, "failures.json", "search", "tune", *songs, "checkpoints", BASELINES, "runs")
    return (*found, SEARCH_PATH, PLANNED_PATH)


@dataclass(frozen=True)
class Deletion:
    """Paths in ``files`` that would be deleted, with the number and size of their files."""

    files: Store
    names: dict[str, list[str]]
    num_bytes: int
    kept: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self.names)

    @property
    def num_files(self) -> int:
        return sum(map(len, self.names.values()))

    def run(self) -> None:
        """Delete the files. Raises BusyError if a job writes to the corpus or sweep, or trains one of its runs."""
        with writing(self.files, "inventory"):
            for folder in _written_runs(self.files):
                refuse_busy(self.files.child(folder))
            for path, names in self.names.items():  # in this order: what makes the folder a corpus or sweep goes last
                self._delete(path, names)
        if (root := self.files.local_path()) is not None:
            _remove_if_empty(str(root))

    def _delete(self, path: str, names: Sequence[str]) -> None:
        self.files.delete(*names)
        if (folder := self.files.local_path(path)) is not None:
            for below, _, _ in os.walk(folder, topdown=False):
                _remove_if_empty(below)


def _written_runs(files: Store) -> list[str]:
    """The folders of runs with a lease, which a job that trains one has there."""
    return [path.rpartition("/")[0] for path in files.list("runs") if path.endswith(f"/{LEASE_PATH}")]


def _remove_if_empty(folder: str) -> None:
    with suppress(OSError):  # something else lies there
        os.rmdir(folder)


def deletion(files: Store, what: str, version: str = "", run: str = "") -> Deletion:
    """List what deleting ``what`` (one of WHATS) of the sweep or corpus at ``files`` would remove.

    ``sweep`` keeps an embedded corpus, because other sweeps may use it. ``checkpoints`` are those of finished runs,
    because an unfinished run continues from its own, or those of ``run``, finished or not. ``version`` is an earlier
    version of a corpus: its tables and features are deleted, the shards stay. Raises ValueError for a combination
    that does not exist.
    """
    if what not in WHATS:
        raise ValueError(f"delete={what!r} is none of {list(WHATS)}")
    if run and what != "checkpoints":
        raise ValueError(f"run={run} works with delete=checkpoints only, not with delete={what}")
    if run and not RUN_ID.fullmatch(run):
        raise ValueError(f"run={run!r} is no run's id, which has 12 of the digits 0-9 and a-f")
    kind = "corpus" if what in ("corpus", "version") else "sweep"
    if not (is_corpus(files) if kind == "corpus" else is_sweep(files)):
        raise ValueError(f"{files.uri} is not a {kind}: it holds no files of one, finished or begun")
    if what == "version":
        features = [path for path in feature_files(files) if path.endswith(f"-{version}.parquet")]
        candidates = [*features, _version_path(files, version)]
    elif what == "checkpoints":
        candidates = [f"checkpoints/{run_id}" for run_id in _ids(files, run)]
    else:
        candidates = list(CORPUS_FILES if what == "corpus" else sweep_files(files))
    sizes = {path: files.sizes(path) for path in candidates}
    names = {path: [name for name in found if is_ours(name)] for path, found in sizes.items()}
    if run and not any(names.values()):
        raise ValueError(
            f"run={run} has no checkpoints in {files.uri}; without delete= and with at= its runs are listed"
        )
    return Deletion(
        files=files,
        names={path: found for path, found in names.items() if found},
        num_bytes=sum(sizes[path][name] for path, found in names.items() for name in found),
        kept=tuple(name for found in sizes.values() for name in found if not is_ours(name)),
    )


def _ids(files: Store, run: str) -> list[str]:
    """The runs whose checkpoints may go: ``run``, or all that have finished."""
    return [run] if run else [id for id in sorted(finished_runs(files)) if RUN_ID.fullmatch(id)]


def _version_path(files: Store, version: str) -> str:
    current = _summary(files).get("version")
    versions = [name for name in files.folders("manifest") if VERSION.fullmatch(name)]
    if version == current:
        raise ValueError(
            f"version {version} is the current version; delete the corpus (delete=corpus) or another version"
        )
    if version not in versions:
        raise ValueError(f"version={version!r} is none of {versions} of {files.uri}")
    return f"manifest/{version}"


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def format_items(items: Sequence[Item], uri: str, runs: bool = False) -> str:
    """Format the items for a terminal; with ``runs``, add a line for each run of a sweep."""
    table = Table(title=Text(printable(f"{len(items)} sweeps and corpora in {uri}")))
    for name in ("path", "kind", "holds", "size"):
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for item in items:
        # as Text: a folder that is called [bold] has that name, and is no markup
        table.add_row(*(Text(printable(cell)) for cell in _cells(item)))
    sink = io.StringIO()
    console = Console(file=sink, width=shutil.get_terminal_size((120, 1)).columns, highlight=False)
    console.print(table, *(_runs_table(item) for item in items if runs and isinstance(item, SweepItem)))
    return sink.getvalue()


def _cells(item: Item) -> tuple[str, str, str, str]:
    path = item.path or "."
    if isinstance(item, UnreadItem):
        return path, "not read", item.reason, ""
    if isinstance(item, CorpusItem):
        return path, "corpus", _corpus_text(item), megabytes(item.num_bytes)
    return path, "sweep", _sweep_text(item), megabytes(item.num_bytes)


def _corpus_text(item: CorpusItem) -> str:
    if not item.versions:
        return f"{item.num_shards} shards of a corpus that is not finished"
    earlier = f", earlier {', '.join(item.versions[1:])}" if item.versions[1:] else ""
    counts = f"{item.num_songs:,} songs, {item.num_tags} tags, {item.num_shards} shards"
    return f"{counts}; version {item.versions[0]}{earlier}"


def _sweep_text(item: SweepItem) -> str:
    other = len(item.finished - item.planned)
    runs = f"{len(item.finished & item.planned)} of {len(item.planned)} planned runs finished"
    runs += f", {other} others" if other else ""
    if not item.planned:
        runs = f"{other} of {len(item.begun)} runs finished, no sweep was planned"
    songs = f"; {megabytes(item.song_bytes)} of encoded songs" if item.song_bytes else ""
    return f"{runs}; {megabytes(sum(item.checkpoint_bytes.values()))} of checkpoints{songs}"


def _runs_table(item: SweepItem) -> Table:
    table = Table("run", "state", "checkpoints", title=Text(printable(f"runs of {item.path or '.'}")))
    for run in sorted(item.planned | item.begun | item.finished):
        state = "finished" if run in item.finished else "not finished"
        known = run in item.planned or not item.planned
        size = megabytes(item.checkpoint_bytes.get(run, 0))
        table.add_row(Text(printable(run)), state if known else f"{state}, of another plan", size)
    return table
