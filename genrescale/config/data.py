"""What a run is trained and scored on, and how its training clips are augmented."""

from __future__ import annotations

from dataclasses import dataclass, field

from genrescale.config.checks import not_negative, one_of, positive, require
from genrescale.config.spec_augment import parse_spec_augment

LABEL_MODES = ("true", "shuffled")
SAMPLERS = ("uniform", "class_aware", "mixture", "windows")


@dataclass
class DataConfig:
    """What a run is trained and scored on.

    ``size`` is a number of training songs; sizes are nested. ``crop_s`` is the length of a training crop and of a
    scoring window. ``batch`` clips make one optimiser step, in groups of ``group`` clips: a group is the unit of batch
    norm and of noise, so it is part of the science. ``scoring`` is ``consecutive`` (Pons 2018: windows side by side)
    or ``spread:N`` (Won 2020: N windows at even distances); ``validation_scoring`` is another one for validation
    (MediaEval 2020: ``spread:16``, and ``spread:32`` for test), "" the same. ``val_songs`` caps the fixed validation
    prefix; 0 is all. ``labels=shuffled`` permutes the training labels, a control that must score chance. ``sampler``
    says which songs make an epoch (``data.samplers``): ``uniform``, each once; ``class_aware``, each tag as often as
    any other; ``mixture``, each corpus of a mix by its weight in ``weights``; ``windows``, each once, shuffled within
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
    validation_scoring: str = ""

    def __post_init__(self) -> None:
        positive(size=self.size, crop_s=self.crop_s, batch=self.batch, window_shards=self.window_shards)
        not_negative(val_songs=self.val_songs)
        require(self.group >= 2, f"group={self.group} must be at least 2: batch norm needs two clips")
        require(
            self.batch % self.group == 0,
            f"batch={self.batch} must be a whole number of groups of {self.group} clips",
        )
        one_of("labels", self.labels, LABEL_MODES)
        one_of("sampler", self.sampler, SAMPLERS)
        require(
            bool(self.weights) == (self.sampler == "mixture"),
            f"sampler={self.sampler!r} with weights={self.weights}: weights, one for each corpus of a mix, go with "
            "sampler=mixture and with no other",
        )
        require(
            self.sampler == "windows" or self.window_shards == 8,
            f"window_shards={self.window_shards} has no effect with sampler={self.sampler}: it is of sampler=windows; "
            "leave it at its default, 8",
        )
        parse_scoring(self.scoring)
        if self.validation_scoring:
            parse_scoring(self.validation_scoring)


def parse_scoring(scoring: str) -> int | None:
    """Windows per song of a scoring protocol: None for ``consecutive``, N for ``spread:N``."""
    if scoring == "consecutive":
        return None
    protocol, _, count = scoring.partition(":")
    require(
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
        not_negative(
            gain_db=self.gain_db,
            shift_ms=self.shift_ms,
            mixup_alpha=self.mixup_alpha,
            cutmix_alpha=self.cutmix_alpha,
        )
        parse_spec_augment(self.spec_augment)
