"""What a run is trained and scored on, and how its training clips are augmented."""

from __future__ import annotations

from dataclasses import dataclass, field

from genrescale.config.checks import not_negative, one_of, positive, require
from genrescale.config.spec_augment import parse_spec_augment

LABEL_MODES = ("true", "shuffled")
SAMPLERS = ("uniform", "class_aware", "mixture", "windows")


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
