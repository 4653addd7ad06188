"""The page of a tagged song: it plays the song, stands alone, escapes names, and never writes to the song's file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import soundfile
import torch
from helpers.job_runs import Ended, run
from helpers.tiny_models import undecided
from PIL import Image

from genrescale.audio import SAMPLE_RATE, Clip, Vocabulary
from genrescale.display.pixels import narrowed
from genrescale.export import Exported, ModelSpec, export_model, load_exported
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.storage.store import Store
from genrescale.tagging import player
from genrescale.tagging.files import Heard, decode_song
from genrescale.tagging.output import Show
from genrescale.tagging.page import _mel_png, parts_of, render_song
from genrescale.tagging.player import sound_of
from genrescale.tagging.scores import tag_clip, tags_by_second

DIALS = {"frontend_width": 0.25, "backend_filters": 16, "backend_units": 8}
TAGS = ["bright", "dark", "<script>alert(1)</script>"]
ODD = '"><img src=x onerror=alert(2)>.wav'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    to = tmp_path_factory.mktemp("model")
    spec = ModelSpec("spectrogram", DIALS, crop_s=2.0, scoring="consecutive", loss="bce")
    model = undecided(build_model("spectrogram", len(TAGS), **DIALS), len(TAGS))
    export_model(Store(str(to)), model, Vocabulary.of_classes(TAGS), spec, Origin("x", "nothing", "MIT"))
    return to


@pytest.fixture(scope="module")
def exported(model: Path) -> Exported:
    return load_exported(str(model))


def music(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3000, round(seconds * SAMPLE_RATE)).astype(np.int16)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    place = tmp_path / "music"
    (place / "b & c").mkdir(parents=True)
    soundfile.write(place / ODD, music(5.2), SAMPLE_RATE)
    soundfile.write(place / "b & c" / "ü #1.flac", music(3.0, 1), SAMPLE_RATE)
    soundfile.write(place / "d.aiff", music(2.5, 2), SAMPLE_RATE)
    (place / "broken.mp3").write_bytes(b"no music at all" * 50)
    return place


def tag(model: Path, *arguments: str) -> Ended:
    return run("tag", f"model={model}", *arguments)


def test_one_song_is_one_page_that_stands_alone_and_leaves_the_song_as_it_is(model: Path, songs: Path, tmp_path: Path):
    before = (songs / ODD).read_bytes(), (songs / ODD).stat().st_mtime_ns
    ended = tag(model, str(songs / ODD), f"html={tmp_path}/tags.html")
    assert ended.returncode == 0, ended.stderr
    assert f"[page] {tmp_path}/tags.html" in ended.stderr
    page = (tmp_path / "tags.html").read_text()
    assert not re.search(r'(?:src|href|srcset)="(?!data:)', page)
    embedded = re.search(r'<audio[^>]* src="data:audio/wav;base64,([^"]+)"', page)
    assert embedded
    assert base64.b64decode(embedded[1]) == before[0]
    assert ((songs / ODD).read_bytes(), (songs / ODD).stat().st_mtime_ns) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["music", "tags.html"]


def test_names_and_tags_are_text(model: Path, songs: Path, tmp_path: Path):
    tag(model, str(songs / ODD), "top=0", f"html={tmp_path}/tags.html")
    page = (tmp_path / "tags.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == 2  # the scores and the page's own
    assert not re.search("<img[^>]* onerror", page)
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)
    assert script
    allowed = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'\"" in page


def test_scores_of_the_page_are_those_by_second(exported: Exported, songs: Path):
    address = str(songs / ODD)
    clip = decode_song(address)
    tags = tag_clip(exported, clip)
    page = render_song(exported, Heard(address, Path(address), clip, tags), Show(top=2), None)
    scores = json.loads(re.search(r'id="scores">([^<]*)<', page)[1])  # type: ignore[index]
    chosen = Show(top=2).chosen(tags.score_K)
    by_second_SK = tags_by_second(exported, clip.pcm_T)[:, chosen]
    assert scores == np.rint(100 * by_second_SK).astype(int).tolist()
    heat = re.search(r'<img src="data:image/png;base64,([^"]+)" style="width: ([0-9.]+)%', page)
    assert heat
    assert Image.open(io.BytesIO(base64.b64decode(heat[1]))).size == (6, 2)
    assert float(heat[2]) == pytest.approx(100 * 6 / 5.2, abs=1e-3)


def test_a_page_of_a_song_without_tags_says_so(model: Path, songs: Path, tmp_path: Path):
    ended = tag(model, str(songs / ODD), "threshold=1", f"html={tmp_path}/tags.html")
    assert ended.returncode == 0, ended.stderr
    assert "No tag reaches 1." in (tmp_path / "tags.html").read_text()


def test_several_songs_have_an_index_and_a_page_each(model: Path, songs: Path, tmp_path: Path):
    """The song that cannot be read is named in the index."""
    ended = tag(model, str(songs), f"html={tmp_path}/all my songs.html")
    assert ended.returncode == 1
    index = (tmp_path / "all my songs.html").read_text()
    links = re.findall(r'<a href="([^"]+)"', index)
    pages = sorted((tmp_path / "all my songs").iterdir())
    assert sorted(tmp_path / os.fsdecode(unquote_to_bytes(link)) for link in links) == pages
    assert len(pages) == 3
    for page in pages:
        assert 'href="../all%20my%20songs.html"' in page.read_text()
    assert "broken.mp3: " in index
    assert "&#34;&gt;&lt;img" in index


@pytest.mark.parametrize("name", ["tags.htm", "song.wav", ".html"])
def test_a_page_has_the_name_of_a_page(model: Path, songs: Path, tmp_path: Path, name: str):
    """A song's own address, given by mistake, is not written to."""
    before = (songs / ODD).read_bytes()
    shutil.copy(songs / ODD, tmp_path / "song.wav")
    ended = tag(model, str(songs / ODD), f"html={tmp_path}/{name}")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "take one that ends in .html" in ended.stderr
    assert (tmp_path / "song.wav").read_bytes() == before


