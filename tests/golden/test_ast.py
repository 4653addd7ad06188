"""The transformer of SSAST against ``ASTModel`` of transformers, which is the same network with class-token pooling.

Random weights of theirs go through ``ast_keys``, as a downloaded checkpoint would. Tolerance: 1e-4 (values are near 1).
Layer norms have epsilon 1e-6, with which AST was trained (timm); transformers' default of 1e-12 shifts class tokens,
which are small, by 1e-4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from genrescale.config.published import Published
from genrescale.export import load_exported
from genrescale.export.published import import_published
from genrescale.models import build_model
from genrescale.models.pretrained import AST_DIALS, load_published
from genrescale.models.published.ssast_keys import ast_keys
from genrescale.models.ssast import SsastTagger, fit_positions
from genrescale.storage.store import Store

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def theirs() -> ASTForAudioClassification:
    """Two layers of ``tiny`` for 256 frames, every weight at random: biases and class tokens too."""
    config = ASTConfig(
        hidden_size=192,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=768,
        max_length=256,
        num_labels=5,  # pyright: ignore[reportCallIssue]
        layer_norm_eps=1e-6,
    )
    model = ASTForAudioClassification(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            offset = 1.0 if "layernorm" in name and "weight" in name else 0.0
            weight.copy_(offset + 0.05 * torch.randn(weight.shape, generator=generator))
    return model


def ours_like(theirs: ASTForAudioClassification, **dials) -> SsastTagger:
    dials = {"frames": 256, "position_frames": 256} | dials
    ours = SsastTagger(5, size="tiny", depth=2, pooling="class", remove_mean=False, **dials)
    ours.load_state_dict(fit_positions(ast_keys(theirs.state_dict()), ours))
    return ours.eval()


@torch.no_grad()
def test_hidden_states_and_logits_are_equal(theirs):
    fbank_BNF = torch.randn(2, 256, 128, generator=torch.Generator().manual_seed(1))
    outputs = theirs.audio_spectrogram_transformer(fbank_BNF)
    ours = ours_like(theirs)
    tokens_BPD = ours.backbone(fbank_BNF)
    assert tokens_BPD.shape == (2, 2 + 12 * 25, 192)
    assert tokens_BPD.std() > 0.5
    torch.testing.assert_close(tokens_BPD, outputs.last_hidden_state, rtol=0, atol=TOLERANCE)
    logits_BK = ours.head(ours.head_norm(tokens_BPD[:, :2].mean(dim=1)))
    torch.testing.assert_close(logits_BK, theirs(fbank_BNF).logits, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_from_the_waveform_to_the_logits(theirs):
    wave_BT = 0.1 * torch.randn(2, 30_000, generator=torch.Generator().manual_seed(2))
    extractor = ASTFeatureExtractor(max_length=256)
    inputs = extractor([wave_T.numpy() for wave_T in wave_BT], sampling_rate=16_000, return_tensors="pt")
    torch.testing.assert_close(ours_like(theirs)(wave_BT), theirs(**inputs).logits, rtol=0, atol=TOLERANCE)


def imported(theirs: ASTForAudioClassification, folder: Path, **dials: Any) -> SsastTagger:
    """Their checkpoint as the job imports it, and as jobs/tag.py then loads it."""
    theirs.save_pretrained(folder / "theirs")
    (folder / "tags.txt").write_text("a\nb\nc\nd\ne\n")
    published = Published("model.safetensors", "ssast", str(folder / "tags.txt"), dials=dials)
    import_published(published, Store(str(folder / "theirs")).child("model.safetensors"), Store(str(folder / "ours")))
    model = load_exported(str(folder / "ours")).model
    assert isinstance(model, SsastTagger)
    return model


@torch.no_grad()
def test_an_ast_imported_without_dials_is_an_ast(theirs, tmp_path: Path):
    """Size, depth, positions, pooling and the kept mean all follow from the file."""
    model = imported(theirs, tmp_path)
    assert (model.dials.size, model.dials.depth, model.dials.pooling, model.dials.remove_mean) == (
        "tiny",
        2,
        "class",
        False,
    )
    # an offset, which removing the mean would take away, and as many samples as 256 frames have
    wave_BT = 0.1 * torch.randn(2, 41_200, generator=torch.Generator().manual_seed(4)) + 0.3
    extractor = ASTFeatureExtractor(max_length=256)
    inputs = extractor([wave_T.numpy() for wave_T in wave_BT], sampling_rate=16_000, return_tensors="pt")
    torch.testing.assert_close(model(wave_BT), theirs(**inputs).logits, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("dials", "words"),
    [
        ({"pooling": "patches"}, "of a model with pooling='class', but this model has pooling='patches'"),
        ({"remove_mean": True}, "of a model with remove_mean=False, but this model has remove_mean=True"),
        (
            {"size": "small", "depth": 1},
            "of a model with size='tiny', depth=2, but this model has size='small', depth=1",
        ),
    ],
)
def test_dials_that_are_no_asts_are_refused(theirs, tmp_path: Path, dials: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        imported(theirs, tmp_path, **dials)
    assert not (tmp_path / "ours").exists()
    model = build_model("ssast", 5, **({"size": "tiny", "depth": 2} | AST_DIALS | dials))
    with pytest.raises(ValueError, match=words):
        load_published(model, tmp_path / "theirs" / "model.safetensors")


def test_dials_that_an_ast_leaves_open_are_the_users(theirs, tmp_path: Path):
    model = imported(theirs, tmp_path, normalisation="esc50", position_frames=512, pooling="class")
    assert (model.dials.normalisation, model.dials.position_frames, model.dials.pooling) == ("esc50", 512, "class")


def test_names_in_files_are_mapped_as_those_in_memory(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    in_file, in_memory = ast_keys(load_file(tmp_path / "model.safetensors")), ast_keys(theirs.state_dict())
    assert set(load_file(tmp_path / "model.safetensors")) != set(theirs.state_dict())
    assert in_file.keys() == in_memory.keys()
    for key, value in in_file.items():
        assert torch.equal(value, in_memory[key]), key


@torch.no_grad()
def test_other_lengths_take_interpolated_positions(theirs):
    """Positions stored for a longer clip are what bilinear interpolation makes of the shorter clip's."""
    longer, same = ours_like(theirs, frames=0, position_frames=400), ours_like(theirs)
    assert longer.backbone.stored_grid == (12, 39)
    before, after = same.backbone.positions, longer.backbone.positions
    torch.testing.assert_close(after[:, :2], before[:, :2])
    row = before[0, 2 : 2 + 25, 7]  # the lowest patches over time, one of 192 numbers
    at = (torch.arange(39) + 0.5) * 25 / 39 - 0.5
    left = at.clamp(0, 24).floor().long()
    expected = torch.lerp(row[left], row[(left + 1).clamp(max=24)], at.clamp(0, 24) - left)
    torch.testing.assert_close(after[0, 2 : 2 + 39, 7], expected)
    assert torch.isfinite(longer(0.1 * torch.randn(1, 50_000))).all()
