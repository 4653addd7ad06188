"""The synthetic corpus: seeded, independent of its size, labelled by its vocabulary, and whole as files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genrescale.audio import Vocabulary, song_key
from genrescale.data.corpora.synthetic import list_songs
from genrescale.data.synthesis.describe import SongDescription, describe_song
from genrescale.data.synthesis.genres import GENRES, NEIGHBOURS
from genrescale.data.synthesis.instruments import INSTRUMENTS, RATE, tone
from genrescale.data.synthesis.render import PEAK, render
from genrescale.data.synthesis.subgenres import SUBGENRE_OF, SUBGENRES
from genrescale.data.synthesis.tags import CLASSIFY_RATES, VOCABULARY, label_song, measures, true_tags
from genrescale.data.synthesis.write import ENCODERS, SongRow, song_path, write_song, write_table
from genrescale.storage.store import Store

SEED = 11
NUM_DESCRIBED = 1000
PRINT_HASH = """
import hashlib
from genrescale.data.synthesis.describe import describe_song
from genrescale.data.synthesis.render import render
print(hashlib.sha256(b"".join(render(describe_song({seed}, i)).tobytes() for i in range({count}))).hexdigest())
"""


@pytest.fixture(scope="module")
def described() -> list[SongDescription]:
    return [describe_song(SEED, i) for i in range(NUM_DESCRIBED)]


@pytest.fixture(scope="module")
def rendered() -> list[tuple[SongDescription, np.ndarray]]:
    songs = [describe_song(SEED, i) for i in range(30)]
    return [(song, render(song)) for song in songs]


def test_description_depends_on_seed_and_index_only(described: list[SongDescription]) -> None:
    for index in (999, 3, 61, 500):
        assert describe_song(SEED, index) == described[index]
    assert describe_song(SEED + 1, 3) != described[3]


def test_duration_bounds_change_nothing_else(described: list[SongDescription]) -> None:
    for song in described[:50]:
        longer = describe_song(SEED, song.index, min_s=10.0, max_s=20.0)
        assert 10.0 <= longer.duration_s <= 20.0
        assert replace(longer, duration_s=song.duration_s) == song


def test_durations_vary_within_bounds(described: list[SongDescription]) -> None:
    durations_s = np.array([song.duration_s for song in described])
    assert durations_s.min() >= 3.5
    assert durations_s.max() <= 8.0
    assert durations_s.std() > 1.0


def test_impossible_durations_are_refused() -> None:
    with pytest.raises(ValueError, match="min_s=9"):
        describe_song(SEED, 0, min_s=9, max_s=8)


@pytest.mark.parametrize("threads", ["2"])
def test_samples_are_the_same_in_another_process(
    rendered: list[tuple[SongDescription, np.ndarray]], threads: str
) -> None:
    script = PRINT_HASH.format(seed=SEED, count=len(rendered))
    env = {**os.environ, **{f"{library}_NUM_THREADS": threads for library in ("OMP", "OPENBLAS", "MKL")}}
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    here = hashlib.sha256(b"".join(wave_TC.tobytes() for _, wave_TC in rendered)).hexdigest()
    assert elsewhere.stdout.strip() == here


def test_labels_fit_the_vocabulary(described: list[SongDescription]) -> None:
    for song in described[:500]:
        values_K = VOCABULARY.encode(label_song(song))
        assert np.all((values_K >= 0) & (values_K <= 1))


def test_vocabulary_has_the_nine_groups_and_both_kinds() -> None:
    groups = {tag.group for tag in VOCABULARY.tags}
    assert groups == set(CLASSIFY_RATES)
    assert len(groups) == 9
    assert 5 <= VOCABULARY.regress_K.sum() <= 8
    assert true_tags(describe_song(SEED, 0)) <= set(VOCABULARY.names)


def test_every_tag_occurs_near_its_declared_rate(described: list[SongDescription]) -> None:
    rates = {name: rate for group in CLASSIFY_RATES.values() for name, rate in group.items()}
    labels_NK = np.array([VOCABULARY.encode(label_song(song)) for song in described])
    for tag, share in zip(VOCABULARY.tags, labels_NK.mean(axis=0), strict=True):
        assert 0 < share < 1
        if tag.kind == "classify":
            # An artist's songs are alike: the sample counts for fewer songs than it has.
            tolerance = 5 * np.sqrt(rates[tag.name] * (1 - rates[tag.name]) / (NUM_DESCRIBED / 3))
            assert abs(share - rates[tag.name]) < tolerance, tag.name
    assert labels_NK[:, VOCABULARY.regress_K].std(axis=0).min() > 0.1


def test_label_noise_is_small_but_there(described: list[SongDescription]) -> None:
    flips = []
    for song in described:
        noisy, names = label_song(song), true_tags(song)
        flips.append(np.mean([(name in noisy) != (name in names) for g in CLASSIFY_RATES.values() for name in g]))
    assert 0.01 < np.mean(flips) < 0.05


def test_songs_of_an_artist_share_a_manner(described: list[SongDescription]) -> None:
    values: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for song in described:
        values[song.artist].append((np.log(song.tempo_bpm), song.mix.loudness_db, song.mix.tilt_db, song.mix.reverb))
    groups = [np.array(group) for group in values.values() if len(group) > 1]
    within = np.mean([group.var(axis=0, ddof=1) for group in groups], axis=0)
    between = np.var([group.mean(axis=0) for group in groups], axis=0, ddof=1)
    assert np.all(within < between)
    sizes = [len(group) for group in values.values()]
    assert 3.5 < np.mean(sizes) < 7
    assert np.std(sizes) > 1.5


def test_genre_tables_agree() -> None:
    assert set(NEIGHBOURS) == set(GENRES) == set(CLASSIFY_RATES["genre"])
    assert {name for names in SUBGENRE_OF.values() for name in names} - {""} == set(SUBGENRES)
    for profile in [*GENRES.values(), *SUBGENRES.values()]:
        named = {*profile.chords, *profile.leads, *profile.basses} - {"none"}
        assert named <= set(INSTRUMENTS)


@pytest.mark.parametrize("instrument", sorted(INSTRUMENTS))
def test_tones_are_in_tune_and_bounded(instrument: str) -> None:
    y_T = tone(instrument, 220.0, RATE, (0.5, 0.5, 0.8, 0.4), np.random.default_rng(0))
    assert y_T.dtype == np.float32
    assert np.isfinite(y_T).all()
    assert 0.3 < np.abs(y_T).max() < 3.5
    # The tone repeats after two periods of 220 Hz (an organ sounds the octave below): its autocorrelation is high.
    lag, steady = round(2 * RATE / 220.0), y_T[4000:14000]
    assert np.corrcoef(steady[:-lag], steady[lag:])[0, 1] > 0.6


def test_sound_is_whole(rendered: list[tuple[SongDescription, np.ndarray]]) -> None:
    loudness = []
    for song, wave_TC in rendered:
        assert wave_TC.shape == (round(song.duration_s * RATE), 2)
        assert wave_TC.dtype == np.float32
        assert np.abs(wave_TC).max() <= PEAK + 1e-6
        rms = float(np.sqrt(np.mean(wave_TC**2)))
        loudness.append(20 * np.log10(rms))
        tenths = wave_TC[: len(wave_TC) // 4410 * 4410].reshape(-1, 4410 * 2)
        heard = np.flatnonzero(np.sqrt(np.mean(tenths**2, axis=1)) > 0.02 * rms)
        assert heard[0] < 5, "silence at the start"
        assert np.diff(heard).max() < 7, "silence inside"
    assert min(loudness) > -30
    assert max(loudness) < -10
    assert np.std(loudness) > 1.0


def _treble_share(song: SongDescription) -> float:
    """Energy from 2 to 8 kHz against that below, of the rendered song."""
    wave_T = render(song).mean(axis=1)
    power = np.abs(np.fft.rfft(wave_T)) ** 2
    hz = np.fft.rfftfreq(len(wave_T), 1 / RATE)
    return float(power[(hz > 2000) & (hz < 8000)].sum() / power[hz < 2000].sum())


def test_a_song_labelled_brighter_sounds_brighter() -> None:
    for index in range(5):
        song = describe_song(SEED, index, min_s=2, max_s=2)
        dull, bright = (
            replace(
                song,
                mix=replace(song.mix, tilt_db=tilt_db),
                layers=tuple(replace(layer, timbre=(colour, *layer.timbre[1:])) for layer in song.layers),
            )
            for tilt_db, colour in ((-4.0, 0.2), (4.0, 0.8))
        )
        assert measures(dull)["brightness"] < measures(bright)["brightness"]
        assert _treble_share(dull) < _treble_share(bright)


@pytest.mark.parametrize("suffix", sorted(ENCODERS))
def test_files_decode_to_their_length_and_rate(tmp_path: Path, suffix: str) -> None:
    row = write_song(Store(str(tmp_path)), SEED, 5, format_shares={suffix: 1})
    wave_TC, rate = soundfile.read(tmp_path / row["path"])
    assert row["path"].endswith(suffix)
    assert (rate, wave_TC.shape[1]) == (RATE, 2)
    assert abs(len(wave_TC) - row["duration_s"] * RATE) <= 1
    source_TC = render(describe_song(SEED, 5))
    assert np.corrcoef(wave_TC[:, 0], source_TC[: len(wave_TC), 0])[0, 1] > 0.95


def test_formats_are_mixed_and_paths_stable() -> None:
    paths = [song_path(SEED, i) for i in range(300)]
    assert {path.rsplit(".")[-1] for path in paths} == set(ENCODERS)
    assert len({song_key(path) for path in paths}) == 300


def test_finished_files_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_song(Store(str(tmp_path)), SEED, 2)
    before = (tmp_path / first["path"]).stat().st_mtime_ns
    monkeypatch.setattr("genrescale.data.synthesis.write.render", lambda song: pytest.fail("rendered again"))
    assert write_song(Store(str(tmp_path)), SEED, 2) == first
    assert (tmp_path / first["path"]).stat().st_mtime_ns == before


def test_an_interrupted_song_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("genrescale.storage.store.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_song(Store(str(tmp_path)), SEED, 2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def _rows(folder: Path, count: int) -> list[SongRow]:
    return [write_song(Store(str(folder)), SEED, i, format_shares={"flac": 1}) for i in range(count)]


def test_corpus_lists_what_was_written(tmp_path: Path) -> None:
    rows = _rows(tmp_path, 6)
    write_table(Store(str(tmp_path)), reversed(rows))
    songs, vocabulary = list_songs(str(tmp_path))
    assert vocabulary == VOCABULARY
    for song, row in zip(songs, rows, strict=True):
        assert (song.key, song.artist, song.split) == (song_key(row["path"]), row["artist"], None)
        assert Path(song.path).is_file()
        assert set(song.labels) == set(row["labels"])
        np.testing.assert_allclose(vocabulary.encode(song.labels), vocabulary.encode(row["labels"]))


@pytest.mark.parametrize("missing", ["songs.parquet", "vocabulary.json"])
def test_an_absent_corpus_names_the_remedy(tmp_path: Path, missing: str) -> None:
    write_table(Store(str(tmp_path)), _rows(tmp_path, 1))
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"{missing} is missing; .*jobs/synthesize_corpus.py"):
        list_songs(str(tmp_path))


def test_a_broken_or_foreign_table_is_an_error(tmp_path: Path) -> None:
    write_table(Store(str(tmp_path)), _rows(tmp_path, 1))
    whole = (tmp_path / "vocabulary.json").read_text()
    (tmp_path / "vocabulary.json").write_text(Vocabulary.of_classes(["rock"]).to_json())
    with pytest.raises(ValueError, match="the vocabulary has 1 tags"):
        list_songs(str(tmp_path))
    (tmp_path / "vocabulary.json").write_text(whole)
    (tmp_path / "songs.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="cannot be read"):
        list_songs(str(tmp_path))
