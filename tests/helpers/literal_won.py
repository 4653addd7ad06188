"""The models of Won et al. 2020, computed from the names and arrays of their checkpoints alone.

Written from their published layout with functions of torch; it shares nothing with genrescale's models. ``shapes`` are
the arrays of a checkpoint, for those of which no file is at hand. Logits, where the authors end with a sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
SHORT_CHANNELS = (128, 128, 256, 256, 256, 256, 512)
ATTENTION_CHANNELS = (128, 128, 256, 256, 256, 256, 256)
SAMPLE_CHANNELS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512)


def norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])


def db_spectrogram(state: State, wave_BT: Tensor) -> Tensor:
    window = state["spec.spectrogram.window"]
    stft = torch.stft(wave_BT, 512, 256, window=window, center=True, pad_mode="reflect", return_complex=True)
    mel_BFN = torch.einsum("brn,rf->bfn", stft.abs() ** 2, state["spec.mel_scale.fb"])
    return norm(state, "spec_bn", 10 * mel_BFN.clamp(min=1e-10).log10()[:, None])


def fcn(state: State, wave_BT: Tensor) -> Tensor:
    x = db_spectrogram(state, wave_BT)
    for i, pool in enumerate([(2, 4), (2, 4), (2, 4), (3, 5), (4, 4)], 1):
        x = F.conv2d(x, state[f"layer{i}.conv.weight"], state[f"layer{i}.conv.bias"], padding=1)
        x = F.max_pool2d(F.relu(norm(state, f"layer{i}.bn", x)), pool)
    return F.linear(x.flatten(1), state["dense.weight"], state["dense.bias"])


def musicnn(state: State, wave_BT: Tensor) -> Tensor:
    x = db_spectrogram(state, wave_BT)
    features = []
    for i in range(5):
        kernel, bias = state[f"layers.{i}.conv.weight"], state[f"layers.{i}.conv.bias"]
        if i < 2:
            h = F.conv2d(x, kernel, bias, padding=(0, 3))
            features.append(F.relu(norm(state, f"layers.{i}.bn", h)).amax(dim=2))
        else:
            h = F.conv1d(x.mean(dim=2), kernel, bias, padding=kernel.shape[2] // 2)
            features.append(F.relu(norm(state, f"layers.{i}.bn", h)))
    layers = [torch.cat(features, dim=1)]
    for i in (1, 2, 3):
        h = F.conv1d(layers[-1], state[f"layer{i}.conv.weight"], state[f"layer{i}.conv.bias"], padding=3)
        h = F.relu(norm(state, f"layer{i}.bn", h))
        layers.append(h + layers[-1] if i > 1 else h)
    h = torch.cat(layers, dim=1)
    h = F.linear(torch.cat([h.amax(dim=2), h.mean(dim=2)], dim=1), state["dense1.weight"], state["dense1.bias"])
    return F.linear(F.relu(norm(state, "bn", h)), state["dense2.weight"], state["dense2.bias"])


def crnn(state: State, wave_BT: Tensor) -> Tensor:
    x = db_spectrogram(state, wave_BT)
    for i, pool in enumerate((2, 3, 4, 4), 1):
        x = F.conv2d(x, state[f"layer{i}.conv.weight"], state[f"layer{i}.conv.bias"], padding=1)
        x = F.max_pool2d(F.relu(norm(state, f"layer{i}.bn", x)), pool)
    frames = list(x.squeeze(2).unbind(2))
    for layer in (0, 1):
        w_in, w_state, b_in, b_state = (
            state[f"layer5.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h = torch.zeros(len(x), 32)
        for n, frame in enumerate(frames):
            reset_i, update_i, new_i = F.linear(frame, w_in, b_in).chunk(3, 1)
            reset_h, update_h, new_h = F.linear(h, w_state, b_state).chunk(3, 1)
            update = torch.sigmoid(update_i + update_h)
            new = torch.tanh(new_i + torch.sigmoid(reset_i + reset_h) * new_h)
            h = (1 - update) * new + update * h
            frames[n] = h
    return F.linear(frames[-1], state["dense.weight"], state["dense.bias"])


def short_head(state: State, x: Tensor) -> Tensor:
    h = F.linear(x.amax(dim=(2, 3)), state["dense1.weight"], state["dense1.bias"])
    return F.linear(F.relu(norm(state, "bn", h)), state["dense2.weight"], state["dense2.bias"])


def short_chunk(state: State, wave_BT: Tensor) -> Tensor:
    x = db_spectrogram(state, wave_BT)
    for i in range(1, 8):
        x = F.conv2d(x, state[f"layer{i}.conv.weight"], state[f"layer{i}.conv.bias"], padding=1)
        x = F.max_pool2d(F.relu(norm(state, f"layer{i}.bn", x)), 2)
    return short_head(state, x)


def short_chunk_res(state: State, wave_BT: Tensor) -> Tensor:
    x = db_spectrogram(state, wave_BT)

    def conv(i: int, part: int, x: Tensor, stride: int) -> Tensor:
        kernel, bias = state[f"layer{i}.conv_{part}.weight"], state[f"layer{i}.conv_{part}.bias"]
        return norm(state, f"layer{i}.bn_{part}", F.conv2d(x, kernel, bias, stride=stride, padding=1))

    for i in range(1, 8):
        x = F.relu(conv(i, 3, x, 2) + conv(i, 2, F.relu(conv(i, 1, x, 2)), 1))
    return short_head(state, x)


def sample_cnn(state: State, wave_BT: Tensor) -> Tensor:
    x = wave_BT[:, None]
    for i in range(1, 12):
        kernel, bias = state[f"layer{i}.conv.weight"], state[f"layer{i}.conv.bias"]
        x = F.conv1d(x, kernel, bias, stride=3 if i == 1 else 1, padding=kernel.shape[2] // 2)
        x = F.relu(norm(state, f"layer{i}.bn", x))
        x = F.max_pool1d(x, 3) if 1 < i < 11 else x
    return F.linear(x.squeeze(2), state["dense.weight"], state["dense.bias"])


def cnn_transformer(state: State, wave_BT: Tensor) -> Tensor:
    """A BERT of two layers and 8 heads without positions; its class token is the first of numpy's numbers of seed 0."""
    x = db_spectrogram(state, wave_BT)

    def conv(i: int, part: int, x: Tensor, stride: tuple[int, int]) -> Tensor:
        kernel, bias = state[f"layer{i}.conv_{part}.weight"], state[f"layer{i}.conv_{part}.bias"]
        return norm(state, f"layer{i}.bn_{part}", F.conv2d(x, kernel, bias, stride=stride, padding=1))

    for i in range(1, 8):
        stride = (2, 2) if i < 4 else (2, 1)
        x = F.relu(conv(i, 3, x, stride) + conv(i, 2, F.relu(conv(i, 1, x, stride)), (1, 1)))
    token = torch.from_numpy(np.random.RandomState(0).random_sample((1, 256))).float()
    h = torch.cat([token.expand(len(x), 1, 256), x.squeeze(2).transpose(1, 2)], dim=1)

    def linear(name: str, h: Tensor) -> Tensor:
        return F.linear(h, state[f"{name}.weight"], state[f"{name}.bias"])

    def layer_norm(name: str, h: Tensor) -> Tensor:
        return F.layer_norm(h, (256,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    for i in range(2):
        at = f"encoder.layer.{i}"
        query, key, value = (
            linear(f"{at}.attention.self.{part}", h).unflatten(2, (8, 32)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = (query @ key.transpose(2, 3) / 32**0.5).softmax(dim=3) @ value
        h = layer_norm(
            f"{at}.attention.output.LayerNorm",
            h + linear(f"{at}.attention.output.dense", mixed.transpose(1, 2).flatten(2)),
        )
        hidden = linear(f"{at}.output.dense", F.gelu(linear(f"{at}.intermediate.dense", h)))
        h = layer_norm(f"{at}.output.LayerNorm", h + hidden)
    return linear("dense", torch.tanh(linear("pooler.dense", h[:, 0])))


LITERALLY: dict[str, Callable[[State, Tensor], Tensor]] = {
    "fcn": fcn,
    "crnn": crnn,
    "musicnn": musicnn,
    "short_chunk": short_chunk,
    "short_chunk_res": short_chunk_res,
    "sample_cnn": sample_cnn,
    "cnn_transformer": cnn_transformer,
}


def htk_filterbank(num_mels: int = 96) -> np.ndarray:
    """257 bins x ``num_mels`` triangles between points that are evenly spaced in 2595 log10(1 + f / 700)."""
    points = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), num_mels + 2) / 2595) - 1)
    bins = np.linspace(0, 8000, 257)[:, None]
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None)


