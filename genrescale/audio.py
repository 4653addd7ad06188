"""Shared basics: sample rate, songs, clips, tags, vocabularies and song keys.

Conventions: audio inside genrescale is mono, 16 kHz, little-endian int16. Seconds are named ``x_s``, samples ``x_len``.
K is the number of tags; a song's labels are a float32 vector (K,).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from genrescale.addresses import identity, public_address

SAMPLE_RATE = 16_000
PCM_DTYPE = np.dtype("<i2")
SAMPLE_BYTES = PCM_DTYPE.itemsize
PCM_SCALE = 1.0 / 32768.0

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TagKind = Literal["classify", "regress"]
TAG_KINDS = ("classify", "regress")
_KEY_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]+")
_KEY_MAX = 120
_DIGEST_LEN = 8
_LONG_DIGEST = re.compile(r"(?:.*-)?[0-9a-f]{16}")


def seconds_to_len(seconds: float) -> int:
    """Convert seconds to samples, rounded to the nearest sample."""
    return round(seconds * SAMPLE_RATE)


def len_to_seconds(num_samples: int) -> float:
    """Convert samples to seconds."""
    return num_samples / SAMPLE_RATE


def song_key(source: str) -> str:
    """Make a WebDataset key from ``source`` (a path or an id): readable, only ``[A-Za-z0-9_-]``, with a short hash.

    A WebDataset key ends at the first dot of a member's name, so it must not contain dots or slashes. The hash
    distinguishes ``a/b.mp3`` from ``a_b.mp3``. The readable part of a URL is the public one (``addresses.py``). A query
    that identifies the song, such as ``?id=7``, counts in the hash; a signature does not. Raises ValueError for a
    source that is not Unicode text, such as a file name in Latin-1.
    """
    public, told_apart = public_address(source), identity(source)
    stem = public.rsplit(".", 1)[0] if "." in public.rsplit("/", 1)[-1] else public
    readable = _KEY_FORBIDDEN.sub("_", stem).strip("_")[-_KEY_MAX:]
    try:
        digest = hashlib.sha256(told_apart.encode()).hexdigest()
    except UnicodeEncodeError:
        raise ValueError(f"{public!r} is not Unicode text; rename the file") from None
    # the readable parts of many URLs, or of names in Cyrillic, may differ in nothing: then the hash alone must
    # distinguish ten million songs, for which 32 bits are too few
    told = told_apart == public and stem.isascii() and 0 < len(stem) <= _KEY_MAX
    digest = digest[: _DIGEST_LEN if told else 2 * _DIGEST_LEN]
    return f"{readable}-{digest}" if readable else digest


def earlier_key(key: str) -> str:
    """Return the key that versions before 0.2.0 gave to a song whose name is not ASCII, or is long."""
    return key[:-_DIGEST_LEN] if _LONG_DIGEST.fullmatch(key) else key


@dataclass(frozen=True)
class Tag:
    """One output of a model. A ``classify`` tag has the label 0 or 1, a ``regress`` tag a value in [0, 1]."""

    name: str
    kind: TagKind = "classify"
    group: str = ""

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ValueError("a tag needs a name")
        if self.kind not in TAG_KINDS:
            raise ValueError(f"tag {self.name!r} has kind {self.kind!r}; must be one of {TAG_KINDS}")


@dataclass(frozen=True)
class Vocabulary:
    """The tags of a corpus, in the order of a model's outputs.

    ``exclusive`` means that each song has exactly one of the tags (a single-label corpus, as in genre recognition).
    """

    tags: tuple[Tag, ...]
    exclusive: bool = False

    def __post_init__(self) -> None:
        names = [tag.name for tag in self.tags]
        if not names:
            raise ValueError("a vocabulary needs at least one tag")
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise ValueError(f"the vocabulary names these tags more than once: {repeated}")
        if self.exclusive and any(tag.kind == "regress" for tag in self.tags):
            raise ValueError("an exclusive (single-label) vocabulary cannot hold regression tags")

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def names(self) -> list[str]:
        return [tag.name for tag in self.tags]

    @property
    def classify_K(self) -> np.ndarray:
        """Boolean mask (K,) of the classify tags, which ROC-AUC and PR-AUC score."""
        return np.array([tag.kind == "classify" for tag in self.tags])

    @property
    def regress_K(self) -> np.ndarray:
        """Boolean mask (K,) of the regress tags, which RMSE scores."""
        return ~self.classify_K

    def encode(self, labels: Mapping[str, float]) -> np.ndarray:
        """Encode the labels of one song as float32 (K,). A missing classify tag is 0.

        Raises ValueError for a name outside the vocabulary, a value that the tag's kind does not allow, a missing
        regress tag, and, if the vocabulary is exclusive, unless there is exactly one tag.
        """
        unknown = sorted(set(labels) - set(self.names))
        if unknown:
            raise ValueError(f"labels {unknown} are not in the vocabulary of {len(self)} tags")
        values_K = np.zeros(len(self), dtype=np.float32)
        for k, tag in enumerate(self.tags):
            value = labels.get(tag.name)
            if value is None:
                if tag.kind == "regress":
                    raise ValueError(f"regression tag {tag.name!r} has no value")
                continue
            allowed = value in (0, 1) if tag.kind == "classify" else 0.0 <= value <= 1.0
            if not allowed or math.isnan(value):
                expected = "0 or 1" if tag.kind == "classify" else "a number from 0 to 1"
                raise ValueError(f"tag {tag.name!r} has value {value!r}; expected {expected}")
            values_K[k] = value
        if self.exclusive and values_K.sum() != 1:
            raise ValueError(f"expected exactly one tag, found {int(values_K.sum())}: {sorted(labels)}")
        return values_K

    def decode(self, labels_K: np.ndarray) -> dict[str, float]:
        """Return the value of every tag, as ``encode`` takes it.

        That is 0 or 1, or for a regress tag the shortest decimal of the float32 value.
        """
        return {
            tag.name: int(value) if tag.kind == "classify" else float(str(np.float32(value)))
            for tag, value in zip(self.tags, labels_K, strict=True)
        }

    def carried(self, labels_K: np.ndarray) -> dict[str, float]:
        """Return a song's labels for display: the classify tags that it has, and all regress tags."""
        regress = {tag.name for tag in self.tags if tag.kind == "regress"}
        return {name: value for name, value in self.decode(labels_K).items() if value or name in regress}

    def to_json(self) -> str:
        return json.dumps({"exclusive": self.exclusive, "tags": [asdict(tag) for tag in self.tags]})

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Vocabulary:
        """What ``to_json`` wrote, as it was read again. Raises KeyError or TypeError for anything else."""
        return cls(tuple(Tag(**tag) for tag in fields["tags"]), exclusive=fields["exclusive"])

    @classmethod
    def of_classes(cls, names: Sequence[str], exclusive: bool = False) -> Vocabulary:
        """Make a vocabulary of classify tags in sorted order."""
        return cls(tuple(Tag(name) for name in sorted(set(names))), exclusive=exclusive)


