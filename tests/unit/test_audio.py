"""Labels travel as numbers and as names without a loss."""

import json

import numpy as np

from genrescale.audio import Tag, Vocabulary


def test_labels_by_name_give_the_same_float32_back():
    vocabulary = Vocabulary((Tag("rock"), Tag("live"), Tag("energy", "regress"), Tag("valence", "regress")))
    rng = np.random.default_rng(0)
    for energy, valence in [(0.0, 1.0), (1e-7, 1 - 2**-24), *rng.random((1000, 2)).tolist()]:
        labels_K = np.array([1, 0, energy, valence], np.float32)
        named = json.loads(json.dumps(vocabulary.decode(labels_K)))
        assert list(named) == vocabulary.names
        assert (named["rock"], named["live"]) == (1, 0)
        assert np.array_equal(vocabulary.encode(named), labels_K)
