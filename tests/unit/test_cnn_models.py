"""The convolutional models against a literal form of what their papers and published code state, in float64."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models import build_model, min_crop_len
from genrescale.models.mediaeval_res import MediaevalRes, MediaevalResDials
from genrescale.models.musicnn import Musicnn
from genrescale.models.musicnn_layernorm import MusicnnLayernorm
from genrescale.models.parts.blocks import ConvPool2d, ResidualBlock2d

FEW: dict[str, Any] = {"timbral_filters": 3, "temporal_filters": 2, "backend_filters": 4, "backend_units": 6}


def scrambled(module: nn.Module) -> nn.Module:
    """Every parameter and statistic at a random value, in float64 and eval, so that no term is idle."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return module.double().eval()


def given(model: Any, logmel_BFN: Tensor) -> nn.Module:
    """The model with a front end that returns ``logmel_BFN`` whatever it hears."""

    class Fixed(nn.Module):
        def forward(self, wave_BT: Tensor) -> Tensor:
            return logmel_BFN

    model.log_mel = Fixed()
    return model


def norm(h_BCx: Tensor, bn: Any) -> Tensor:
    """Batch norm by its running statistics, written out."""
    shape = (1, -1) + (1,) * (h_BCx.dim() - 2)
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return (h_BCx - bn.running_mean.view(shape)) * scale.view(shape) + bn.bias.view(shape)


