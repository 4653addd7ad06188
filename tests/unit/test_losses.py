"""Losses against literal float64 loops, finite differences, extreme logits, and what gradients over groups need."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from genrescale.audio import Tag, Vocabulary
from genrescale.config import LOSSES as CONFIG_LOSSES
from genrescale.config import DataConfig, RunConfig, run_from_dict, run_id
from genrescale.config.losses import full_loss_dials
from genrescale.data.manifest import Manifest
from genrescale.losses import LOSSES, Loss, build_loss, probabilities
from genrescale.losses.focal import class_weights, rebalancing
from genrescale.training.checks import check_data
from genrescale.training.resolve import complete_run
from genrescale.training.select import select_data

MIXED = Vocabulary((Tag("rock"), Tag("acoustic", "regress"), Tag("jazz"), Tag("tempo", "regress"), Tag("vocal")))
MULTI = Vocabulary.of_classes(["a", "b", "c", "d", "e"])
EXCLUSIVE = Vocabulary.of_classes(["a", "b", "c", "d", "e"], exclusive=True)
COUNTS = np.array([40, 7, 3, 100, 12])
NUM_SONGS = 200
CASES = [
    ("by_kind", MIXED, {}),
    ("by_kind", MULTI, {}),
    ("by_kind", EXCLUSIVE, {}),
    ("bce", MULTI, {}),
    ("bce", MIXED, {}),
    ("mse", MIXED, {}),
    ("mse", EXCLUSIVE, {}),
    ("cross_entropy", EXCLUSIVE, {}),
    ("cross_entropy", EXCLUSIVE, {"label_smoothing": 0.1}),
    ("focal", MULTI, {}),
    ("focal", MIXED, {"alpha": None, "gamma": 0.5}),
    ("focal", EXCLUSIVE, {"alpha": 0.9, "gamma": 0.0}),
    ("class_balanced", MULTI, {}),
    ("class_balanced", MIXED, {"beta": 0.9, "gamma": 1.5}),
    ("distribution_balanced", MULTI, {}),
    ("distribution_balanced", MIXED, {"kappa": 0.05, "negative_scale": 5.0, "r_middle": 0.3, "alpha": None}),
]


def build(name: str, vocabulary: Vocabulary, dials: dict[str, float | None] | None = None) -> Loss:
    return build_loss(name, vocabulary, COUNTS, NUM_SONGS, **(dials or {}))


def batch(vocabulary: Vocabulary, clips: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits_BK = torch.tensor(3 * rng.standard_normal((clips, len(vocabulary))), dtype=torch.float32)
    if vocabulary.exclusive:
        tags_BK = torch.eye(len(vocabulary))[torch.tensor(rng.integers(len(vocabulary), size=clips))]
    else:
        values = rng.random((clips, len(vocabulary)))
        tags_BK = torch.tensor(np.where(vocabulary.classify_K, values < 0.4, values), dtype=torch.float32)
    return logits_BK, tags_BK


def literal_focal(y: float, z: float, alpha: float | None, gamma: float, s: float = 1.0) -> float:
    p, q = 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(-s * z))
    there, absent = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return -there * y * (1 - p) ** gamma * math.log(p) - absent * (1 - y) * q**gamma * math.log(1 - q) / s


def literal_family(name: str, vocabulary: Vocabulary, z: list[float], y: list[float], dials: dict) -> float:
    """The sum over a clip's tags, from the formulas of MediaEval 2020 and Wu et al. 2020."""
    classes = [k for k, tag in enumerate(vocabulary.tags) if tag.kind == "classify"]
    total = sum((1 / (1 + math.exp(-z[k])) - y[k]) ** 2 for k in range(len(z)) if k not in classes)
    gamma = dials.get("gamma", 2.0)
    if name == "focal":
        return total + sum(literal_focal(y[k], z[k], dials.get("alpha", 0.25), gamma) for k in classes)
    if name == "class_balanced":
        beta = dials.get("beta", 0.995)
        weights = {k: (1 - beta) / (1 - beta ** int(COUNTS[k])) for k in classes}
        norm = len(classes) / sum(weights.values())
        return total + sum(norm * weights[k] * literal_focal(y[k], z[k], None, gamma) for k in classes)
    s, kappa, middle = (
        dials.get(dial, value) for dial, value in (("negative_scale", 2.0), ("kappa", 0.0), ("r_middle", 0.2))
    )
    together = sum(y[k] / COUNTS[k] for k in classes)
    for k in classes:
        r0 = 1 / COUNTS[k] / together if together else math.inf
        r = 0.1 + 1 / (1 + math.exp(-10 * (r0 - middle)))
        nu = kappa / s * math.log(NUM_SONGS / COUNTS[k] - 1)
        total += r * literal_focal(y[k], z[k] - nu, dials.get("alpha", 0.25), gamma, s)
    return total


