"""Published checkpoints: safely read, matched name by name, and what does not match is listed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from genrescale.models import build_model
from genrescale.models.pretrained import load_published
from genrescale.models.published.checkpoints import read_checkpoint
from genrescale.models.published.tags import PUBLISHED_TAGS

SMALL = {"frontend_width": 0.25, "backend_filters": 16, "backend_units": 8}


def small(num_tags: int = 3) -> nn.Module:
    return build_model("spectrogram", num_tags, **SMALL)


def noise(model: nn.Module) -> dict[str, Tensor]:
    """Other values for every array but the filter bank's and the window's."""
    torch.manual_seed(0)
    return {
        name: array if "mel" in name else torch.rand_like(array.float()).to(array.dtype)
        for name, array in model.state_dict().items()
    }


@pytest.mark.parametrize("wrap", ["plain", "model", "state_dict", "module."])
def test_our_own_weights_come_back_however_they_are_wrapped(tmp_path: Path, wrap: str):
    state: dict = noise(small())
    saved: dict = {wrap: state, "epoch": 3} if wrap in ("model", "state_dict") else state
    if wrap == "module.":
        saved = {f"module.{name}": array for name, array in state.items()}
    torch.save(saved, tmp_path / "a.pth")
    loaded = load_published(model := small(), tmp_path / "a.pth")
    assert loaded.complete
    assert set(loaded.loaded) == set(state)
    assert all(torch.equal(array, state[name]) for name, array in model.state_dict().items())


def test_safetensors_too(tmp_path: Path):
    save_file(noise(small()), tmp_path / "model.safetensors")
    assert load_published(small(), tmp_path / "model.safetensors").complete


def test_other_tags_leave_the_head_as_it_is_and_say_so(tmp_path: Path):
    state = noise(small(3)) | {"extra.weight": torch.zeros(2)}
    del state["backend.dense.bias"]
    torch.save(state, tmp_path / "a.pth")
    model = small(5)
    before = model.state_dict()["backend.output.weight"].clone()
    loaded = load_published(model, tmp_path / "a.pth")
    assert not loaded.complete
    assert loaded.missing == ("backend.dense.bias",)
    assert loaded.unexpected == ("extra.weight",)
    assert loaded.wrong_shape == (
        "backend.output.weight (3x8 in the file, 5x8 in the model)",
        "backend.output.bias (3 in the file, 5 in the model)",
    )
    assert torch.equal(model.state_dict()["backend.output.weight"], before)
    assert torch.equal(model.state_dict()["backend.conv.weight"], state["backend.conv.weight"])
    assert "missing: backend.dense.bias; unexpected: extra.weight; wrong shape: backend.output.weight" in str(loaded)


def test_where_nothing_sensible_matches_the_error_is_the_list(tmp_path: Path):
    torch.save({"conv.weight": torch.zeros(3), "norm.weight": torch.zeros(3)}, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"a.pth holds no weights for this SpectrogramTagger .*missing: .*unexpected: conv"
    ):
        load_published(small(), tmp_path / "a.pth")


def test_a_refused_checkpoint_changes_nothing(tmp_path: Path):
    state = noise(small())
    bank = next(name for name in state if name.endswith("mel_scale.fb"))
    state[bank] = state[bank] + 0.01
    torch.save(state, tmp_path / "a.pth")
    model = small()
    before = {name: array.clone() for name, array in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"another mel filter bank .* differs by 0.01"):
        load_published(model, tmp_path / "a.pth")
    assert all(torch.equal(array, before[name]) for name, array in model.state_dict().items())


class Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(1), "harm": Harm()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="is damaged, or cannot be read safely as a checkpoint"):
        read_checkpoint(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ValueError, match="is damaged, or cannot be read safely as a checkpoint"):
        read_checkpoint(tmp_path / "b.pth")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.pth", b"", "is damaged, or cannot be read safely as a checkpoint"),
        ("a.pth", b"PK\x03\x04 cut short", "is damaged, or cannot be read safely as a checkpoint"),
        ("a.safetensors", b"\xff" * 64, "is damaged, or cannot be read safely as a checkpoint"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str, data: bytes, words: str):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=words):
        read_checkpoint(tmp_path / name)


def test_what_holds_no_arrays_or_is_not_there(tmp_path: Path):
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds no named arrays"):
        read_checkpoint(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match=r"no file .*b.pth"):
        read_checkpoint(tmp_path / "b.pth")


def test_the_published_vocabularies_have_fifty_tags():
    assert {name: len(set(tags)) for name, tags in PUBLISHED_TAGS.items()} == {"mtat": 50, "msd": 50, "jamendo": 50}
    assert list(PUBLISHED_TAGS["jamendo"]) == sorted(PUBLISHED_TAGS["jamendo"])
