"""The synthetic corpus teaches: labels are learnable, more songs help, and shuffled labels teach nothing."""

from __future__ import annotations

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

NUM_SONGS, NUM_TEST, SECONDS = 640, 160, 3.0


@pytest.fixture(scope="module")
def songs() -> tuple[np.ndarray, np.ndarray]:
    """Log-mel statistics of 3 s of each song (N, features) and labels (N, K), without any file or shard."""
    log_mel = LogMel()
    features, labels = [], []
    for index in range(NUM_SONGS):
        song = describe_song(11, index, SECONDS, SECONDS)
        mono = render(song).mean(axis=1)
        wave_T = torch.from_numpy(np.ascontiguousarray(mono[: len(mono) // 3 * 3].reshape(-1, 3).mean(axis=1)))
        frames_FN = log_mel(wave_T[None])[0].numpy()
        steps_FN = np.diff(frames_FN, axis=1)
        features.append(np.concatenate([frames_FN.mean(1), frames_FN.std(1), np.abs(steps_FN).mean(1)]))
        labels.append(VOCABULARY.encode(label_song(song)))
    return np.array(features), np.array(labels)


def roc_auc(songs: tuple[np.ndarray, np.ndarray], size: int, shuffle: bool = False) -> float:
    features, labels = songs
    train = slice(NUM_TEST, NUM_TEST + size)
    targets = np.random.default_rng(0).permutation(labels[train]) if shuffle else labels[train]
    scaler = StandardScaler().fit(features[train])
    model = Ridge(alpha=300.0).fit(scaler.transform(features[train]), targets)
    found = score(labels[:NUM_TEST], model.predict(scaler.transform(features[:NUM_TEST])).clip(0, 1), VOCABULARY)
    return found["roc_auc"]


def test_labels_are_learnable_and_not_saturated(songs: tuple[np.ndarray, np.ndarray]):
    assert 0.65 < roc_auc(songs, NUM_SONGS - NUM_TEST) < 0.95


def test_more_songs_help(songs: tuple[np.ndarray, np.ndarray]):
    scores = [roc_auc(songs, size) for size in (16, 80, 480)]
    assert scores[0] + 0.03 < scores[1]
    assert scores[1] + 0.03 < scores[2]


def test_shuffled_labels_score_chance(songs: tuple[np.ndarray, np.ndarray]):
    assert roc_auc(songs, NUM_SONGS - NUM_TEST, shuffle=True) == pytest.approx(0.5, abs=0.04)
