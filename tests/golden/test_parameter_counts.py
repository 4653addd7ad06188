"""Every published parameter count: Pons et al. 2018 (tables 2 and 3, section 5.1, MSD) and the baselines of its tables;
the checkpoints of Won et al. 2020; MediaEval 2020; the GTZAN project; Kroher et al. 2024.

Pons's counts are an independent arithmetic of the architecture, and the paper prints them truncated, not rounded. The
other systems' are those of their published checkpoints and code.
"""

from __future__ import annotations

import pytest

from genrescale.models import build_model, count_parameters

# family, front end width, back-end filters, units, front-end layers, tags, exact count, what the paper prints
ROWS = [
    ("waveform", 4, 512, 500, 7, 50, 11_824_058, "11.8M"),
    ("waveform", 2, 512, 500, 7, 50, 7_034_554, "7M"),
    ("waveform", 1, 512, 500, 7, 50, 5_377_082, "5.3M"),
    ("waveform", 1 / 2, 512, 500, 7, 50, 4_732_666, "4.7M"),
    ("waveform", 1 / 4, 512, 500, 7, 50, 4_456_538, "4.4M"),
    ("waveform", 2, 64, 500, 7, 50, 1_366_010, "1.3M"),
    ("waveform", 2, 64, 200, 7, 50, 1_311_710, "1.3M"),
    ("waveform", 2, 128, 500, 7, 50, 1_831_738, "1.8M"),
    ("waveform", 2, 128, 200, 7, 50, 1_739_038, "1.7M"),
    ("waveform", 2, 256, 500, 7, 50, 3_107_258, "3.1M"),
    ("waveform", 2, 256, 200, 7, 50, 2_937_758, "2.9M"),
    ("waveform", 2, 512, 500, 7, 50, 7_034_554, "7M"),
    ("waveform", 2, 512, 200, 7, 50, 6_711_454, "6.7M"),
    ("waveform", 1, 512, 500, 9, 139, 5_520_743, "5.5M"),
    ("spectrogram", 1 / 8, 512, 500, None, 50, 4_425_258, "4.4M"),
    ("spectrogram", 1 / 4, 512, 500, None, 50, 4_639_386, "4.6M"),
    ("spectrogram", 1 / 2, 512, 500, None, 50, 5_067_642, "5M"),
    ("spectrogram", 1, 512, 500, None, 50, 5_924_154, "5.9M"),
    ("spectrogram", 2, 512, 500, None, 50, 7_637_178, "7.6M"),
    ("spectrogram", 1 / 2, 64, 500, None, 50, 277_178, "277k"),
    ("spectrogram", 1 / 2, 64, 200, None, 50, 222_878, "222k"),
    ("spectrogram", 1 / 2, 128, 500, None, 50, 617_466, "617k"),
    ("spectrogram", 1 / 2, 128, 200, None, 50, 524_766, "524k"),
    ("spectrogram", 1 / 2, 256, 500, None, 50, 1_642_106, "1.6M"),
    ("spectrogram", 1 / 2, 256, 200, None, 50, 1_472_606, "1.4M"),
    ("spectrogram", 1 / 2, 512, 500, None, 50, 5_067_642, "5M"),
    ("spectrogram", 1 / 2, 512, 200, None, 50, 4_744_542, "4.7M"),
    ("spectrogram", 1, 512, 500, None, 139, 5_968_743, "5.9M"),
]


