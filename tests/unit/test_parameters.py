"""A model's layers and head, what is frozen, which rates its layers have, and what another run gives it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from genrescale.config import OptimConfig
from genrescale.models import MODELS, build_model
from genrescale.models.parts.head import head_name
from genrescale.training.parameters import (
    choose_trained,
    layers,
    learned_names,
    match_weights,
    rate_scales,
    transfer,
)

NUM_TAGS = 4


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.mlp = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))


class Transformer(nn.Module):
    """Registered as transformers are: free parameters, a patch embedding, blocks, a norm, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, 6))
        self.embed = nn.Conv2d(1, 6, 2)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norm = nn.LayerNorm(6)
        self.side = nn.Linear(6, NUM_TAGS)
        self.head = nn.Linear(6, NUM_TAGS)


def modules_of(names: list[str]) -> set[str]:
    return {name.rpartition(".")[0] for name in names}


def test_a_block_of_a_list_is_one_layer_and_the_head_is_the_last_linear_to_the_tags():
    found = layers(Transformer(), head_name(Transformer(), NUM_TAGS))
    assert [sorted({name.partition(".")[0] for name in names}) for names in found] == [
        *(["class_token"], ["embed"], ["blocks"], ["blocks"], ["blocks", "norm"], ["side"], ["head"])
    ]
    assert found[2] == [name for name, _ in Transformer().named_parameters() if name.startswith("blocks.0.")]


def test_a_norm_belongs_to_its_layer_wherever_it_is_registered():
    model = build_model("waveform", NUM_TAGS)
    found = layers(model, head_name(model, NUM_TAGS))
    assert [modules_of(names) for names in found] == [
        *({f"frontend.convs.{i}", f"frontend.norms.{i}"} for i in range(7)),
        {"backend.conv", "backend.norm"},
        *({f"backend.residuals.{i}.conv", f"backend.residuals.{i}.norm"} for i in range(2)),
        {"backend.dense", "backend.dense_norm"},
        {"backend.output"},
    ]


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_of_every_model_hold_every_parameter_once(name: str):
    model = build_model(name, NUM_TAGS)
    found = layers(model, head := head_name(model, NUM_TAGS))
    names = [parameter for layer in found for parameter in layer]
    assert sorted(names) == sorted(parameter for parameter, _ in model.named_parameters())
    assert set(found[-1]) == {f"{head}.weight", f"{head}.bias"}
    assert all(found)
    assert len(found) >= 3


def test_a_model_without_a_head_says_so():
    with pytest.raises(ValueError, match="a linear layer with 5 outputs"):
        head_name(Transformer(), 5)


def test_each_layer_below_the_head_has_the_rate_of_the_one_above_times_the_decay():
    scales = rate_scales(Transformer(), OptimConfig(layer_decay=0.5), NUM_TAGS)
    expected = {"head.weight": 1, "side.weight": 1 / 2, "norm.weight": 1 / 4, "blocks.2.attention.weight": 1 / 4}
    expected |= {"blocks.1.mlp.0.weight": 1 / 8, "blocks.0.mlp.2.bias": 1 / 16, "embed.bias": 1 / 32}
    assert {name: scales[name] for name in expected} == expected
    assert scales["class_token"] == 1 / 64


def test_the_two_group_form_has_one_rate_for_the_backbone():
    scales = rate_scales(Transformer(), OptimConfig(lr=1e-4, backbone_lr=5e-6), NUM_TAGS)
    assert {name: scale for name, scale in scales.items() if scale == 1} == {"head.weight": 1, "head.bias": 1}
    assert all(scale == pytest.approx(0.05) for name, scale in scales.items() if not name.startswith("head."))
    groups = choose_trained(Transformer(), OptimConfig(lr=1e-4, backbone_lr=5e-6), NUM_TAGS).groups
    assert [group["lr_scale"] for group in groups] == [pytest.approx(0.05), 1]


def test_a_plain_optimiser_has_one_group_with_all_parameters():
    model = build_model("waveform", NUM_TAGS)
    trained = choose_trained(model, OptimConfig(), None)
    assert [group["lr_scale"] for group in trained.groups] == [1.0]
    assert [id(p) for p in trained.groups[0]["params"]] == [id(p) for p in model.parameters()]
    assert trained.frozen_norms == []


def test_freezing_is_by_whole_names():
    model = build_model("waveform", NUM_TAGS)
    trained = choose_trained(model, OptimConfig(freeze=["backend.dense", "frontend"]), NUM_TAGS)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name for name in frozen if name.startswith("backend")} == {"backend.dense.weight", "backend.dense.bias"}
    assert len(trained.frozen_norms) == 7
    assert all(not parameter.requires_grad for parameter in model.frontend.parameters())  # type: ignore[union-attr]


