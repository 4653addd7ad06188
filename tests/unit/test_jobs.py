"""Every job's configuration composes, and a mistake is one line that names the key and what is allowed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.job_runs import JOBS, run
from helpers.small_corpus import make_song, shard_here

from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store

NAMES = sorted(path.stem for path in JOBS.glob("[a-z]*.py"))


def test_a_job_in_a_process_of_its_own_ends_as_it_does_here():
    command = [f"{JOBS}/inventory.py", "delete=everything"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    here = run("inventory", "delete=everything")
    assert (ended.returncode, ended.stdout, ended.stderr) == (here.returncode, here.stdout, here.stderr)
    assert ended.returncode == 2


@pytest.mark.parametrize("job", NAMES)
def test_help_tells_what_the_job_does_and_its_settings(job: str):
    ended = run(job, "--help")
    assert ended.returncode == 0, ended.stderr
    assert "python jobs/" in ended.stdout
    assert "Settings and their defaults" in ended.stdout


@pytest.mark.parametrize("job", NAMES)
def test_jobs_are_executable_short_and_documented(job: str):
    path = JOBS / f"{job}.py"
    text = path.read_text()
    assert os.access(path, os.X_OK)
    assert text.startswith('#!/usr/bin/env python\n"""')
    assert len(text.splitlines()) <= 80
    assert (JOBS / "conf" / f"{job}.yaml").exists()


HEAVY = ("torch", "ray", "pyarrow", "matplotlib", "pandas", "sklearn")
# What each job's --help imports of HEAVY. Once a job has imported something it is no news of the jobs after it.
HELPED = """
import contextlib, io, json, runpy, sys
folder, heavy, jobs = json.loads(sys.argv[1])
sys.path.insert(0, folder)
found = {}
for job in jobs:
    sys.argv = [job, "--help"]
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        runpy.run_path(f"{folder}/{job}.py", run_name="__main__")
    found[job] = sorted({name.partition(".")[0] for name in set(sys.modules) - before} & set(heavy))
print(json.dumps(found))
"""


def test_help_imports_nothing_that_takes_seconds():
    command = [sys.executable, "-c", HELPED, json.dumps([str(JOBS), HEAVY, NAMES])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {job: [] for job in NAMES}


@pytest.mark.parametrize("module", ["process_group", "worker_job"])
def test_what_a_runs_controller_imports_has_no_pytorch(module: str):
    """A process for each run, which trains nothing: importing PyTorch would be half of what it costs."""
    code = f"import sys, genrescale.launch.{module}; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.parametrize("sweep", sorted(path.stem for path in (JOBS / "conf" / "sweep").glob("*.yaml")))
def test_every_sweep_composes(sweep: str):
    assert run("scale_sweep", f"sweep={sweep}", "--help").returncode == 0


def test_the_default_sweep_trains_by_the_tags_kinds_and_the_papers_is_as_it_was():
    default, papers = (run("scale_sweep", *more, "--help").stdout for more in ([], ["sweep=pons2018"]))
    assert "\nloss: by_kind\n" in default
    assert default.replace("loss: by_kind", "loss: mse") == papers


@pytest.mark.parametrize(
    ("job", "override", "words"),
    [
        ("scale_sweep", "siz=[1]", ["'siz'", "sizes"]),
        ("scale_sweep", "site.workers=two", ["site.workers", "two", "whole number"]),
        ("scale_sweep", "families=[wave]", ["wave", "spectrogram"]),
        ("scale_sweep", "data.group=5", ["batch=", "group"]),
        ("train", "run.optim.lr=-1", ["lr", "greater than 0"]),
        ("train", "run.data.scoring=all", ["scoring", "consecutive", "spread:16"]),
        ("train", "run.precision=fp8", ["precision", "bf16"]),
        ("synthesize_corpus", "songs=0", ["songs", "at least 1"]),
        ("shard_corpus", "val_fraction=2", ["val_fraction"]),
        ("shard_corpus", "+options.subset=small", ["corpus=folder", "'subset'", "it takes none"]),
        ("shard_corpus", "options.subset=small", ["+options.subset"]),
        ("train", "run.optim.freeze=all_but_head", ["run.optim.freeze=[VALUE]"]),
        ("tag", "top=3", ["model=... is needed", "jobs/tag.py --help"]),
        ("report", "out=/nowhere/at/all", ["/nowhere/at/all"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(job: str, override: str, words: list[str]):
    needed = {"synthesize_corpus": ["out=/tmp/x"], "shard_corpus": ["audio=/tmp/x", "out=/tmp/x"]}
    ended = run(job, override, *needed.get(job, []))
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert all(word in ended.stderr for word in words), ended.stderr


WRITERS = {
    "scale_sweep": ["corpus=/nowhere", "out="],
    "train": ["site.corpus=/nowhere", "site.out="],
    "synthesize_corpus": ["out="],
    "shard_corpus": ["corpus=folder", "audio=AUDIO", "out="],
    "describe_corpus": ["corpus=/nowhere", "out="],
}


@pytest.mark.parametrize("job", WRITERS)
def test_an_out_that_cannot_be_written_is_refused_before_anything_starts(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "rock").mkdir()
    make_song(tmp_path / "rock", 0)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "closed").mkdir()
    closed = str(tmp_path / "closed")
    allowed = os.access  # this may run as root, who may write anywhere
    monkeypatch.setattr(os, "access", lambda path, *how, **more: str(path) != closed and allowed(path, *how, **more))
    for place, words in (("file", "a file lies where a folder is needed"), ("closed", "the right to it")):
        *others, last = (word.replace("AUDIO", str(tmp_path)) for word in WRITERS[job])
        ended = run(job, *others, f"{last}{tmp_path}/{place}/shards")
        assert ended.returncode == 2
        assert f"{tmp_path}/{place} cannot be read or written" in ended.stderr
        assert words in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreError("s3://music/a cannot be read (503); check it"), "s3://music/a cannot be read (503); check it"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/a"),
            "/data/a cannot be read or written: No space left",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/a"),
            "/data/a cannot be read or written: Permission",
        ),
    ],
)
def test_a_store_or_disk_that_fails_in_the_middle_is_one_line_and_no_impossible_request(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_: object) -> Iterator[None]:
        raise error
        yield

    monkeypatch.setattr("genrescale.launch.cluster._init", lambda *_: None)  # without a cluster
    monkeypatch.setattr("genrescale.data.sharding.synthetic.run_tasks", failing)
    ended = run("synthesize_corpus", f"out={tmp_path}")
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("[")]
    assert line.startswith(f"synthesize_corpus: {words}")
    assert "the job had started" in line


