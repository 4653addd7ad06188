"""What every model of the registry promises: shapes, lengths, refusals, gradients. Tiny dials, all layers.

That they learn: test_learning.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_models import TINY, tiny_len
from torch import nn

from genrescale.models import MODELS, build_model, fixed_crop_len, full_dials, min_crop_len
from genrescale.models.parts.frontend import LogMel
from genrescale.models.parts.head import head_name

DIALS_NO_MODEL_TAKES = [
    ("sample_cnn", {"last_kernel": 2}, r"last_kernel=2 is none of \[1, 3\]"),
    ("sample_cnn", {"first_padding": 2}, "first_padding=2 must be 0 or 1"),
    ("sample_cnn", {"width": 0.3}, r"width=0.3 times \[128, 256, 512\] channels must give whole numbers"),
    ("fcn", {"width": 1 / 128}, "width=0.0078125 times .* must give whole numbers"),
    ("fcn", {"width": 0}, "width=0.0 must be a positive number"),
    ("fcn", {"width": float("nan")}, "width=nan must be a positive number"),
    ("crnn", {"dropout": 1.0}, "dropout=1.0 must be at least 0 and below 1"),
    ("crnn", {"width": 1 / 64}, "width=0.015625 times .* must give whole numbers"),
    ("short_chunk", {"norm_momentum": 0.0}, "norm_momentum=0.0 must be above 0"),
    ("short_chunk_res", {"stride_time": 3}, r"no dials \['stride_time'\]"),
    ("mediaeval_res", {"stride_time": 5}, "stride_time=5 must be at most 4"),
    ("mediaeval_res", {"stride_freq": 1.5}, "stride_freq=1.5 must be a whole number"),
    ("musicnn", {"timbral_filters": 0}, "timbral_filters=0 must be a whole number"),
    ("musicnn_layernorm", {"dropout": -0.1}, "dropout=-0.1 must be"),
    ("vgg_gtzan", {"width": 1 / 64}, "width=0.015625 times .* must give whole numbers"),
    ("dieleman", {"input_len": 9_000}, "input_len=9000 is too short: these layers need at least 13056 samples"),
    ("dieleman", {"first_kernel": 0}, "first_kernel=0 must be a whole number"),
    ("choi_fcn", {"channels": [8] * 4}, r"channels=\[8, 8, 8, 8\] must be a list of 5 numbers"),
    ("choi_fcn", {"channels": [8, 8, 0, 8, 8]}, r"channels\[2\]=0 must be a whole number"),
    ("choi_fcn", {"input_len": 16_000}, "input_len=16000 is too short: the pools need at least 16640 samples"),
    ("timbre_cnn", {"input_len": 2_000}, "input_len=2000 is too short: the back end needs at least 2560 samples"),
    ("timbre_cnn", {"batch_norm": 1}, "batch_norm=1 must be true or false"),
    ("lstm", {"linear_layers": 3}, "linear_layers=3 must be 1 or 2"),
    ("lstm", {"dropout": 1.0}, "dropout=1.0 must be at least 0 and below 1"),
    ("gru", {"recurrent_dropout": -0.1}, "recurrent_dropout=-0.1 must be"),
    ("rnn", {"layers": 0}, "layers=0 must be a whole number"),
    ("rnn", {"frames": 10.0}, "frames=10.0 must be a whole number"),
    ("ssast", {"size": "huge"}, r"size='huge' is none of \['tiny', 'small', 'base'\]"),
    ("ssast", {"stride": 17}, "stride=17 would skip cells"),
    ("ssast", {"pooling": "max"}, r"pooling='max' is none of \['patches', 'class'\]"),
    ("ssast", {"frames": 8}, "frames=8 must be at least 16"),
    ("ssast", {"position_frames": 15}, "position_frames=15 must be at least 16"),
    ("ssast", {"normalisation": "gtzan"}, "normalisation='gtzan' is none of"),
    ("cnn_transformer", {"heads": 7}, r"heads=7 must divide the transformer's width, 256"),
    ("cnn_transformer", {"attention_dropout": 1.5}, "attention_dropout=1.5 must be"),
]
NAMES = sorted(MODELS)
MEL = [name for name in NAMES if name not in ("waveform", "sample_cnn", "dieleman")]


def tiny(name: str, num_tags: int = 5, seed: int = 0, **dials: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(name, num_tags, **{**TINY[name], **dials})


def noise(name: str, clips: int = 2, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, tiny_len(name), generator=torch.Generator().manual_seed(seed))


def test_every_model_has_tiny_dials():
    assert set(TINY) == set(MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_waves_become_logits(name):
    model = tiny(name).eval()
    with torch.no_grad():
        logits_BK = model(100 * noise(name, 3))
    assert logits_BK.shape == (3, 5)
    assert logits_BK.dtype == torch.float32
    assert torch.isfinite(logits_BK).all()


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_logits(name):
    """Nothing squashes them: a bias far outside of [0, 1] comes through whole."""
    model = tiny(name).eval()
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        before = model(noise(name))
        last.bias.add_(torch.tensor([50.0, -50.0, 0.0, 0.0, 0.0]))
        shift = model(noise(name)) - before
    torch.testing.assert_close(shift, torch.tensor([50.0, -50.0, 0.0, 0.0, 0.0]).expand(2, 5), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_lengths(name):
    """Any length from the shortest on, or one length only; anything else is refused with that length."""
    model = tiny(name).eval()
    fixed, shortest = fixed_crop_len(name, **TINY[name]), min_crop_len(name, **TINY[name])
    with torch.no_grad():
        if fixed is not None:
            assert shortest == fixed
            for samples in (fixed - 1, fixed + 1):
                with pytest.raises(
                    ValueError, match=rf"takes {fixed} samples .* only, because the size of its dense .*input_len"
                ):
                    model(torch.zeros(1, samples))
            return
        for samples in (shortest, shortest + 1, 2 * shortest + 5_001):
            assert model(torch.randn(1, samples)).shape == (1, 5)
        with pytest.raises(ValueError, match=rf"too short: this model needs at least {shortest} samples"):
            model(torch.zeros(1, shortest - 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_default_dials_are_written_out(name):
    dials = full_dials(name, {})
    assert full_dials(name, dials) == dials
    assert min_crop_len(name) == min_crop_len(name, **dials)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_no_tags_and_unknown_dials(name):
    with pytest.raises(ValueError, match="num_tags=0 must be a whole number of at least 1"):
        build_model(name, 0)
    with pytest.raises(ValueError, match=rf"model '{name}' has no dials \['wings'\]; it has \["):
        build_model(name, 5, wings=2)


@pytest.mark.parametrize(("name", "dials", "message"), DIALS_NO_MODEL_TAKES)
def test_refuses_dials_that_cannot_be(name, dials, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, 5, **dials)
    with pytest.raises(ValueError, match=message):
        min_crop_len(name, **dials)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = tiny(name)
    model(noise(name, 4)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert [n for n, p in model.named_parameters() if "weight" in n and p.grad is not None and not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_song_scores_the_same_alone_and_in_a_batch(name):
    model = tiny(name).eval()
    wave_BT = noise(name, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(wave_BT[:1]), model(wave_BT)[:1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_carries_all_that_a_model_is(name):
    model, other = tiny(name), tiny(name, seed=1)
    model(noise(name))  # moves the running statistics
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model.eval()(noise(name, seed=3)), other.eval()(noise(name, seed=3)))


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast_keeps_statistics_and_gradients_fp32(name):
    model = tiny(name)
    with torch.autocast("cpu", torch.bfloat16):
        model(noise(name)).float().sum().backward()
    assert {b.dtype for n, b in model.named_buffers() if "running" in n} <= {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("name", MEL)
def test_spec_augment_stands_between_the_front_end_and_the_trunk(name):
    """It is given the whole log-mel picture in fp32, and what it returns is what the model sees."""
    model, seen = tiny(name).eval(), []

    class Flat(nn.Module):
        def forward(self, logmel_BFN: torch.Tensor) -> torch.Tensor:
            seen.append(logmel_BFN)
            return torch.zeros_like(logmel_BFN)

    assert isinstance(model.spec_augment, nn.Identity)
    model.spec_augment = Flat()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        one, other = model(noise(name, seed=1)), model(noise(name, seed=2))
    assert torch.equal(one, other)
    assert seen[0].dtype == torch.float32
    assert seen[0].shape[:2] in ((2, 96), (2, 128))
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_head_is_given_one_embedding_a_clip(name):
    model, seen = tiny(name).eval(), []
    head = model.get_submodule(head_name(model, 5))
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        logits_BK = model(noise(name, 3))
        assert torch.equal(head(seen[0]), logits_BK)
    assert [part.shape for part in seen[:1]] == [(3, head.in_features)]


@pytest.mark.parametrize("name", NAMES)
def test_seeded_models_are_equal(name):
    def digest(seed: int) -> str:
        return hashlib.sha256(
            b"".join(p.detach().numpy().tobytes() for p in tiny(name, seed=seed).parameters())
        ).hexdigest()

    assert digest(0) == digest(0) != digest(1)


def test_the_layer_norm_model_finds_the_threshold():
    """Of four clips, two of them with a low tone in noise: what test_learning.py asks of every other model's songs."""
    model = tiny("musicnn_layernorm", num_tags=1, dropout=0.0)
    t = torch.arange(tiny_len("musicnn_layernorm")) / 16_000
    tones_BT = torch.stack([torch.sin(2 * torch.pi * f * t) for f in (200, 3000)] * 2)
    tags_B1 = torch.tensor([[0.0], [1.0]] * 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(100):
        wave_BT = 0.3 * tones_BT + noise("musicnn_layernorm", 4, seed=step)
        loss = F.binary_cross_entropy_with_logits(model(wave_BT), tags_B1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        logits_B1 = model.eval()(0.3 * tones_BT + noise("musicnn_layernorm", 4, seed=99))
    assert torch.equal(logits_B1 > 0, tags_B1 > 0)
    assert F.binary_cross_entropy_with_logits(logits_B1, tags_B1) < 0.5


class Plain(nn.Module):
    """A tagger with a LogMel that is not told its corpus's normalisation."""

    @dataclass(frozen=True)
    class Dials:
        min_input_len: int = 400

    def __init__(self, num_tags: int, **dials: float) -> None:
        super().__init__()
        self.front = LogMel()
        self.head = nn.Linear(96, num_tags)

    def forward(self, wave_BT: torch.Tensor) -> torch.Tensor:
        return self.head(self.front(wave_BT).mean(dim=2))


class Deaf(Plain):
    """It has the dials, and does not pass them on."""

    @dataclass(frozen=True)
    class Dials:  # pyright: ignore[reportIncompatibleVariableOverride]
        log_mel_mean: float = 0.0
        log_mel_std: float = 1.0


@pytest.mark.parametrize(("model", "dials"), [(Plain, {}), (Deaf, {"log_mel_mean": 1.5, "log_mel_std": 2.0})])
def test_a_log_mel_that_no_corpus_would_normalise_is_refused(
    model: type[Plain], dials: dict[str, float], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(MODELS, "mine", model)
    with pytest.raises(ValueError, match=r"model 'mine' has a LogMel that does not get log_mel_mean and log_mel_std"):
        build_model("mine", 3, **dials)