@dataclass(frozen=True, slots=True)
class Song:
    """One song of a corpus, before its audio is read. It has slots because there may be millions.

    ``path`` is its encoded file. ``artist`` is used to keep splits apart by artist; "" means unknown, and the song
    counts as its own artist; so is ``group``, what must not be divided for another reason, such as clips of one
    recording. ``split`` is the official split, or None if genrescale makes the splits. ``expected_s`` is
    the length in seconds that the corpus states, 0 if none.

    An address with credentials or a query is given as ``path``. It is kept as ``secret_address``, which is only used to
    fetch the song. ``path`` then is its public part, which may be stored and shown.
    """

    key: str
    path: str
    artist: str
    labels: Mapping[str, float]
    split: str | None = None
    expected_s: float = 0.0
    group: str = ""
    secret_address: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if "://" in self.path and (public := public_address(self.path)) != self.path:
            object.__setattr__(self, "secret_address", self.path)
            object.__setattr__(self, "path", public)

    @property
    def address(self) -> str:
        """Where the encoded file is fetched from: not to be stored or shown."""
        return self.secret_address or self.path


@dataclass(frozen=True)
class Clip:
    """The decoded audio of one song: ``pcm_T`` is int16, mono, 16 kHz. ``notes`` say what a listener should know."""

    key: str
    pcm_T: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return len_to_seconds(len(self.pcm_T))