def literal(
    name: str, vocabulary: Vocabulary, logits_BK: np.ndarray, tags_BK: np.ndarray, dials: dict | None = None
) -> float:
    """The definitions, one clip and one tag at a time, in float64."""
    clips, dials = [], dials or {}
    for logits, tags in zip(logits_BK.tolist(), tags_BK.tolist(), strict=True):
        if name == "cross_entropy" or (name == "by_kind" and vocabulary.exclusive):
            e = dials.get("label_smoothing", 0.0)
            total = math.fsum(math.exp(z) for z in logits)
            smooth = [(1 - e) * t + e / len(tags) for t in tags]
            clips.append(-math.fsum(t * math.log(math.exp(z) / total) for z, t in zip(logits, smooth, strict=True)))
            continue
        if name in ("focal", "class_balanced", "distribution_balanced"):
            clips.append(literal_family(name, vocabulary, logits, tags, dials))
            continue
        terms = []
        for tag, z, t in zip(vocabulary.tags, logits, tags, strict=True):
            p = 1 / (1 + math.exp(-z))
            squared = name == "mse" or (name == "by_kind" and tag.kind == "regress")
            terms.append((p - t) ** 2 if squared else -(t * math.log(p) + (1 - t) * math.log(1 - p)))
        clips.append(sum(terms) / len(terms))
    return sum(clips) / len(clips)


@pytest.mark.parametrize(("name", "vocabulary", "dials"), CASES)
def test_equals_the_literal_definition(name, vocabulary, dials):
    logits_BK, tags_BK = batch(vocabulary)
    loss = build(name, vocabulary, dials)(logits_BK, tags_BK)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(literal(name, vocabulary, logits_BK.numpy(), tags_BK.numpy(), dials), rel=1e-6)


@pytest.mark.parametrize(("name", "vocabulary", "dials"), CASES)
def test_gradient_equals_finite_differences(name, vocabulary, dials):
    logits_BK, tags_BK = batch(vocabulary, clips=2)
    logits_BK.requires_grad_(True)
    build(name, vocabulary, dials)(logits_BK, tags_BK).backward()
    assert logits_BK.grad is not None
    z, tags, step = logits_BK.detach().double().numpy(), tags_BK.numpy(), 1e-5
    for index in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[index] += step
        down[index] -= step
        slope = (literal(name, vocabulary, up, tags, dials) - literal(name, vocabulary, down, tags, dials)) / (2 * step)
        assert logits_BK.grad[index].item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("name", "vocabulary", "dials"), CASES)
@pytest.mark.parametrize("scale", [1e2, 1e4, 3e38])
def test_extreme_logits_give_finite_gradients(name, vocabulary, dials, scale):
    logits_BK, tags_BK = batch(vocabulary)
    extreme_BK = (logits_BK.sign() * scale).requires_grad_(True)
    loss = build(name, vocabulary, dials)(extreme_BK, tags_BK)
    loss.backward()
    assert extreme_BK.grad is not None
    assert torch.isfinite(extreme_BK.grad).all()
    assert not torch.isnan(loss)
    if scale < 1e38:
        assert torch.isfinite(loss)