def test_a_cluster_that_is_not_there_is_an_impossible_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    ended = run("synthesize_corpus", f"out={tmp_path}")
    assert ended.returncode == 2
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9" in ended.stderr


def test_a_takedown_that_an_outage_cut_off_has_started_and_one_of_a_wrong_address_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    songs = [make_song(tmp_path, i) for i in range(16)]
    manifest = shard_here(songs, Store(str(tmp_path / "out"))).manifest
    command = ["take_down", f"corpus={tmp_path}/out", f"songs=[{manifest.songs['key'][0].as_py()}]", "reason=test"]

    def failing(*_: object) -> None:
        raise StoreError("s3://music cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr("genrescale.data.upkeep.take_down._rewrite", failing)
        assert run(*command).returncode == 1
    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_bytes", failing)
        assert run(*command).returncode == 2
    assert run(*command).returncode == 0


def test_a_full_disk_names_the_file_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a/report.html'"):
            Store(str(tmp_path)).write_bytes("a/report.html", b"page")
    with pytest.raises(ConnectionRefusedError, match=r"^\[Errno 111\] refused$"), Store(str(tmp_path)).whole_file("x"):
        raise ConnectionRefusedError(111, "refused")  # not of this disk
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/x'"):  # noqa: SIM117
        with Store(str(tmp_path)).whole_file("x") as file:
            full(file)


def test_without_a_corpus_the_sweep_says_what_to_give():
    ended = run("scale_sweep")
    assert ended.returncode == 2
    assert "jobs/shard_corpus.py" in ended.stderr


def test_corpora_are_mixed_by_one_command_and_a_mix_is_verified_by_its_corpora(tmp_path: Path):
    for name, numbers in (("first", range(16)), ("second", range(20, 40))):
        (tmp_path / name).mkdir()
        songs = [make_song(tmp_path / name, i) for i in numbers]
        shard_here(songs, Store(str(tmp_path / name / "out")))
    corpora = f"corpora=[{tmp_path}/first/out,{tmp_path}/second/out]"
    ended = run("mix_corpora", corpora, f"out={tmp_path}/mix")
    assert ended.returncode == 0, ended.stderr
    assert f"{tmp_path}/second/out: 16 of 29 train songs" in ended.stdout
    assert f"train on it with site.corpus={tmp_path}/mix" in ended.stdout
    for job in ("verify_corpus", "describe_corpus"):
        refused = run(job, f"corpus={tmp_path}/mix")
        assert refused.returncode == 2
        assert "is a mix and has no shards of its own" in refused.stderr
        assert f"{tmp_path}/first/out, {tmp_path}/second/out" in refused.stderr
    gone = run("take_down", f"corpus={tmp_path}/mix", "songs=[s01]", "reason=test")
    assert gone.returncode == 2
    assert "is a mix" in gone.stderr


@pytest.mark.parametrize(
    ("job", "override"),
    [
        ("export", "run=12345678e901"),
        ("evaluate", "runs=[0a1b2c3d4e5f,12345678e901]"),
        ("train", "run.init.run=1e2345678901"),
    ],
)
def test_a_run_id_that_reads_as_a_number_is_taken_as_it_is(job: str, override: str):
    settings = run(job, override, "--help").stdout
    assert "12345678e901" in settings or "1e2345678901" in settings
    assert ".inf" not in settings
