"""What the recurrent networks, SSAST and the CNN + transformer hybrid promise alike, and each one's literal form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genrescale.models import build_model, min_crop_len
from genrescale.models.cnn_transformer import CnnTransformerTagger
from genrescale.models.recurrent import AttentionPool, LstmTagger, RecurrentTagger

RECURRENT: dict[str, Any] = {"hidden": 16, "layers": 2, "frames": 0}
SMALL: dict[str, dict[str, Any]] = {
    "rnn": RECURRENT,
    "gru": RECURRENT,
    "lstm": RECURRENT,
    "ssast": {"size": "tiny", "depth": 2, "position_frames": 96},
    "cnn_transformer": {"channels": 8, "heads": 2},
}
NAMES = list(SMALL)
TRANSFORMERS = ["ssast", "cnn_transformer"]


def waves(clips: int = 2, samples: int = 16_000, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def small(name: str, seed: int = 0, **dials: Any) -> Any:
    torch.manual_seed(seed)
    return build_model(name, 5, **(SMALL[name] | dials))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = small(name)
    model(waves()).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert [n for n, p in model.named_parameters() if "weight" in n and not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_any_length_from_the_shortest(name):
    model = small(name).eval()
    shortest = min_crop_len(name, **SMALL[name])
    with torch.no_grad():
        for samples in (shortest, shortest + 1, 31_007, 48_000):
            assert torch.isfinite(model(waves(1, samples))).all()
        with pytest.raises(ValueError, match=rf"too short: this model needs at least {shortest} samples"):
            model(waves(1, shortest - 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_song_scores_the_same_alone_and_in_a_batch(name):
    model = small(name).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(waves(4)[:1]), model(waves(4))[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(name):
    model, other = small(name), small(name, seed=1)
    model(waves())  # moves running statistics
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model.eval()(waves(seed=3)), other.eval()(waves(seed=3)))


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast_is_close_and_gradients_are_fp32(name):
    model = small(name).eval()
    with torch.no_grad():
        exact = model(waves())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(waves())
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        model(waves()).float().sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NAMES)
def test_spec_augment_gets_the_spectrogram(name):
    """Bins by frames, float32; in the Kaldi models before the normalisation, where digital silence is far below 0."""
    model = small(name).eval()
    seen = []

    class Watch(nn.Module):
        def forward(self, spectrogram_BFN: torch.Tensor) -> torch.Tensor:
            seen.append(spectrogram_BFN)
            return torch.zeros_like(spectrogram_BFN)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = model(waves())
        model.spec_augment = Watch()
        masked = model(waves())
        assert torch.equal(masked[0], masked[1]), "all is masked, so all clips are the same"
        assert not torch.equal(plain, masked)
        model(torch.zeros(2, 16_000))
    assert seen[0].shape == (2, 128, 63 if name == "cnn_transformer" else 98)
    assert seen[0].dtype == torch.float32
    if name != "cnn_transformer":
        assert seen[1].unique().tolist() == pytest.approx([-15.9424], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_can_learn(name):
    """Two kinds of clip (a low and a high tone in noise) are told apart within a few steps."""
    recurrent = {"hidden": 32, "recurrent_dropout": 0.0, "dropout": 0.0}
    dials = {"ssast": {}, "cnn_transformer": {"dropout": 0.1, "attention_dropout": 0.1}}.get(name, recurrent)
    model = small(name, **dials)
    t = torch.arange(8_000) / 16_000
    tones_BT = torch.stack([torch.sin(2 * torch.pi * f * t) for f in (200, 3000)] * 4)
    tags_B1 = torch.tensor([[0.0], [1.0]] * 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3 if name == "ssast" else 3e-3)
    losses = []
    for step in range(25):
        loss = F.binary_cross_entropy_with_logits(model(0.3 * tones_BT + waves(8, 8_000, seed=step))[:, :1], tags_B1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]


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


@pytest.mark.parametrize(
    ("name", "dials", "message"),
    [
        ("lstm", {"linear_layers": 3}, "linear_layers=3 must be 1 or 2"),
        ("lstm", {"dropout": 1.0}, "dropout=1.0 must be at least 0 and below 1"),
        ("gru", {"recurrent_dropout": -0.1}, "recurrent_dropout=-0.1 must be"),
        ("rnn", {"layers": 0}, "layers=0 must be a whole number"),
        ("rnn", {"frames": 10.0}, "frames=10.0 must be a whole number"),
        ("cnn_transformer", {"heads": 7}, r"heads=7 must divide the transformer's width, 256"),
        ("cnn_transformer", {"attention_dropout": 1.5}, "attention_dropout=1.5 must be"),
        ("lstm", {"width": 3}, r"no dials \['width'\]; it has .*'hidden'"),
    ],
)
def test_refusals(name, dials, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, 5, **dials)
    with pytest.raises(ValueError, match=message):
        min_crop_len(name, **dials)


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
        output = model.get_submodule("classify")[-1]
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
    assert isinstance(model, CnnTransformerTagger)
    wave_BT = waves(2, 48_000)
    with torch.no_grad():
        x = model.input_norm(model.log_mel(wave_BT)[:, None])
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
            theirs.self_attn.in_proj_weight.copy_(layer.get_submodule("qkv").weight)
            theirs.self_attn.in_proj_bias.copy_(layer.get_submodule("qkv").bias)
            for name, part in {
                "self_attn.out_proj": "project",
                "linear1": "expand",
                "linear2": "contract",
                "norm1": "attention_norm",
                "norm2": "mlp_norm",
            }.items():
                theirs.get_submodule(name).load_state_dict(layer.get_submodule(part).state_dict())
            tokens = theirs(tokens)
        logits = model.output(torch.tanh(model.pool(tokens[:, 0])))
    torch.testing.assert_close(model(wave_BT), logits, rtol=1e-4, atol=1e-5)


def test_the_class_token_is_fixed_and_published():
    """numpy's first numbers of seed 0 (MT19937): 0.5488, 0.7152, 0.6028. Not trained, not in a checkpoint."""
    model = small("cnn_transformer")
    assert model.class_token_D[:3].tolist() == pytest.approx([0.54881350, 0.71518937, 0.60276338])
    assert "class_token_D" not in model.state_dict()
    assert "class_token_D" not in dict(model.named_parameters())
