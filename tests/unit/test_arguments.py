"""Text settings are taken as they are, and a mistake in an argument is named with what was meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.documents import settings_of
from helpers.job_runs import run

ROOT = Path(__file__).parents[2]
NAMES = [
    *("Música", "R&B", "Guns N' Roses", "C#", "Live (2020)", "AC,DC", "a=b", "x;y", "wow!", "${HOME}", "[x]", "~x"),
    *("2024_05_01", "1e3", "true", "null", "a::b", "$uicideboy$", "{a: b}", "012", "0x10", "a: b", "日本", " space "),
]


@pytest.mark.parametrize("name", NAMES)
def test_an_address_is_what_was_typed(name: str):
    settings = settings_of("shard_corpus", [f"audio=/music/{name}", f"out={name}"])
    assert (settings.audio, settings.out) == (f"/music/{name}", name)


def test_text_settings_at_any_depth_are_text():
    settings = settings_of(
        "train", ["site.corpus=2024_05_01", "site.out=1e3", "run.data.labels=true", "run.init.run=12e4"]
    )
    assert (settings.site.corpus, settings.site.out) == ("2024_05_01", "1e3")
    assert (settings.run.data.labels, settings.run.init.run) == ("true", "12e4")


def test_quotes_around_a_whole_text_are_taken_off():
    settings = settings_of("shard_corpus", ["audio='FMA [2]'", 'out="Guns N\' Roses"'])
    assert (settings.audio, settings.out) == ("FMA [2]", "Guns N' Roses")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("scale_sweep", "sweep=dmo"),
            "sweep=dmo is none of default, demo, gamemusic, pons2018, scale; did you mean demo?",
        ),
        (("scale_sweep", "sizes=[12,", "51]"), "are two arguments: quote a list with spaces, 'sizes=[12, 51]'"),
        (
            ("train", "corpus=x"),
            "'corpus' is no setting; allowed here: cpus, verbose, telemetry, run, site, store; "
            "did you mean site.corpus?",
        ),
        (("shard_corpus", "adio=x"), "did you mean audio?"),
        (("train", "copus=x"), "; did you mean site.corpus"),
        (("train", "model=waveform"), "; did you mean run.model.name"),
        (("train", "run.model=waveform"), "run.model is a group of settings: run.model.name, run.model.dials"),
        (("scale_sweep", "size=[3]"), "; did you mean data.size or sizes?"),
        (
            ("scale_sweep", "data.size=5"),
            "data.size has no effect here: a sweep takes its numbers of songs from sizes=",
        ),
        (("scale_sweep", "data.size=1000"), "data.size has no effect here"),
        (("scale_sweep", "site.corpus=x"), "site.corpus has no effect here: give the corpus of a sweep as corpus="),
        (("scale_sweep", "site.out=x"), "site.out has no effect here: give the folder of a sweep as out="),
        (("scale_sweep", "site.parents=x"), "site.parents has no effect here"),
        (
            ("scale_sweep", "sweep=demo", "corpus=/x", "shards.seed=2"),
            "shards.seed has no effect here: corpus=/x is not",
        ),
        (("scale_sweep", "synthesis.songs=5"), "settings of synthesis need a sweep that has it, such as sweep=demo"),
        (("tag", "x.wav", "model=m", "cpus=2"), "cpus=, verbose= and telemetry= are of a sharded corpus"),
        (("shard_corpus", "-x"), "'-x' is no option; options are --help and --version, settings are NAME=VALUE"),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(arguments: tuple[str, ...], told: str):
    ended = run(*arguments)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_version_is_told():
    ended = run("report", "--version")
    assert (ended.returncode, ended.stdout[:11]) == (0, "genrescale ")


def test_songs_may_begin_with_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "jobs")
    from _arguments import positional_apart  # pyright: ignore[reportMissingImports]

    monkeypatch.chdir(tmp_path)
    (tmp_path / "-take 2.wav").touch()
    (tmp_path / "a=b.wav").touch()

    @dataclass
    class Job:
        model: str = ""
        top: int = 0

    given = ["-take 2.wav", "a=b.wav", "model=m", "x.wav", "--", "-other.wav", "c=d", "top=3"]
    songs = ["-take 2.wav", "a=b.wav", "x.wav", "-other.wav", "c=d"]
    assert positional_apart(Job, given) == (songs, ["model=m", "top=3"])


SLEEPER = """
import os, signal, sys, threading
sys.path.insert(0, "jobs")
from _signals import stoppable
with stoppable("inventory"):
    child = os.fork()
    if not child:  # such as a decoder's, which its parent may end
        signal.raise_signal(signal.SIGTERM)
        os._exit(3)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        print(ended, flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize(
    ("sent", "shell"),
    [
        (signal.SIGINT, ["env", "--default-signal=INT"]),
        (signal.SIGTERM, ["env", "--default-signal=INT"]),
        (signal.SIGTERM, ["env", "--ignore-signal=INT"]),
    ],
    ids=["ctrl-c", "term", "term-in-the-background"],
)
def test_an_interrupt_is_answered_at_once_and_both_kinds_end_alike(sent: signal.Signals, shell: list[str]):
    """A script's ``&`` starts a job that ignores SIGINT, and so does the one that started these tests, perhaps."""
    job = subprocess.Popen(
        [*shell, sys.executable, "-c", SLEEPER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    assert int(job.stdout.readline()) == -signal.SIGTERM  # a forked child ends as usual, and nothing is said
    job.send_signal(sent)
    assert job.communicate() == ("interrupted\n", "inventory: stopping\n")
    assert job.returncode == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_stopped_says_how_it_goes_on(
    sent: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = signal.getsignal(signal.SIGTERM)
    interrupting = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("genrescale.launch.cluster._init", lambda *_: None)  # without a cluster
    monkeypatch.setattr("genrescale.data.sharding.synthetic.run_tasks", lambda *_: signal.raise_signal(sent))
    ended = run("synthesize_corpus", f"out={tmp_path}")
    signal.signal(signal.SIGINT, interrupting)
    assert ended.returncode == 130
    assert "synthesize_corpus: stopping\n" in ended.stderr
    assert ended.stderr.endswith("synthesize_corpus: stopped; the same command continues where it was\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_has_enough_ends_the_job_without_a_word(tmp_path: Path):
    code = "import sys; sys.argv = ['x', '--help']; sys.path.insert(0, 'jobs'); import runpy; "
    code += "runpy.run_path('jobs/shard_corpus.py', run_name='__main__')"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("synthesize_corpus", "out=x", "songs=many"), "songs=many is not a whole number"),
        (("tag", "x.wav", "model=m", "threshold=70%"), "threshold=70% is not a number"),
        (("tag", "x.wav", "model=m", "use_gpu=yep"), "use_gpu=yep is not true or false"),
        (("synthesize_corpus", "/music"), "'/music' is no setting; settings are NAME=VALUE, such as out=/music"),
        (("inventory", "yes=true"), "yes=true has no effect without delete="),
        (
            ("synthesize_corpus", "out=x", "cpus=-1"),
            "cpus=-1 must be 0 or more; 0 means as many as this machine suggests",
        ),
    ],
)
def test_a_value_of_another_kind_is_named_as_it_was_typed(given: tuple[str, ...], words: str):
    ended = run(*given)
    assert (ended.returncode, ended.stderr) == (2, f"{given[0]}: {words}\n")


def test_a_negative_number_of_cpus_is_refused_before_ray_starts(tmp_path: Path):
    ended = run("synthesize_corpus", f"out={tmp_path}", "cpus=-1")
    assert ended.returncode == 2
    assert ended.stderr.endswith("cpus=-1 must be 0 or more; 0 means as many as this machine suggests\n")


def test_a_folder_without_anything_in_it_is_said(tmp_path: Path):
    for job, words in (("inventory", "holds no sweep and no corpus"), ("report", "holds no finished run and no sweep")):
        name = "store" if job == "inventory" else "out"
        ended = run(job, f"{name}={tmp_path / 'nothing'}")
        assert ended.returncode == 2
        assert f"{tmp_path}/nothing {words}" in ended.stderr