def layer_norm(h_BCx: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer norm of each cell over its channels, written out with Keras's epsilon."""
    shape = (1, -1) + (1,) * (h_BCx.dim() - 2)
    mean, var = h_BCx.mean(1, keepdim=True), h_BCx.var(1, unbiased=False, keepdim=True)
    return (h_BCx - mean) / torch.sqrt(var + 1e-3) * weight.view(shape) + bias.view(shape)


def test_pooling_before_relu_is_the_published_order():
    layer: Any = scrambled(ConvPool2d(2, 3, (2, 3)))
    h = torch.randn(2, 2, 9, 11, dtype=torch.float64)
    published = F.max_pool2d(F.relu(norm(F.conv2d(h, layer.conv.weight, layer.conv.bias, padding=1), layer.bn)), (2, 3))
    torch.testing.assert_close(layer(h), published, rtol=1e-10, atol=1e-10)


def test_a_residual_block_has_a_strided_shortcut_with_norm():
    block: Any = scrambled(ResidualBlock2d(3, 3, (2, 3)))
    h = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    a = F.relu(norm(F.conv2d(h, block.conv_1.weight, block.conv_1.bias, stride=(2, 3), padding=1), block.bn_1))
    a = norm(F.conv2d(a, block.conv_2.weight, block.conv_2.bias, padding=1), block.bn_2)
    b = norm(F.conv2d(h, block.conv_3.weight, block.conv_3.bias, stride=(2, 3), padding=1), block.bn_3)
    torch.testing.assert_close(block(h), F.relu(a + b), rtol=1e-10, atol=1e-10)


def test_musicnn_equals_the_literal_form():
    logmel_BFN = torch.randn(2, 96, 40, dtype=torch.float64)
    model = given(scrambled(build_model("musicnn", 5, **FEW)), logmel_BFN)
    assert isinstance(model, Musicnn)
    image = norm(logmel_BFN[:, None], model.spec_bn)
    features = []
    layers: Any = model.layers
    for layer, height in zip(layers[:2], (67, 38), strict=True):
        assert layer.conv.weight.shape == (3, 1, height, 7)
        h = F.relu(norm(F.conv2d(F.pad(image, (3, 3)), layer.conv.weight, layer.conv.bias), layer.bn))
        features.append(h.max(dim=2).values)
    for layer, half in zip(layers[2:], (64, 32, 16), strict=True):
        h = F.conv1d(F.pad(image.mean(dim=2), (half, half)), layer.conv.weight, layer.conv.bias)
        features.append(F.relu(norm(h, layer.bn)))
    parts = [torch.cat(features, 1)]
    for i, layer in enumerate((model.layer1, model.layer2, model.layer3)):
        h = F.relu(norm(F.conv1d(F.pad(parts[-1], (3, 3)), layer.conv.weight, layer.conv.bias), layer.bn))
        parts.append(h if i == 0 else h + parts[-1])
    together = torch.cat(parts, 1)
    assert together.shape == (2, 2 * 3 + 3 * 2 + 3 * 4, 40)
    pooled = torch.cat([together.max(2).values, together.mean(2)], 1)
    units = F.relu(norm(pooled @ model.dense1.weight.T + model.dense1.bias, model.bn))
    expected = units @ model.dense2.weight.T + model.dense2.bias
    torch.testing.assert_close(model(torch.zeros(2, 20_000)), expected, rtol=1e-9, atol=1e-9)


def test_musicnn_with_layer_norm_equals_the_literal_form():
    logmel_BFN = torch.randn(2, 96, 40, dtype=torch.float64)
    model = given(scrambled(build_model("musicnn_layernorm", 5, **FEW)), logmel_BFN)
    assert isinstance(model, MusicnnLayernorm)

    def after(h: Tensor, layer: Any) -> Tensor:
        return layer_norm(F.relu(h), layer.norm.weight, layer.norm.bias)

    features = []
    for layer, height in zip(model.timbral, (38, 67), strict=True):
        conv: Any = layer.get_submodule("conv")
        assert conv.weight.shape == (3, 1, height, 7)
        features.append(after(F.conv2d(F.pad(logmel_BFN[:, None], (3, 3)), conv.weight, conv.bias), layer).amax(2))
    envelope = logmel_BFN.mean(1, keepdim=True)
    for layer, pads in zip(model.temporal, ((15, 16), (31, 32), (63, 64)), strict=True):
        conv: Any = layer.get_submodule("conv")
        features.append(after(F.conv1d(F.pad(envelope, pads), conv.weight, conv.bias), layer))
    parts = [torch.cat(features, 1)]
    for i, layer in enumerate(model.middle):
        conv: Any = layer.get_submodule("conv")
        h = after(F.conv1d(F.pad(parts[-1], (3, 3)), conv.weight, conv.bias), layer)
        parts.append(h if i == 0 else h + parts[-1])
    together = torch.cat(parts, 1)
    pooled = torch.cat([together.max(2).values, together.mean(2)], 1)
    pooled = layer_norm(pooled, model.pooled_norm.weight, model.pooled_norm.bias)
    units = F.relu(pooled @ model.dense.weight.T + model.dense.bias)
    units = layer_norm(units, model.dense_norm.weight, model.dense_norm.bias)
    expected = units @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(torch.ones(2, 20_000)), expected, rtol=1e-9, atol=1e-9)


def test_musicnn_with_layer_norm_hears_the_peak_of_a_clip_as_one():
    model = build_model("musicnn_layernorm", 5, **FEW).eval()
    wave_BT = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(0.01 * wave_BT), model(wave_BT), rtol=1e-4, atol=1e-4)
        assert torch.isfinite(model(torch.zeros(1, 20_000))).all()


@pytest.mark.parametrize(("samples", "last_pool"), [(59_049, 1), (177_147, 3), (118_097, 1)])
def test_sample_cnn_leaves_one_frame_of_three_to_the_tenth_samples(samples, last_pool):
    model = build_model("sample_cnn", 5, width=1 / 16).eval()
    frames = []
    model.get_submodule("convs.10").register_forward_hook(lambda *args: frames.append(args[2].shape[2]))
    with torch.no_grad():
        model(torch.zeros(1, samples))
    assert frames == [last_pool]


