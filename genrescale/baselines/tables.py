"""The features of a corpus' songs: those that lie beside its shards, and the others computed and kept there.

Shapes: N songs, F features.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from genrescale.baselines.extractors import Extractor
from genrescale.data.features import Audio, FeatureTable, feature_files, features_path, read_features, write_features
from genrescale.data.manifest import Manifest
from genrescale.data.summary import read_summary
from genrescale.storage.lease import writing
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress
from genrescale.telemetry.terminal import say

Extract = Callable[[Manifest, np.ndarray, Extractor], Iterator[tuple[int, np.ndarray]]]
"""``distribute.extract_vectors``, or what does the same without Ray."""
SAVE_S = 600.0  # between two saves of what has been computed so far


def feature_matrix(manifest: Manifest, rows: np.ndarray, extractor: Extractor, extract: Extract) -> np.ndarray:
    """The vectors (N, F) of the songs in ``rows`` of the manifest, float32.

    Those of songs whose audio was looked at before are read; the others are computed, and kept beside the corpus, every
    SAVE_S seconds and at the end. Where the corpus cannot be written, or has changed, they are not kept, which is said.
    """
    audio, known = _audio(manifest), _known(Store(manifest.uri), extractor)
    value_NF = np.empty((len(rows), len(extractor.columns)), np.float32)
    wanted = [audio[row] for row in rows.tolist()]
    missing = np.array([i for i, song in enumerate(wanted) if song not in known], np.int64)
    for i, song in enumerate(wanted):
        if song in known:
            value_NF[i] = known[song]
    if not len(missing):
        if not Store(manifest.uri).exists(features_path(extractor.name, manifest.version)):
            _keep(manifest, extractor, known, audio)  # under the name of this version of the corpus
        return value_NF
    due = time.monotonic() + SAVE_S
    with Progress(f"baselines: {extractor.name}", len(missing), "songs") as progress:
        for place, vector_F in extract(manifest, rows[missing], extractor):
            value_NF[missing[place]] = known[wanted[missing[place]]] = vector_F
            progress.advance()
            if time.monotonic() >= due:
                _keep(manifest, extractor, known, audio)
                due = time.monotonic() + SAVE_S
    _keep(manifest, extractor, known, audio)
    return value_NF


def _audio(manifest: Manifest) -> list[Audio]:
    return list(zip(*(manifest.songs[name].to_pylist() for name in ("key", "crc32", "num_samples")), strict=True))


def _known(store: Store, extractor: Extractor) -> dict[Audio, np.ndarray]:
    """The vectors that lie beside the corpus, of any of its versions. What cannot be read is told, and not used."""
    known: dict[Audio, np.ndarray] = {}
    for path in feature_files(store):
        if path.rpartition("/")[2].rpartition("-")[0] != extractor.name:
            continue
        try:
            table = read_features(store, path, extractor.definition, extractor.columns)
        except ValueError as error:
            say(f"[baselines] features are computed anew: {error}", sys.stderr)
            continue
        known |= zip(table.audio, table.value_NF, strict=True) if table else ()
    return known


def _keep(manifest: Manifest, extractor: Extractor, known: dict[Audio, np.ndarray], audio: list[Audio]) -> None:
    """Write the vectors of the songs that the corpus has, unless it is another one by now: a takedown came between."""
    store = Store(manifest.uri)
    kept = [song for song in audio if song in known]
    table = FeatureTable(kept, np.stack([known[song] for song in kept]))
    try:
        with writing(store, "baselines"):
            if (now := read_summary(store).version) != manifest.version:
                raise ValueError(f"{store.uri} has changed from version {manifest.version} to {now}")
            write_features(store, extractor.name, manifest.version, extractor.definition, extractor.columns, table)
    except (ValueError, OSError) as error:
        say(f"[baselines] {extractor.name} features are not kept beside the corpus: {error}", sys.stderr)
