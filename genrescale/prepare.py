"""What a run needs before it starts: its songs and plans, its config written out, and the refusal of the impossible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from genrescale.audio import PCM_SCALE, SAMPLE_RATE, Vocabulary, seconds_to_len
from genrescale.config import ModelConfig, RunConfig, SiteConfig
from genrescale.data.crops import SongTable, StreamSource, read_crop
from genrescale.data.manifest import Manifest
from genrescale.data.plan import KINDS, Kind, RunPlan, ScorePlan, TrainPlan, check_workers
from genrescale.losses import build_loss
from genrescale.models import full_dials, min_crop_len
from genrescale.models.frontend import log_mel_statistics

NORMALISATION_SONGS = 512  # enough for two scalars: their error is far below a model's seed spread


@dataclass(frozen=True, eq=False)
class RunData:
    """The data of one run: its songs and plans, and the digest that its identity holds."""

    source: StreamSource
    vocabulary: Vocabulary
    digest: str
    corpus_version: str


def prepare_data(run: RunConfig, manifest: Manifest) -> RunData:
    """Select the run's songs and plan its reading. Raises ValueError for a size above the corpus."""
    crop_len = seconds_to_len(run.data.crop_s)
    rows = {kind: manifest.select(kind, run.data.size if kind == "train" else 0) for kind in KINDS}
    if run.data.val_songs:
        rows["validation"] = rows["validation"][: run.data.val_songs]
    empty = [kind for kind in KINDS if len(rows[kind]) == 0]
    if empty:
        raise ValueError(f"corpus {manifest.uri} has no songs in {empty}; training needs train, validation and test")
    labels = {kind: manifest.labels_NK[rows[kind]] for kind in KINDS}
    if run.data.labels == "shuffled":
        labels["train"] = np.random.default_rng([run.seed, 1]).permutation(labels["train"])
    tables: dict[Kind, SongTable] = {kind: SongTable.of(manifest, rows[kind], labels[kind]) for kind in KINDS}
    plan = RunPlan(
        train=TrainPlan(tables["train"].len_N, run.seed, run.data.batch, run.data.group, crop_len),
        validation=ScorePlan(tables["validation"].len_N, crop_len, run.data.scoring, "validation"),
        max_steps=run.optim.max_steps,
        validate_every=run.optim.validate_every,
    )
    source = StreamSource(tables, plan, ScorePlan(tables["test"].len_N, crop_len, run.data.scoring, "test"))
    digest = "-".join(manifest.digest(rows[kind])[:16] for kind in KINDS)
    return RunData(source, manifest.vocabulary, digest, manifest.version)


def complete_run(run: RunConfig, manifest: Manifest, normalisation_size: int) -> RunConfig:
    """The run with every dial of its model written out, so that a default and the same value given are one run.

    A model of log-mel spectrograms gets its normalisation: two scalars over the first ``normalisation_size`` train
    songs. A sweep measures them once, on its smallest size, so that they do not differ between sizes. At most
    NORMALISATION_SONGS are read: a prefix of the nested order, which is stratified.
    """
    dials = full_dials(run.model.name, run.model.dials)
    if "log_mel_mean" in dials and not {"log_mel_mean", "log_mel_std"} <= set(run.model.dials):
        rows = manifest.select("train", min(normalisation_size, NORMALISATION_SONGS))
        crops = _middle_crops(SongTable.of(manifest, rows), seconds_to_len(run.data.crop_s))
        mean, std = log_mel_statistics(crops)
        # Rounded, so that the identity of a run does not hang on the last digits of a machine's FFT.
        dials |= {"log_mel_mean": round(mean, 4), "log_mel_std": round(std, 4)}
    return replace(run, model=ModelConfig(run.model.name, dials))


def _middle_crops(table: SongTable, crop_len: int) -> Iterator[torch.Tensor]:
    for song, length in enumerate(table.len_N.tolist()):
        pcm_T = np.zeros(min(crop_len, length), np.int16)
        read_crop(table, song, max(0, (length - crop_len) // 2), pcm_T)
        yield torch.from_numpy(pcm_T).float() * PCM_SCALE


def check_run(run: RunConfig, site: SiteConfig, vocabulary: Vocabulary) -> None:
    """Refuse, before anything starts, a run that cannot work. Raises ValueError."""
    check_workers(run.data.batch, run.data.group, site.workers)
    shortest = min_crop_len(run.model.name, **run.model.dials)
    if seconds_to_len(run.data.crop_s) < shortest:
        raise ValueError(
            f"model {run.model.name} with {run.model.dials} needs crops of {shortest / SAMPLE_RATE:.2f} s or more; "
            f"crop_s is {run.data.crop_s}"
        )
    build_loss(run.loss, vocabulary)
