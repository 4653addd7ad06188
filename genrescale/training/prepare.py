"""What a run needs before it starts: its songs and plans, its config written out, and the refusal of the impossible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from genrescale.audio import PCM_SCALE, SAMPLE_RATE, SPLITS, Split, Vocabulary, seconds_to_len
from genrescale.config import DataConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.config.losses import PRETEXT, full_loss_dials
from genrescale.config.optim import ALL_BUT_HEAD, LOSS_SELECTORS
from genrescale.config.spec_augment import parse_spec_augment
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.reading.plan import RunPlan, ScorePlan, TrainPlan, check_workers
from genrescale.data.reading.samplers import ClassAware, Mixture, Sampler, Uniform, Windows
from genrescale.data.reading.shard_cache import ShardCache
from genrescale.data.reading.source import StreamSource
from genrescale.losses import build_loss
from genrescale.metrics import score
from genrescale.models import PRETEXTS, build_model, fixed_crop_len, full_dials, min_crop_len
from genrescale.models.parts.frontend import log_mel_statistics
from genrescale.models.parts.spec_augment import check_masks, put_spec_augment
from genrescale.results.weights import ModelHeader, read_header
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store
from genrescale.training.parameters import choose_trained, fit_weights, match_weights
from genrescale.training.schedules import selector

READ_AT_ONCE = 32  # crops
NORMALISATION_SONGS = 512  # enough for two scalars: their error is far below a model's seed spread


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


def prepare_data(run: RunConfig, manifest: Manifest) -> RunData:
    """Select the run's songs and plan its reading.

    Raises ValueError for a size above the corpus, for a loss that cannot be trained on these songs' tags, and for a
    figure to choose checkpoints by that the validation songs do not define.
    """
    crop_len = seconds_to_len(run.data.crop_s)
    num_validation = len(manifest.select("validation"))
    limits: dict[Split, int] = {
        "train": run.data.size,
        "validation": min(run.data.val_songs, num_validation),
        "test": 0,
    }
    chosen = {kind: _selected(manifest, kind, limits[kind]) for kind in SPLITS}
    rows: dict[Split, np.ndarray] = {kind: chosen[kind][0] for kind in SPLITS}
    labels_NK = manifest.labels_NK[rows["train"]]
    if run.contrast.weight:
        check_contrast(manifest, rows["train"])
    if run.data.labels == "shuffled":
        labels_NK = np.random.default_rng([run.seed, 1]).permutation(labels_NK)
    len_N = manifest.column("num_samples")
    plan = RunPlan(
        train=TrainPlan(
            len_N[rows["train"]],
            run.seed,
            run.data.batch,
            run.data.group,
            crop_len,
            _sampler(run.data, manifest, rows["train"], labels_NK),
        ),
        validation=ScorePlan(
            len_N[rows["validation"]], crop_len, run.data.validation_scoring or run.data.scoring, "validation"
        ),
        max_steps=run.optim.max_steps,
        validate_every=run.optim.validate_every,
    )
    test = ScorePlan(len_N[rows["test"]], crop_len, run.data.scoring, "test")
    digest = "-".join([*(chosen[kind][1] for kind in SPLITS), *_places_digest(run, manifest, rows["train"])])
    data = RunData(manifest, rows, labels_NK, plan, test, digest)
    if run.optim.best_by not in LOSS_SELECTORS:
        check_selector(run, manifest, rows["validation"])
    build_loss(run.loss, manifest.vocabulary, data.class_counts_K, run.data.size, **run.loss_dials)
    return data


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


def check_selector(run: RunConfig, manifest: Manifest, rows: np.ndarray) -> None:
    """Refuse a ``best_by`` that the validation songs do not define (labels as scores define the same figures)."""
    labels_NK = manifest.labels_NK[rows]
    selector(run.optim, 0.0, score(labels_NK, labels_NK, manifest.vocabulary))


def check_contrast(manifest: Manifest, rows: np.ndarray) -> None:
    """Refuse contrastive training where songs have several tags, or where only one corpus is trained on."""
    if not manifest.vocabulary.exclusive:
        raise ValueError("contrast.weight needs an exclusive vocabulary (one tag per song): classes make its pairs")
    if len(np.unique(manifest.part_N()[rows])) < 2:
        raise ValueError(
            f"contrast.weight draws songs of other corpora to those of the first, and {manifest.uri} has one corpus "
            "to train on; mix real songs with synthetic ones: jobs/mix_corpora.py corpora=[REAL,SYNTHETIC]"
        )


def complete_run(run: RunConfig, manifest: Manifest, normalisation_size: int) -> RunConfig:
    """The run with every dial of model and loss written out, so that a default and the same value given are one run.

    A model of log-mel spectrograms gets its normalisation: two scalars over the first ``normalisation_size`` train
    songs. A sweep measures them once, on its smallest size, so that they do not differ between sizes. At most
    NORMALISATION_SONGS are read: a prefix of the nested order, which is stratified.
    """
    dials = full_dials(run.model.name, run.model.dials)
    if "log_mel_mean" in dials and not {"log_mel_mean", "log_mel_std"} <= set(run.model.dials):
        mean, std = _normalisation(manifest, min(normalisation_size, NORMALISATION_SONGS), run.data.crop_s)
        dials |= {"log_mel_mean": mean, "log_mel_std": std}
    return replace(run, model=ModelConfig(run.model.name, dials), loss_dials=full_loss_dials(run.loss, run.loss_dials))


@lru_cache(maxsize=8)
def _normalisation(manifest: Manifest, num_songs: int, crop_s: float) -> tuple[float, float]:
    table = SongTable.of(manifest, manifest.select("train", num_songs))
    mean, std = log_mel_statistics(_middle_crops(table, seconds_to_len(crop_s)))
    # Rounded, so that the identity of a run does not hang on the last digits of a machine's FFT.
    return round(mean, 4), round(std, 4)


def _middle_crops(table: SongTable, crop_len: int) -> Iterator[torch.Tensor]:
    starts_N = np.maximum(0, table.len_N - crop_len) // 2
    for songs_n in np.array_split(np.arange(len(table)), -(-len(table) // READ_AT_ONCE)):
        wave_nT = read_crops(table, songs_n, starts_N[songs_n], crop_len)
        for pcm_T, length in zip(wave_nT, table.len_N[songs_n].tolist(), strict=True):
            yield torch.from_numpy(pcm_T[:length]).float() * PCM_SCALE


def check_run(run: RunConfig, site: SiteConfig, vocabulary: Vocabulary) -> None:
    """Refuse, before anything starts, a run that cannot work. Raises ValueError."""
    check_pretext(run)
    check_workers(run.data.batch, run.data.group, site.workers)
    shortest = min_crop_len(run.model.name, **run.model.dials)
    if seconds_to_len(run.data.crop_s) < shortest:
        raise ValueError(
            f"model {run.model.name} with {run.model.dials} needs crops of {shortest / SAMPLE_RATE:.2f} s or more; "
            f"crop_s is {run.data.crop_s}"
        )
    fixed = fixed_crop_len(run.model.name, **run.model.dials)
    if fixed is not None and seconds_to_len(run.data.crop_s) != fixed:
        raise ValueError(
            f"model {run.model.name} with {run.model.dials} takes crops of {fixed / SAMPLE_RATE:g} s only "
            f"(its dense layer is as wide as its input is long); crop_s is {run.data.crop_s}: change it or input_len"
        )
    if run.augment.spec_augment != "none":
        model, masks = _model(run, vocabulary), parse_spec_augment(run.augment.spec_augment)
        put_spec_augment(model, masks)
        check_masks(model, masks, seconds_to_len(run.data.crop_s))
    check_layers(run, vocabulary)
    if run.init.run:
        check_parent(run, parents_store(site), vocabulary)


def check_pretext(run: RunConfig) -> None:
    """Refuse a model that is trained without tags under a loss of tags, the reverse, and what needs tags or a head."""
    if (run.model.name in PRETEXTS) != (run.loss == PRETEXT):
        raise ValueError(
            f"loss={PRETEXT} and models that are trained without tags, {sorted(PRETEXTS)}, go with each other only; "
            f"found model {run.model.name} with loss={run.loss}"
        )
    needs_tags = {
        "contrast.weight": run.contrast.weight > 0,
        "optim.layer_decay": run.optim.layer_decay != 1,
        "optim.backbone_lr": run.optim.backbone_lr > 0,
        f"optim.freeze=[{ALL_BUT_HEAD}]": ALL_BUT_HEAD in run.optim.freeze,
        f"optim.best_by={run.optim.best_by}": run.optim.best_by not in LOSS_SELECTORS,
        "init.take=new_head": bool(run.init.run) and run.init.take == "new_head",
        "data.labels=shuffled": run.data.labels == "shuffled",
    }
    if run.loss == PRETEXT and (found := [name for name, there in needs_tags.items() if there]):
        raise ValueError(f"model {run.model.name} has no head and looks at no tags: {', '.join(found)} cannot be used")


def check_layers(run: RunConfig, vocabulary: Vocabulary) -> None:
    """Refuse names in ``freeze`` that the model does not have, and rates by layer where it has no head."""
    optim = run.optim
    if optim.freeze or optim.layer_decay != 1 or optim.backbone_lr:
        choose_trained(_model(run, vocabulary), optim, len(vocabulary))


def parents_store(site: SiteConfig) -> Store:
    """Where the runs lie that others start from."""
    return Store(site.parents or site.out)


def check_parent(run: RunConfig, parents: Store, vocabulary: Vocabulary) -> None:
    """Refuse a parent that is absent, unfinished, of other tags (where its head is taken), or of another shape."""
    header = read_header(parents, run.init.run)
    model = _model(run, vocabulary)
    without_values = {name: torch.empty(shape, device="meta") for name, shape in header.shapes.items()}
    shapes = {name: tuple(w.shape) for name, w in fit_weights(model, without_values, header.dials).items()}
    match_weights(model, shapes, run.init.take, len(vocabulary), heads_match(run, header, vocabulary))


def heads_match(run: RunConfig, header: ModelHeader, vocabulary: Vocabulary) -> bool:
    """Whether a parent's head is for the tags of the run, or the run has no head to be matched."""
    return run.loss == PRETEXT or header.tags == vocabulary.names


def _model(run: RunConfig, vocabulary: Vocabulary) -> nn.Module:
    return build_model(run.model.name, len(vocabulary), **run.model.dials)
