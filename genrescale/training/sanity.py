"""Whether a run is worth starting: refused where nothing can be learned or scored, said in a line where it is doubtful.

Shapes: N songs, K tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genrescale.audio import Vocabulary, len_to_seconds, seconds_to_len
from genrescale.config import RunConfig
from genrescale.config.losses import PRETEXT
from genrescale.data.manifest import Manifest
from genrescale.scaling import smallest_difference
from genrescale.training.select import RunData, select_data

FEW_SONGS = 5  # train songs of a tag, below which it is hardly learned
FEW_TEST_SONGS = 100  # of songs with several tags
COARSE = 0.1  # a difference in accuracy that a test should show
SHORT_SHARE = 0.1  # of the train songs
MAJORITY = 0.8  # of the test songs
MANY_EPOCHS = 1000
_NAMED = 3


def check_learnable(run: RunConfig, data: RunData) -> None:
    """Raises ValueError where the train songs differ in no tag, or the test songs do: every model would do as well."""
    if run.loss == PRETEXT:
        return
    manifest, vocabulary = data.manifest, data.manifest.vocabulary
    if len(vocabulary) == 1 and vocabulary.classify_K.all() and bool((manifest.labels_NK == 1).all()):
        raise ValueError(
            f"the corpus has one tag, {vocabulary.names[0]}, that every song has: nothing can be learned or scored; "
            "shard it again with several labels (corpus=folder: one folder for each, all of them in audio=)"
        )
    train_NK, test_NK = data.train_labels_NK, manifest.labels_NK[data.rows["test"]]
    if not _varying(train_NK).any():
        raise ValueError(
            f"the {len(train_NK)} train songs all have the same labels ({_labels(train_NK, vocabulary)}): nothing can "
            "be learned; take a larger size, or shard again with more songs of other labels"
        )
    if not _varying(test_NK).any():
        raise ValueError(
            f"the {len(test_NK)} test songs all have the same labels ({_labels(test_NK, vocabulary)}): nothing can be "
            "scored; shard again with more songs, or with a larger test_fraction"
        )


def doubts(runs: Sequence[RunConfig], manifest: Manifest) -> list[str]:
    """What makes the results of these runs doubtful, a plain sentence each, from tags to steps."""
    small, large = (choose(runs, key=lambda run: run.data.size) for choose in (min, max))
    data = select_data(small, manifest)
    lines = [] if small.loss == PRETEXT else [*_tag_doubts(small, data), *_test_doubts(data)]
    lines += _length_doubts(large.data.crop_s, select_data(large, manifest))
    by_size = {(run.data.size, run.optim.max_steps, run.data.batch): run for run in runs}
    return lines + [line for _, run in sorted(by_size.items()) for line in _step_doubts(run, manifest)]


def _varying(labels_NK: np.ndarray) -> np.ndarray:
    return labels_NK.min(axis=0) != labels_NK.max(axis=0)


def _labels(labels_NK: np.ndarray, vocabulary: Vocabulary) -> str:
    return _some([name for name, value in vocabulary.carried(labels_NK[0]).items() if value]) or "none"


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])])


def _tag_doubts(run: RunConfig, data: RunData) -> list[str]:
    """Tags with few train songs, tags that the test cannot score, and a validation that tells nothing apart."""
    manifest = data.manifest
    classify_K, names = manifest.vocabulary.classify_K, manifest.vocabulary.names
    count_K, total = data.class_counts_K, int(classify_K.sum())
    lines = []
    rare_K = classify_K & (count_K < FEW_SONGS)
    if rare := [f"{names[k]} {count_K[k]}" for k in np.argsort(count_K, kind="stable") if rare_K[k]]:
        lines.append(
            f"With {run.data.size:,} train songs, {len(rare)} of {total} tags have fewer than {FEW_SONGS} of them "
            f"({_some(rare)}): such tags are hardly learned."
        )
    test_NK = manifest.labels_NK[data.rows["test"]]
    if unscored := [names[k] for k in np.flatnonzero(classify_K & ~_varying(test_NK))]:
        lines.append(
            f"{len(unscored)} of {total} tags ({_some(unscored)}) are on none or all of the {len(test_NK):,} test "
            "songs: ROC-AUC and PR-AUC leave them out."
        )
    if not _varying(manifest.labels_NK[data.rows["validation"]]).any():
        lines.append(
            f"The {len(data.rows['validation'])} validation songs all have the same labels, so they choose the best "
            "checkpoint badly."
        )
    return lines


def _test_doubts(data: RunData) -> list[str]:
    vocabulary, test_NK = data.manifest.vocabulary, data.manifest.labels_NK[data.rows["test"]]
    num_songs = len(test_NK)
    if not vocabulary.exclusive:
        few = f"Only {num_songs} test songs: hardly any difference between two models can be told from chance."
        return [few] if num_songs < FEW_TEST_SONGS else []
    lines = []
    if (smallest := smallest_difference(num_songs)) > COARSE:
        lines.append(
            f"Only {num_songs} test songs: two models must differ by about {smallest:.2f} in accuracy, or it may be "
            "chance."
        )
    share_K = test_NK.mean(axis=0)
    if (share := float(share_K.max())) >= MAJORITY:
        name = vocabulary.names[int(share_K.argmax())]
        lines.append(f"{share:.0%} of the test songs are {name}: who always says so has an accuracy of {share:.2f}.")
    return lines


def _length_doubts(crop_s: float, data: RunData) -> list[str]:
    len_N = data.plan.train.len_N
    short = len_N < seconds_to_len(crop_s)
    if short.mean() < SHORT_SHARE:
        return []
    whose = "Every train song" if short.all() else f"{short.mean():.0%} of the train songs"
    return [
        f"{whose} is shorter than a crop ({crop_s:g} s) and filled up with silence; half of the songs are shorter than "
        f"{len_to_seconds(int(np.median(len_N))):.1f} s: a smaller crop_s fits."
    ]


def _step_doubts(run: RunConfig, manifest: Manifest) -> list[str]:
    """Steps that see each song very often, or not all songs once."""
    steps, size = run.optim.max_steps, run.data.size
    epochs = steps / select_data(run, manifest).plan.train.steps_per_epoch
    if epochs > MANY_EPOCHS:
        stop = run.optim.patience_steps
        early = f"unless {stop:,} steps without improvement end it" if stop else "and nothing ends it earlier"
        return [f"{steps:,} steps on {size:,} songs are {epochs:,.0f} epochs, {early}: a smaller max_steps fits."]
    if epochs < 1:
        return [f"{steps:,} steps see {epochs:.0%} of the {size:,} songs: the others are not trained on."]
    return []
