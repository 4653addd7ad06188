"""Runs from end to end without Ray: toy songs as shards, plan, crops, engine, loop, score table, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from helpers.small_corpus import shard_here

from genrescale.audio import SAMPLE_RATE, Song, Vocabulary
from genrescale.config import RunConfig, SiteConfig
from genrescale.config.corpus import ShardSettings
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.plan import score_items
from genrescale.data.reading.source import local_stream
from genrescale.results import ScoreTable, join_scores, read_scores, write_scores
from genrescale.storage.store import Store
from genrescale.training.assemble import build_loop, score_table
from genrescale.training.loop import TrainingLoop
from genrescale.training.resolve import ResolvedRun, resolve

SPLITS = (*["train"] * 6, "validation", *["test"] * 3)
"""Of ten songs."""


def shard_waves(
    folder: Path, waves: Sequence[np.ndarray], labels: Sequence[dict[str, float]], vocabulary: Vocabulary
) -> Manifest:
    """Waves as encoded songs, then as shards with splits as of SPLITS; read back from disk."""
    songs = []
    for i, (wave_T, tags) in enumerate(zip(waves, labels, strict=True)):
        path = folder / f"{i}.wav"
        soundfile.write(path, wave_T, SAMPLE_RATE)
        split = SPLITS[i % len(SPLITS)]
        songs.append(Song(f"s{i:04d}", str(path), f"artist{i}", tags, split))
    settings = ShardSettings(songs_per_shard=64, min_s=0.1)
    result = shard_here(songs, Store(str(folder / "shards")), settings=settings, vocabulary=vocabulary)
    return read_manifest(result.manifest.uri)


def train(run: RunConfig, corpus: Manifest, out: Store, parents: str = "") -> tuple[ResolvedRun, TrainingLoop]:
    """A run as it was resolved, and its loop after training."""
    resolved = resolve(run, SiteConfig(corpus=corpus.uri, out=out.uri, parents=parents), corpus)
    run, site, data = resolved.ticket.run, resolved.ticket.site, resolved.data
    loop = build_loop(run, site, corpus.vocabulary, data.plan, lambda *_: None, data.class_counts_K)
    loop.train(local_stream(data.source(), data.plan.items(0, 1)))
    return resolved, loop


def train_and_score(run: RunConfig, corpus: Manifest, out: Store) -> tuple[dict[str, Any], ScoreTable]:
    """The metrics of a run's test songs, computed from the score table that it leaves in ``out``, and that table."""
    resolved, loop = train(run, corpus, out)
    return score(resolved, loop, out)


def score(resolved: ResolvedRun, loop: TrainingLoop, out: Store) -> tuple[dict[str, Any], ScoreTable]:
    """What ``train_and_score`` returns, of a loop that has trained."""
    data = resolved.data
    source, items = data.source(), list(score_items(data.test, 0, 1))
    scores = loop.score_best(data.test, items, local_stream(source, items))
    table = score_table(scores, source.tables["test"], source.crop_len)
    write_scores(out, "scores-0.parquet", table, loop.outputs.names)
    found = join_scores([read_scores(out, "scores-0.parquet")[0]], data.test_keys)
    return loop.outputs.metrics(found.true_NK, found.score_NK), found