def test_confident_and_right_costs_nothing_even_at_the_edge():
    tags_BK = torch.eye(5)
    logits_BK = (tags_BK * 2 - 1) * 3e38
    for name, vocabulary, dials in CASES:
        if "regress" not in {tag.kind for tag in vocabulary.tags} and "label_smoothing" not in dials:
            assert build(name, vocabulary, dials)(logits_BK, tags_BK).item() == 0.0


@pytest.mark.parametrize(("name", "vocabulary", "dials"), CASES)
def test_is_fp32_under_autocast_and_from_bf16_logits(name, vocabulary, dials):
    logits_BK, tags_BK = batch(vocabulary)
    rounded_BK = logits_BK.bfloat16()
    expected = build(name, vocabulary, dials)(rounded_BK.float(), tags_BK)
    with torch.autocast("cpu", torch.bfloat16):
        loss = build(name, vocabulary, dials)(rounded_BK, tags_BK)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


@pytest.mark.parametrize(("name", "vocabulary", "dials"), CASES)
def test_extreme_bf16_logits_give_finite_gradients_under_autocast(name, vocabulary, dials):
    logits_BK, tags_BK = batch(vocabulary)
    extreme_BK = (logits_BK.sign() * 1e4).bfloat16().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = build(name, vocabulary, dials)(extreme_BK, tags_BK)
    loss.backward()
    assert torch.isfinite(loss)
    assert extreme_BK.grad is not None
    assert torch.isfinite(extreme_BK.grad).all()


@pytest.mark.parametrize(("name", "vocabulary", "dials"), CASES)
def test_groups_weighted_by_clips_give_the_whole_batch(name, vocabulary, dials):
    loss = build(name, vocabulary, dials)
    logits_BK, tags_BK = batch(vocabulary, clips=7)
    parts = [slice(0, 2), slice(2, 7)]
    weighted = sum(len(logits_BK[p]) / 7 * loss(logits_BK[p], tags_BK[p]) for p in parts)
    torch.testing.assert_close(weighted, loss(logits_BK, tags_BK))


@pytest.mark.parametrize(("name", "vocabulary", "dials"), CASES)
def test_mixed_tags_train_as_the_mixture_of_both_losses(name, vocabulary, dials):
    """Mixup's loss mixing; the distribution-balanced loss is that of the formula with the mixed tags, see ``focal``."""
    logits_BK, tags_BK = batch(vocabulary)
    other_BK = tags_BK.flip(0)
    mixed_BK = 0.3 * tags_BK + 0.7 * other_BK
    loss = build(name, vocabulary, dials)
    expected = literal(name, vocabulary, logits_BK.numpy(), mixed_BK.numpy(), dials)
    assert loss(logits_BK, mixed_BK).item() == pytest.approx(expected, rel=1e-6)
    logits_BK.requires_grad_(True)
    mixture = 0.3 * loss(logits_BK, tags_BK) + 0.7 * loss(logits_BK, other_BK)
    slopes = [torch.autograd.grad(value, logits_BK)[0] for value in (loss(logits_BK, mixed_BK), mixture)]
    if name == "distribution_balanced":
        assert all(torch.isfinite(slope).all() for slope in slopes)
        assert torch.nn.functional.cosine_similarity(slopes[0].flatten(), slopes[1].flatten(), dim=0) > 0.9
    else:
        torch.testing.assert_close(*slopes)


def test_label_smoothing_is_pytorchs():
    logits_BK, tags_BK = batch(EXCLUSIVE)
    expected = torch.nn.functional.cross_entropy(logits_BK, tags_BK.argmax(dim=1), label_smoothing=0.2)
    torch.testing.assert_close(
        build("cross_entropy", EXCLUSIVE, {"label_smoothing": 0.2})(logits_BK, tags_BK), expected
    )


