"""SSAST: masking, pretraining on a toy corpus, and what pretraining hands to fine-tuning."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from genrescale.models.parts.fbank import min_samples
from genrescale.models.ssast import SsastTagger, fit_positions, patch_grid, resample_positions
from genrescale.models.ssast_pretraining import SsastPretraining, info_nce, random_masks

TINY = {"size": "tiny", "depth": 2, "position_frames": 128}
CPU = torch.device("cpu")


def toy_waves(clips: int, frames: int = 128, seed: int = 0) -> torch.Tensor:
    """Clips of a rising chirp, each a little different: what is masked follows from where it is and from the rest."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(min_samples(frames)) / 16_000
    start_B1 = 300 + 300 * torch.rand(clips, 1, generator=generator)
    speed_B1 = (5_500 + 400 * torch.rand(clips, 1, generator=generator)) / t[-1]
    chirp_BT = torch.sin(2 * torch.pi * (start_B1 * t + speed_B1 * t.square() / 2))
    return 0.3 * chirp_BT + 0.003 * torch.randn(clips, len(t), generator=generator)


def test_the_published_grids():
    assert patch_grid(1024, 16) == (8, 64)
    assert patch_grid(1024, 10) == (12, 101)


def literal_mask(starts: list[int], cluster: int, grid: tuple[int, int], count: int) -> list[int]:
    """As the authors draw one: clusters at flat indices, over the edge into the next row, never patch 0."""
    masked: list[int] = []
    for start in starts:
        for up in range(cluster):
            for right in range(cluster):
                patch = start + grid[1] * up + right
                if 0 < patch < grid[0] * grid[1] and patch not in masked:
                    masked.append(patch)
        if len(masked) >= count:
            return masked
    raise AssertionError("not enough clusters")


def test_masks_are_the_clusters_of_a_literal_drawing(monkeypatch):
    grid, count = (8, 16), 60
    sizes = torch.tensor([[3], [4], [5]])
    starts = torch.stack([torch.randperm(128, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    monkeypatch.setattr(torch, "rand", lambda *shape, device: starts.argsort(dim=1).float())
    monkeypatch.setattr(torch, "randint", lambda *args, device: sizes)
    for masked, clip_starts, size in zip(random_masks(3, grid, count, CPU), starts, sizes, strict=True):
        drawn = literal_mask(clip_starts.tolist(), int(size), grid, count)
        assert masked.tolist() == drawn[:count], "the last cluster is cut short"


@pytest.mark.parametrize("grid", [(8, 64), (8, 8), (8, 1)])
def test_masks_hold_the_count_and_never_patch_0(grid):
    count = round(400 / 512 * grid[0] * grid[1])
    masked_BM = random_masks(64, grid, count, CPU)
    assert masked_BM.shape == (64, count)
    assert all(len(set(masked.tolist())) == count for masked in masked_BM)
    assert masked_BM.min() == 1
    assert masked_BM.max() == grid[0] * grid[1] - 1
    if grid == (8, 64):
        assert count == 400


def test_masks_are_clustered():
    """With a fifth of 512 patches masked alone at random, 0.2 of their right neighbours would be masked too."""
    masked_BP = torch.zeros(200, 512).scatter_(1, random_masks(200, (8, 64), 102, CPU), 1.0)
    together = (masked_BP[:, :-1] * masked_BP[:, 1:]).sum() / masked_BP.sum()
    assert together > 0.6


def test_masks_are_seeded():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(random_masks(2, (8, 8), 50, CPU))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0].sort().values, drawn[2].sort().values)
    torch.manual_seed(0)
    first, second = random_masks(2, (8, 8), 50, CPU)
    assert set(first.tolist()) != set(second.tolist()), "each clip has its own"


def test_info_nce_equals_the_literal_form():
    generator = torch.Generator().manual_seed(0)
    predicted, target = 0.1 * torch.randn(2, 2, 5, 256, generator=generator)
    losses, shares_BMM, right = [], torch.zeros(2, 5, 5), 0
    for b in range(2):
        for i in range(5):
            along = torch.stack([target[b, i] @ predicted[b, j] for j in range(5)])
            losses.append(along.exp().sum().log() - along[i])
            shares_BMM[b, i] = along.exp() / along.exp().sum()
        right += sum(int(shares_BMM[b, :, j].argmax()) == j for j in range(5))
    loss_B, accuracy_B = info_nce(predicted, target)
    torch.testing.assert_close(loss_B, torch.stack(losses).view(2, 5).mean(dim=1))
    assert accuracy_B.mean().item() == pytest.approx(right / 10)
    assert 0 < right < 10


def test_the_objectives_see_the_raw_patches_at_the_masked_places():
    torch.manual_seed(0)
    model = SsastPretraining(**TINY).eval()
    wave_BT = toy_waves(2)
    seen = []
    model.discriminative.register_forward_hook(lambda _, __, out: seen.append(out))
    model.generative.register_forward_hook(lambda _, __, out: seen.append(out))
    torch.manual_seed(5)
    with torch.no_grad():
        pretext_B3 = model(wave_BT)
    torch.manual_seed(5)
    masks = [random_masks(2, (8, 8), 50, CPU) for _ in range(2)]
    assert not torch.equal(masks[0], masks[1]), "two maskings"
    fbank_BNF = model.fbank(wave_BT)
    targets = []
    for mask in masks:
        rows, columns = mask // 8, mask % 8
        cells = [
            [fbank_BNF[b, 16 * int(c) : 16 * int(c) + 16, 16 * int(r) : 16 * int(r) + 16].T.flatten()]
            for b in range(2)
            for r, c in zip(rows[b], columns[b], strict=True)
        ]
        targets.append(torch.stack([cell for (cell,) in cells]).view(2, 50, 256))
    torch.testing.assert_close(pretext_B3[:, 0], info_nce(seen[0], targets[0])[0])
    torch.testing.assert_close(pretext_B3[:, 1].mean(), F.mse_loss(seen[1], targets[1]))
    assert not torch.isclose(pretext_B3[0, 1], pretext_B3[1, 1]), "each clip has its own"


def test_masked_patches_are_hidden_from_the_backbone():
    model = SsastPretraining(**TINY).eval()
    fbank_BNF = torch.randn(1, 128, 128)
    masked_BP = torch.zeros(1, 64, dtype=torch.bool)
    masked_BP[0, 8 * 3 + 5] = True  # bins 48 to 63, frames 80 to 95
    changed = fbank_BNF.clone()
    changed[0, 80:96, 48:64] += 3.0
    with torch.no_grad():
        tokens, same = (model.backbone(x, masked_BP, model.mask_token) for x in (fbank_BNF, changed))
        assert torch.equal(tokens, same)
        assert not torch.equal(model.backbone(fbank_BNF), model.backbone(changed))


@pytest.fixture(scope="module")
def pretrained() -> tuple[SsastPretraining, list[float], list[float]]:
    """A small model after 50 steps on toy clips of 32 patches, with its losses and accuracies."""
    torch.manual_seed(0)
    model = SsastPretraining(**(TINY | {"position_frames": 64}))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.95, 0.999), weight_decay=5e-7)
    wave_BT = toy_waves(4, frames=64)
    losses, accuracies = [], []
    for _ in range(50):
        discriminative, generative, accuracy = model(wave_BT).mean(dim=0)
        optimiser.zero_grad()
        (loss := discriminative + 10 * generative).backward()
        optimiser.step()
        losses.append(loss.item())
        accuracies.append(accuracy.item())
    return model, losses, accuracies