def checkpoint(name: str, num_tags: int = 50, seed: int = 0) -> State:
    """Random arrays with the names and shapes of a published checkpoint of which no file is at hand."""
    maker = _Maker(seed)
    if name != "sample_cnn":
        maker.state["spec.spectrogram.window"] = torch.hann_window(512)
        bank = htk_filterbank(96 if name == "crnn" else 128)
        maker.state["spec.mel_scale.fb"] = torch.from_numpy(bank).float()
        maker.norm("spec_bn", 1)
        maker.state["spec_bn.running_mean"] -= 20
        maker.state["spec_bn.running_var"] *= 200
    if name == "crnn":
        for i, (before, after) in enumerate([(1, 64), (64, 128), (128, 128), (128, 128)], 1):
            maker.weights(f"layer{i}.conv", after, before, 3, 3)
            maker.norm(f"layer{i}.bn", after)
        for layer, before in enumerate((128, 32)):
            for part, shape in {
                "weight_ih": (96, before),
                "weight_hh": (96, 32),
                "bias_ih": (96,),
                "bias_hh": (96,),
            }.items():
                maker.array(f"layer5.{part}_l{layer}", *shape)
        maker.weights("dense", num_tags, 32)
    elif name == "sample_cnn":
        for i, (before, after) in enumerate(zip((1, *SAMPLE_CHANNELS), SAMPLE_CHANNELS, strict=False), 1):
            maker.weights(f"layer{i}.conv", after, before, 1 if i == 11 else 3)
            maker.norm(f"layer{i}.bn", after)
        maker.weights("dense", num_tags, 512)
    elif name == "cnn_transformer":
        for i, (before, after) in enumerate(zip((1, *ATTENTION_CHANNELS), ATTENTION_CHANNELS, strict=False), 1):
            for part in "123":
                maker.weights(f"layer{i}.conv_{part}", after, after if part == "2" else before, 3, 3)
                maker.norm(f"layer{i}.bn_{part}", after)
        for i in range(2):
            at = f"encoder.layer.{i}"
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                maker.weights(f"{at}.attention.{part}", 256, 256)
            maker.weights(f"{at}.intermediate.dense", 1024, 256)
            maker.weights(f"{at}.output.dense", 256, 1024)
            for part in ("attention.output", "output"):
                maker.weights(f"{at}.{part}.LayerNorm", 256)
        maker.weights("pooler.dense", 256, 256)
        maker.weights("dense", num_tags, 256)
    else:
        for i, (before, after) in enumerate(zip((1, *SHORT_CHANNELS), SHORT_CHANNELS, strict=False), 1):
            for part in ("_1", "_2", "_3") if name == "short_chunk_res" else ("",):
                maker.weights(f"layer{i}.conv{part}", after, after if part == "_2" else before, 3, 3)
                maker.norm(f"layer{i}.bn{part}", after)
        maker.weights("dense1", 512, 512)
        maker.norm("bn", 512)
        maker.weights("dense2", num_tags, 512)
    return maker.state


class _Maker:
    def __init__(self, seed: int) -> None:
        self.state: State = {}
        self._noise = torch.Generator().manual_seed(seed)

    def array(self, name: str, *shape: int) -> None:
        fan_in = max(1, int(np.prod(shape[1:])))
        self.state[name] = torch.randn(shape, generator=self._noise) * (2 / fan_in) ** 0.5

    def weights(self, module: str, *shape: int) -> None:
        self.array(f"{module}.weight", *shape)
        self.array(f"{module}.bias", shape[0])

    def norm(self, module: str, channels: int) -> None:
        for leaf in ("weight", "running_var"):
            self.state[f"{module}.{leaf}"] = 0.5 + torch.rand(channels, generator=self._noise)
        for leaf in ("bias", "running_mean"):
            self.state[f"{module}.{leaf}"] = torch.randn(channels, generator=self._noise) / 5
        self.state[f"{module}.num_batches_tracked"] = torch.tensor(7)
