"""Export a model to a folder, local or in a bucket, that tags songs without the corpus or run that it came from.

==================  ================================================================================================
model.safetensors   the weights by the names of ``state_dict``: arrays only, no pickled code
tags.json           the vocabulary: the tag and kind of every output, in order
data.json           ModelSpec: the model and its dials, the audio it takes, and how a song is scored
README.md           the model card (``card.py``): what it was trained on, its scores, its licence
==================  ================================================================================================

data.json is written last: if it exists, the folder is complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from genrescale.audio import SAMPLE_RATE, Tag, Vocabulary, seconds_to_len
from genrescale.config import RunConfig, run_from_dict
from genrescale.config.data import parse_scoring
from genrescale.config.metrics import ROW_METRICS
from genrescale.export.card import Origin, model_card, pretrained_card
from genrescale.models import build_model, count_parameters, full_dials, min_crop_len
from genrescale.models.mtg_fcn import RATE, MtgMel
from genrescale.models.own import use_own
from genrescale.models.parts.fbank import FRAME_LEN, HOP_LEN, NUM_MELS, KaldiFbank
from genrescale.models.parts.frontend import MelSettings
from genrescale.results import ResultRow, ScoreTable, finished_runs, read_result, read_scores, run_folder
from genrescale.results.weights import WEIGHTS, model_path, read_weights, write_weights
from genrescale.storage.json_bytes import JSON_BYTES, read_object
from genrescale.storage.store import Store

FORMAT = 1
TAGS, DATA, CARD = "tags.json", "data.json", "README.md"
REMEDY = "make one with jobs/export.py (from a run) or jobs/import_weights.py (from a published checkpoint)"


@dataclass(frozen=True)
class ModelSpec:
    """The model, and how a song is cut and scored; names are those of ModelConfig, DataConfig and ``RunConfig.loss``.

    ``crop_s`` is the length of the windows that the model was trained on. Raises ValueError for invalid values.
    """

    model: str
    dials: dict[str, Any]
    crop_s: float
    scoring: str = "consecutive"
    loss: str = "by_kind"

    def __post_init__(self) -> None:
        parse_scoring(self.scoring)
        RunConfig(loss=self.loss)
        shortest = min_crop_len(self.model, **self.dials)
        if self.crop_len < shortest:
            raise ValueError(
                f"crop_s={self.crop_s:g} is {self.crop_len} samples; model {self.model} needs at least {shortest}"
            )

    @property
    def crop_len(self) -> int:
        return seconds_to_len(self.crop_s)


class Exported(NamedTuple):
    """An exported model in evaluation mode, with the tags of its outputs."""

    model: nn.Module
    vocabulary: Vocabulary
    spec: ModelSpec


def export_model(to: Store, model: nn.Module, vocabulary: Vocabulary, spec: ModelSpec, origin: Origin) -> None:
    """Write the folder ``to``. Raises ValueError if model, tags and ``spec`` do not match."""
    spec = replace(spec, dials=full_dials(spec.model, spec.dials))  # defaults may change in later versions
    rebuilt = _with_weights(model.state_dict(), vocabulary, spec, str(to.uri))
    facts = {"model": spec.model, "dials": spec.dials, "crop_s": spec.crop_s}
    write_weights(to, WEIGHTS, model.state_dict(), **facts, tags=vocabulary.names)
    to.write_bytes(TAGS, json.dumps(json.loads(vocabulary.to_json()), indent=1).encode())
    frontend = describe_frontend(rebuilt)
    to.write_bytes(CARD, model_card(asdict(spec), vocabulary, count_parameters(rebuilt), frontend, origin).encode())
    specification = {
        "format": FORMAT,
        "sample_rate": SAMPLE_RATE,
        "channels": 1,
        **asdict(spec),
        "crop_len": spec.crop_len,
    }
    to.write_bytes(DATA, json.dumps({**specification, "frontend": frontend}, indent=1).encode())


def export_pretrained(
    to: Store, model: nn.Module, name: str, dials: Mapping[str, Any], crop_s: float, origin: Origin
) -> None:
    """Write a model that was trained without tags to ``to``: weights and a card, but no tags.json or data.json.

    If ``to`` is ``runs/NAME`` in a folder of parents, runs can start from it (``init.run=NAME``).
    """
    facts = {"model": name, "dials": full_dials(name, dict(dials)), "crop_s": crop_s}
    write_weights(to, WEIGHTS, model.state_dict(), **facts, tags=[])
    card = pretrained_card(facts, count_parameters(model), describe_frontend(model), origin)
    to.write_bytes(CARD, card.encode())


def load_exported(uri: str, device: str = "cpu", own_model: str = "") -> Exported:
    """Load an exported model to ``device``.

    One of a module of your own needs ``own_model``, its name: a file alone imports no code (``genrescale.models.own``).
    Raises FileNotFoundError if there is none, and ValueError, naming the file, if it is damaged or from a later
    version.
    """
    use_own(own_model)
    store = Store(uri)
    if not store.exists(DATA):
        if store.exists(WEIGHTS):
            raise FileNotFoundError(
                f"{store.uri} holds {WEIGHTS} without {DATA}: pretrained weights without tags (to be fine-tuned, "
                f"see {CARD}), or an incomplete export"
            )
        raise FileNotFoundError(f"{store.uri} holds no {DATA}, so it is not an exported model; {REMEDY}")
    spec, vocabulary = _read_spec(store), _read_vocabulary(store)
    where = f"{store.uri}/{WEIGHTS}"
    state, _ = read_weights(store, WEIGHTS)
    return Exported(_with_weights(state, vocabulary, spec, where).to(device), vocabulary, spec)


def _read_spec(store: Store) -> ModelSpec:
    where = f"{store.uri}/{DATA}"
    try:
        values = read_object(store.read_bytes(DATA, JSON_BYTES), "it")
        if values["format"] != FORMAT or values["sample_rate"] != SAMPLE_RATE:
            raise ValueError(
                f"format {values['format']} at {values['sample_rate']} Hz is not {FORMAT} at {SAMPLE_RATE}"
            )
        return ModelSpec(**{f.name: values[f.name] for f in fields(ModelSpec)})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is not a data specification that this version can read ({error})") from None


def _read_vocabulary(store: Store) -> Vocabulary:
    try:
        return Vocabulary.from_fields(read_object(store.read_bytes(TAGS, JSON_BYTES), "it"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{store.uri}/{TAGS} is not a vocabulary ({error})") from None


def _with_weights(state: Mapping[str, Tensor], vocabulary: Vocabulary, spec: ModelSpec, where: str) -> nn.Module:
    model = build_model(spec.model, num_tags=len(vocabulary), **spec.dials)
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(
            f"{where}: not the weights of {spec.model} with {spec.dials} and {len(vocabulary)} tags ({reason})"
        ) from None
    return model.eval()


def describe_frontend(model: nn.Module) -> dict[str, Any]:
    """Describe the front end of a model, for people and other programs. It is built from the dials, not from this."""
    for module in model.modules():
        if isinstance(settings := getattr(module, "settings", None), MelSettings):
            return {"kind": "log-mel spectrogram", **asdict(settings)}
        if isinstance(module, KaldiFbank):
            facts = {"num_mels": NUM_MELS, "frame_len": FRAME_LEN, "hop_len": HOP_LEN, "mean": module.mean}
            return {"kind": "Kaldi log-mel filter bank", **facts, "std": module.std, "remove_mean": module.remove_mean}
        if isinstance(module, MtgMel):
            return {"kind": "log-mel spectrogram of MTG-Jamendo", "sample_rate": RATE}
    return {"kind": "waveform"}


def load_run_model(files: Store, run_id: str, own_model: str = "") -> tuple[Exported, ResultRow]:
    """Load the best weights of a finished run in ``files`` as a model in evaluation mode, with the run's row.

    ``own_model`` is as in ``load_exported``. Raises ValueError for a run that is not finished, listing the finished
    ones, and for one without stored weights or without tags.
    """
    use_own(own_model)
    row = read_result(files, run_id)
    if row is None:
        known = ", ".join(finished_runs(files)[:10]) or "none"
        raise ValueError(f"{files.uri} has no finished run {run_id!r}; finished: {known}")
    if row.pretext:
        raise ValueError(
            f"run {run_id} was pretrained without tags: export a run that starts from it (init.run={run_id})"
        )
    path = model_path(run_id)
    if not files.exists(path):
        raise ValueError(f"run {run_id} has no stored weights ({files.uri}/{path}): an earlier version trained it")
    run = run_from_dict(row.config)
    state, header = read_weights(files, path)
    vocabulary = _vocabulary_of(header.tags, row, read_scores(files, f"{run_folder(run_id)}/scores.parquet")[0])
    spec = ModelSpec(run.model.name, run.model.dials, run.data.crop_s, run.data.scoring, run.loss)
    model = _with_weights(state, vocabulary, spec, f"{files.uri}/{path}")
    return Exported(model, vocabulary, spec), row


def export_run(files: Store, run_id: str, to: Store, licence: str = "", own_model: str = "") -> ModelSpec:
    """Export the best weights of a finished run in ``files`` (the ``out`` of a sweep or of jobs/train.py).

    ``own_model`` is as in ``load_exported``. Raises ValueError as ``load_run_model`` does.
    """
    (model, vocabulary, spec), row = load_run_model(files, run_id, own_model)
    origin = Origin(
        name=f"{row.model}, run {run_id}",
        trained_on=f"{row.size:,} songs of the corpus {row.corpus}, version {row.corpus_version}, seed {row.seed}",
        licence=licence,
        run_id=run_id,
        metrics={name: getattr(row, name) for name in ROW_METRICS},
        measured_on=f"{row.test_songs:,} test songs of that corpus",
    )
    export_model(to, model, vocabulary, spec, origin)
    return spec


def _vocabulary_of(names: list[str], row: ResultRow, scores: ScoreTable) -> Vocabulary:
    """Infer a run's vocabulary from its scores: labels of a classify tag are 0 or 1 only; others mean a regress tag.

    Accuracy exists for exclusive vocabularies only.
    """
    classify = [bool(np.isin(true_N, (0, 1)).all()) for true_N in scores.true_NK.T]
    tags = [Tag(name, "classify" if binary else "regress") for name, binary in zip(names, classify, strict=True)]
    return Vocabulary(tuple(tags), exclusive=row.accuracy is not None)
