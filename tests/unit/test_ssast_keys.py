"""Published names -> ours: dicts built under the authors' names from our weights come back as our weights."""

from __future__ import annotations

import pytest
import torch
from helpers.ssast_names import as_the_ssast_authors, pretrained_file
from torch import Tensor

from genrescale.models.published.ssast_keys import ast_keys, ssast_keys
from genrescale.models.ssast import SsastTagger
from genrescale.models.ssast_pretraining import SsastPretraining


def scrambled(model: torch.nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(value.shape, generator=generator) for key, value in model.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def pretrained() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    ours = scrambled(SsastPretraining(size="tiny", depth=2, position_frames=64))
    return ours, pretrained_file(ours)


def test_pretrained_ssast_round_trip():
    ours, theirs = pretrained()
    before = dict(theirs)
    assert_same(ssast_keys(theirs), ours)
    assert_same(theirs, before)  # a pure function


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_fine_tuned_ssast_round_trip(prefix):
    ours = scrambled(SsastTagger(5, size="tiny", depth=2, position_frames=64))
    theirs = as_the_ssast_authors(ours)
    for kind in ("weight", "bias"):
        theirs[f"mlp_head.0.{kind}"] = ours[f"head_norm.{kind}"]
        theirs[f"mlp_head.1.{kind}"] = ours[f"head.{kind}"]
    assert_same(ssast_keys({prefix + key: value for key, value in theirs.items()}), ours)


@pytest.mark.parametrize("in_file", [True, False])
def test_ast_round_trip(in_file):
    ours = scrambled(SsastTagger(5, size="tiny", depth=2, position_frames=64))
    names = {"attention_norm": "layernorm_before", "mlp_norm": "layernorm_after"}
    if in_file:
        layers, query = "encoder.layer", "attention.attention.{}"
        names |= {"project": "attention.output.dense", "expand": "intermediate.dense", "contract": "output.dense"}
        qkv = ["query", "key", "value"]
    else:
        layers, query = "layers", "attention.{}_proj"
        names |= {"project": "attention.o_proj", "expand": "mlp.fc1", "contract": "mlp.fc2"}
        qkv = ["q", "k", "v"]
    model = {
        "embeddings.cls_token": ours["backbone.class_tokens"][:, :1],
        "embeddings.distillation_token": ours["backbone.class_tokens"][:, 1:],
        "embeddings.position_embeddings": ours["backbone.positions"],
    }
    head = {}
    for kind in ("weight", "bias"):
        model[f"embeddings.patch_embeddings.projection.{kind}"] = ours[f"backbone.embed.{kind}"]
        model[f"layernorm.{kind}"] = ours[f"backbone.norm.{kind}"]
        head[f"classifier.layernorm.{kind}"] = ours[f"head_norm.{kind}"]
        head[f"classifier.dense.{kind}"] = ours[f"head.{kind}"]
        for layer in (0, 1):
            for mine, name in names.items():
                model[f"{layers}.{layer}.{name}.{kind}"] = ours[f"backbone.layers.{layer}.{mine}.{kind}"]
            parts = ours[f"backbone.layers.{layer}.qkv.{kind}"].chunk(3)
            for name, part in zip(qkv, parts, strict=True):
                model[f"{layers}.{layer}.{query.format(name)}.{kind}"] = part
    prefixed = {f"audio_spectrogram_transformer.{key}": value for key, value in model.items()} | head
    assert_same(ast_keys(prefixed), ours)
    assert_same(ast_keys(model), {key: value for key, value in ours.items() if not key.startswith("head")})


def test_what_is_not_known_is_left_out():
    _, theirs = pretrained()
    assert ast_keys(theirs) == {}
    assert ssast_keys({"module.v.blocks.0.attn.rope.weight": torch.zeros(1), "conv.weight": torch.zeros(1)}) == {}
    assert ast_keys({"layers.0.attention.q_proj.bias": torch.zeros(1)}) == {}, "a query without its key and value"
    cut = {key: value for key, value in theirs.items() if key != "module.v.dist_token"}
    assert set(ssast_keys(theirs)) - set(ssast_keys(cut)) == {"backbone.class_tokens"}
