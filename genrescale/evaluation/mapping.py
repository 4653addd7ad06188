"""Draw a corpus: a t-SNE map of its songs' embeddings, coloured by tag."""

from __future__ import annotations

import numpy as np

from genrescale.data.manifest import Manifest
from genrescale.evaluation.figures import embedding_png
from genrescale.results.embeddings import read_embeddings

MAX_SONGS = 3000  # for which t-SNE takes a minute
COMMON_TAGS = 10  # tags shown of a vocabulary that is not exclusive


def map_png(data: bytes, manifest: Manifest, split: str = "test", seed: int = 0) -> bytes:
    """Draw the map of the songs of ``split`` in a file of embeddings; of more than MAX_SONGS, a sample by ``seed``.

    A song has the colour of its one tag. If tags are not exclusive, only songs with exactly one of the COMMON_TAGS most
    common tags are drawn. Raises ValueError if fewer than four songs are left.
    """
    songs, embedding_ND = read_embeddings(data)
    place = {song: i for i, song in enumerate(songs)}
    keys = manifest.songs["key"].to_pylist()
    rows = np.array([row for row in manifest.select(split) if keys[row] in place], np.int64)
    if not len(rows):
        raise ValueError(
            f"none of the {len(songs)} embedded songs ({songs[0]}, ...) is a {split} song of {manifest.uri}; embed the "
            f"corpus itself: python jobs/tag.py {manifest.uri} model=... embeddings=FILE"
        )
    tags = _coloured(manifest, rows)
    chosen_NK = manifest.labels_NK[rows][:, tags] == 1
    alone_N = chosen_NK.sum(axis=1) == 1
    drawn = np.flatnonzero(alone_N)
    if len(drawn) > MAX_SONGS:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, MAX_SONGS, replace=False))
    if len(drawn) < 4:
        raise ValueError(
            f"{len(drawn)} of {len(rows)} {split} songs have exactly one of {len(tags)} tags; a map needs 4"
        )
    names = [manifest.vocabulary.names[k] for k in tags]
    what = "" if manifest.vocabulary.exclusive else f" with exactly one of the {len(tags)} most common tags"
    title = f"{len(drawn):,} of {len(rows):,} {split} songs{what}\n{embedding_ND.shape[1]} dimensions, by t-SNE"
    drawn_ND = embedding_ND[[place[keys[row]] for row in rows[drawn]]]
    return embedding_png(drawn_ND, chosen_NK[drawn].argmax(axis=1), names, title, seed)


def _coloured(manifest: Manifest, rows: np.ndarray) -> list[int]:
    """Choose the tags that give songs their colours: all if exclusive, else the most common classify tags."""
    classes = np.flatnonzero(manifest.vocabulary.classify_K)
    if manifest.vocabulary.exclusive:
        return classes.tolist()
    counts_K = manifest.labels_NK[rows][:, classes].sum(axis=0)
    return sorted(classes[np.argsort(-counts_K, kind="stable")[:COMMON_TAGS]].tolist())