def test_focal_without_its_dials_is_a_sum_of_bce():
    logits_BK, tags_BK = batch(MULTI)
    plain = build("focal", MULTI, {"alpha": None, "gamma": 0.0})(logits_BK, tags_BK)
    torch.testing.assert_close(plain, 5 * build("bce", MULTI)(logits_BK, tags_BK))


def test_the_distribution_balanced_loss_of_wu_et_al_is_one_of_dials():
    """Their code's order of things: shift, scale absent logits, binary cross entropy, focus, weigh, times 2, mean."""
    logits_BK, tags_BK = batch(MULTI)
    z, y, n = logits_BK.double().numpy(), tags_BK.double().numpy(), COUNTS.astype(float)
    shifted = z - np.log(NUM_SONGS / n - 1) * 0.05 / 5
    scaled = np.where(y == 1, shifted, 5 * shifted)
    entropy = np.where(y == 1, np.log1p(np.exp(-scaled)), np.log1p(np.exp(scaled)))
    r = 0.1 + 1 / (1 + np.exp(-10 * ((1 / n) / (y / n).sum(axis=1, keepdims=True) - 0.3)))
    weight = np.where(y == 1, r, r / 5)
    expected = (2 * (1 - np.exp(-entropy)) ** 2 * weight * entropy).mean()
    dials = {"alpha": None, "scale": 2 / 5, "kappa": 0.05, "negative_scale": 5, "r_middle": 0.3}
    loss = build("distribution_balanced", MULTI, dials)
    assert (y.sum(axis=1) > 0).all()
    assert loss(logits_BK, tags_BK).item() == pytest.approx(expected, rel=1e-6)


def test_class_weights_sum_to_the_number_of_tags_and_favour_the_rare():
    weights_K = class_weights(COUNTS, 0.995)
    assert weights_K.sum() == pytest.approx(5)
    assert (np.argsort(weights_K) == np.argsort(-COUNTS)).all()
    np.testing.assert_allclose(class_weights(COUNTS, 0.0), 1.0)
    inverse_K = 1 / COUNTS
    np.testing.assert_allclose(class_weights(COUNTS, 1 - 1e-9), 5 * inverse_K / inverse_K.sum(), rtol=1e-5)


def test_a_clip_without_tags_is_weighed_as_its_rarest_could_be():
    r_BK = rebalancing(torch.zeros(1, 5), torch.tensor(COUNTS, dtype=torch.float32), 0.1, 10.0, 0.2)
    torch.testing.assert_close(r_BK, torch.full((1, 5), 1.1))
    logits_BK = torch.randn(2, 5, requires_grad=True)
    loss = build("distribution_balanced", MULTI)(logits_BK, torch.zeros(2, 5))
    assert torch.isfinite(torch.autograd.grad(loss, logits_BK)[0]).all()


def test_dials_are_the_studies_unless_given():
    assert full_loss_dials("focal", {}) == {"alpha": 0.25, "gamma": 2.0}
    assert full_loss_dials("class_balanced", {}) == {"beta": 0.995, "gamma": 2.0}
    balanced = {"negative_scale": 2.0, "kappa": 0.0, "r_lift": 0.1, "r_slope": 10.0, "r_middle": 0.2, "scale": 1.0}
    assert full_loss_dials("distribution_balanced", {"gamma": 1}) == {"alpha": 0.25, "gamma": 1.0, **balanced}
    assert full_loss_dials("cross_entropy", {}) == {"label_smoothing": 0.0}
    assert full_loss_dials("pretext", {}) == {"generative_weight": 10.0}
    assert all(full_loss_dials(name, {}) == {} for name in ("by_kind", "bce", "mse"))


def test_probabilities_follow_the_vocabulary():
    logits_BK, _ = batch(MULTI)
    torch.testing.assert_close(probabilities(logits_BK, MIXED), 1 / (1 + torch.exp(-logits_BK)))
    for name in set(LOSSES) - {"by_kind", "cross_entropy", "pretext"}:
        torch.testing.assert_close(probabilities(logits_BK, EXCLUSIVE, name), logits_BK.sigmoid())
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


