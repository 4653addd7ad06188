"""The sharding job on real Ray: killed in the middle it continues to the same bytes; damage is found."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.job_runs import RunJob
from helpers.small_corpus import contents

from genrescale.data.index import index_path
from genrescale.data.manifest import Manifest, read_manifest

ROOT = Path(__file__).parents[2]
NUM_SONGS, PER_SHARD = 72, 4
NUM_SHARDS = 15 + 2 + 2  # 58 train songs and 7 each of validation and test
SETTINGS = (f"songs_per_shard={PER_SHARD}", "seed=3", "max_failure_rate=0.05")

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 songs of two labels in four formats; two of them broken."""
    folder = tmp_path_factory.mktemp("music")
    for i in range(NUM_SONGS):
        path = folder / ("rock", "jazz")[i % 2] / f"{i:02d}.{('mp3', 'flac', 'ogg', 'wav')[i % 4]}"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal((44_100 * 2, 2)), 44_100)
    (folder / "rock/10.ogg").write_text("not music")
    (folder / "jazz/11.wav").write_bytes(b"")
    return folder


def shard_overrides(music: Path, out: Path) -> tuple[str, ...]:
    return ("corpus=folder", f"audio={music}", f"out={out}", *SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(job: RunJob, music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "shards"
    done = job("shard_corpus", *shard_overrides(music, out))
    assert done.returncode == 0, done.stderr
    assert f"{NUM_SHARDS} written now, 0 before" in done.stdout
    assert f"{music}/rock/10.ogg: ffmpeg: " in done.stdout
    assert f"{music}/jazz/11.wav: the file is empty" in done.stdout
    assert f"{NUM_SONGS}/{NUM_SONGS} songs" in done.stderr
    return out


def finished_shards(out: Path) -> set[str]:
    return {path.name for path in out.glob("shards/*.index.parquet")}


def kill_in_the_middle(environment: dict[str, str], music: Path, out: Path) -> None:
    """SIGKILL the driver once two shards are finished; Ray's processes die with it."""
    command = [sys.executable, str(ROOT / "jobs/shard_corpus.py"), *shard_overrides(music, out), "cpus=2"]
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(finished_shards(out)) < 2 and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    settled = None
    while settled != (settled := sorted((str(p), p.stat().st_size) for p in out.rglob("*") if p.is_file())):
        time.sleep(2.0)


def test_killed_and_run_again_gives_the_same_bytes(
    environment: dict[str, str], job: RunJob, music: Path, undisturbed: Path, tmp_path: Path
):
    out = tmp_path / "shards"
    kill_in_the_middle(environment, music, out)
    before = {name: (out / "shards" / name).stat().st_mtime_ns for name in finished_shards(out)}
    assert 2 <= len(before) < NUM_SHARDS
    assert not (out / "manifest.json").exists()

    done = job("shard_corpus", *shard_overrides(music, out))
    assert done.returncode == 0, done.stderr
    assert f"{NUM_SHARDS - len(before)} written now, {len(before)} before" in done.stdout
    assert {name: (out / "shards" / name).stat().st_mtime_ns for name in before} == before
    assert contents(out) == contents(undisturbed)


def test_the_manifest_has_every_song_but_the_broken_ones(undisturbed: Path):
    manifest = read_manifest(str(undisturbed))
    names = {Path(path).name for path in manifest.songs["path"].to_pylist()}
    assert len(manifest) == NUM_SONGS - 2
    assert not names & {"10.ogg", "11.wav"}
    assert manifest.vocabulary.exclusive


def test_too_many_broken_songs_stop_the_job(job: RunJob, music: Path, tmp_path: Path):
    out = tmp_path / "shards"
    done = job("shard_corpus", *shard_overrides(music, out), "max_failure_rate=0")
    assert done.returncode == 1
    assert (
        f"of {NUM_SONGS} songs failed, more than the 0 that max_failure_rate=0 allows. The first: {music}"
        in done.stderr
    )
    assert (out / "quarantine.parquet").exists()
    assert not (out / "manifest.json").exists()


def test_another_plan_is_refused_before_anything_starts(job: RunJob, music: Path, undisturbed: Path):
    before = contents(undisturbed)
    done = job("shard_corpus", *shard_overrides(music, undisturbed), "seed=4")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "seed was 3 and is 4" in done.stderr
    assert contents(undisturbed) == before


def damage(corpus: Manifest) -> tuple[str, str, str, str]:
    """Flip a byte of one shard, cut one short, remove one, remove an index; returns their names."""
    flipped, cut, gone, blind = (corpus.shard_name(shard) for shard in range(4))
    folder = Path(corpus.uri)
    row = corpus.shard_rows(0)[-1]
    data = bytearray((folder / flipped).read_bytes())
    data[int(corpus.column("offset")[row]) + 40_000] ^= 1
    (folder / flipped).write_bytes(data)
    (folder / cut).write_bytes((folder / cut).read_bytes()[:-20_000])
    (folder / gone).unlink()
    (folder / index_path(blind)).unlink()
    return flipped, cut, gone, blind


def test_verify_finds_damage_and_sharding_again_mends_it(job: RunJob, music: Path, undisturbed: Path, tmp_path: Path):
    out = Path(shutil.copytree(undisturbed, tmp_path / "shards"))
    intact = job("verify_corpus", f"corpus={out}")
    assert intact.returncode == 0, intact.stdout + intact.stderr
    assert "0 problems" in intact.stdout

    corpus = read_manifest(str(out))
    key = corpus.songs["key"][int(corpus.shard_rows(0)[-1])].as_py()
    flipped, cut, gone, blind = damage(corpus)
    found = job("verify_corpus", f"corpus={out}")
    assert found.returncode == 1
    assert f"{flipped}: song {key} is altered at second 1\n" in found.stdout
    assert f"{cut}: truncated" in found.stdout
    assert f"{gone}: missing\n" in found.stdout
    assert f"{index_path(blind)}: missing\n" in found.stdout

    (out / flipped).unlink()
    mended = job("shard_corpus", *shard_overrides(music, out))
    assert "3 written" in mended.stdout, mended.stderr  # the lost index came back without its songs
    assert contents(out) == contents(undisturbed)


def test_songs_are_added_and_taken_down_by_one_command_each(
    job: RunJob, music: Path, undisturbed: Path, tmp_path: Path
):
    grown, out = Path(shutil.copytree(music, tmp_path / "music")), Path(shutil.copytree(undisturbed, tmp_path / "out"))
    for i in range(6):
        noise = 0.1 * np.random.default_rng(100 + i).standard_normal(44_100 * 2)
        soundfile.write(grown / ("rock", "jazz")[i % 2] / f"new{i}.flac", noise, 44_100)
    refused = job("shard_corpus", *shard_overrides(grown, out))
    assert refused.returncode == 2
    assert "6 songs added to 72" in refused.stderr
    assert "append=true" in refused.stderr
    added = job("shard_corpus", *shard_overrides(grown, out), "append=true")
    assert added.returncode == 0, added.stderr
    assert f"2 written now, {NUM_SHARDS} before" in added.stdout
    before, after = read_manifest(str(undisturbed)), read_manifest(str(out))
    assert len(after) == len(before) + 6
    assert f"version {after.version}" in added.stdout
    assert before.digest(before.select("train")) == after.digest(after.select("train", len(before.select("train"))))

    keys = [next(key for key in after.songs["key"].to_pylist() if name in key) for name in ("new3", "jazz_01")]
    gone = job("take_down", f"corpus={out}", f"songs=[{','.join(keys)}]", "reason=asked to")
    assert gone.returncode == 0, gone.stderr
    assert "2 songs gone, 2 shards written anew" in gone.stdout
    assert f"{grown}/jazz/new3.flac" in gone.stdout
    intact = job("verify_corpus", f"corpus={out}")
    assert intact.returncode == 0, intact.stdout + intact.stderr
    assert f"{len(after) - 2} songs" in gone.stdout

    # the same songs by a table, two of whose rows are bad
    rows = [f"{path.relative_to(grown)},{path.parent.name}" for path in sorted(grown.rglob("*.*"))]
    (grown / "songs.csv").write_text("\n".join(["path,labels", *rows, ",rock", rows[0]]))
    table = ("corpus=table", f"audio={grown / 'songs.csv'}", f"out={out}", *SETTINGS)
    again = job("shard_corpus", *table)
    assert "0 written" in again.stdout, again.stderr
    assert "6 songs in quarantine, 2 of them rows of a table without a song" in again.stdout
    assert f"{len(rows) + 2} songs given: {len(after) - 2} in shards" in again.stdout
    assert f"row {len(rows) + 1}: the path is empty" in again.stdout
    assert "2 songs, taken down: asked to" in again.stdout
