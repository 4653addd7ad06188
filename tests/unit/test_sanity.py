"""Before a run starts: what can teach or score nothing is refused, what is doubtful is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.job_runs import run as run_job
from helpers.small_corpus import make_song, shard_here

from genrescale.audio import SAMPLE_RATE, Vocabulary
from genrescale.config import DataConfig, OptimConfig, RunConfig, SiteConfig
from genrescale.config.corpus import ShardSettings
from genrescale.data.manifest import SHARD_SCHEMA, SONG_SCHEMA, Manifest
from genrescale.launch.sweep import plan_trial
from genrescale.scaling import smallest_difference
from genrescale.storage.store import Store
from genrescale.training.sanity import check_learnable, doubts
from genrescale.training.select import select_data

GENRES = Vocabulary.of_classes(["jazz", "polka", "rock"], exclusive=True)
RUN = RunConfig(data=DataConfig(size=60, crop_s=3.0, batch=8, group=4), optim=OptimConfig(max_steps=100))
BALANCED = [i % 3 for i in range(60)]


def corpus_of(
    train: Sequence[int] = BALANCED,
    test: Sequence[int] = tuple(i % 3 for i in range(240)),
    validation: Sequence[int] = (0, 1, 2) * 4,
    vocabulary: Vocabulary = GENRES,
    seconds: float = 4.0,
) -> Manifest:
    """A corpus without audio: the class of each song by split."""
    splits = {"train": train, "validation": validation, "test": test}
    rows = [(split, order, k) for split, classes in splits.items() for order, k in enumerate(classes)]
    values = {name: [0] * len(rows) for name in SONG_SCHEMA.names} | {
        "key": [f"{split}-{order}" for split, order, _ in rows],
        **{name: [""] * len(rows) for name in ("artist", "path", "excluded")},
        "split": [split for split, _, _ in rows],
        "order": [order for _, order, _ in rows],
        "num_samples": [round(seconds * SAMPLE_RATE)] * len(rows),
    }
    labels_NK = np.eye(len(vocabulary), dtype=np.float32)[[k for _, _, k in rows]]
    songs = pa.table(values, schema=SONG_SCHEMA)
    return Manifest("/corpus", "1", vocabulary, songs, labels_NK, SHARD_SCHEMA.empty_table(), {})


def check(corpus: Manifest, run: RunConfig = RUN) -> None:
    check_learnable(run, select_data(run, corpus))


def said(corpus: Manifest, run: RunConfig = RUN) -> str:
    return "\n".join(doubts([run], corpus))


def test_a_sound_corpus_is_neither_refused_nor_doubted() -> None:
    check(corpus_of())
    assert said(corpus_of()) == ""


def test_one_tag_that_every_song_has_is_refused_in_one_sentence() -> None:
    one = corpus_of([0] * 60, [0] * 6, [0] * 6, Vocabulary.of_classes(["fma_small"], exclusive=True))
    with pytest.raises(ValueError, match="one tag, fma_small, that every song has: nothing can be learned or scored"):
        check(one)


@pytest.mark.parametrize(
    ("corpus", "words"),
    [
        (corpus_of(train=[2] * 60), r"the 60 train songs all have the same labels \(rock\): nothing can be learned"),
        (corpus_of(test=[1] * 6), r"the 6 test songs all have the same labels \(polka\): nothing can be scored"),
    ],
)
def test_songs_that_do_not_differ_are_refused_with_the_remedy(corpus: Manifest, words: str) -> None:
    with pytest.raises(ValueError, match=f"{words}; .*shard again"):
        check(corpus)


def test_a_size_whose_songs_do_not_differ_is_refused_and_a_larger_one_is_not() -> None:
    corpus = corpus_of(train=[2] * 8 + BALANCED)
    with pytest.raises(ValueError, match="the 8 train songs all have the same labels"):
        check(corpus, replace(RUN, data=replace(RUN.data, size=8)))
    check(corpus)


def test_both_jobs_refuse_it_before_ray_starts(tmp_path: Path) -> None:
    songs = [replace(make_song(tmp_path, i), labels={"fma_small": 1.0}) for i in range(10)]
    settings = ShardSettings(val_fraction=0.2, test_fraction=0.2, min_s=0.5)
    one = Vocabulary.of_classes(["fma_small"], exclusive=True)
    shard_here(songs, Store(f"{tmp_path}/out"), settings=settings, vocabulary=one)
    sweep = ["scale_sweep", "sweep=demo", f"corpus={tmp_path}/out", "sizes=[4,6]", f"out={tmp_path}/sweep"]
    train = ["train", f"site.corpus={tmp_path}/out", f"site.out={tmp_path}/runs", "run.data.size=6"]
    for command in (sweep, [*sweep, "dry_run=true"], train):
        ended = run_job(*command)
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert "has one tag, fma_small, that every song has: nothing can be learned or scored" in line
        assert ended.stdout == ""


def test_tags_with_few_train_songs_and_without_test_songs_are_named() -> None:
    text = said(corpus_of(train=[0] * 30 + [2] * 28 + [1] * 2, test=[0, 2] * 100))
    assert "With 60 train songs, 1 of 3 tags have fewer than 5 of them (polka 2)" in text
    assert "1 of 3 tags (polka) are on none or all of the 200 test songs: ROC-AUC and PR-AUC leave them out" in text


@pytest.mark.parametrize(("num_songs", "difference"), [(6, 0.57), (48, 0.20), (180, 0.10)])
def test_few_test_songs_are_told_with_the_smallest_difference_that_they_show(num_songs: int, difference: float) -> None:
    text = said(corpus_of(test=[i % 3 for i in range(num_songs)]))
    assert f"Only {num_songs} test songs: two models must differ by about {difference:.2f} in accuracy" in text


def test_the_smallest_difference_is_what_chance_exceeds_once_in_twenty_times() -> None:
    """Two models of the same skill, independent on each song: the worst case, an accuracy of one half."""
    right_R2 = np.random.default_rng(0).binomial(50, 0.5, (20_000, 2)) / 50
    chance = np.mean(np.abs(right_R2[:, 0] - right_R2[:, 1]) >= smallest_difference(50))
    assert chance == pytest.approx(0.05, abs=0.02)


def test_a_test_of_nearly_one_class_is_told_with_what_the_constant_answer_scores() -> None:
    assert "95% of the test songs are jazz: who always says so has an accuracy of 0.95" in said(
        corpus_of(test=[0] * 190 + [1] * 5 + [2] * 5)
    )


def test_crops_that_are_longer_than_songs_are_told() -> None:
    long = replace(RUN, data=replace(RUN.data, crop_s=15.0))
    assert "Every train song is shorter than a crop (15 s)" in said(corpus_of(), long)
    assert "half of the songs are shorter than 4.0 s" in said(corpus_of(), long)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (400_000, "400,000 steps on 60 songs are 50,000 epochs, unless 7,500 steps without improvement end it"),
        (4, "4 steps see 50% of the 60 songs"),
    ],
)
def test_steps_that_do_not_fit_the_songs_are_told(steps: int, words: str) -> None:
    assert words in said(corpus_of(), replace(RUN, optim=OptimConfig(max_steps=steps, validate_every=2)))


def test_validation_songs_of_one_class_are_told() -> None:
    assert "The 4 validation songs all have the same labels" in said(corpus_of(validation=[1] * 4))


def test_what_is_resolved_is_checked() -> None:
    with pytest.raises(ValueError, match="nothing can be learned"):
        plan_trial(RUN, SiteConfig(corpus="/corpus", out="/nowhere"), corpus_of(train=[2] * 60), 60)
