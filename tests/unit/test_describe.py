"""The page of a corpus says what the corpus holds, plays it, and asks for nothing from outside."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.small_corpus import BROKEN, flip, make_corpus
from PIL import Image

from genrescale.audio import SAMPLE_RATE
from genrescale.data.manifest import PAGE_PATH, Manifest
from genrescale.data.quarantine import Quarantined, write_quarantine
from genrescale.describe.facts import (
    co_occurrence,
    imbalance,
    quarantine_reasons,
    split_facts,
    tag_facts,
    top_pairs,
)
from genrescale.describe.figures import cluster_order
from genrescale.describe.page import render_page, write_page
from genrescale.describe.reading import (
    MAX_CLIP_S,
    DescribeSettings,
    ShardHeard,
    choose_clips,
    choose_loudness,
    hear_shard,
    plan_reads,
)
from genrescale.display.pixels import log_mel_png
from genrescale.display.sound import flac_bytes
from genrescale.models.parts.log_mels import log_mels
from genrescale.storage.store import Store


def hear(manifest: Manifest, settings: DescribeSettings) -> list[ShardHeard]:
    loudness, clips = choose_loudness(manifest, settings), choose_clips(manifest, settings)
    return [hear_shard(request) for request in plan_reads(manifest, loudness, clips, settings)]


def page_of(manifest: Manifest, settings: DescribeSettings) -> str:
    loudness, clips = choose_loudness(manifest, settings), choose_clips(manifest, settings)
    return render_page(manifest, settings, loudness, clips, hear(manifest, settings))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def page(corpus: Manifest) -> str:
    return page_of(corpus, DescribeSettings(labels=4, clips=2, clip_s=1.0))


def test_loudness_is_the_rms_of_the_whole_song(small: Manifest):
    songs = [song for answer in hear(small, DescribeSettings()) for song in answer.songs]
    assert len(songs) == len(small)
    for song in songs:
        wave_T, _ = soundfile.read(small.songs["path"][song.row].as_py())
        assert song.rms_db == pytest.approx(10 * np.log10(np.mean(wave_T**2)), abs=1e-6)
        assert song.peak_db == pytest.approx(20 * np.log10(np.abs(wave_T).max()), abs=1e-6)
        assert song.clipped == np.mean(np.abs(wave_T) >= 32_767 / 32_768)


def test_clips_are_the_middle_of_songs_that_have_the_tag(corpus: Manifest):
    settings = DescribeSettings(labels=60, clips=2, clip_s=1.0)
    clips = choose_clips(corpus, settings)
    for choice in clips:
        tag, values = corpus.vocabulary.tags[choice.tag], corpus.labels_NK[:, choice.tag]
        ends = np.quantile(values, [0.05, 0.95])
        value = values[choice.row]
        assert value == 1 if tag.kind == "classify" else value <= ends[0] or value >= ends[1]
    assert len({choice.row for choice in clips}) > 0.6 * len(clips)
    assert len(set(clips)) == len(clips)
    songs = {song.row: song for answer in hear(corpus, settings) for song in answer.songs}
    for choice in clips[:5]:
        song = {name: corpus.songs[name][choice.row].as_py() for name in ("shard", "offset", "num_samples")}
        start = song["offset"] + (song["num_samples"] - SAMPLE_RATE) // 2 * 2
        data = Store(corpus.uri).read_range(corpus.shard_name(song["shard"]), start, 2 * SAMPLE_RATE)
        clip_T = songs[choice.row].clip_T
        assert clip_T is not None
        assert clip_T.tobytes() == data


def test_the_choice_follows_the_seed(corpus: Manifest):
    first, again, other = (DescribeSettings(seed=seed, loudness_songs=20) for seed in (0, 0, 1))
    assert choose_clips(corpus, first) == choose_clips(corpus, again) != choose_clips(corpus, other)
    assert choose_loudness(corpus, first) == choose_loudness(corpus, again) != choose_loudness(corpus, other)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"clips": -1}, "clips=-1 must not be negative"),
        ({"clip_s": 0.0}, "clip_s=0.0 must be at least"),
        ({"labels": 100, "clips": 5}, "a page may have at most 180 s"),
    ],
)
def test_impossible_settings_are_one_sentence(settings: dict[str, float], words: str):
    with pytest.raises(ValueError, match=words):
        DescribeSettings(**settings)  # type: ignore[arg-type]


def test_counts_are_those_of_the_labels(corpus: Manifest):
    splits, tags = split_facts(corpus), tag_facts(corpus)
    assert sum(split.songs for split in splits) == len(corpus)
    assert sum(split.hours for split in splits) == pytest.approx(corpus.column("num_samples").sum() / 16_000 / 3600)
    for facts in tags:
        values = corpus.labels_NK[:, corpus.vocabulary.names.index(facts.tag.name)]
        if facts.tag.kind == "classify":
            assert facts.total == sum(facts.by_split) == (values == 1).sum()
    names, count_CC = co_occurrence(corpus)
    pair = top_pairs(names, count_CC, len(corpus))[0]
    a, b = (corpus.labels_NK[:, corpus.vocabulary.names.index(name)] for name in (pair.first, pair.second))
    assert pair.songs == (a * b).sum() == max(count_CC[i, j] for i in range(len(names)) for j in range(i))
    assert pair.lift == pytest.approx((a * b).mean() / (a.mean() * b.mean()))


def test_equally_common_tags_are_as_even_as_their_number(small: Manifest):
    spread = imbalance(tag_facts(small))
    assert spread is not None
    assert spread.effective == pytest.approx(2, abs=0.01)
    assert spread.ratio == pytest.approx(10 / 9)


def test_tags_that_occur_together_are_neighbours():
    blocks = np.kron(np.eye(2, dtype=int), np.full((3, 3), 9)) + 1
    mixed = np.array([0, 3, 1, 4, 2, 5])
    order = mixed[cluster_order(blocks[np.ix_(mixed, mixed)])] // 3
    assert np.abs(np.diff(order)).sum() == 1


def test_the_quarantine_is_by_reason(small: Manifest):
    (reason,) = quarantine_reasons(Store(small.uri))
    assert (reason.songs, reason.reason) == (1, "the file is empty (0 bytes)")
    assert reason.examples[0].endswith(f"/{BROKEN}.wav")
    assert reason.reason in page_of(small, DescribeSettings(clips=0))


def test_numbers_that_differ_in_the_quarantine_are_told_as_a_range(tmp_path: Path):
    store = Store(str(tmp_path))
    lengths = (0.31, 0.05, 0.31)
    short = [Quarantined(f"{i}", f"{i}.wav", f"{s:.2f} s is shorter than min_s=1") for i, s in enumerate(lengths)]
    large = [Quarantined(f"b{n}", f"{n}.wav", f"the file has {n:,} bytes, more than 1,000") for n in (2500, 10_000)]
    write_quarantine(store, [*short, *large])
    assert [(reason.songs, reason.reason) for reason in quarantine_reasons(store)] == [
        (3, "0.05 to 0.31 s is shorter than min_s=1"),
        (2, "the file has 2,500 to 10,000 bytes, more than 1,000"),
    ]


def test_the_picture_has_a_pixel_per_cell_with_low_bands_at_the_bottom():
    mel_FN = np.zeros((96, 50), np.float32)
    mel_FN[0] = 1.0
    image = Image.open(BytesIO(log_mel_png(mel_FN, 0.0, 1.0)))
    assert image.size == (50, 96)
    brightness = np.asarray(image.convert("L"))
    assert brightness[-1].min() > 200
    assert brightness[:-1].max() < 10


def test_the_page_plays_clips_and_asks_for_nothing(page: str):
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert not re.search(r"url\(|@import|<script", page)
    clips = re.findall(r'src="data:audio/flac;base64,([^"]+)"', page)
    assert len(clips) == 8
    for clip in clips:
        wave_T, rate = soundfile.read(BytesIO(base64.b64decode(clip)), dtype="int16")
        assert (rate, len(wave_T)) == (SAMPLE_RATE, SAMPLE_RATE)
        assert np.abs(wave_T).max() > 100
    assert page.count('src="data:image/png') == 8


def test_the_page_shows_every_tag_and_split(corpus: Manifest, page: str):
    for facts in tag_facts(corpus):
        assert f">{facts.tag.name}</th>" in page
    for split in split_facts(corpus):
        row = f'<tr data-split="{split.name}"><th scope="row">{split.name}</th><td class="num">{split.songs}</td>'
        assert row in page
    assert "dBFS" in page
    assert corpus.version in page


def test_a_page_of_noise_is_below_ten_megabytes(small: Manifest):
    noise_T = np.random.default_rng(0).integers(-32_768, 32_767, 3 * SAMPLE_RATE, dtype=np.int16)
    one = len(flac_bytes(noise_T)) + len(log_mel_png(log_mels([noise_T])[0], 0.0, 4.0))
    assert MAX_CLIP_S / 3 * one * 4 / 3 < 10e6


def test_damaged_songs_are_named_and_the_page_is_made(tmp_path: Path):
    manifest = make_corpus(tmp_path)
    flip(Path(manifest.uri) / manifest.shard_name(0), int(manifest.column("offset")[0]) + 100)
    (Path(manifest.uri) / manifest.shard_name(1)).unlink()
    text = page_of(manifest, DescribeSettings())
    damaged = 1 + len(manifest.shard_rows(1))
    assert f"{damaged} songs could not be read" in text
    assert manifest.songs["key"][0].as_py() in text.split("could not be read")[1]
    address = write_page(Store(str(tmp_path / "page")), text, manifest)
    assert Path(address).name == PAGE_PATH
    assert Path(address).read_text() == text
