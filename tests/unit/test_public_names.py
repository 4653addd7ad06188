"""The names that other people's code may import, and the arguments that it may give by name: they stay."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from genrescale.models import MODELS, build_model

FUNCTIONS = {
    "genrescale.models.build_model": ("name", "num_tags"),
    "genrescale.models.pretrained.load_published": ("model", "path"),
    "genrescale.metrics.macro_roc_auc": ("y_true_NK", "y_score_NK"),
    "genrescale.metrics.macro_pr_auc": ("y_true_NK", "y_score_NK"),
    "genrescale.metrics.rmse": ("y_true_NK", "y_score_NK"),
    "genrescale.losses.build_loss": ("name", "class_counts"),
    "genrescale.scaling.linear_fit": ("sizes", "values"),
    "genrescale.scaling.crossing": ("fit_a", "fit_b"),
    "genrescale.scaling.power_law_fit": ("sizes", "values"),
    "genrescale.data.manifest.read_manifest": ("uri",),
    "genrescale.data.stream.song_stream": (),
}
CLASSES = ("genrescale.config.RunConfig", "genrescale.config.SiteConfig")
MODEL_NAMES = {
    *("waveform", "spectrogram", "sample_cnn", "dieleman", "choi_fcn", "timbre_cnn", "fcn", "crnn", "musicnn"),
    *("short_chunk", "short_chunk_res", "mediaeval_res", "rnn", "gru", "lstm", "vgg_gtzan", "ssast"),
    "musicnn_layernorm",
}
PONS_DIALS = {"frontend_width": 0.125, "backend_filters": 8, "backend_units": 8, "backend_layers": 2}


def public(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_where_it_was_and_takes_what_it_took(name: str):
    function = public(name)
    assert inspect.isfunction(function)
    assert set(FUNCTIONS[name]) <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_is_where_it_was(name: str):
    assert inspect.isclass(public(name))


def test_every_public_model_is_known_by_its_name():
    assert MODEL_NAMES - set(MODELS) == set()


@pytest.mark.parametrize(("model", "more"), [("waveform", {"frontend_layers": 6}), ("spectrogram", {})])
def test_the_dials_of_pons_models_keep_their_names(model: str, more: dict[str, int]):
    built = build_model(model, num_tags=3, **PONS_DIALS, **more)
    assert sum(parameter.numel() for parameter in built.parameters()) > 0
