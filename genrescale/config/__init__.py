"""What a run is (its science), where it runs (its site), and the identity of a run.

Configs are plain dataclasses, checked when they are built and never assigned to afterwards: a derived value is a
function. They are not frozen only because Hydra refuses command-line overrides of frozen schemas.
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
    """A model of ``genrescale.models.MODELS`` and its dials (keyword arguments of its constructor)."""

    name: str = "waveform"
    dials: dict[str, Any] = field(default_factory=dict)


@dataclass
class InitConfig:
    """Where a run's first weights come from: a finished run (fine-tuning, in chains of any length), or random.

    ``run`` is the parent's run id, "" for none; its weights are read from SiteConfig's ``parents``. ``take`` says which
    of them: ``all``, also the head, so both runs must have the same tags; ``new_head``, all but the head, which is
    drawn anew; ``matching``, those whose name and shape match (a result row lists the others). Layers whose values
    follow from the dials (filterbanks, log-mel normalisation) are the run's own.
    """

    run: str = ""
    take: str = "new_head"

    def __post_init__(self) -> None:
        one_of("init.take", self.take, TAKES)
        require(
            re.fullmatch("[A-Za-z0-9_-]*", self.run) is not None and self.run not in ("inf", "nan"),
            f"init.run={self.run!r} is no run id; on a command line quote one that reads as a number (1e5...): "
            "\"run.init.run='12345678e901'\"",
        )
        require(bool(self.run) or self.take == "new_head", f"init.take={self.take} has no effect without init.run")


@dataclass
class RunConfig:
    """The science of one run: everything that may change its result, and nothing else.

    ``loss=by_kind`` is cross entropy for an exclusive vocabulary, otherwise BCE on classify tags and MSE on regress
    tags. Pons 2018 trained its 1.2M-songs models with ``mse`` on all tags. ``loss_dials`` are the loss's dials
    (``genrescale.config.losses``), those left out at their defaults.
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
            "contrast needs clips of one class each: use mixup_alpha=0 and cutmix_alpha=0",
        )


@dataclass
class SiteConfig:
    """Where and on how much a run executes. Nothing here may change a result beyond floating-point order.

    ``corpus`` is a sharded corpus, ``out`` the folder of results, ``parents`` the one where the runs lie that others
    start from ("": ``out``). ``data_cpus`` are kept free for Ray Data beside the workers. ``threads`` is fixed so that
    a run on the same machine repeats to the digit. ``zero_stage`` 1 to 3 divides the optimiser's state, the gradients
    and the weights over the workers. ``max_failures`` is how often one run may restart from its last checkpoint.
    ``storage_patience_s`` is how long a read is tried again while the object store is busy or cannot be reached; a
    longer outage ends the attempt. ``shard_cache`` is a folder on every node that keeps up to ``shard_cache_gb`` of a
    bucket's shards, whole; "" reads the ranges of crops.
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
            f"shard_cache={self.shard_cache!r} must be an absolute path, of a folder on the disk of every node",
        )
        require(self.zero_stage in (0, 1, 2, 3), f"zero_stage={self.zero_stage} must be 0, 1, 2 or 3")


def run_from_dict(values: dict[str, Any]) -> RunConfig:
    """The inverse of ``dataclasses.asdict``, and of ``science``, for a RunConfig."""
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
    """JSON whose text depends on the value alone (sorted keys, no spaces)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def science(run: RunConfig) -> dict[str, Any]:
    """The run as a dict, the same text for the same run (``run_from_dict`` reads it).

    ``data.validation_scoring`` is left out where it says nothing of its own: runs of before it are still those runs.
    """
    values = asdict(run)
    if values["data"]["validation_scoring"] in ("", run.data.scoring):
        del values["data"]["validation_scoring"]
    return values


def run_id(run: RunConfig, data_digest: str) -> str:
    """The identity of a run: a hash of its science and of the data it selects (never of paths or worker counts)."""
    text = canonical_json({"run": science(run), "data": data_digest})
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_ID_LEN]