def test_all_but_the_head_may_be_frozen():
    model = build_model("spectrogram", NUM_TAGS)
    trained = choose_trained(model, OptimConfig(freeze=["all_but_head"]), NUM_TAGS)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "backend.output.weight",
        "backend.output.bias",
    }
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(trained.frozen_norms) == len(norms) > 0


def test_an_unknown_name_and_a_wholly_frozen_model_are_refused():
    model = build_model("waveform", NUM_TAGS)
    with pytest.raises(ValueError, match=r"freeze=\['front'\].*\['frontend', 'backend'\]"):
        choose_trained(model, OptimConfig(freeze=["front"]), NUM_TAGS)
    with pytest.raises(ValueError, match="leaves nothing to train"):
        choose_trained(model, OptimConfig(freeze=["frontend", "backend"]), NUM_TAGS)


def parent_and_child(num_tags: int = NUM_TAGS, **dials: float) -> tuple[dict[str, Tensor], nn.Module]:
    torch.manual_seed(1)
    parent = build_model("spectrogram", NUM_TAGS, backend_filters=8, backend_units=6, log_mel_mean=1.0)
    for name, buffer in parent.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(7.0)
    torch.manual_seed(2)
    child = build_model("spectrogram", num_tags, **{"backend_filters": 8, "backend_units": 6, **dials})
    return parent.state_dict(), child


def shapes_of(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def test_a_new_head_is_fresh_and_everything_else_is_the_parents():
    weights, child = parent_and_child(num_tags=9)
    drawn = child.state_dict()["backend.output.weight"].clone()
    fresh = transfer(child, weights, "new_head", 9, same_tags=False)
    assert fresh == ["backend.output.weight", "backend.output.bias"]
    after = child.state_dict()
    assert torch.equal(after["backend.output.weight"], drawn)
    for name in set(learned_names(child)) - set(fresh):
        assert torch.equal(after[name], weights[name])
    assert (after["backend.norm.running_mean"] == 7).all()


def test_a_new_head_is_fresh_even_where_the_parents_would_fit():
    weights, child = parent_and_child()
    assert transfer(child, weights, "new_head", NUM_TAGS, same_tags=True) == [
        "backend.output.weight",
        "backend.output.bias",
    ]
    assert not torch.equal(child.state_dict()["backend.output.weight"], weights["backend.output.weight"])


def test_all_is_all_and_wants_the_same_tags():
    weights, child = parent_and_child()
    with pytest.raises(ValueError, match=r"other tags.*new_head"):
        transfer(child, weights, "all", NUM_TAGS, same_tags=False)
    assert transfer(child, weights, "all", NUM_TAGS, same_tags=True) == []
    assert torch.equal(child.state_dict()["backend.output.weight"], weights["backend.output.weight"])


def test_what_follows_from_the_dials_stays_the_childs():
    weights, child = parent_and_child(log_mel_mean=3.0)
    transfer(child, weights, "all", NUM_TAGS, same_tags=True)
    [name] = [name for name in weights if name.endswith("log_mel_mean")]
    assert (float(weights[name]), float(child.state_dict()[name])) == (1.0, 3.0)


def test_a_weight_of_another_shape_is_named_unless_matching_was_asked_for():
    weights, child = parent_and_child(backend_units=5)
    with pytest.raises(ValueError, match=r"backend.dense.weight \[5, 16\] \(there \[6, 16\]\).*init.take=matching"):
        match_weights(child, shapes_of(weights), "new_head", NUM_TAGS, True)
    fresh = transfer(child, weights, "matching", NUM_TAGS, same_tags=True)
    assert "backend.dense.weight" in fresh
    assert "backend.output.weight" in fresh
    assert "backend.conv.weight" not in fresh
    assert torch.equal(child.state_dict()["backend.conv.weight"], weights["backend.conv.weight"])


def test_a_head_for_other_tags_never_matches():
    weights, child = parent_and_child()
    assert transfer(child, weights, "matching", NUM_TAGS, same_tags=False) == [
        "backend.output.weight",
        "backend.output.bias",
    ]


def test_a_parent_that_has_nothing_in_common_is_refused():
    with pytest.raises(ValueError, match="no weight of the parent matches"):
        match_weights(build_model("waveform", NUM_TAGS), {"other": (1,)}, "matching", NUM_TAGS, True)
