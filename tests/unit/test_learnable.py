"""The synthetic corpus teaches: labels are learnable, more songs help, and shuffled labels teach nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from genrescale.data.synthesis.describe import describe_song
from genrescale.data.synthesis.render import render
from genrescale.data.synthesis.tags import VOCABULARY, label_song
from genrescale.metrics import score
from genrescale.models.parts.frontend import LogMel

SECONDS = 3.0


@dataclass(frozen=True)
class Songs:
    """Log-mel statistics of 3 s of each song (N, features) and labels (N, K); the first ``num_test`` are for testing.

    ``sizes`` are numbers of training songs; ``chance`` is how far from 0.5 nothing learned may score.
    """

    features: np.ndarray
    labels: np.ndarray
    num_test: int
    sizes: tuple[int, ...]
    chance: float


@pytest.fixture(
    scope="module",
    params=[(200, 80, (16, 120), 0.06), pytest.param((640, 160, (16, 80, 480), 0.04), marks=pytest.mark.soak)],
    ids=["fewer", "many"],
)
def songs(request: pytest.FixtureRequest) -> Songs:
    """Without any file or shard."""
    num_songs, *split = request.param
    log_mel = LogMel()
    features, labels = [], []
    for index in range(num_songs):
        song = describe_song(11, index, SECONDS, SECONDS)
        mono = render(song).mean(axis=1)
        wave_T = torch.from_numpy(np.ascontiguousarray(mono[: len(mono) // 3 * 3].reshape(-1, 3).mean(axis=1)))
        frames_FN = log_mel(wave_T[None])[0].numpy()
        steps_FN = np.diff(frames_FN, axis=1)
        features.append(np.concatenate([frames_FN.mean(1), frames_FN.std(1), np.abs(steps_FN).mean(1)]))
        labels.append(VOCABULARY.encode(label_song(song)))
    return Songs(np.array(features), np.array(labels), *split)


def roc_auc(songs: Songs, size: int, shuffle: bool = False) -> float:
    test, train = slice(songs.num_test), slice(songs.num_test, songs.num_test + size)
    targets = np.random.default_rng(0).permutation(songs.labels[train]) if shuffle else songs.labels[train]
    scaler = StandardScaler().fit(songs.features[train])
    model = Ridge(alpha=300.0).fit(scaler.transform(songs.features[train]), targets)
    found = score(songs.labels[test], model.predict(scaler.transform(songs.features[test])).clip(0, 1), VOCABULARY)
    return found["roc_auc"]


def test_labels_are_learnable_and_not_saturated(songs: Songs):
    assert 0.65 < roc_auc(songs, songs.sizes[-1]) < 0.95


def test_more_songs_help(songs: Songs):
    scores = [roc_auc(songs, size) for size in songs.sizes]
    assert all(fewer + 0.03 < more for fewer, more in pairwise(scores))


def test_shuffled_labels_score_chance(songs: Songs):
    assert roc_auc(songs, songs.sizes[-1], shuffle=True) == pytest.approx(0.5, abs=songs.chance)
