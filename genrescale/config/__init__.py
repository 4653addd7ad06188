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
from genrescale.config.data import AugmentConfig, DataConfig
from genrescale.config.losses import LOSS_DIALS, loss_dials
from genrescale.config.optim import ContrastConfig, OptimConfig

LOSSES = tuple(LOSS_DIALS)
TAKES = ("new_head", "all", "matching")
PRECISIONS = ("fp32", "bf16")
RUN_ID_LEN = 12


@dataclass
class ModelConfig:
    """The name of a model in ``genrescale.models.MODELS`` and its dials (keyword arguments of its constructor).

    ``package.module:Class`` names a model of your own (``genrescale.models.own``).
    """

    name: str = "waveform"
    dials: dict[str, Any] = field(default_factory=dict)


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


TRACKERS = {"mlflow": "MLflow", "wandb": "Weights & Biases", "aim": "Aim"}
"""What ``site.track`` may name: the module, which is the package's extra, and the name to read."""


@dataclass
class SiteConfig:
    """Paths and resources of a run. No setting here may change a result beyond floating-point order.

    ``corpus`` is a sharded corpus, ``out`` the folder for results. ``parents`` is the folder of the runs that others
    start from; "" means ``out``. ``data_cpus`` are reserved for Ray Data in addition to the workers. ``threads`` per
    worker is fixed, so that a run repeats exactly on the same machine. ``zero_stage`` 1 to 3 partitions optimiser
    state, gradients and weights over the workers. ``max_failures`` is how often a run may restart from its last
    checkpoint. ``storage_patience_s`` is how long a read is retried while the object store is busy or unreachable; a
    longer outage ends the attempt. ``shard_cache`` is a folder on every node that caches up to ``shard_cache_gb`` of
    whole shards of a bucket; "" reads byte ranges of crops. ``events`` writes event files of TensorBoard,
    ``track`` names other trackers, of TRACKERS.
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
    events: bool = True
    track: list[str] = field(default_factory=list)

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
        for name in self.track:
            require(name in TRACKERS, f"track=[{name}] is none of {', '.join(TRACKERS)}")
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
