"""Checkpoints of which no file is at hand: the published names and shapes, random numbers, and their literal output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.literal_won import LITERALLY, State, checkpoint
from torch import Tensor
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from genrescale.models import build_model
from genrescale.models.pretrained import PUBLISHED_DIALS, load_published

LENGTHS = {
    "crnn": 64_000,
    "short_chunk": 59_049,
    "short_chunk_res": 59_049,
    "sample_cnn": 59_049,
    "cnn_transformer": 64_000,
}


@pytest.mark.parametrize("name", sorted(LENGTHS))
def test_wons_arrays_give_their_literal_output(name: str, tmp_path: Path):
    state = checkpoint(name)
    torch.save(state, tmp_path / "best_model.pth")
    model = build_model(name, 50, **PUBLISHED_DIALS.get(name, {})).eval()
    loaded = load_published(model, tmp_path / "best_model.pth")
    assert loaded.complete, str(loaded)
    assert loaded.layout == f"Won 2020, {name}"
    wave_BT = torch.randn(2, LENGTHS[name], generator=torch.Generator().manual_seed(1)) / 10
    with torch.inference_mode():
        expected, found = LITERALLY[name](state, wave_BT), model(wave_BT)
    scale = float(expected.std())
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-4, rtol=0)


def test_mediaevals_model_takes_wons_first_blocks(tmp_path: Path):
    """As its authors did: the batch norm of the spectrogram and blocks 1 to 5; the rest has other names."""
    torch.save(state := checkpoint("short_chunk_res"), tmp_path / "a.pth")
    model = build_model("mediaeval_res", 56)
    loaded = load_published(model, tmp_path / "a.pth")
    taken = {name.split(".")[0] for name in loaded.loaded}
    assert taken == {"log_mel", "spec_bn", *(f"layer{i}" for i in range(1, 6))}
    assert {name.split(".")[0] for name in loaded.unexpected} == {"layer6", "layer7", "dense1", "bn", "dense2"}
    assert {name.split(".")[0] for name in loaded.missing} == {
        "layer6_wide",
        "layer7_wide",
        "dense_1",
        "bn_1",
        "dense_2",
    }
    assert torch.equal(model.state_dict()["layer5.conv_2.weight"], state["layer5.conv_2.weight"])


def mtg_names(state: State) -> State:
    """An fcn's arrays under the names of MTG-Jamendo's baseline, which holds no filter bank."""
    renamed = {}
    for name, array in state.items():
        layer, _, rest = name.partition(".")
        if layer == "spec_bn":
            renamed[f"bn_init.{rest}"] = array
        elif layer.startswith("layer"):
            part, _, leaf = rest.partition(".")
            renamed[f"{part}_{layer[-1]}.{leaf}"] = array
        elif layer == "dense":
            renamed[name] = array
    return renamed


def test_mtgs_arrays_are_no_fcn_although_every_shape_fits(tmp_path: Path):
    state = mtg_names(build_model("mtg_fcn", 50).state_dict())
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds no weights for this Fcn"):
        load_published(build_model("fcn", 50), tmp_path / "a.pth")


def mtg_literally(state: State, logmel_BFN: Tensor) -> Tensor:
    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    x = norm("bn_init", logmel_BFN[:, None])
    for i, pool in enumerate([(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)], 1):
        x = F.conv2d(x, state[f"conv_{i}.weight"], state[f"conv_{i}.bias"], padding=1)
        x = F.max_pool2d(F.elu(norm(f"bn_{i}", x)), pool)
    return F.linear(x.flatten(1), state["dense.weight"], state["dense.bias"])


def test_mtgs_arrays_give_their_literal_output_on_the_spectrogram(tmp_path: Path):
    torch.manual_seed(0)
    model: Any = build_model("mtg_fcn", 56).eval()
    state = {name: torch.rand_like(a.float()) + 0.1 for name, a in mtg_names(model.state_dict()).items()}
    state |= {name: a - 0.6 for name, a in state.items() if name.startswith("conv") and name.endswith("weight")}
    torch.save({"model": state}, tmp_path / "best_model.pth")
    loaded = load_published(model, tmp_path / "best_model.pth")
    assert (loaded.complete, loaded.layout) == (True, "MTG-Jamendo baseline")
    wave_BT = torch.randn(1, 465_600, generator=torch.Generator().manual_seed(1)) / 10
    with torch.inference_mode():
        expected = mtg_literally(state, model.log_mel(wave_BT))
        torch.testing.assert_close(model(wave_BT), expected, rtol=1e-4, atol=1e-3)


def test_mtgs_spectrogram_is_librosas_at_12_khz():
    """Essentia's slaneyMel bands normalised by unit_tri are librosa's default; 20 log10 of the power."""
    seconds = torch.arange(16_000 * 30) / 16_000
    wave_T = 0.3 * torch.sin(2 * torch.pi * (100 + 40 * seconds) * seconds)
    model: Any = build_model("mtg_fcn", 56)
    with torch.inference_mode():
        found_FN = model.log_mel(wave_T[None])[0].numpy()
    low = librosa.resample(wave_T.numpy(), orig_sr=16_000, target_sr=12_000, res_type="soxr_hq")
    mel = librosa.feature.melspectrogram(
        y=low, sr=12_000, n_fft=512, hop_length=256, window=librosa.filters.get_window("hann", 512, fftbins=False),
        n_mels=96, power=2.0, pad_mode="constant",
    )  # fmt: skip
    expected_FN = 20 * np.log10(mel.clip(1e-10))
    loud = expected_FN > expected_FN.max() - 80
    assert abs(found_FN - expected_FN)[loud].max() < 0.5
    assert found_FN.shape == expected_FN.shape


AST = {"size": "tiny", "depth": 2, "pooling": "class", "remove_mean": False, "position_frames": 256}


def test_an_ast_as_transformers_saves_it(tmp_path: Path):
    """Loaded from its own file, it gives its own logits; on another grid its positions are interpolated."""
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=768, max_length=256,
        num_labels=5,  # pyright: ignore[reportCallIssue]
        layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = ASTForAudioClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    model = build_model("ssast", 5, **AST, frames=256).eval()
    loaded = load_published(model, tmp_path / "model.safetensors")
    assert (loaded.complete, loaded.layout) == (True, "AST, transformers")
    wave_BT = torch.randn(1, 41_200, generator=torch.Generator().manual_seed(1)) / 10
    extract = ASTFeatureExtractor(max_length=256)
    with torch.inference_mode():
        expected = theirs(**extract(wave_BT[0].numpy(), sampling_rate=16_000, return_tensors="pt")).logits
        torch.testing.assert_close(model(wave_BT), expected, atol=1e-4, rtol=1e-4)
    other = build_model("ssast", 5, **(AST | {"position_frames": 512}))
    assert load_published(other, tmp_path / "model.safetensors").complete


def ssast_authors_names(state: State) -> State:
    parts = {
        "attention_norm": "norm1", "qkv": "attn.qkv", "project": "attn.proj", "mlp_norm": "norm2", "expand": "mlp.fc1",
        "contract": "mlp.fc2",
    }  # fmt: skip
    theirs = {
        "v.cls_token": state["backbone.class_tokens"][:, :1],
        "v.dist_token": state["backbone.class_tokens"][:, 1:],
        "v.pos_embed": state["backbone.positions"],
    }
    whole = {"backbone.embed": "v.patch_embed.proj", "backbone.norm": "v.norm", "head_norm": "mlp_head.0"}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        if name.startswith("backbone.layers."):
            _, _, layer, part = module.split(".")
            theirs[f"v.blocks.{layer}.{parts[part]}.{leaf}"] = array
        elif module in whole or module == "head":
            theirs[f"{whole.get(module, 'mlp_head.1')}.{leaf}"] = array
    return {f"module.{name}": array for name, array in theirs.items()}


def test_an_ssast_as_its_authors_save_it_keeps_all_but_the_head_for_other_tags(tmp_path: Path):
    torch.manual_seed(0)
    dials = {"size": "tiny", "depth": 2, "position_frames": 96}
    source = build_model("ssast", 35, **dials)
    theirs = ssast_authors_names(source.state_dict())
    theirs |= {"module.v.head.weight": torch.zeros(1000, 192), "module.p_input_fdim": torch.tensor(128)}  # not used
    theirs |= {"module.v.blocks.7.rope": torch.zeros(3)}
    torch.save(theirs, tmp_path / "audio_model.pth")
    model = build_model("ssast", 5, **dials)
    loaded = load_published(model, tmp_path / "audio_model.pth")
    assert loaded.layout == "SSAST, its authors'"
    assert (loaded.missing, loaded.unexpected) == ((), ("v.blocks.7.rope",))
    assert [text.split(" ")[0] for text in loaded.wrong_shape] == ["head.weight", "head.bias"]
    expected = source.state_dict()
    assert all(torch.equal(model.state_dict()[name], expected[name]) for name in loaded.loaded)
