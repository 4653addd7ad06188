"""Tagging songs: as the test songs of a run are scored, at once, and by second; files, folders, and what is broken."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.job_runs import Ended, run
from helpers.web_with_passwords import CANARY, rows_of, web_of
from PIL import Image

from genrescale.audio import PCM_SCALE, Clip, Vocabulary
from genrescale.data.decoding.decode import decode_pcm
from genrescale.export import Exported, ModelSpec, export_model, load_exported
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.results.embeddings import read_embeddings
from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store
from genrescale.tagging import picture
from genrescale.tagging.files import list_audio, tag_files
from genrescale.tagging.output import Show, bar, head, lines
from genrescale.tagging.scores import SongTags, Untagged, tag_clip, tags_by_second

DIALS = {"frontend_width": 0.25, "backend_filters": 16, "backend_units": 8}
TAGS = ["bright", "dark", "odd, tag"]
RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    to = tmp_path_factory.mktemp("model")
    spec = ModelSpec("spectrogram", DIALS, crop_s=2.0, scoring="consecutive", loss="bce")
    model = build_model("spectrogram", 3, **DIALS)
    export_model(Store(str(to)), model, Vocabulary.of_classes(TAGS), spec, Origin("x", "nothing", "MIT"))
    return to


@pytest.fixture(scope="module")
def exported(folder: Path) -> Exported:
    return load_exported(str(folder))


def music(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time_T = np.arange(round(seconds * RATE)) / RATE
    return (6000 * np.sin(2 * np.pi * (200 + 300 * time_T) * time_T) + rng.normal(0, 900, len(time_T))).astype(np.int16)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Two songs, one of them in a folder, a file that is none, and a text."""
    place = tmp_path / "music"
    (place / "b, the [second] = one").mkdir(parents=True)
    soundfile.write(place / "a.wav", music(5.2), RATE)
    soundfile.write(place / "b, the [second] = one" / "c.flac", music(3.0, 1), RATE)
    (place / "broken.mp3").write_bytes(b"no music at all" * 50)
    (place / "notes.txt").write_text("not a song")
    return place


