"""Train the baselines of a corpus at each size, score them on its test songs, and write their rows.

A baseline sees the songs that a run of the same size sees, selected by the same code, and its test scores are computed
by the same functions. What has finished is not done again. Shapes: N songs, F features, K tags.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import numpy as np

from genrescale.audio import SPLITS
from genrescale.baselines.extractors import Extractor
from genrescale.baselines.fit import Fitted, Songs, fit_linear, fit_trees, linear_science
from genrescale.baselines.tables import Extract, feature_matrix
from genrescale.baselines.trees import TreeDials, tree_science
from genrescale.config import RunConfig
from genrescale.config.baselines import BaselinesConfig
from genrescale.data.manifest import Manifest
from genrescale.display.text import count_text
from genrescale.results import ScoreTable, write_scores
from genrescale.results.baseline import (
    EMBEDDINGS,
    FLOOR,
    TREES,
    BaselineFailure,
    BaselineRow,
    baseline_folder,
    baseline_id,
    is_baseline_finished,
    read_baseline,
    write_baseline,
    write_baseline_failures,
)
from genrescale.results.code_version import code_version
from genrescale.storage.errors import LeaseLostError
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import say
from genrescale.training.outputs import outputs_of
from genrescale.training.select import select_data

_NAMES = 400  # bytes of a song's key, checksum and length in the job, counted


class Each(Protocol):
    """``distribute.Tasks``, or what does the same without Ray."""

    def __call__(self, function: Callable[..., Any], items: Sequence[Any], *arrays: np.ndarray) -> Iterator[Any]: ...


@dataclass(frozen=True, eq=False)
class Baseline:
    """A kind of baseline: its name, how it makes vectors of songs and learns from them.

    ``science`` is what may change the result, beside the vectors and songs; if ``seeded``, the seed may, too.
    """

    name: str
    extractor: Callable[[], Extractor]
    fit: Callable[..., Fitted]
    science: dict[str, Any]
    seeded: bool = False


@dataclass
class Ended:
    """The rows of all baselines that were asked for, in order, how many of them were there before, and failures."""

    rows: list[BaselineRow] = field(default_factory=list)
    reused: int = 0
    failures: list[BaselineFailure] = field(default_factory=list)


def baselines_of(config: BaselinesConfig) -> list[Baseline]:
    """The baselines that are asked for."""
    from genrescale.baselines.features import HandMade
    from genrescale.baselines.log_mel import LogMelStatistics

    wanted = [Baseline(FLOOR, LogMelStatistics, fit_linear, linear_science())] if config.floor else []
    if config.trees:
        dials = TreeDials()
        wanted.append(Baseline(TREES, HandMade, partial(fit_trees, dials=dials), tree_science(dials), seeded=True))
    for model, weights in config.embeddings.items():
        name = f"{EMBEDDINGS} {model}"
        wanted.append(Baseline(name, partial(_embeddings, model, weights), fit_linear, linear_science()))
    return wanted


def _embeddings(model: str, weights: str) -> Extractor:
    from genrescale.baselines.embeddings import Embeddings
    from genrescale.export.published import load_frozen

    return Embeddings(load_frozen(model, Store(weights)))


def run_baselines(
    wanted: Sequence[Baseline],
    runs: Sequence[RunConfig],
    manifest: Manifest,
    files: Store,
    extract: Extract,
    each: Each,
    claim: Claim | None = None,
) -> Ended:
    """Train what is missing of ``wanted`` at the size of each run, and write rows and score tables to ``files``.

    ``runs`` give size, validation songs, labels and seed. A baseline that fails is told in a line and noted beside the
    rows; the others go on. ``claim`` is the right of the job to write.
    """
    ended = Ended()
    for baseline in wanted:
        try:
            _run(baseline, runs, manifest, files, extract, each, claim, ended)
        except LeaseLostError:
            raise
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            text = f"{kind}{error}".strip().splitlines()[0]
            done = {row.size for row in ended.rows if row.name == baseline.name}
            for size in [run.data.size for run in runs if run.data.size not in done]:
                ended.failures.append(BaselineFailure(baseline.name, size, text))
            say(f"[baselines] {baseline.name} failed, the others go on: {text}", sys.stderr)
    _check(claim)
    write_baseline_failures(files, ended.failures)
    return ended


def _check(claim: Claim | None) -> None:
    if claim:
        claim.check()


def _run(
    baseline: Baseline,
    runs: Sequence[RunConfig],
    manifest: Manifest,
    files: Store,
    extract: Extract,
    each: Each,
    claim: Claim | None,
    ended: Ended,
) -> None:
    """One baseline at all sizes: its vectors are made once, for the largest, whose first songs are the smaller ones."""
    extractor = baseline.extractor()
    chosen = [(run, select_data(run, manifest)) for run in runs]
    missing = []
    for run, data in chosen:
        id = baseline_id(science(baseline, extractor, run), data.digest)
        if is_baseline_finished(files, id):
            ended.rows.append(read_baseline(files, id))
            ended.reused += 1
        else:
            missing.append((id, run, data))
    if not missing:
        return
    largest = max((data for _, _, data in missing), key=lambda data: len(data.rows["train"]))
    rows = np.concatenate([largest.rows[split] for split in SPLITS])
    value_NF = feature_matrix(manifest, rows, extractor, extract)
    bounds = np.cumsum([len(largest.rows[split]) for split in SPLITS])[:-1]
    of_split = dict(zip(SPLITS, np.split(value_NF, bounds), strict=True))
    for id, run, data in missing:
        songs = Songs(of_split, data, manifest)
        row = _fitted(baseline, songs, run, id, manifest, files, each, claim)
        ended.rows.append(row)
        say(f"[baselines] {row.name}, {count_text(row.size, 'song')}: {scores_text(row)}", sys.stderr)


def _fitted(
    baseline: Baseline,
    songs: Songs,
    run: RunConfig,
    id: str,
    manifest: Manifest,
    files: Store,
    each: Each,
    claim: Claim | None,
) -> BaselineRow:
    began, data = time.perf_counter(), songs.data
    fitted = baseline.fit(songs, each, run.seed)
    seconds = time.perf_counter() - began
    true_NK, keys = manifest.labels_NK[data.rows["test"]], data.test_keys
    metrics = outputs_of(run.loss, manifest.vocabulary).metrics(true_NK, fitted.score_NK)
    _check(claim)
    table = ScoreTable(keys, [1] * len(keys), [False] * len(keys), true_NK, fitted.score_NK)
    write_scores(files, f"{baseline_folder(id)}/scores.parquet", table, manifest.vocabulary.names)
    row = BaselineRow(
        baseline_id=id,
        name=baseline.name,
        size=run.data.size,
        labels=run.data.labels,
        seed=run.seed,
        **metrics,
        test_songs=len(keys),
        settings=fitted.settings,
        num_features=songs.num_features,
        seconds=round(seconds, 3),
        corpus=manifest.uri,
        corpus_version=manifest.version,
        data_digest=data.digest,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=code_version(),
    )
    _check(claim)
    write_baseline(files, row)
    return row


def science(baseline: Baseline, extractor: Extractor, run: RunConfig) -> dict[str, Any]:
    """What may change the result of a baseline, beside its songs."""
    return {
        "name": baseline.name,
        "features": [extractor.name, extractor.definition],
        "fit": baseline.science,
        "size": run.data.size,
        "labels": run.data.labels,
        "seed": run.seed if baseline.seeded or run.data.labels == "shuffled" else None,
    }


def scores_text(row: BaselineRow) -> str:
    """The metrics of a row that are defined, as ``PR-AUC 0.4402``."""
    from genrescale.config.metrics import METRICS, ROW_METRICS

    values = {METRICS[name].label: getattr(row, name) for name in ROW_METRICS}
    return ", ".join(f"{label} {value:.4f}" for label, value in values.items() if value is not None)


def memory_text(num_songs: int, num_features: int, trees: bool) -> str:
    """What a baseline holds in memory for so many songs, in a sentence, by counting its arrays."""
    matrix = 4 * num_songs * num_features
    # linear: one copy, standardised; trees: one of the features, and by tag bins of a byte, gradients, scores, labels
    task = num_songs * (num_features + 32) if trees else 64 * num_songs
    in_store, in_job, in_task = (f"{size / 1e6:,.0f} MB" for size in (matrix, 3 * matrix + _NAMES * num_songs, task))
    return (
        f"{num_features} features of {count_text(num_songs, 'song')} take {in_store} in the object store of a node, at "
        f"most {in_job} in the job, and {in_task} in each task"
    )
