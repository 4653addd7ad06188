"""Configuration of a run: its science (what may change the result), its site (where it runs), and its run id.

Configs are plain dataclasses, validated on construction and never assigned to afterwards; derived values are functions.
They are not frozen only because Hydra rejects command-line overrides of frozen schemas.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from genrescale.config.checks import not_negative, one_of, positive, require
from genrescale.config.losses import LOSS_DIALS, loss_dials
from genrescale.config.optim import ContrastConfig, OptimConfig
from genrescale.config.spec_augment import parse_spec_augment

LABEL_MODES = ("true", "shuffled")
SAMPLERS = ("uniform", "class_aware", "mixture", "windows")
LOSSES = tuple(LOSS_DIALS)
TAKES = ("new_head", "all", "matching")
PRECISIONS = ("fp32", "bf16")
RUN_ID_LEN = 12


@dataclass
class ModelConfig:
    """The name of a model in ``genrescale.models.MODELS`` and its dials (keyword arguments of its constructor)."""

    name: str = "waveform"
    dials: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataConfig:
    """The songs, crops and scoring protocol of a run.

    ``size`` is the number of training songs; sizes are nested. ``crop_s`` is the length of training crops and scoring
    windows. An optimiser step takes ``batch`` clips, in groups of ``group`` clips. Batch norm and random noise act on a
    group, so it is part of the science. ``scoring`` is ``consecutive`` (Pons 2018: adjacent windows) or ``spread:N``
    (Won 2020: N evenly spaced windows). ``validation_scoring`` is the protocol for validation if it differs, else ""
    (MediaEval 2020: validation ``spread:16``, test ``spread:32``). ``val_songs`` limits validation to a fixed prefix of
    the split; 0 means all songs. ``labels=shuffled`` permutes the training labels: a control whose scores must be at
    chance level.

    ``sampler`` decides which songs make an epoch (``data.reading.samplers``): ``uniform``, each song once;
    ``class_aware``, each tag equally often; ``mixture``, each corpus of a mix by its weight in ``weights``;
    ``windows``, each song once, shuffled within ``window_shards`` shards at a time, for stores where requests are slow
    or costly.
    """

    size: int = 1000
    crop_s: float = 15.0
    batch: int = 32
    group: int = 32
    scoring: str = "consecutive"
    val_songs: int = 0
    labels: str = "true"
    sampler: str = "uniform"
    weights: list[float] = field(default_factory=list)
    window_shards: int = 8
    validation_scoring: str = ""

    def __post_init__(self) -> None:
        positive(size=self.size, crop_s=self.crop_s, batch=self.batch, window_shards=self.window_shards)
        not_negative(val_songs=self.val_songs)
        require(self.group >= 2, f"group={self.group} must be at least 2: batch norm needs two clips")
        require(
            self.batch % self.group == 0,
            f"batch={self.batch} must be a multiple of group={self.group}",
        )
        one_of("labels", self.labels, LABEL_MODES)
        one_of("sampler", self.sampler, SAMPLERS)
        require(
            bool(self.weights) == (self.sampler == "mixture"),
            f"sampler={self.sampler!r} with weights={self.weights}: sampler=mixture needs weights, one for each "
            "corpus of the mix; other samplers take none",
        )
        require(
            self.sampler == "windows" or self.window_shards == 8,
            f"window_shards={self.window_shards} has no effect with sampler={self.sampler}, only with sampler=windows; "
            "leave it at its default, 8",
        )
        parse_scoring(self.scoring)
        if self.validation_scoring:
            parse_scoring(self.validation_scoring)


def parse_scoring(scoring: str) -> int | None:
    """Parse a scoring protocol into windows per song: None for ``consecutive``, N for ``spread:N``."""
    if scoring == "consecutive":
        return None
    protocol, _, count = scoring.partition(":")
    require(
        protocol == "spread" and count.isdigit() and int(count) > 0,
        f"scoring={scoring!r} must be 'consecutive', or 'spread:N' with N > 0, e.g. 'spread:16'",
    )
    return int(count)


@dataclass
class AugmentConfig:
    """Augmentation of training clips; 0 and ``none`` switch one off. Random cropping is not here but in every plan.

    ``gain_db``: random gain of up to this many decibels, up or down. ``shift_ms``: random circular shift of up to this
    many milliseconds, either way. ``mixup_alpha``, ``cutmix_alpha``: mix with another clip of the group by a share
    drawn from Beta(alpha, alpha), in amplitude (mixup) or in time (CutMix). MediaEval 2020 used mixup with Beta(1, 1),
    and it helped only BCE. ``spec_augment``: masks on the spectrogram (``config.spec_augment``).
    """

    gain_db: float = 0.0
    shift_ms: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    spec_augment: str = "none"

    def __post_init__(self) -> None:
        not_negative(
            gain_db=self.gain_db,
            shift_ms=self.shift_ms,
            mixup_alpha=self.mixup_alpha,
            cutmix_alpha=self.cutmix_alpha,
        )
        parse_spec_augment(self.spec_augment)


@dataclass
class InitConfig:
    """The source of a run's initial weights: random, or a finished run (fine-tuning; chains may be of any length).

    ``run`` is the parent's run id, "" for random weights; SiteConfig's ``parents`` is the folder with the parent's
    weights. ``take``: ``all`` loads every weight, so both runs must have the same tags; ``new_head`` loads all but the
    head, which is initialised anew; ``matching`` loads the weights whose name and shape match, and the result row lists
    the others. Buffers that follow from the dials (filter banks, log-mel normalisation) are always the run's own.
    """

    run: str = ""
    take: str = "new_head"

    def __post_init__(self) -> None:
        one_of("init.take", self.take, TAKES)
        require(
            re.fullmatch("[A-Za-z0-9_-]*", self.run) is not None and self.run not in ("inf", "nan"),
            f"init.run={self.run!r} is not a run id; on a command line, quote an id that looks like a number (1e5...): "
            "\"run.init.run='12345678e901'\"",
        )
        require(bool(self.run) or self.take == "new_head", f"init.take={self.take} has no effect without init.run")


@dataclass
class RunConfig:
    """The science of one run: all settings that may change its result, and no others.

    ``loss=by_kind`` is cross entropy for an exclusive vocabulary, else BCE on classify tags and MSE on regress tags.
    Pons 2018 trained the models of 1.2M songs with ``mse`` on all tags. ``loss_dials`` override the defaults in
    ``genrescale.config.losses``.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    init: InitConfig = field(default_factory=InitConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    loss: str = "by_kind"
    loss_dials: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        loss_dials(self.loss, self.loss_dials)
        one_of("precision", self.precision, PRECISIONS)
        not_negative(seed=self.seed)
        require(
            self.contrast.weight == 0 or self.augment.mixup_alpha == self.augment.cutmix_alpha == 0,
            "contrast.weight > 0 needs clips of one class each: set mixup_alpha=0 and cutmix_alpha=0",
        )


@dataclass
class SiteConfig:
    """Paths and resources of a run. No setting here may change a result beyond floating-point order.

    ``corpus`` is a sharded corpus, ``out`` the folder for results. ``parents`` is the folder of the runs that others
    start from; "" means ``out``. ``data_cpus`` are reserved for Ray Data in addition to the workers. ``threads`` per
    worker is fixed, so that a run repeats exactly on the same machine. ``zero_stage`` 1 to 3 partitions optimiser
    state, gradients and weights over the workers. ``max_failures`` is how often a run may restart from its last
    checkpoint. ``storage_patience_s`` is how long a read is retried while the object store is busy or unreachable; a
    longer outage ends the attempt. ``shard_cache`` is a folder on every node that caches up to ``shard_cache_gb`` of
    whole shards of a bucket; "" reads byte ranges of crops.
    """

    corpus: str = ""
    out: str = ""
    parents: str = ""
    workers: int = 1
    cpus_per_worker: float = 1.0
    data_cpus: float = 0.5
    use_gpu: bool = False
    threads: int = 1
    zero_stage: int = 0
    max_failures: int = 2
    storage_patience_s: float = 60.0
    shard_cache: str = ""
    shard_cache_gb: float = 50.0

    def __post_init__(self) -> None:
        positive(shard_cache_gb=self.shard_cache_gb)
        positive(
            workers=self.workers, cpus_per_worker=self.cpus_per_worker, data_cpus=self.data_cpus, threads=self.threads
        )
        not_negative(max_failures=self.max_failures, storage_patience_s=self.storage_patience_s)
        require(
            not self.shard_cache or os.path.isabs(self.shard_cache),
            f"shard_cache={self.shard_cache!r} must be an absolute path of a folder on every node's disk",
        )
        require(self.zero_stage in (0, 1, 2, 3), f"zero_stage={self.zero_stage} must be 0, 1, 2 or 3")


def run_from_dict(values: dict[str, Any]) -> RunConfig:
    """Build a RunConfig from the dict that ``dataclasses.asdict`` or ``science`` made of it."""
    return RunConfig(
        **{
            **values,
            "model": ModelConfig(**values["model"]),
            "data": DataConfig(**values["data"]),
            "optim": OptimConfig(**values["optim"]),
            "augment": AugmentConfig(**values["augment"]),
            "init": InitConfig(**values["init"]),
            "contrast": ContrastConfig(**values["contrast"]),
        }
    )


def canonical_json(value: Any) -> str:
    """Serialise to JSON in one canonical form: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def science(run: RunConfig) -> dict[str, Any]:
    """Convert a run to the dict that its run id hashes; ``run_from_dict`` is the inverse.

    ``data.validation_scoring`` is left out if it does not differ from ``scoring``, which keeps the ids of runs from
    before that field existed.
    """
    values = asdict(run)
    if values["data"]["validation_scoring"] in ("", run.data.scoring):
        del values["data"]["validation_scoring"]
    return values


def run_id(run: RunConfig, data_digest: str) -> str:
    """Compute the run id: a hash of the run's science and the digest of its data, without paths or worker counts."""
    text = canonical_json({"run": science(run), "data": data_digest})
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_ID_LEN]
