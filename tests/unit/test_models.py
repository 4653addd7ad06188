"""The two models of Pons et al. 2018: shapes, refusals, TensorFlow's details, a literal form of each in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genrescale.models import build_model, min_crop_len
from genrescale.models.parts.backend import Backend, BackendDials, Residual
from genrescale.models.spectrogram import SpectrogramTagger, TimbralBank
from genrescale.models.waveform import WaveformDials, WaveformFrontend

PONS = ["spectrogram", "waveform"]
SMALL: dict[str, Any] = {"frontend_width": 0.125, "backend_filters": 8, "backend_units": 6}
PONS = ["spectrogram", "waveform"]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def waves(clips: int = 2, samples: int = 24_000, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def small(name: str, seed: int = 0, **dials: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(name, 5, **{**SMALL, **dials})


def scrambled(module: nn.Module) -> nn.Module:
    """Every parameter and statistic at a random value, so that no term of the literal form is idle."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return module.double()


def norm_by_channel(h_BCx: torch.Tensor, norm: Any) -> torch.Tensor:
    """Batch norm with the statistics of the batch, or, in eval, the running ones; epsilon as TensorFlow's."""
    shape = (1, -1) + (1,) * (h_BCx.dim() - 2)
    axes = [0, *range(2, h_BCx.dim())]
    mean = h_BCx.mean(axes) if norm.training else norm.running_mean
    var = h_BCx.var(axes, unbiased=False) if norm.training else norm.running_var
    normal = (h_BCx - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-3)
    return normal * norm.weight.view(shape) + norm.bias.view(shape)


@pytest.mark.parametrize(
    ("layers", "samples", "frames"), [(7, 48_000, 20), (7, 240_000, 108), (9, 240_000, 11), (9, 48_000, 1)]
)
def test_waveform_frames(layers, samples, frames):
    channels = WaveformDials(frontend_layers=layers, frontend_width=0.125).channels
    with torch.no_grad():
        assert WaveformFrontend(channels).eval()(torch.zeros(1, samples)).shape == (1, 32, frames)


def test_waveform_channels_are_the_papers():
    assert WaveformDials().channels == [64, 64, 64, 128, 128, 128, 256]
    assert WaveformDials(frontend_layers=9).channels == [64, 64, 64, 128, 128, 128, 128, 128, 256]
    assert WaveformDials(frontend_width=0.5).channels == [32, 32, 32, 64, 64, 64, 128]
    for layers in range(5, 10):
        assert len(WaveformDials(frontend_layers=layers).channels) == layers


@pytest.mark.parametrize(("samples", "frames"), [(48_000, 188), (239_999, 938), (239_872, 938), (239_871, 937)])
def test_spectrogram_frames(samples, frames):
    model = small("spectrogram").eval()
    assert isinstance(model, SpectrogramTagger)
    with torch.no_grad():
        assert model.features(model.log_mel(torch.zeros(1, samples))).shape == (1, 29 * 2, frames)


@pytest.mark.parametrize("training", [True, False])
def test_waveform_front_end_equals_conv1d(training):
    front: Any = scrambled(WaveformFrontend([4, 6, 5])).train(training)
    h_BCN = waves(3, 500).double()[:, None]
    for i, (conv, norm) in enumerate(zip(front.convs, front.norms, strict=True)):
        weight = conv.get_parameter("weight").squeeze(2)
        h_BCN = norm_by_channel(F.relu(F.conv1d(h_BCN, weight, conv.bias, stride=1 if i else 3)), norm)
        if i:
            h_BCN = F.max_pool1d(h_BCN, 3)
    torch.testing.assert_close(front(waves(3, 500).double()), h_BCN, rtol=1e-10, atol=1e-10)


