"""What a run is (its science), where it runs (its site), and the identity of a run.

Configs are plain dataclasses, checked when they are built and never assigned to afterwards: a derived value is a
function. They are not frozen only because Hydra refuses command-line overrides of frozen schemas.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from genrescale.loss_dials import LOSS_DIALS, loss_dials
from genrescale.spec_masks import parse_spec_augment

LABEL_MODES = ("true", "shuffled")
SAMPLERS = ("uniform", "class_aware", "mixture", "windows")
LOSSES = tuple(LOSS_DIALS)
OPTIMIZERS = ("adam",)
PRECISIONS = ("fp32", "bf16")
RUN_ID_LEN = 12


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f"{name}={value!r} is none of {list(allowed)}")


def _positive(**values: float) -> None:
    for name, value in values.items():
        _require(math.isfinite(value) and value > 0, f"{name}={value!r} must be greater than 0")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        _require(math.isfinite(value) and value >= 0, f"{name}={value!r} must not be negative")


@dataclass
class ModelConfig:
    """A model of ``genrescale.models.MODELS`` and its dials (keyword arguments of its constructor)."""

    name: str = "waveform"
    dials: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataConfig:
    """What a run is trained and scored on.

    ``size`` is a number of training songs; sizes are nested. ``crop_s`` is the length of a training crop and of a
    scoring window. ``batch`` clips make one optimiser step, in groups of ``group`` clips: a group is the unit of batch
    norm and of noise, so it is part of the science. ``scoring`` is ``consecutive`` (Pons 2018: windows side by side)
    or ``spread:N`` (Won 2020: N windows at even distances). ``val_songs`` caps the fixed validation prefix; 0 is all.
    ``labels=shuffled`` permutes the training labels, a control that must score chance. ``sampler`` says which songs
    make an epoch (``data.samplers``): ``uniform``, each once; ``class_aware``, each tag as often as any other;
    ``mixture``, each corpus of a mix by its weight in ``weights``; ``windows``, each once, shuffled within
    ``window_shards`` shards at a time, for stores that are dear to ask.
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

    def __post_init__(self) -> None:
        _positive(size=self.size, crop_s=self.crop_s, batch=self.batch, window_shards=self.window_shards)
        _not_negative(val_songs=self.val_songs)
        _require(self.group >= 2, f"group={self.group} must be at least 2: batch norm needs two clips")
        _require(
            self.batch % self.group == 0,
            f"batch={self.batch} must be a whole number of groups of {self.group} clips",
        )
        _one_of("labels", self.labels, LABEL_MODES)
        _one_of("sampler", self.sampler, SAMPLERS)
        _require(
            bool(self.weights) == (self.sampler == "mixture"),
            f"sampler={self.sampler!r} with weights={self.weights}: weights, one for each corpus of a mix, go with "
            "sampler=mixture and with no other",
        )
        parse_scoring(self.scoring)


def parse_scoring(scoring: str) -> int | None:
    """Windows per song of a scoring protocol: None for ``consecutive``, N for ``spread:N``."""
    if scoring == "consecutive":
        return None
    protocol, _, count = scoring.partition(":")
    _require(
        protocol == "spread" and count.isdigit() and int(count) > 0,
        f"scoring={scoring!r} is neither 'consecutive' nor 'spread:N' with N > 0, e.g. 'spread:16'",
    )
    return int(count)


@dataclass
class AugmentConfig:
    """Augmentation of training clips; 0 and ``none`` are none of it. Random crops are part of every plan.

    ``gain_db``: a level changed by up to so many decibels. ``shift_ms``: moved in time by up to so many milliseconds
    to either side, the end coming round to the front. ``mixup_alpha`` and ``cutmix_alpha``: mixed with another clip of
    the group by a share of Beta(alpha, alpha), in level or in time; MediaEval 2020 mixed up by Beta(1, 1), and only
    BCE gained by it. ``spec_augment``: masks on the spectrogram (``spec_masks``).
    """

    gain_db: float = 0.0
    shift_ms: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    spec_augment: str = "none"

    def __post_init__(self) -> None:
        _not_negative(
            gain_db=self.gain_db,
            shift_ms=self.shift_ms,
            mixup_alpha=self.mixup_alpha,
            cutmix_alpha=self.cutmix_alpha,
        )
        parse_spec_augment(self.spec_augment)


