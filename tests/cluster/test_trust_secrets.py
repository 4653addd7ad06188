"""Credentials of a table's addresses are in no file, log or page of a sharding, also of Ray's own."""

import csv
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers.formats import encoded
from helpers.job_runs import RunJob
from helpers.web_with_passwords import CANARY, rows_of, web_of

from genrescale.data.manifest import PAGE_PATH, read_manifest

KINDS = ("flac", "mp3", "ogg", "wav", "m4a", "opus", "au", "aiff")

pytestmark = pytest.mark.cluster


@contextmanager
def watched(folder: Path) -> Iterator[tuple[set[Path], set[Path]]]:
    """All files that come and go in ``folder``, and those of them that ever held a canary."""
    seen: set[Path] = set()
    leaking: set[Path] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            # os.walk passes over a folder that ends meanwhile
            for path in (Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
                with suppress(OSError):
                    if path.is_file() and not path.is_symlink():
                        seen.add(path)
                        if CANARY in path.read_bytes():
                            leaking.add(path)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen, leaking
    finally:
        ended.set()
        thread.join()


def test_credentials_of_a_table_are_nowhere(job: RunJob, temporary: Path, tmp_path: Path):
    music, out = tmp_path / "music", tmp_path / "shards"
    music.mkdir()
    names = [encoded(kind, 2.0 + i / 8, music).name.replace(" ", "%20") for i, kind in enumerate(KINDS)]
    (music / "no-music.flac").write_text("no music")
    told = ""
    with web_of(music) as host:
        with (tmp_path / "songs.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["path", "labels"], *([path, "rock"] for path in rows_of(host, names))])
        settings = ["songs_per_shard=4", "max_failure_rate=1", "allow_internal_urls=true"]
        jobs = (
            ["shard_corpus", "corpus=table", f"audio={tmp_path / 'songs.csv'}", f"out={out}", *settings],
            ["describe_corpus", f"corpus={out}"],
        )
        with watched(temporary) as (seen, leaking):
            for name, *arguments in jobs:
                ended = job(name, *arguments)
                assert ended.returncode == 0, ended.stderr
                told += ended.stdout + ended.stderr
    assert len(read_manifest(str(out))) == len(KINDS)
    assert "6 songs in quarantine" in told
    files = [path for path in out.rglob("*") if path.is_file()]
    assert out / PAGE_PATH in files
    assert not [path for path in files if CANARY in path.read_bytes()]
    assert any(path.name.startswith("worker-") for path in seen)  # the logs of the processes that fetched the songs
    assert not leaking
    assert CANARY.decode() not in told
