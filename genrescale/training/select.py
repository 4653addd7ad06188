"""The data of a run: its songs (rows of the manifest), the plans over them, and the digest that its identity holds.

Shapes: N songs, K tags.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from genrescale.audio import SPLITS, Split, seconds_to_len
from genrescale.config import DataConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import SongTable
from genrescale.data.reading.plan import RunPlan, ScorePlan, TrainPlan
from genrescale.data.reading.samplers import ClassAware, Mixture, Sampler, Uniform, Windows
from genrescale.data.reading.shard_cache import ShardCache
from genrescale.data.reading.source import StreamSource
from genrescale.storage.retry import Patience


@dataclass(frozen=True, eq=False)
class RunData:
    """The data of one run: its songs (rows of the manifest) and plans, and the digest that its identity holds."""

    manifest: Manifest
    rows: Mapping[Split, np.ndarray]
    train_labels_NK: np.ndarray
    plan: RunPlan
    test: ScorePlan
    digest: str

    def source(self, site: SiteConfig | None = None) -> StreamSource:
        """What reading needs; this reads the songs' checksums. The site decides on patience and caching."""
        site = site or SiteConfig()
        patience = Patience(site.storage_patience_s)
        cache = ShardCache(site.shard_cache, int(site.shard_cache_gb * 1e9)) if site.shard_cache else None
        labels: dict[Split, np.ndarray] = {"train": self.train_labels_NK}
        tables: dict[Split, SongTable] = {
            kind: SongTable.of(self.manifest, self.rows[kind], labels.get(kind), patience, cache) for kind in SPLITS
        }
        return StreamSource(tables, self.plan, self.test)

    @property
    def class_counts_K(self) -> np.ndarray:
        """Training songs that carry each tag (of a regress tag: those above 0)."""
        return (self.train_labels_NK > 0).sum(axis=0)

    @property
    def test_keys(self) -> list[str]:
        return self.manifest.songs["key"].take(self.rows["test"]).to_pylist()


@lru_cache(maxsize=64)
def _selected(manifest: Manifest, kind: Split, limit: int) -> tuple[np.ndarray, str]:
    """The first ``limit`` songs of a split and their digest; a sweep asks for the same ones in many trials."""
    rows = manifest.select(kind, limit)
    if len(rows) == 0:
        raise ValueError(f"corpus {manifest.uri} has no {kind} songs; training needs train, validation and test")
    return rows, manifest.digest(rows)[:16]


def select_data(run: RunConfig, manifest: Manifest) -> RunData:
    """Select the run's songs and plan its reading: the same in every process that has the same corpus.

    Raises ValueError for a size above the corpus, and for a sampler that these songs do not allow. Whether the run
    can be trained on them is for ``genrescale.training.checks``.
    """
    num_validation = len(manifest.select("validation"))
    limits: dict[Split, int] = {
        "train": run.data.size,
        "validation": min(run.data.val_songs, num_validation),
        "test": 0,
    }
    chosen = {kind: _selected(manifest, kind, limits[kind]) for kind in SPLITS}
    rows: dict[Split, np.ndarray] = {kind: chosen[kind][0] for kind in SPLITS}
    labels_NK = manifest.labels_NK[rows["train"]]
    if run.data.labels == "shuffled":
        labels_NK = np.random.default_rng([run.seed, 1]).permutation(labels_NK)
    digest = "-".join([*(chosen[kind][1] for kind in SPLITS), *_places_digest(run, manifest, rows["train"])])
    return RunData(manifest, rows, labels_NK, *_plans(run, manifest, rows, labels_NK), digest)


def _plans(
    run: RunConfig, manifest: Manifest, rows: Mapping[Split, np.ndarray], labels_NK: np.ndarray
) -> tuple[RunPlan, ScorePlan]:
    """The plan of training and validation, and that of the test."""
    len_N, crop_len = manifest.column("num_samples"), seconds_to_len(run.data.crop_s)
    sampler = _sampler(run.data, manifest, rows["train"], labels_NK)
    validation = run.data.validation_scoring or run.data.scoring
    plan = RunPlan(
        train=TrainPlan(len_N[rows["train"]], run.seed, run.data.batch, run.data.group, crop_len, sampler),
        validation=ScorePlan(len_N[rows["validation"]], crop_len, validation, "validation"),
        max_steps=run.optim.max_steps,
        validate_every=run.optim.validate_every,
    )
    return plan, ScorePlan(len_N[rows["test"]], crop_len, run.data.scoring, "test")


def _sampler(data: DataConfig, manifest: Manifest, rows: np.ndarray, labels_NK: np.ndarray) -> Sampler:
    """The sampler of a DataConfig over the train songs."""
    match data.sampler:
        case "class_aware":  # classes are the tags that are there or not, not regressed
            classes = [i for i, tag in enumerate(manifest.vocabulary.tags) if tag.kind == "classify"]
            return ClassAware.of(labels_NK[:, classes])
        case "mixture":
            if manifest.num_parts < 2:
                raise ValueError(
                    f"sampler=mixture weighs the corpora of a mix, and {manifest.uri} is one corpus; mix several with "
                    "jobs/mix_corpora.py corpora=[A,B] out=..."
                )
            return Mixture(manifest.part_N()[rows], tuple(data.weights))
        case "windows":
            shard_N = manifest.column("shard")[rows]
            return Windows(shard_N, data.window_shards, data.group, data.batch // data.group)
        case _:
            return Uniform(len(rows))


def _places_digest(run: RunConfig, manifest: Manifest, rows: np.ndarray) -> list[str]:
    """What the identity of a run must hold where its training depends on more than its songs: their shards, or corpora.

    None where it does not: the same songs, sharded anew, are the same run.
    """
    if run.data.sampler == "windows":
        place_N = np.unique(manifest.column("shard")[rows], return_inverse=True)[1]
    elif run.data.sampler == "mixture" or run.contrast.weight:
        place_N = manifest.part_N()[rows]
    else:
        return []
    return [hashlib.sha256(place_N.astype("<i8").tobytes()).hexdigest()[:16]]