def test_pretraining_learns(pretrained):
    _, losses, accuracies = pretrained
    chance = 1 / 25  # of 25 masked patches
    assert sum(losses[-5:]) / 5 < 0.5 * sum(losses[:5]) / 5
    assert accuracies[0] < 4 * chance
    assert sum(accuracies[-5:]) / 5 > 10 * chance


def test_every_pretraining_weight_gets_a_gradient():
    model = SsastPretraining(**TINY)
    model(toy_waves(2)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_pretrained_weights_go_into_fine_tuning(pretrained):
    """Stride 16 to 10, positions from 8 x 4 to 12 x 12 patches, no head: everything else is taken as it is."""
    source = pretrained[0].state_dict()
    torch.manual_seed(0)
    model = SsastTagger(3, **TINY)
    assert model.backbone.stored_grid == (12, 12)
    fitted = fit_positions(source, model)
    missing, unexpected = model.load_state_dict(fitted, strict=False)
    assert sorted(missing) == ["head.bias", "head.weight", "head_norm.bias", "head_norm.weight"]
    assert {name.split(".")[0] for name in unexpected} == {"mask_token", "discriminative", "generative"}
    assert torch.equal(fit_positions(model.state_dict(), model)["backbone.positions"], fitted["backbone.positions"])
    assert torch.equal(model.backbone.embed.weight, source["backbone.embed.weight"])
    wave_BT = toy_waves(4)
    wave_BT[::2] = wave_BT[::2].flip(1)  # falling instead of rising
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    labels = torch.tensor([0, 1, 0, 1])
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(model(wave_BT), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_same_stride_and_length_keeps_positions_to_the_bit(pretrained):
    source = pretrained[0].state_dict()
    model = SsastTagger(3, **(TINY | {"stride": 16, "position_frames": 64}))
    assert torch.equal(fit_positions(source, model)["backbone.positions"], source["backbone.positions"])


def test_positions_of_another_grid_are_refused():
    with pytest.raises(ValueError, match=r"66 positions do not match 2 class tokens and a grid of 12 x 5 patches"):
        resample_positions(torch.zeros(1, 66, 8), (12, 5), (8, 8))
    with pytest.raises(ValueError, match=r"no 'backbone.positions'"):
        fit_positions({}, SsastTagger(3, **TINY))


def test_pooling_takes_the_patches_or_the_class_tokens():
    torch.manual_seed(0)
    model = SsastTagger(3, **TINY).eval()
    wave_BT = toy_waves(2)
    with torch.no_grad():
        tokens = model.backbone(model.fbank(wave_BT))
        by_patches = model.head(model.head_norm(tokens[:, 2:].mean(dim=1)))
        torch.testing.assert_close(model(wave_BT), by_patches)
        by_class = SsastTagger(3, **TINY, pooling="class").eval()
        by_class.load_state_dict(model.state_dict())
        torch.testing.assert_close(by_class(wave_BT), model.head(model.head_norm((tokens[:, 0] + tokens[:, 1]) / 2)))


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"stride": 10}, "stride=10: overlapping patches would reveal masked cells"),
        ({"masked_share": 1.0}, "masked_share=1.0 must be between 0 and 1"),
    ],
)
def test_pretraining_refusals(dials, message):
    with pytest.raises(ValueError, match=message):
        SsastPretraining(**dials)
    with pytest.raises(ValueError, match="too short"):
        SsastPretraining(**TINY)(torch.zeros(1, 2_799))