def literal_spectrogram_features(model: SpectrogramTagger, logmel_BNF: torch.Tensor) -> torch.Tensor:
    """As the paper states it: one convolution (time x frequency) and one batch norm per filter shape, then concat."""
    features = []
    banks: Any = model.timbral
    for bank in banks:
        convolved = []
        for conv, span in zip(bank.convs, (7, 3, 1), strict=True):
            padded = F.pad(logmel_BNF[:, None], (0, 0, span // 2, span // 2))
            convolved.append(F.relu(F.conv2d(padded, conv.weight.transpose(2, 3), conv.bias)))
        features.append(norm_by_channel(torch.cat(convolved, 1), bank.norm).amax(dim=3))
    envelope = logmel_BNF.mean(dim=2)[:, None]
    temporal = []
    convs: Any = model.temporal.convs
    for conv, (left, right) in zip(convs, [(82, 82), (63, 64), (31, 32), (15, 16)], strict=True):
        temporal.append(F.relu(F.conv1d(F.pad(envelope, (left, right)), conv.get_parameter("weight"), conv.bias)))
    return torch.cat([*features, norm_by_channel(torch.cat(temporal, 1), model.temporal.norm)], 1)


@pytest.mark.parametrize("width", [0.125, 0.25])  # filters of a bank merged into one convolution, and not
def test_spectrogram_features_equal_the_literal_form(width):
    model = scrambled(small("spectrogram", frontend_width=width))
    assert isinstance(model, SpectrogramTagger)
    assert [bank.merged for bank in model.timbral] == [width == 0.125] * 2
    logmel_BFN = torch.randn(2, 96, 40, dtype=torch.float64)
    literal = literal_spectrogram_features(model, logmel_BFN.transpose(1, 2))
    torch.testing.assert_close(model.features(logmel_BFN), literal, rtol=1e-9, atol=1e-9)


def test_the_deep_front_end_keeps_frames_and_features():
    """The comparison is of front ends: the back end sees the same number of frames and features."""
    musical, deep = small("spectrogram").eval(), small("spectrogram", frontend="deep3x3").eval()
    assert isinstance(musical, SpectrogramTagger)
    assert isinstance(deep, SpectrogramTagger)
    logmel_BFN = torch.randn(2, 96, 25)
    with torch.no_grad():
        assert deep.features(logmel_BFN).shape == musical.features(logmel_BFN).shape == (2, 58, 25)
        assert deep(waves()).shape == (2, 5)
    shapes = {n: p.shape for n, p in deep.backend.named_parameters()}
    assert shapes == {n: p.shape for n, p in musical.backend.named_parameters()}


def test_the_deep_front_end_equals_the_literal_form():
    model = scrambled(small("spectrogram", frontend="deep3x3"))
    assert isinstance(model, SpectrogramTagger)
    logmel_BFN = torch.randn(2, 96, 12, dtype=torch.float64)
    h = logmel_BFN[:, None]
    deep: Any = model.deep
    for i, (conv, norm) in enumerate(zip(deep.convs, deep.norms, strict=True)):
        h = norm_by_channel(F.relu(F.conv2d(h, conv.get_parameter("weight"), conv.bias, padding=1)), norm)
        h = h.amax(dim=2, keepdim=True) if i == 4 else torch.maximum(h[:, :, 0::2], h[:, :, 1::2])
    torch.testing.assert_close(model.features(logmel_BFN), h[:, :, 0], rtol=1e-9, atol=1e-9)


def test_merging_does_not_change_gradients():
    bank: Any = scrambled(TimbralBank(38, 1))
    x = torch.randn(2, 1, 96, 12, dtype=torch.float64)
    gradients = []
    for merged in (True, False):
        bank.merged = merged
        bank.zero_grad()
        bank(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in bank.parameters() if p.grad is not None])
    assert len(gradients[0]) == 8
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
@pytest.mark.parametrize("frames", [8, 9, 20])
def test_backend_equals_the_literal_form(layers, frames):
    """Convolutions over all filters, one gamma for all of them in a residual, pool 2/2 after the first residual."""
    backend: Any = scrambled(
        Backend(4, 3, BackendDials(backend_filters=6, backend_units=5, backend_layers=layers))
    ).eval()
    x_BMN = torch.randn(2, 4, frames, dtype=torch.float64)
    h = norm_by_channel(F.relu(F.conv1d(x_BMN, backend.conv.weight, backend.conv.bias)), backend.norm)
    for i, residual in enumerate(backend.residuals):
        branch = F.relu(F.conv1d(F.pad(h, (3, 3)), residual.conv.weight, residual.conv.bias))
        h = h + norm_by_channel(branch[:, None], residual.norm)[:, 0]
        h = F.max_pool1d(h, 2) if i == 0 else h
    pooled = torch.cat([h.max(dim=2).values, h.mean(dim=2)], dim=1)
    units = norm_by_channel(F.relu(F.linear(pooled, backend.dense.weight, backend.dense.bias)), backend.dense_norm)
    expected = F.linear(units, backend.output.weight, backend.output.bias)
    torch.testing.assert_close(backend(x_BMN), expected, rtol=1e-10, atol=1e-10)


def test_a_residual_has_one_gamma_and_one_beta():
    norm = Residual(12).norm
    assert norm.weight.shape == norm.bias.shape == (1,)


@pytest.mark.parametrize("name", PONS)
def test_tensorflow_details(name):
    model = build_model(name, 50, frontend_width=1, backend_filters=64)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5]
    for layer in model.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            sigma = math.sqrt(1.3 * 2 / layer.weight[0].numel())
            assert layer.weight.abs().max() <= 2 * sigma
            if layer.weight.numel() > 4_000:  # a normal cut at two deviations keeps 0.8796 of its deviation
                assert layer.weight.std().item() == pytest.approx(0.8796 * sigma, rel=0.05)
            assert layer.bias is not None
            assert not layer.bias.any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PONS)