def probabilities(exported: Exported, *waves: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return exported.model(torch.from_numpy(np.stack(waves)).float() * PCM_SCALE).sigmoid().numpy()


def test_a_song_is_the_mean_of_its_windows_beside_the_song_at_once(exported: Exported):
    pcm_T = music(5.2)
    assert tag_clip(exported, Clip("a", pcm_T)).whole_K is None
    tags = tag_clip(exported, Clip("a", pcm_T), whole=True)
    assert (tags.windows, tags.padded, tags.seconds) == (2, False, 5.2)
    expected = probabilities(exported, pcm_T[:32_000], pcm_T[32_000:64_000]).mean(axis=0)
    np.testing.assert_allclose(tags.score_K, expected, atol=1e-6)
    assert tags.whole_K is not None
    np.testing.assert_allclose(tags.whole_K, probabilities(exported, pcm_T)[0], atol=1e-6)


def test_a_short_song_is_padded_and_not_given_at_once(exported: Exported):
    pcm_T = music(1.0)
    tags = tag_clip(exported, Clip("a", pcm_T), whole=True)
    assert (tags.windows, tags.padded, tags.whole_K) == (1, True, None)
    np.testing.assert_allclose(tags.score_K, probabilities(exported, np.pad(pcm_T, (0, RATE)))[0], atol=1e-6)


def test_a_second_is_the_mean_of_the_windows_that_cover_it(exported: Exported):
    pcm_T = music(4.5)
    score_SK = tags_by_second(exported, pcm_T)
    assert score_SK.shape == (5, 3)
    # windows of 2 s from 0, 1, 2 and from 2.5 s, where the song's last window starts
    starts = [0, RATE, 2 * RATE, int(2.5 * RATE)]
    window = probabilities(exported, *(pcm_T[start : start + 2 * RATE] for start in starts))
    covering = [[0], [0, 1], [1, 2, 3], [2, 3], [3]]
    for second, windows in enumerate(covering):
        np.testing.assert_allclose(score_SK[second], window[windows].mean(axis=0), atol=1e-6)


def test_songs_by_second_are_whole_for_any_length(exported: Exported):
    for seconds in (0.4, 2.0, 2.01, 3.0):
        assert np.isfinite(tags_by_second(exported, music(seconds))).all()


def tag(folder: Path, *arguments: str) -> Ended:
    return run("tag", f"model={folder}", *arguments)


def test_one_song_without_a_key(folder: Path, songs: Path):
    ended = tag(folder, str(songs / "a.wav"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{songs}/a.wav  (5.2 s, mean of 2 windows)\n")
    assert all(name in ended.stdout for name in TAGS)
    assert "whole song" not in ended.stdout


def test_a_name_that_hydras_grammar_would_not_take(folder: Path, songs: Path):
    ended = tag(folder, str(songs / "b, the [second] = one" / "c.flac"), "format=json")
    assert (ended.returncode, json.loads(ended.stdout)["song"]) == (0, f"{songs}/b, the [second] = one/c.flac")


def test_a_folder_as_json_lines_names_and_counts_a_broken_song(folder: Path, songs: Path, exported: Exported):
    ended = tag(folder, str(songs), "format=json", "top=2", "whole_song=true")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 1
    assert [row["song"] for row in rows] == [f"{songs}/a.wav", f"{songs}/b, the [second] = one/c.flac"]
    passed, first, last = ended.stderr.strip().splitlines()
    assert passed.startswith(f"tag: {songs}: passed over (")
    assert first.startswith(f"tag: {songs}/broken.mp3: ")
    assert last == "2 of 3 songs tagged"
    expected = tag_clip(exported, decode_pcm(songs / "a.wav", "a"), whole=True)
    best = np.argsort(-expected.score_K)[:2]
    assert [row["tag"] for row in rows[0]["tags"]] == [TAGS[k] for k in best]
    assert [row["score"] for row in rows[0]["tags"]] == pytest.approx(expected.score_K[best], abs=6e-5)
    assert expected.whole_K is not None
    assert [row["whole_song"] for row in rows[0]["tags"]] == pytest.approx(expected.whole_K[best], abs=6e-5)


@pytest.mark.parametrize("format", ["text", "json", "csv"])
def test_credentials_of_an_address_are_in_no_answer(format: str, folder: Path, songs: Path, tmp_path: Path):
    with web_of(songs) as host:
        urls = [url for url in rows_of(host, ["a.wav"]) if url.startswith("http") and "closed" not in url]
        asked = [*urls, f"format={format}", "allow_internal_urls=true"]
        answers = [tag(folder, *asked), tag(folder, *asked, f"out={tmp_path}/tags")]
    told = "".join(answer.stdout + answer.stderr for answer in answers)
    assert {answer.returncode for answer in answers} == {1}, told
    told += (tmp_path / "tags").read_text()
    assert f"http://{host}/a.wav" in told
    assert f"http://{host}/none.flac" in told
    assert CANARY.decode() not in told


def test_csv_has_a_row_for_every_tag_and_goes_to_a_file(folder: Path, songs: Path, tmp_path: Path):
    ended = tag(folder, f"songs=['{songs}/a.wav']", "format=csv", "top=0", f"out={tmp_path}/out/tags.csv")
    assert (ended.returncode, ended.stdout) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "tags.csv").read_text())))
    assert sorted(row["tag"] for row in rows) == TAGS
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_a_picture_of_one_song(folder: Path, songs: Path, tmp_path: Path):
    ended = tag(folder, str(songs / "a.wav"), f"picture={tmp_path}/tags.png")
    assert ended.returncode == 0, ended.stderr
    with Image.open(tmp_path / "tags.png") as drawn:
        assert drawn.width > 1000
    assert "picture= is of one song; these are 3" in tag(folder, str(songs), f"picture={tmp_path}/b.png").stderr


def test_every_format_and_the_picture_have_one_number(
    folder: Path, exported: Exported, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[np.ndarray] = []
    draw = picture.draw_tags
    monkeypatch.setattr(
        picture, "draw_tags", lambda by_s, score_K, *more: drawn.append(score_K) or draw(by_s, score_K, *more)
    )
    score_K = np.sort(tag_clip(exported, decode_pcm(songs / "a.wav", "a")).score_K)[::-1]
    text = tag(folder, str(songs / "a.wav"), f"picture={tmp_path}/a.png").stdout
    np.testing.assert_allclose(drawn[0], score_K)
    assert [line.split()[-2] for line in text.splitlines()[1:]] == [f"{score:.2f}" for score in score_K]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "which songs?"),
        (["/nowhere/song.mp3"], "/nowhere/song.mp3 does not exist"),
        (["/nowhere"], "/nowhere does not exist"),
        (["/nowhere/song.mp3", "format=xml"], "format='xml' is none of"),
        (["/nowhere/song.mp3", "threshold=2"], "threshold=2.0 must be from 0 to 1"),
        (["/nowhere/song.mp3", "tops=2"], "'tops' is no setting"),
    ],
)
def test_a_request_that_cannot_be_is_one_line(folder: Path, arguments: list[str], words: str):
    ended = tag(folder, *arguments)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert words in ended.stderr


def test_a_folder_without_songs_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="holds no song"):
        list_audio([str(tmp_path)])


ODD = os.fsdecode(b"caf\xe9.wav")
ODD_SHOWN = r"caf\udce9.wav"


