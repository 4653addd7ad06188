"""Import published checkpoints as exported models or, if they were trained without tags, as parents of runs."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from genrescale.audio import Tag, Vocabulary, len_to_seconds, seconds_to_len
from genrescale.config.published import Published
from genrescale.export import ModelSpec, export_model, export_pretrained
from genrescale.export.card import Origin
from genrescale.models import MODELS, PRETEXTS, build_model, fixed_crop_len
from genrescale.models.parts.head import head_name
from genrescale.models.pretrained import Loaded, load_published, published_dials
from genrescale.models.published.tags import PUBLISHED_TAGS
from genrescale.storage.store import Store

_FROZEN_TAGS = 2  # of a head that is not used; no layer of a published model has so few outputs
# Window length, in samples at 16 kHz, of each architecture's published weights (Won 2020; MTG-Jamendo; AST).
PUBLISHED_CROP_LEN = {
    "fcn": 464_000,
    "crnn": 464_000,
    "musicnn": 48_000,
    "sample_cnn": 59_049,
    "short_chunk": 59_049,
    "short_chunk_res": 59_049,
    "cnn_transformer": 240_000,
    "mtg_fcn": 465_600,
    "ssast": 163_840,
    "ssast_pretraining": 163_840,
}


def import_published(published: Published, checkpoint: Store, to: Store) -> str:
    """Write ``checkpoint`` as an exported model to ``to``; return a sentence that describes what was loaded.

    Weights trained without tags become a folder that runs can start from (``export_pretrained``). Raises ValueError,
    with the list, if an array of the file or of the model has no counterpart, and for invalid settings.
    """
    pretrained = published.model in PRETEXTS
    if pretrained == bool(published.tags):
        raise ValueError(
            f"tags={published.tags!r} with model={published.model}: models trained without tags ({sorted(PRETEXTS)}) "
            f"take none; for any other give mtat, msd, jamendo or a file with a tag in each line"
        )
    vocabulary = None if pretrained else _vocabulary(published.tags)
    with _local(checkpoint) as path:
        dials = published_dials(published.model, path, published.dials)
        model = build_model(published.model, len(vocabulary) if vocabulary else 0, **dials)
        loaded = load_published(model, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if not loaded.complete:
        tags = f", {len(vocabulary)} tags" if vocabulary else ""
        raise ValueError(
            f"{checkpoint.uri} does not fit {published.model} with {dials}{tags}: {loaded}{_remedy(published, loaded)}"
        )
    data_set = {"mtat": "MagnaTagATune", "msd": "Million Song Dataset", "jamendo": "MTG-Jamendo, its 50 top tags"}
    origin = Origin(
        name=f"{published.model}, imported",
        trained_on=published.trained_on or data_set.get(published.tags, "not stated"),
        licence=published.licence,
        source=f"{checkpoint.uri.rpartition('/')[2]} (layout: {loaded.layout})",
        sha256=sha256,
    )
    crop_s = _crop_s(published, dials)
    if vocabulary:
        spec = ModelSpec(published.model, dials, crop_s, published.scoring, loss="bce")
        export_model(to, model, vocabulary, spec, origin)
    else:
        export_pretrained(to, model, published.model, dials, crop_s, origin)
    return f"{to.uri}: {loaded}"


@dataclass(frozen=True, eq=False)
class Frozen:
    """A published model of which only the embedding is used: the input (D,) of its output layer.

    ``num_tags`` are those that it was built with, of which its head has its name. ``crop_len`` is its window's length.
    """

    model: nn.Module
    num_tags: int
    crop_len: int
    sha256: str


def load_frozen(name: str, checkpoint: Store) -> Frozen:
    """Load a published checkpoint as the model ``name``, all but its head, in evaluation mode.

    Raises ValueError for an unknown model, and, with the list, if an array of its body has no counterpart.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is none of {sorted(MODELS)}")
    with _local(checkpoint) as path:
        dials = published_dials(name, path, {})
        model = build_model(name, _FROZEN_TAGS, **dials)
        loaded = load_published(model, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    head = head_name(model, _FROZEN_TAGS)
    foreign = [array for array in (*loaded.missing, *loaded.wrong_shape) if not array.startswith(f"{head}.")]
    if foreign or loaded.unexpected:
        raise ValueError(f"{checkpoint.uri} does not fit {name} with {dials}: {loaded}")
    return Frozen(model.eval(), _FROZEN_TAGS, seconds_to_len(_crop_s(Published(checkpoint.uri, name), dials)), sha256)


def _remedy(published: Published, loaded: Loaded) -> str:
    """Suggest what to do with weights that belong to another model, from which a run may start."""
    if published.model == "ssast" and "mask_token" in loaded.unexpected:
        model = "ssast_pretraining"
    elif published.model == "mediaeval_res" and loaded.layout.endswith("short_chunk_res"):
        model = "short_chunk_res"
    else:
        return ""
    return (
        f". These weights are for fine-tuning: import them with model={model} to=PARENTS/runs/NAME, and train with "
        f"run.model.name={published.model} run.init.run=NAME run.init.take=matching site.parents=PARENTS"
    )


def _crop_s(published: Published, dials: dict[str, Any]) -> float:
    if published.crop_s:
        return published.crop_s
    fixed = fixed_crop_len(published.model, **dials)
    if (length := fixed or PUBLISHED_CROP_LEN.get(published.model)) is None:
        raise ValueError(f"crop_s= is needed: the window length in seconds that this {published.model} was trained on")
    return len_to_seconds(length)


def _vocabulary(tags: str) -> Vocabulary:
    if tags in PUBLISHED_TAGS:
        return Vocabulary(tuple(Tag(name) for name in PUBLISHED_TAGS[tags]))
    path = Path(tags).expanduser()
    if not path.is_file():
        raise ValueError(f"tags={tags!r} is neither one of {sorted(PUBLISHED_TAGS)} nor a file with a tag in each line")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"tags={path} is no text in UTF-8; give a text file with a tag in each line") from None
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return Vocabulary(tuple(Tag(line.strip()) for line in text.splitlines() if line.strip()))
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return Vocabulary(tuple(map(Tag, found)))
    try:
        return Vocabulary.from_json(text)
    except (TypeError, KeyError, AttributeError):
        raise ValueError(
            f"tags={path} holds JSON, but neither a list of names nor an exported model's tags.json"
        ) from None


@contextmanager
def _local(file: Store) -> Iterator[Path]:
    """Provide the file as a local path; one in a bucket is downloaded for the duration of the block."""
    if (path := file.local_path()) is not None:
        yield path
        return
    folder, _, name = file.uri.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="genrescale-") as scratch:
        path = Path(scratch, name)
        path.write_bytes(Store(folder).read_bytes(name))
        yield path