@dataclass
class OptimConfig:
    """Optimiser, schedule and stopping rule. Steps, not epochs, so that every dataset size obeys the same rule.

    Validation runs every ``validate_every`` steps. The learning rate is multiplied by ``plateau_factor`` after
    ``plateau_steps`` steps without a better validation loss, and training stops after ``patience_steps`` such steps
    (0: never). ``clip_norm`` 0 is no clipping.
    """

    name: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    max_steps: int = 10_000
    validate_every: int = 500
    plateau_steps: int = 2_500
    plateau_factor: float = 0.5
    patience_steps: int = 7_500

    def __post_init__(self) -> None:
        _one_of("optim.name", self.name, OPTIMIZERS)
        _positive(
            lr=self.lr,
            max_steps=self.max_steps,
            validate_every=self.validate_every,
            plateau_steps=self.plateau_steps,
            plateau_factor=self.plateau_factor,
        )
        _not_negative(weight_decay=self.weight_decay, clip_norm=self.clip_norm, patience_steps=self.patience_steps)
        _require(self.plateau_factor <= 1, f"plateau_factor={self.plateau_factor} must be at most 1")


@dataclass
class RunConfig:
    """The science of one run: everything that may change its result, and nothing else.

    ``loss=by_kind`` is cross entropy for an exclusive vocabulary, otherwise BCE on classify tags and MSE on regress
    tags. Pons 2018 trained its 1.2M-songs models with ``mse`` on all tags. ``loss_dials`` are the loss's dials
    (``genrescale.loss_dials``), those left out at their defaults.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: str = "by_kind"
    loss_dials: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        loss_dials(self.loss, self.loss_dials)
        _one_of("precision", self.precision, PRECISIONS)
        _not_negative(seed=self.seed)


@dataclass
class SiteConfig:
    """Where and on how much a run executes. Nothing here may change a result beyond floating-point order.

    ``corpus`` is a sharded corpus, ``out`` the folder of results. ``data_cpus`` are kept free for Ray Data beside the
    workers. ``threads`` is fixed so that a run on the same machine repeats to the digit. ``max_failures`` is how
    often one run may restart from its last checkpoint. ``storage_patience_s`` is how long a read is tried again
    while the object store is busy or cannot be reached; a longer outage ends the attempt. ``shard_cache`` is a folder
    on every node that keeps up to ``shard_cache_gb`` of a bucket's shards, whole; "" reads the ranges of crops.
    """

    corpus: str = ""
    out: str = ""
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
        _positive(shard_cache_gb=self.shard_cache_gb)
        _positive(
            workers=self.workers, cpus_per_worker=self.cpus_per_worker, data_cpus=self.data_cpus, threads=self.threads
        )
        _not_negative(max_failures=self.max_failures, storage_patience_s=self.storage_patience_s)
        # Stage 3 gathers parameters in every forward pass, and workers score different numbers of windows.
        _require(self.zero_stage in (0, 1, 2), f"zero_stage={self.zero_stage} must be 0, 1 or 2")


def run_from_dict(values: dict[str, Any]) -> RunConfig:
    """The inverse of ``dataclasses.asdict`` for a RunConfig."""
    return RunConfig(
        **{
            **values,
            "model": ModelConfig(**values["model"]),
            "data": DataConfig(**values["data"]),
            "optim": OptimConfig(**values["optim"]),
            "augment": AugmentConfig(**values["augment"]),
        }
    )


def canonical_json(value: Any) -> str:
    """JSON whose text depends on the value alone (sorted keys, no spaces)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def run_id(run: RunConfig, data_digest: str) -> str:
    """The identity of a run: a hash of its science and of the data it selects (never of paths or worker counts)."""
    text = canonical_json({"run": asdict(run), "data": data_digest})
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_ID_LEN]