def test_a_corpus_has_no_page(model: Path, tmp_path: Path, corpus: object):
    from genrescale.data.manifest import Manifest

    assert isinstance(corpus, Manifest)
    ended = tag(model, corpus.uri, f"html={tmp_path}/tags.html")
    assert ended.returncode == 2
    assert "html= of files" in ended.stderr


def test_a_large_song_is_played_from_where_it_lies(songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(player, "MAX_EMBEDDED", 1000)
    song = songs / "b & c" / "ü #1.flac"
    clip = Clip("x", music(3.0, 1))
    sound = sound_of(song, clip, tmp_path / "pages")
    assert (tmp_path / "pages" / os.fsdecode(unquote_to_bytes(sound.address))).resolve() == song
    assert "&" not in sound.address.replace("%26", "")
    assert "#" not in sound.address


@pytest.mark.parametrize("case", ["aiff", "bytes of a bucket", "page in a bucket"])
def test_what_a_browser_cannot_reach_or_play_is_what_the_model_heard(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
):
    song, clip = songs / "d.aiff", decode_song(str(songs / "d.aiff"))
    if case == "bytes of a bucket":
        monkeypatch.setattr(player, "MAX_EMBEDDED", 1000)
        sound = sound_of((songs / ODD).read_bytes(), clip, tmp_path)
    elif case == "page in a bucket":
        monkeypatch.setattr(player, "MAX_EMBEDDED", 1000)
        sound = sound_of(songs / ODD, clip, None)
    else:
        sound = sound_of(song, clip, tmp_path)
    kind, _, data = sound.address.partition(";base64,")
    assert kind == "data:audio/flac"
    wave_T, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="int16")
    assert rate == SAMPLE_RATE
    assert np.array_equal(wave_T, clip.pcm_T)
    assert "what the model heard" in sound.words


def test_a_long_song_has_a_narrow_log_mel():
    pcm_T = music(150.0)
    width, height = Image.open(io.BytesIO(_mel_png(pcm_T))).size
    assert 2390 <= width <= 2410
    assert height == 96


def test_columns_are_means_of_their_neighbours():
    values = np.arange(10.0)[None]
    assert narrowed(values, 5).tolist() == [[0.5, 2.5, 4.5, 6.5, 8.5]]
    assert narrowed(values, 3).tolist() == [[1.0, 4.0, 7.5]]
    assert narrowed(values, 10) is values


def test_parts_cover_the_song_without_overlap():
    score_KS = np.random.default_rng(0).random((2, 47))
    parts = parts_of(score_KS)
    assert (parts[0].start_s, parts[-1].end_s, len(parts)) == (0, 47, 6)
    assert [part.end_s for part in parts[:-1]] == [part.start_s for part in parts[1:]]
    total_K = np.sum([(part.end_s - part.start_s) * part.score_K for part in parts], axis=0)
    assert total_K == pytest.approx(score_KS.sum(axis=1))
    assert len(parts_of(score_KS[:, :2])) == 2