def test_every_parameter_gets_a_gradient(name, device):
    model = small(name).to(device)
    model(waves().to(device)).square().sum().backward()
    # A bias just before a batch norm of two clips may get a gradient of 0; it must still get one.
    assert [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert [n for n, p in model.named_parameters() if "weight" in n and p.grad is not None and not p.grad.any()] == []


@pytest.mark.parametrize("name", PONS)
def test_any_length_from_the_shortest(name):
    model = small(name).eval()
    shortest = min_crop_len(name, **SMALL)
    with torch.no_grad():
        for samples in (shortest, shortest + 1, 31_007, 48_000):
            assert model(waves(1, samples)).shape == (1, 5)
        with pytest.raises(ValueError, match=rf"too short: this model needs at least {shortest} samples"):
            model(waves(1, shortest - 1))


@pytest.mark.parametrize("backend_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("layers", range(5, 10))
def test_shortest_input_is_tight(layers, backend_layers):
    dials = WaveformDials(frontend_layers=layers, backend_layers=backend_layers, frontend_width=0.125)
    front = WaveformFrontend(dials.channels).eval()
    with torch.no_grad():
        assert front(torch.zeros(1, dials.min_input_len)).shape[2] == dials.min_frames
        assert front(torch.zeros(1, dials.min_input_len - 1)).shape[2] == dials.min_frames - 1


def test_impossible_pairs_are_known_before_a_sweep():
    assert min_crop_len("waveform") <= 48_000
    assert 48_000 < min_crop_len("waveform", frontend_layers=9) <= 240_000
    assert min_crop_len("spectrogram") <= 48_000


@pytest.mark.parametrize(
    ("name", "dials", "message"),
    [
        ("wave", {}, r"model 'wave' is none of \[.*'spectrogram', .*'waveform'\]"),
        ("spectrogram", {"frontend_layers": 7}, r"no dials \['frontend_layers'\]; it has .*'frontend_width'"),
        ("waveform", {"log_mel_mean": 1.0}, r"no dials \['log_mel_mean'\]"),
        ("waveform", {"frontend_layers": 4}, r"frontend_layers=4 is none of \[5, 6, 7, 8, 9\]"),
        ("waveform", {"frontend_layers": 7.0}, "frontend_layers=7.0 must be a whole number"),
        ("waveform", {"frontend_width": 0.3}, "frontend_width=0.3 must be above 0, at most 4"),
        ("waveform", {"frontend_width": 8}, "frontend_width=8.0 must be above 0, at most 4"),
        ("spectrogram", {"frontend_width": 1 / 32}, "frontend_width=0.03125 must be"),
        ("spectrogram", {"log_mel_std": 0.0}, "log_mel_std=0.0"),
        ("spectrogram", {"frontend": "vgg"}, r"frontend='vgg' is none of \['deep3x3', 'musical'\]"),
        ("waveform", {"backend_filters": 0}, "backend_filters=0 must be a whole number of at least 1"),
        ("waveform", {"backend_units": True}, "backend_units=True must be"),
        ("spectrogram", {"backend_layers": 0}, "backend_layers=0 must be"),
    ],
)
def test_refusals(name, dials, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, 5, **dials)
    with pytest.raises(ValueError, match=message):
        min_crop_len(name, **dials)


def test_num_tags_must_be_a_count():
    with pytest.raises(ValueError, match="num_tags=0"):
        build_model("waveform", 0)


@pytest.mark.parametrize("name", PONS)
def test_dropout_before_every_dense_and_only_in_training(name):
    model, wave_BT, widths = small(name), waves(), []
    model.get_submodule("backend.dropout").register_forward_pre_hook(lambda _, x: widths.append(x[0].shape[1]))
    with torch.no_grad():
        assert not torch.equal(model(wave_BT), model(wave_BT))
        assert widths == [16, 6] * 2
        model.eval()
        assert torch.equal(model(wave_BT), model(wave_BT))


@pytest.mark.parametrize("name", PONS)
def test_a_song_scores_the_same_alone_and_in_a_batch(name):
    model = small(name).eval()
    with torch.no_grad():
        alone, together = model(waves(4)[:1]), model(waves(4))[:1]
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PONS)
def test_state_dict_round_trip(name):
    dials: dict[str, Any] = {"log_mel_mean": 2.0, "log_mel_std": 0.7} if name == "spectrogram" else {}
    model, other = small(name, **dials), small(name, seed=1)
    model(waves())  # moves the running statistics
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model.eval()(waves(seed=3)), other.eval()(waves(seed=3)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PONS)
def test_bf16_autocast_is_close_and_keeps_statistics_fp32(name, device):
    model = small(name).to(device).eval()
    with torch.no_grad():
        exact = model(waves().to(device))
        with torch.autocast(device, torch.bfloat16):
            rounded = model(waves().to(device))
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)
    model.train()
    with torch.autocast(device, torch.bfloat16):
        model(waves().to(device)).float().sum().backward()
    assert {b.dtype for n, b in model.named_buffers() if "running" in n} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("name", PONS)
def test_can_learn(name):
    """Two kinds of clip (a low and a high tone in noise) are told apart within a few steps."""
    model = small(name, backend_filters=32, backend_units=64)
    t = torch.arange(24_000) / 16_000
    tones_BT = torch.stack([torch.sin(2 * torch.pi * f * t) for f in (200, 3000)] * 8)
    tags_B1 = torch.tensor([[0.0], [1.0]] * 8)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        logits_B1 = model(0.3 * tones_BT + waves(16, seed=step))[:, :1]
        loss = F.binary_cross_entropy_with_logits(logits_B1, tags_B1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]
