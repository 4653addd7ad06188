"""Refuse, before anything starts, a run that cannot work: each check raises a ValueError that says what to change."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import torch
from torch import nn

from genrescale.audio import SAMPLE_RATE, Vocabulary, seconds_to_len
from genrescale.config import TRACKERS, RunConfig, SiteConfig
from genrescale.config.losses import PRETEXT
from genrescale.config.optim import ALL_BUT_HEAD, LOSS_SELECTORS
from genrescale.config.spec_augment import parse_spec_augment
from genrescale.data.manifest import Manifest
from genrescale.data.reading.plan import check_workers
from genrescale.losses import build_loss
from genrescale.metrics import score
from genrescale.models import PRETEXTS, build_model, changed_dials, fixed_crop_len, min_crop_len
from genrescale.models.parts.spec_augment import check_masks, put_spec_augment
from genrescale.results.weights import ModelHeader, read_header
from genrescale.storage.store import Store
from genrescale.training.parameters import choose_trained, fit_weights, match_weights
from genrescale.training.sanity import check_learnable
from genrescale.training.schedules import selector
from genrescale.training.select import RunData


def check_data(run: RunConfig, data: RunData) -> None:
    """Refuse a run whose songs teach or score nothing, or do not allow its contrast, loss or ``best_by``."""
    check_learnable(run, data)
    if run.contrast.weight:
        check_contrast(data.manifest, data.rows["train"])
    if run.optim.best_by not in LOSS_SELECTORS:
        check_selector(run, data.manifest, data.rows["validation"])
    build_loss(run.loss, data.manifest.vocabulary, data.class_counts_K, run.data.size, **run.loss_dials)


def check_selector(run: RunConfig, manifest: Manifest, rows: np.ndarray) -> None:
    """Refuse a ``best_by`` that the validation songs do not define (labels as scores define the same figures)."""
    labels_NK = manifest.labels_NK[rows]
    selector(run.optim, 0.0, score(labels_NK, labels_NK, manifest.vocabulary))


def check_contrast(manifest: Manifest, rows: np.ndarray) -> None:
    """Refuse contrastive training where songs have several tags, or where only one corpus is trained on."""
    if not manifest.vocabulary.exclusive:
        raise ValueError("contrast.weight needs an exclusive vocabulary (one tag per song): classes make its pairs")
    if len(np.unique(manifest.part_N()[rows])) < 2:
        raise ValueError(
            f"contrast.weight draws songs of other corpora to those of the first, and {manifest.uri} has one corpus "
            "to train on; mix real songs with synthetic ones: jobs/mix_corpora.py corpora=[REAL,SYNTHETIC]"
        )


def check_run(run: RunConfig, site: SiteConfig, vocabulary: Vocabulary, parent_to_come: bool = False) -> None:
    """Refuse a run whose model, crops, groups, masks, frozen layers or parent cannot work, whatever its songs are.

    A parent that is to come cannot be looked at yet.
    """
    check_trackers(site)
    check_pretext(run)
    check_workers(run.data.batch, run.data.group, site.workers)
    changed = changed_dials(run.model.name, run.model.dials)
    model_text = f"model {run.model.name}{f' with {changed}' if changed else ''}"
    shortest = min_crop_len(run.model.name, **run.model.dials)
    if seconds_to_len(run.data.crop_s) < shortest:
        raise ValueError(
            f"{model_text} needs crops of {shortest / SAMPLE_RATE:.2f} s or more; crop_s is {run.data.crop_s}"
        )
    fixed = fixed_crop_len(run.model.name, **run.model.dials)
    if fixed is not None and seconds_to_len(run.data.crop_s) != fixed:
        raise ValueError(
            f"{model_text} takes crops of {fixed / SAMPLE_RATE:g} s only "
            f"(its dense layer is as wide as its input is long); crop_s is {run.data.crop_s}: change it or input_len"
        )
    if run.augment.spec_augment != "none":
        model, masks = _model(run, vocabulary), parse_spec_augment(run.augment.spec_augment)
        put_spec_augment(model, masks)
        check_masks(model, masks, seconds_to_len(run.data.crop_s))
    check_layers(run, vocabulary)
    if run.init.run and not parent_to_come:
        check_parent(run, parents_store(site), vocabulary)


def check_pretext(run: RunConfig) -> None:
    """Refuse a model that is trained without tags under a loss of tags, the reverse, and what needs tags or a head."""
    if (run.model.name in PRETEXTS) != (run.loss == PRETEXT):
        raise ValueError(
            f"loss={PRETEXT} and models that are trained without tags, {sorted(PRETEXTS)}, go with each other only; "
            f"found model {run.model.name} with loss={run.loss}"
        )
    needs_tags = {
        "contrast.weight": run.contrast.weight > 0,
        "optim.layer_decay": run.optim.layer_decay != 1,
        "optim.backbone_lr": run.optim.backbone_lr > 0,
        f"optim.freeze=[{ALL_BUT_HEAD}]": ALL_BUT_HEAD in run.optim.freeze,
        f"optim.best_by={run.optim.best_by}": run.optim.best_by not in LOSS_SELECTORS,
        "init.take=new_head": bool(run.init.run) and run.init.take == "new_head",
        "data.labels=shuffled": run.data.labels == "shuffled",
    }
    if run.loss == PRETEXT and (found := [name for name, there in needs_tags.items() if there]):
        raise ValueError(f"model {run.model.name} has no head and looks at no tags: {', '.join(found)} cannot be used")


def check_layers(run: RunConfig, vocabulary: Vocabulary) -> None:
    """Refuse names in ``freeze`` that the model does not have, and rates by layer where it has no head."""
    optim = run.optim
    if optim.freeze or optim.layer_decay != 1 or optim.backbone_lr:
        choose_trained(_model(run, vocabulary), optim, len(vocabulary))


def parents_store(site: SiteConfig) -> Store:
    """Where the runs lie that others start from."""
    return Store(site.parents or site.out)


def check_parent(run: RunConfig, parents: Store, vocabulary: Vocabulary) -> None:
    """Refuse a parent that is absent, unfinished, of other tags (where its head is taken), or of another shape."""
    header = read_header(parents, run.init.run)
    model = _model(run, vocabulary)
    without_values = {name: torch.empty(shape, device="meta") for name, shape in header.shapes.items()}
    shapes = {name: tuple(w.shape) for name, w in fit_weights(model, without_values, header.dials).items()}
    match_weights(model, shapes, run.init.take, len(vocabulary), heads_match(run, header, vocabulary))


def heads_match(run: RunConfig, header: ModelHeader, vocabulary: Vocabulary) -> bool:
    """Whether a parent's head is for the tags of the run, or the run has no head to be matched."""
    return run.loss == PRETEXT or header.tags == vocabulary.names


def _model(run: RunConfig, vocabulary: Vocabulary) -> nn.Module:
    return build_model(run.model.name, len(vocabulary), **run.model.dials)


def check_trackers(site: SiteConfig) -> None:
    """Refuse a tracker that is not installed, or that has no folder or server to write to."""
    for name in site.track:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"site.track=[{name}] needs {TRACKERS[name]}: pip install 'genrescale[{name}]'")
        if Store(site.out).local_path() is None and not (name == "mlflow" and os.environ.get("MLFLOW_TRACKING_URI")):
            instead = "set MLFLOW_TRACKING_URI to a server" if name == "mlflow" else f"leave {name} out"
            raise ValueError(
                f"site.track=[{name}] writes to a local folder, and site.out={site.out} is none; {instead}"
            )