@pytest.mark.parametrize(("name", "pools"), [("fcn", 5), ("crnn", 4), ("short_chunk", 7)])
def test_shortest_input_is_tight(name, pools):
    """One sample less leaves no frame to the last pool."""
    model: Any = build_model(name, 5, width=1 / 16).eval()
    shortest = min_crop_len(name, width=1 / 16)
    shapes = []
    model.get_submodule(f"layer{pools}" if name != "crnn" else "layer4").register_forward_hook(
        lambda *args: shapes.append(tuple(args[2].shape[2:]))
    )
    with torch.no_grad():
        model(torch.zeros(1, shortest))
        assert shapes == [(1, 1)]
        model.min_input_len = 0  # take the model's own check away
        with pytest.raises(RuntimeError, match="too small"):
            model(torch.zeros(1, shortest - 1))


@pytest.mark.parametrize(("samples", "cells"), [(59_049, 1), (73_600, 1), (240_000, 4)])
def test_mediaeval_halves_five_times_and_takes_thirds_twice(samples, cells):
    model = build_model("mediaeval_res", 5, width=1 / 64).eval()
    assert isinstance(model, MediaevalRes)
    with torch.no_grad():
        assert model.blocks(model.image(torch.zeros(1, samples))).shape == (1, 8, 1, cells)


@pytest.mark.parametrize(("stride_time", "field"), [(2, 763), (3, 1211), (1, 443)])
def test_the_receptive_field_is_what_the_network_sees(stride_time, field):
    """Gradients of one cell of the last block reach exactly so many frames (weights above 0: nothing cancels)."""
    model = build_model("mediaeval_res", 5, width=1 / 128, stride_time=stride_time).double().eval()
    assert isinstance(model, MediaevalRes)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    image = torch.ones(1, 1, 32, 2_600, dtype=torch.float64, requires_grad=True)
    out = model.blocks(image)
    out[0, 0, 0, out.shape[3] // 2].backward()
    assert image.grad is not None
    seen = image.grad[0, 0].abs().sum(dim=0).nonzero().flatten()
    assert len(seen) == seen[-1] - seen[0] + 1 == field
    assert MediaevalResDials(stride_time=stride_time).receptive_field == (763, field)
    assert MediaevalResDials(stride_freq=stride_time).receptive_field == (field, 1211)


def test_choi_fcn_flattens_two_frames_of_one_bin():
    model = build_model("choi_fcn", 5)
    assert model.get_submodule("dense").get_parameter("weight").shape == (5, 64 * 2)


def test_dieleman_equals_the_literal_form():
    dials = {"first_filters": 3, "filters": 4, "units": 6, "input_len": 24_000}
    model: Any = scrambled(build_model("dieleman", 5, **dials))
    wave_BT = torch.randn(2, 24_000, dtype=torch.float64)
    frames = wave_BT.unfold(1, 256, 256)
    h = F.relu(torch.einsum("bnt,ct->bcn", frames, model.first.weight[:, 0]) + model.first.bias[:, None])
    for conv in model.convs:
        h = F.max_pool1d(F.relu(F.conv1d(h, conv.weight, conv.bias)), 4)
    assert h.shape == (2, 4, 3)
    units = F.relu(h.reshape(2, 12) @ model.dense.weight.T + model.dense.bias)
    expected = units @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(wave_BT), expected, rtol=1e-9, atol=1e-9)


def test_timbre_cnn_has_twelve_shapes_of_filters():
    model: Any = build_model("timbre_cnn", 5, input_len=12_000)
    shapes = [tuple(conv.weight.shape[2:]) for conv in model.convs]
    assert shapes == [(height, span) for height in (76, 57, 19) for span in (7, 5, 3, 1)]
    filters = [conv.weight.shape[0] for conv in model.convs]
    assert filters == [3, 3, 6, 10, 5, 5, 10, 15, 5, 5, 10, 15]
    assert model.conv.weight.shape == (32, 92, 8)


def test_vgg_gtzan_has_four_layers_of_rising_width():
    model: Any = build_model("vgg_gtzan", 10)
    layers = (model.layer1, model.layer2, model.layer3, model.layer4)
    assert [(layer.conv.in_channels, layer.conv.out_channels) for layer in layers] == list(
        pairwise([1, 32, 64, 128, 256])
    )
