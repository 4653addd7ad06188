"""Recurrent networks and the CNN + transformer hybrid against their literal forms; checkpointing of activations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genrescale.models import build_model
from genrescale.models.cnn_transformer import CnnTransformer
from genrescale.models.recurrent import AttentionPool, LstmTagger, RecurrentTagger

RECURRENT: dict[str, Any] = {"hidden": 16, "layers": 2, "frames": 0}
SMALL: dict[str, dict[str, Any]] = {
    "rnn": RECURRENT,
    "gru": RECURRENT,
    "lstm": RECURRENT,
    "ssast": {"size": "tiny", "depth": 2, "position_frames": 96},
    "cnn_transformer": {"width": 1 / 16, "heads": 2},
}
TRANSFORMERS = ["ssast", "cnn_transformer"]


def waves(clips: int = 2, samples: int = 16_000, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def small(name: str, seed: int = 0, **dials: Any) -> Any:
    torch.manual_seed(seed)
    return build_model(name, 5, **(SMALL[name] | dials))


@pytest.mark.parametrize("name", ["lstm", "ssast"])
def test_spec_augment_comes_before_the_normalisation(name):
    """What it is given of digital silence is Kaldi's floor, log(1.2e-7), not a normalised value."""
    model, seen = small(name).eval(), []

    class Watch(nn.Module):
        def forward(self, spectrogram_BFN: torch.Tensor) -> torch.Tensor:
            seen.append(spectrogram_BFN)
            return spectrogram_BFN

    model.spec_augment = Watch()
    with torch.no_grad():
        model(torch.zeros(2, 16_000))
    assert seen[0].shape == (2, 128, 98)
    assert seen[0].unique().tolist() == pytest.approx([-15.9424], abs=1e-3)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_checkpointed_activations_give_the_same_gradients(name):
    """To the bit, in training mode: the second computation draws the same dropout."""
    gradients = []
    for checkpoint_activations in (False, True):
        model = small(name, checkpoint_activations=checkpoint_activations)
        calls = []
        model.get_submodule("layers" if name == "cnn_transformer" else "backbone.layers")[0].register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        torch.manual_seed(7)
        model(waves()).square().sum().backward()
        assert len(calls) == 1 + checkpoint_activations
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    for n, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][n]), n


def test_checkpointing_keeps_less():
    """Bytes that autograd holds for the backward pass of a deeper network."""
    kept = {}
    for checkpoint_activations in (False, True):
        model = small("ssast", depth=6, checkpoint_activations=checkpoint_activations)
        total = [0]

        def count(tensor: torch.Tensor, total: list[int] = total) -> torch.Tensor:
            total[0] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(waves())
        kept[checkpoint_activations] = total[0]
    assert kept[True] < 0.4 * kept[False]


def test_the_final_recurrent_system():
    """Its defaults, and what its extractor does to lengths: 1,024 frames of any clip, 10.255 s of a longer one."""
    model = build_model("lstm", 8).eval()
    assert isinstance(model, LstmTagger)
    assert (model.recurrent.hidden_size, model.recurrent.num_layers, model.recurrent.dropout) == (128, 2, 0.3)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.4, 0.4]
    wave_BT = waves(1, 200_000)
    longer = wave_BT.clone()
    longer[:, 164_080:] = 0.5
    earlier = wave_BT.clone()
    earlier[:, 164_079] = 0.5
    with torch.no_grad():
        assert torch.equal(model(wave_BT), model(longer))
        assert not torch.equal(model(wave_BT), model(earlier))


@pytest.mark.parametrize("layers", [1, 2, 16])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_recurrent_networks_equal_their_literal_form(name, layers):
    """LayerNorm, a score of each normalised frame, a softmax over time, the weighted sum, one linear layer."""
    model = small(name, layers=layers, hidden=8, linear_layers=1).eval()
    assert isinstance(model, RecurrentTagger)
    wave_BT = waves(2, 4_000)
    with torch.no_grad():
        h_BNH = F.layer_norm(model.recurrent(model.fbank(wave_BT))[0], (8,), model.norm.weight, model.norm.bias)
        scores_BN = h_BNH @ model.pool.score.weight[0] + model.pool.score.bias
        weights_BN = scores_BN.exp() / scores_BN.exp().sum(dim=1, keepdim=True)
        pooled_BH = torch.einsum("bn,bnh->bh", weights_BN, h_BNH)
        classify: Any = model.classify
        output = classify[-1]
        torch.testing.assert_close(model(wave_BT), pooled_BH @ output.weight.T + output.bias, rtol=1e-4, atol=1e-5)


def test_attention_pool_finds_the_frame_of_the_highest_score():
    pool = AttentionPool(3)
    with torch.no_grad():
        pool.score.weight.copy_(torch.tensor([[100.0, 0.0, 0.0]]))
        h_BNH = torch.tensor([[[0.0, 1.0, 2.0], [1.0, 3.0, 4.0], [0.5, 5.0, 6.0]]])
        torch.testing.assert_close(pool(h_BNH), h_BNH[:, 1])


def test_cnn_transformer_equals_its_literal_form():
    """Won's network written out with torch's own encoder layer (normalising after, GELU)."""
    model = small("cnn_transformer").eval()
    assert isinstance(model, CnnTransformer)
    wave_BT = waves(2, 48_000)
    with torch.no_grad():
        x = model.image(wave_BT)
        assert x.shape == (2, 1, 128, 188)
        shapes = []
        for block in model.blocks:
            x = block(x)
            shapes.append(tuple(x.shape[1:]))
        assert shapes[0] == (8, 64, 94)
        assert shapes[2:] == [(16, 2 ** (4 - i), 24) for i in range(5)]
        tokens = torch.cat([model.class_token_D.expand(2, 1, -1), x[:, :, 0].transpose(1, 2)], dim=1)
        for layer in model.layers:
            theirs = nn.TransformerEncoderLayer(
                16, 2, 64, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=False
            ).eval()
            theirs.self_attn.in_proj_weight.copy_(layer.get_submodule("qkv").get_parameter("weight"))
            theirs.self_attn.in_proj_bias.copy_(layer.get_submodule("qkv").get_parameter("bias"))
            for name, part in {
                "self_attn.out_proj": "project",
                "linear1": "expand",
                "linear2": "contract",
                "norm1": "attention_norm",
                "norm2": "mlp_norm",
            }.items():
                theirs.get_submodule(name).load_state_dict(layer.get_submodule(part).state_dict())
            tokens = theirs(tokens)
        logits = model.dense(torch.tanh(model.pooler(tokens[:, 0])))
    torch.testing.assert_close(model(wave_BT), logits, rtol=1e-4, atol=1e-5)


def test_the_class_token_is_fixed_and_published():
    """numpy's first numbers of seed 0 (MT19937): 0.5488, 0.7152, 0.6028. Not trained, not in a checkpoint."""
    model = small("cnn_transformer")
    assert model.class_token_D[:3].tolist() == pytest.approx([0.54881350, 0.71518937, 0.60276338])
    assert "class_token_D" not in model.state_dict()
    assert "class_token_D" not in dict(model.named_parameters())
