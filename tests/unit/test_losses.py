"""Losses against literal float64 loops, finite differences, extreme logits, and what gradients over groups need."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from genrescale.audio import Tag, Vocabulary
from genrescale.config import LOSSES as CONFIG_LOSSES
from genrescale.losses import LOSSES, build_loss, probabilities

MIXED = Vocabulary((Tag("rock"), Tag("acoustic", "regress"), Tag("jazz"), Tag("tempo", "regress"), Tag("vocal")))
MULTI = Vocabulary.of_classes(["a", "b", "c", "d", "e"])
EXCLUSIVE = Vocabulary.of_classes(["a", "b", "c", "d", "e"], exclusive=True)
CASES = [
    ("by_kind", MIXED),
    ("by_kind", MULTI),
    ("by_kind", EXCLUSIVE),
    ("bce", MULTI),
    ("bce", MIXED),
    ("mse", MIXED),
    ("mse", EXCLUSIVE),
    ("cross_entropy", EXCLUSIVE),
]


def batch(vocabulary: Vocabulary, clips: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits_BK = torch.tensor(3 * rng.standard_normal((clips, len(vocabulary))), dtype=torch.float32)
    if vocabulary.exclusive:
        tags_BK = torch.eye(len(vocabulary))[torch.tensor(rng.integers(len(vocabulary), size=clips))]
    else:
        values = rng.random((clips, len(vocabulary)))
        tags_BK = torch.tensor(np.where(vocabulary.classify_K, values < 0.4, values), dtype=torch.float32)
    return logits_BK, tags_BK


def literal(name: str, vocabulary: Vocabulary, logits_BK: np.ndarray, tags_BK: np.ndarray) -> float:
    """The definitions, one clip and one tag at a time, in float64."""
    clips = []
    for logits, tags in zip(logits_BK.tolist(), tags_BK.tolist(), strict=True):
        if name == "cross_entropy" or (name == "by_kind" and vocabulary.exclusive):
            total = math.fsum(math.exp(z) for z in logits)
            clips.append(-math.fsum(t * math.log(math.exp(z) / total) for z, t in zip(logits, tags, strict=True)))
            continue
        terms = []
        for tag, z, t in zip(vocabulary.tags, logits, tags, strict=True):
            p = 1 / (1 + math.exp(-z))
            squared = name == "mse" or (name == "by_kind" and tag.kind == "regress")
            terms.append((p - t) ** 2 if squared else -(t * math.log(p) + (1 - t) * math.log(1 - p)))
        clips.append(sum(terms) / len(terms))
    return sum(clips) / len(clips)


@pytest.mark.parametrize(("name", "vocabulary"), CASES)
def test_equals_the_literal_definition(name, vocabulary):
    logits_BK, tags_BK = batch(vocabulary)
    loss = build_loss(name, vocabulary)(logits_BK, tags_BK)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(literal(name, vocabulary, logits_BK.numpy(), tags_BK.numpy()), rel=1e-6)


@pytest.mark.parametrize(("name", "vocabulary"), CASES)
def test_gradient_equals_finite_differences(name, vocabulary):
    logits_BK, tags_BK = batch(vocabulary, clips=2)
    logits_BK.requires_grad_(True)
    build_loss(name, vocabulary)(logits_BK, tags_BK).backward()
    assert logits_BK.grad is not None
    z, tags, step = logits_BK.detach().double().numpy(), tags_BK.numpy(), 1e-5
    for index in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[index] += step
        down[index] -= step
        slope = (literal(name, vocabulary, up, tags) - literal(name, vocabulary, down, tags)) / (2 * step)
        assert logits_BK.grad[index].item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("name", "vocabulary"), CASES)
@pytest.mark.parametrize("scale", [1e2, 1e4, 3e38])
def test_extreme_logits_give_finite_gradients(name, vocabulary, scale):
    logits_BK, tags_BK = batch(vocabulary)
    extreme_BK = (logits_BK.sign() * scale).requires_grad_(True)
    loss = build_loss(name, vocabulary)(extreme_BK, tags_BK)
    loss.backward()
    assert extreme_BK.grad is not None
    assert torch.isfinite(extreme_BK.grad).all()
    assert not torch.isnan(loss)
    if scale < 1e38:
        assert torch.isfinite(loss)


def test_confident_and_right_costs_nothing_even_at_the_edge():
    tags_BK = torch.eye(5)
    logits_BK = (tags_BK * 2 - 1) * 3e38
    for name, vocabulary in CASES:
        if "regress" not in {tag.kind for tag in vocabulary.tags}:
            assert build_loss(name, vocabulary)(logits_BK, tags_BK).item() == 0.0


@pytest.mark.parametrize(("name", "vocabulary"), CASES)
def test_is_fp32_under_autocast_and_from_bf16_logits(name, vocabulary):
    logits_BK, tags_BK = batch(vocabulary)
    rounded_BK = logits_BK.bfloat16()
    expected = build_loss(name, vocabulary)(rounded_BK.float(), tags_BK)
    with torch.autocast("cpu", torch.bfloat16):
        loss = build_loss(name, vocabulary)(rounded_BK, tags_BK)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


@pytest.mark.parametrize(("name", "vocabulary"), CASES)
def test_groups_weighted_by_clips_give_the_whole_batch(name, vocabulary):
    loss = build_loss(name, vocabulary)
    logits_BK, tags_BK = batch(vocabulary, clips=7)
    parts = [slice(0, 2), slice(2, 7)]
    weighted = sum(len(logits_BK[p]) / 7 * loss(logits_BK[p], tags_BK[p]) for p in parts)
    torch.testing.assert_close(weighted, loss(logits_BK, tags_BK))


def test_cross_entropy_takes_mixed_clips():
    logits_BK, tags_BK = batch(EXCLUSIVE)
    mixed_BK = 0.3 * tags_BK + 0.7 * tags_BK.flip(0)
    expected = literal("cross_entropy", EXCLUSIVE, logits_BK.numpy(), mixed_BK.numpy())
    assert build_loss("cross_entropy", EXCLUSIVE)(logits_BK, mixed_BK).item() == pytest.approx(expected, rel=1e-6)


def test_probabilities_follow_the_vocabulary():
    logits_BK, _ = batch(MULTI)
    torch.testing.assert_close(probabilities(logits_BK, MIXED), 1 / (1 + torch.exp(-logits_BK)))
    torch.testing.assert_close(probabilities(logits_BK, EXCLUSIVE, "mse"), logits_BK.sigmoid())
    exclusive_BK = probabilities(logits_BK.bfloat16(), EXCLUSIVE)
    assert exclusive_BK.dtype == torch.float32
    torch.testing.assert_close(exclusive_BK.sum(dim=1), torch.ones(len(logits_BK)))
    assert torch.equal(exclusive_BK.argmax(dim=1), logits_BK.argmax(dim=1))


def test_names_are_those_of_the_config():
    assert set(LOSSES) == set(CONFIG_LOSSES)


def test_refusals():
    with pytest.raises(ValueError, match=r"'focus' is none of .*'by_kind'"):
        build_loss("focus", MULTI)
    with pytest.raises(ValueError, match="needs an exclusive vocabulary"):
        build_loss("cross_entropy", MULTI)
    with pytest.raises(ValueError, match="differ in shape"):
        build_loss("bce", MULTI)(torch.zeros(4, 5), torch.zeros(4, 1))