@pytest.fixture
def odd_names(songs: Path, tmp_path: Path) -> Path:
    """Three songs: a plain one, one with a name in Latin-1, and one in a folder with such a name."""
    place = tmp_path / "odd"
    (place / os.fsdecode(b"\xe9t\xe9")).mkdir(parents=True)
    for name in ("z.wav", ODD, os.fsdecode(b"\xe9t\xe9/b.wav")):
        shutil.copy(songs / "a.wav", place / name)
    return place


@pytest.mark.parametrize("format", ["text", "csv", "json"])
def test_a_name_that_is_no_utf8_is_escaped_and_ends_nothing(format: str, folder: Path, odd_names: Path, tmp_path: Path):
    out, kept = tmp_path / "tags", tmp_path / "e.parquet"
    ended = tag(folder, str(odd_names), f"format={format}", f"out={out}", f"embeddings={kept}")
    names = [f"{odd_names}/{name}" for name in ("z.wav", ODD_SHOWN, r"\udce9t\udce9/b.wav")]
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (0, f"3 of 3 songs tagged; {out}")
    text = out.read_text()
    if format == "json":
        assert [json.loads(line)["song"] for line in text.splitlines()] == names
    else:
        assert all(f"{name}{',' if format == 'csv' else '  ('}" in text for name in names)
    assert read_embeddings(kept.read_bytes())[0] == names


def test_a_picture_of_a_song_with_an_odd_name(folder: Path, odd_names: Path, tmp_path: Path):
    ended = tag(folder, str(odd_names / ODD), f"picture={tmp_path}/tags.png")
    assert (ended.returncode, (tmp_path / "tags.png").exists()) == (0, True), ended.stderr
    assert ODD_SHOWN in ended.stdout


def test_an_address_that_nothing_can_read_is_an_error_of_that_song_alone(folder: Path, odd_names: Path, tmp_path: Path):
    (odd_names / ODD).write_bytes(b"no music at all" * 50)
    (tmp_path / "empty").mkdir()
    bad = [str(odd_names / ODD), "spotify://a/1.mp3", "/nowhere/b.mp3", "http://127.0.0.1:9/c.mp3", f"{tmp_path}/empty"]
    ended = tag(folder, *bad[:3], str(odd_names / "z.wav"), *bad[3:], "format=csv", "top=1", f"out={tmp_path}/tags.csv")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"1 of 6 songs tagged; {tmp_path}/tags.csv"
    for song in [f"{odd_names}/{ODD_SHOWN}", *bad[1:]]:
        assert sum(line.startswith(f"tag: {song}: ") for line in ended.stderr.splitlines()) == 1, song
    assert [line.split(",")[0] for line in (tmp_path / "tags.csv").read_text().splitlines()[1:]] == [
        f"{odd_names}/z.wav"
    ]


def test_a_server_that_is_down_is_waited_for_once(
    exported: Exported, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    patient: list[str] = []

    def down(address: str, internal: bool = False) -> Path:
        if address.startswith("http"):
            raise StoreError(f"{address} cannot be reached")
        return Path(address)

    def patiently(address: str, internal: bool = False) -> Path:
        patient.append(address)
        return down(address)

    monkeypatch.setattr("genrescale.tagging.files.fetch_bytes", patiently)
    monkeypatch.setattr("genrescale.tagging.files.fetch_once", down)
    good = str(songs / "a.wav")
    asked = ["http://x/1.mp3", "http://x/2.mp3", good, "http://x/3.mp3"]
    results = list(tag_files(exported, asked))
    assert [isinstance(result, Untagged) for result in results] == [True, True, False, True]
    assert patient == ["http://x/1.mp3", "http://x/3.mp3"]


def test_threshold_and_top_choose_and_none_is_said(exported: Exported):
    tags = SongTags("x", 3.0, 1, False, np.array([0.2, 0.9, 0.5]), None)
    vocabulary = exported.vocabulary
    chosen = json.loads(lines(tags, vocabulary, Show("json", top=2, threshold=0.3)))["tags"]
    assert chosen == [
        {"tag": "dark", "score": 0.9},
        {"tag": "odd, tag", "score": 0.5},
    ]
    both = json.loads(lines(tags, vocabulary, Show("json", top=1, whole=True)))["tags"]
    assert both == [{"tag": "dark", "score": 0.9, "whole_song": None}]
    assert head(Show("csv")) == "song,seconds,windows,tag,score\n"
    assert head(Show("csv", whole=True)) == "song,seconds,windows,tag,score,whole_song\n"
    assert "no tag reaches the threshold" in lines(tags, vocabulary, Show("text", threshold=0.95))


def test_bars_are_as_long_as_scores():
    assert bar(0) == ""
    assert bar(1) == "█" * 30
    assert bar(0.5) == "█" * 15
    assert bar(0.52) == "█" * 15 + "▋"