@pytest.mark.parametrize("name", ["class_balanced", "distribution_balanced"])
def test_a_balanced_loss_needs_songs_of_every_tag_and_says_so(name: str):
    with pytest.raises(ValueError, match=f"loss '{name}' weighs tags by their training songs: pass class_counts"):
        build_loss(name, MULTI)
    with pytest.raises(ValueError, match=r"class_counts has shape \(3,\); the vocabulary has 5 tags"):
        build_loss(name, MULTI, [1, 2, 3])
    with pytest.raises(ValueError, match=r"2 tag\(s\) have none: 'b', 'e'; train on more songs, .*loss=focal"):
        build_loss(name, MULTI, [1, 0, 3, 4, 0])
    # a regress tag of MIXED has no classes to count
    build_loss(name, MIXED, [1, 0, 3, 0, 5])


@pytest.mark.parametrize("num_songs", [None, 100])
def test_a_class_bias_needs_songs_without_the_tag(num_songs: int | None):
    with pytest.raises(ValueError, match=r"kappa=0.05 needs num_songs=, .* a tag has 100 songs"):
        build_loss("distribution_balanced", MULTI, COUNTS, num_songs, kappa=0.05)


@pytest.mark.parametrize(
    ("name", "dials", "message"),
    [
        ("focus", {}, r"loss='focus' is none of \['by_kind', .*'distribution_balanced', 'pretext'\]"),
        ("bce", {"gamma": 2}, r"loss 'bce' has no dials \['gamma'\]; it has \[\]"),
        ("focal", {"beta": 0.9}, r"loss 'focal' has no dials \['beta'\]; it has \['alpha', 'gamma'\]"),
        ("focal", {"gamma": -1}, "dial gamma=-1 of the loss must be a finite number of at least 0"),
        ("focal", {"gamma": math.nan}, "dial gamma=nan"),
        ("focal", {"alpha": "high"}, "dial alpha='high' of the loss must be .* at least 0 and below 1"),
        ("class_balanced", {"beta": 1.0}, "dial beta=1.0 of the loss must be .* below 1"),
        ("cross_entropy", {"label_smoothing": 1}, "dial label_smoothing=1"),
        ("distribution_balanced", {"negative_scale": 0}, "dial negative_scale=0"),
        ("distribution_balanced", {"kappa": True}, "dial kappa=True"),
    ],
)
def test_a_run_refuses_dials_when_it_is_built(name: str, dials: dict, message: str):
    with pytest.raises(ValueError, match=message):
        RunConfig(loss=name, loss_dials=dials)


def test_a_run_keeps_its_dials():
    run = RunConfig(loss="focal", loss_dials={"gamma": 3})
    assert run_from_dict(asdict(run)) == run


def test_a_run_counts_the_tags_of_its_training_songs(corpus: Manifest):
    data = select_data(RunConfig(data=DataConfig(size=40, crop_s=3.0, batch=8, group=4)), corpus)
    labels_NK = corpus.labels_NK[corpus.select("train", 40)]
    assert data.class_counts_K.tolist() == [
        sum(1 for value in labels_NK[:, k] if value > 0) for k in range(labels_NK.shape[1])
    ]


def test_a_run_whose_songs_lack_a_tag_is_refused_before_it_starts(corpus: Manifest):
    data = DataConfig(size=8, crop_s=3.0, batch=8, group=4)
    selected = select_data(RunConfig(data=data), corpus)
    check_data(RunConfig(data=data, loss="focal"), selected)
    with pytest.raises(ValueError, match=r"loss 'class_balanced' weighs tags .* have none"):
        check_data(RunConfig(data=data, loss="class_balanced"), selected)


def test_a_default_dial_written_out_is_the_same_run(corpus: Manifest):
    runs = [RunConfig(loss="focal", loss_dials=dials) for dials in ({}, {"gamma": 2}, {"gamma": 3})]
    ids = [run_id(complete_run(run, corpus, 8), "data") for run in runs]
    assert ids[0] == ids[1] != ids[2]
