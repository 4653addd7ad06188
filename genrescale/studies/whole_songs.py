"""Score finished runs on whole songs: each test song is one input of the model, instead of averaged windows.

Pons et al. 2018, section 4, leave this comparison open. Shapes: N songs, T samples, K tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from genrescale.audio import Clip
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.tasks import run_tasks
from genrescale.export import load_run_model
from genrescale.results import ScoreTable, join_scores, run_folder, write_scores
from genrescale.storage.store import Store
from genrescale.tagging.scores import tag_clip
from genrescale.telemetry.progress import Progress

SONGS_PER_TASK = 256  # a task reads the manifest once


def whole_path(run_id: str) -> str:
    """The score table of whole songs, beside the run's own."""
    return f"{run_folder(run_id)}/whole_scores.parquet"


def score_whole_songs(files: Store, manifest: Manifest, run_ids: Sequence[str]) -> None:
    """Write a score table of whole songs for each of the runs that has none, on the connected Ray cluster.

    Raises ValueError, naming song and model, where a model cannot take a song as one input.
    """
    missing = [id for id in run_ids if not files.exists(whole_path(id))]
    rows = manifest.select("test")
    with Progress("whole_songs", len(missing) * len(rows), "songs") as progress:
        for run_id in missing:
            firsts = range(0, len(rows), SONGS_PER_TASK)
            chunks = [(files, run_id, manifest.uri, rows[first : first + SONGS_PER_TASK]) for first in firsts]
            parts = []
            for part in run_tasks(_score_songs, chunks, "whole_songs"):
                parts.append(part)
                progress.advance(len(part.keys))
            keys = manifest.songs["key"].take(pa.array(rows)).to_pylist()
            write_scores(files, whole_path(run_id), join_scores(parts, keys), manifest.vocabulary.names)


def _score_songs(task: tuple[Store, str, str, np.ndarray]) -> ScoreTable:
    """A task: some test songs, each decoded from its shard and given to the model as it is.

    A song that is shorter than the model's windows is padded to one, as it is in the run's own scores.
    """
    files, run_id, corpus, rows = task
    manifest, (exported, _) = read_manifest(corpus), load_run_model(files, run_id)
    table = SongTable.of(manifest, rows)
    keys, padded, scores = table.keys.to_pylist(), [], []
    for song, key in enumerate(keys):
        length = int(table.len_N[song])
        pcm_T = read_crops(table, np.array([song]), np.array([0]), length)[0]
        tags = tag_clip(exported, Clip(key, pcm_T), whole=True)
        if tags.whole_K is None and not tags.padded:
            raise ValueError(f"model {exported.spec.model} cannot take the whole song {key} ({tags.seconds:.0f} s)")
        scores.append(tags.score_K if tags.whole_K is None else tags.whole_K)
        padded.append(tags.padded)
    return ScoreTable(keys, [1] * len(keys), padded, manifest.labels_NK[rows], np.stack(scores))