# model, tags, dials, exact count, what a paper prints or where the count is from
OTHERS = [
    ("sample_cnn", 50, {}, 2_394_162, "2.4M, rounded: Lee 2017; Pons 2018, table 2"),
    ("mtg_fcn", 50, {}, 447_732, "the layers of fcn"),
    ("sample_cnn", 50, {"last_kernel": 1}, 1_869_874, "Lee's code"),
    ("dieleman", 50, {}, 194_078, "194k: Pons 2018, table 2"),
    ("dieleman", 50, {"first_kernel": 512, "first_filters": 96}, 194_046, "194k: another reading"),
    ("dieleman", 50, {"first_kernel": 1024, "first_filters": 64}, 194_014, "194k: another reading"),
    ("choi_fcn", 50, {}, 450_932, "450k: Pons 2018, table 3"),
    ("choi_fcn", 50, {"channels": [128] * 5}, 605_748, "musicnn-training's vgg with 128 filters"),
    ("choi_fcn", 50, {"channels": [32] * 5}, 40_884, "musicnn-training's vgg"),
    ("timbre_cnn", 50, {}, 221_056, "231 frames"),
    ("timbre_cnn", 50, {"input_len": 47_872}, 185_856, "187 frames"),
    ("timbre_cnn", 50, {"batch_norm": False}, 220_870, "220k: Pons 2018, table 3"),
    ("fcn", 50, {}, 447_732, "checkpoints"),
    ("crnn", 50, {}, 394_100, "checkpoints"),
    ("musicnn", 50, {}, 784_300, "checkpoints"),
    ("short_chunk", 50, {}, 3_687_348, "checkpoints"),
    ("short_chunk_res", 50, {}, 12_104_244, "checkpoints"),
    ("mediaeval_res", 56, {}, 11_961_146, "code"),
    ("vgg_gtzan", 10, {}, 422_986, "code"),
    ("musicnn_layernorm", 10, {}, 1_253_045, "code"),
    # musicnn-training's "model 11", 787,159, has these layers with batch norm, and one of 2 on its input
    ("musicnn_layernorm", 50, {"backend_units": 200}, 787_157, "787k: musicnn-training"),
]


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: f"{row[0]}-{row[3]}")
def test_a_model_has_its_published_parameters(row):
    name, tags, dials, count, _ = row
    assert count_parameters(build_model(name, tags, **dials)) == count


def formula(family: str, width: float, filters: int, units: int, layers: int | None, tags: int) -> int:
    """Weights and biases of each convolution, gamma and beta of each batch norm, written out from the paper."""
    if family == "waveform":
        basic = {7: [64] * 3 + [128] * 3 + [256], 9: [64] * 3 + [128] * 5 + [256]}[layers or 7]
        channels = [int(c * width) for c in basic]
        front = sum(3 * before * after + 3 * after for before, after in zip([1, *channels], channels, strict=False))
        features = channels[-1]
    else:
        n = int(16 * width)
        shapes = [(7 * h, 1) for h in (86, 38)] + [(3 * h, 2) for h in (86, 38)] + [(h, 4) for h in (86, 38)]
        shapes += [(165, 1), (128, 2), (64, 4), (32, 8)]
        front = sum((cells + 3) * times * n for cells, times in shapes)
        features = 29 * n
    first = 7 * features * filters + 3 * filters
    residuals = 2 * (7 * filters * filters + filters + 2)
    dense = 2 * filters * units + 3 * units
    return front + first + residuals + dense + units * tags + tags


def truncated(count: int) -> str:
    """As the paper prints: whole thousands below a million, else tenths of a million, cut and without ``.0``."""
    if count < 1_000_000:
        return f"{count // 1000}k"
    tenths = count // 100_000
    return f"{tenths // 10}.{tenths % 10}M".replace(".0M", "M")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-x{row[1]}-{row[2]}-{row[3]}-{row[5]}")
def test_the_model_has_the_papers_parameters(row):
    family, width, filters, units, layers, tags, count, printed = row
    dials = {"frontend_width": width, "backend_filters": filters, "backend_units": units}
    if layers is not None:
        dials["frontend_layers"] = layers
    model = build_model(family, tags, **dials)
    assert count_parameters(model) == count
    assert formula(family, width, filters, units, layers, tags) == count
    assert truncated(count) == printed


def test_the_table_has_every_row():
    assert len(ROWS) == 28


def test_frozen_parameters_are_not_counted():
    model = build_model("waveform", 50, frontend_width=0.25, backend_filters=64)
    before = count_parameters(model)
    weight = next(model.parameters())
    weight.requires_grad_(False)
    assert count_parameters(model) == before - weight.numel()
