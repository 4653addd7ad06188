"""Every loss learns a toy corpus: tags rare and frequent that a small model can hear, scored on unseen clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genrescale.audio import Tag, Vocabulary
from genrescale.config import AugmentConfig
from genrescale.data.augment import augment
from genrescale.losses import LOSSES, OUTPUT_PRIOR, build_loss, probabilities
from genrescale.metrics import macro_pr_auc, macro_roc_auc
from genrescale.models.head import set_output_prior

NUM_SAMPLES, CLIPS = 256, 768
MULTI = Vocabulary((*(Tag(f"tone{k}") for k in range(4)), Tag("energy", "regress")))
EXCLUSIVE = Vocabulary.of_classes([f"tone{k}" for k in range(4)], exclusive=True)
SHARES = (0.5, 0.2, 0.1, 0.04)  # of the clips that hold a tone


class TinyConv(nn.Module):
    """Filters, their energy over time, and a dense layer."""

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 16, 32, stride=8)
        self.output = nn.Linear(16, num_tags)

    def forward(self, wave_BT: Tensor) -> Tensor:
        return self.output(self.conv(wave_BT[:, None]).square().mean(dim=2).clamp(min=1e-6).log())


def toy(vocabulary: Vocabulary, seed: int) -> tuple[Tensor, Tensor]:
    """Clips of noise with a tone for each tag; of an exclusive vocabulary one tone each."""
    rng = np.random.default_rng(seed)
    tones_KT = np.sin(2 * np.pi * np.outer([0.06, 0.13, 0.22, 0.35], np.arange(NUM_SAMPLES)))
    if vocabulary.exclusive:
        tags_BK = np.eye(4)[rng.choice(4, CLIPS, p=np.array(SHARES) / sum(SHARES))]
    else:
        tags_BK = rng.random((CLIPS, 4)) < SHARES
    wave_BT = 0.5 * tags_BK @ tones_KT + 0.5 * rng.standard_normal((CLIPS, NUM_SAMPLES))
    if not vocabulary.exclusive:
        level_B = rng.random(CLIPS)
        wave_BT *= (0.2 + level_B)[:, None]
        tags_BK = np.column_stack([tags_BK, level_B])
    return torch.tensor(wave_BT, dtype=torch.float32), torch.tensor(tags_BK, dtype=torch.float32)


def learn(name: str, vocabulary: Vocabulary, augmentation: AugmentConfig) -> tuple[np.ndarray, np.ndarray]:
    """True tags and scores of unseen clips after 150 steps of Adam."""
    torch.manual_seed(0)
    wave_BT, tags_BK = toy(vocabulary, seed=0)
    model = TinyConv(len(vocabulary))
    if name in OUTPUT_PRIOR:
        set_output_prior(model, len(vocabulary), OUTPUT_PRIOR[name])
    loss = build_loss(name, vocabulary, (tags_BK > 0).sum(dim=0).numpy(), CLIPS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(150):
        rows = torch.arange(step * 64, step * 64 + 64) % CLIPS
        mixed_BT, mixed_BK = augment(wave_BT[rows], tags_BK[rows], augmentation)
        optimizer.zero_grad()
        loss(model(mixed_BT), mixed_BK).backward()
        optimizer.step()
    unseen_BT, true_BK = toy(vocabulary, seed=1)
    with torch.no_grad():
        return true_BK.numpy(), probabilities(model(unseen_BT), vocabulary, name).numpy()


AUGMENTED = AugmentConfig(gain_db=3.0, shift_ms=2.0, mixup_alpha=0.4, cutmix_alpha=0.4)


@pytest.mark.parametrize("augmentation", [AugmentConfig(), AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"pretext"}))
def test_every_loss_learns(name: str, augmentation: AugmentConfig):
    vocabulary = EXCLUSIVE if name == "cross_entropy" else MULTI
    true_BK, score_BK = learn(name, vocabulary, augmentation)
    # chance: ROC-AUC 1/2, PR-AUC a tag's share of the clips
    assert macro_roc_auc(true_BK[:, :4], score_BK[:, :4]) > 0.8
    assert macro_pr_auc(true_BK[:, :4], score_BK[:, :4]) > 2 * true_BK[:, :4].mean()
    if vocabulary is MULTI and augmentation is not AUGMENTED:  # mixing clips changes their level
        error = ((true_BK[:, 4] - score_BK[:, 4]) ** 2).mean()
        assert error < 0.6 * true_BK[:, 4].var()
