"""Parameter counts of the recurrent networks (COMP-520), of SSAST, and of the CNN + transformer hybrid.

COMP-520's are the counts of its released network in every configuration that its tables used; SSAST's backbones are
published as 5.49M, 21.59M and 85.65M, with pretext heads and what DeiT brings along and nobody uses as 6, 23 and 89M.
"""

from __future__ import annotations

import itertools

import pytest

from genrescale.models import build_model, count_parameters
from genrescale.models.ssast import SsastTagger
from genrescale.models.ssast_pretraining import SsastPretraining

# cell, hidden, recurrent layers, linear layers, count (8 genres)
RECURRENT = [
    ("gru", 64, 1, 1, 37_961),
    ("gru", 64, 1, 2, 42_121),
    ("gru", 64, 2, 1, 62_921),
    ("gru", 64, 16, 1, 412_361),
    ("lstm", 64, 1, 1, 50_377),
    ("lstm", 64, 2, 1, 83_657),
    ("lstm", 64, 2, 2, 87_817),
    ("lstm", 128, 1, 2, 150_025),
    ("lstm", 128, 2, 2, 282_121),
]
# size, width, backbone, its printed form, with pretext heads and unused heads, printed
SSAST = [
    ("tiny", 192, 5_487_168, "5.49M", 6_046_288, "6.05M"),
    ("small", 384, 21_591_168, "21.59M", 22_854_352, "22.85M"),
    ("base", 768, 85_649_664, "85.65M", 88_763_344, "88.76M"),
]


def recurrent_formula(gates: int, hidden: int, layers: int, linear_layers: int, tags: int) -> int:
    """Two matrices and two biases for each gate of each layer; LayerNorm; attention; linear layers."""
    inputs = [128] + [hidden] * (layers - 1)
    cells = sum(gates * (hidden * before + hidden * hidden + 2 * hidden) for before in inputs)
    linear = (linear_layers - 1) * (hidden * hidden + hidden) + hidden * tags + tags
    return cells + 2 * hidden + (hidden + 1) + linear


@pytest.mark.parametrize(("cell", "hidden", "layers", "linear_layers", "count"), RECURRENT)
def test_recurrent_networks(cell, hidden, layers, linear_layers, count):
    model = build_model(cell, 8, hidden=hidden, layers=layers, linear_layers=linear_layers)
    assert count_parameters(model) == count
    assert recurrent_formula({"gru": 3, "lstm": 4}[cell], hidden, layers, linear_layers, 8) == count


def test_the_defaults_are_the_final_systems():
    assert count_parameters(build_model("lstm", 8)) == 282_121


@pytest.mark.parametrize(("hidden", "layers"), [(64, 1), (128, 16)])
def test_plain_recurrent_network(hidden, layers):
    model = build_model("rnn", 8, hidden=hidden, layers=layers, linear_layers=1)
    assert count_parameters(model) == recurrent_formula(1, hidden, layers, 1, 8)


def backbone_formula(width: int, patches: int) -> int:
    """Patch embedding, two class tokens, positions, 12 layers of four linear ones and two norms, the last norm."""
    layer = 4 * (width * width + width) + (8 * width * width + 5 * width) + 4 * width
    return (256 * width + width) + 2 * width + (patches + 2) * width + 12 * layer + 2 * width


def printed(count: int) -> str:
    return f"{count / 1e6:.2f}M"


@pytest.mark.parametrize(("size", "width", "backbone", "backbone_printed", "all_heads", "all_printed"), SSAST)
def test_ssast_pretraining(size, width, backbone, backbone_printed, all_heads, all_printed):
    model = SsastPretraining(size=size)
    assert count_parameters(model.backbone) == backbone_formula(width, 8 * 64) == backbone
    assert printed(backbone) == backbone_printed
    pretext = 2 * ((width * width + width) + (width * 256 + 256)) + width
    assert count_parameters(model) == backbone + pretext
    unused = 2 * (width * 1000 + 1000)  # DeiT's two heads for the thousand classes of ImageNet
    assert backbone + pretext + unused == all_heads
    assert printed(all_heads) == all_printed


def test_ssast_fine_tuning():
    model = build_model("ssast", 10)
    assert isinstance(model, SsastTagger)
    assert model.backbone.stored_grid == (12, 101)
    assert count_parameters(model) == backbone_formula(768, 12 * 101) + 2 * 768 + 768 * 10 + 10 == 86_196_490
    assert printed(86_196_490) == "86.20M"


def test_cnn_transformer():
    """No count is published: seven blocks of three convolutions and norms, two BERT layers, pooler, output."""
    channels = [1, 128, 128, 256, 256, 256, 256, 256]
    pairs = itertools.pairwise(channels)
    blocks = sum(2 * (9 * before * after + 3 * after) + (9 * after * after + 3 * after) for before, after in pairs)
    layer = 4 * (256 * 256 + 256) + (256 * 1024 + 1024) + (1024 * 256 + 256) + 4 * 256
    count = 2 + blocks + 2 * layer + (256 * 256 + 256) + (256 * 50 + 50)
    assert count_parameters(build_model("cnn_transformer", 50)) == count
