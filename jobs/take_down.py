#!/usr/bin/env python
"""Take songs out of a sharded corpus, for good: their shards are written anew, sharding again does not bring them back.

python jobs/take_down.py corpus=/data/shards "songs=[some_song-1a2b3c4d]" "reason=withdrawn by the artist"
python jobs/take_down.py corpus=s3://music/shards songs_file=keys.txt reason=licence      one key in every line

A song is named by its key (column ``key`` of the manifest; jobs/verify_corpus.py inspect=KEY shows it). The corpus gets
a new version. Killed in the middle, the same command continues.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.launch.cluster import under_way
from genrescale.telemetry.terminal import say


@dataclass
class TakeDownJob:
    corpus: str = MISSING
    reason: str = MISSING
    songs: list[str] = field(default_factory=list)
    songs_file: str = ""
    store: str = ""


def main(job: TakeDownJob) -> None:
    from genrescale.data.corpora.reading import read_lines
    from genrescale.data.corpora.song_addresses import split_address
    from genrescale.data.manifest import read_manifest
    from genrescale.data.upkeep.take_down import take_down

    keys = [*job.songs, *(read_lines(*split_address(job.songs_file)) if job.songs_file else [])]
    if not keys:
        raise ValueError('no song is named: songs=["KEY"] or songs_file=keys.txt')
    corpus = place(job.store, job.corpus, "corpus")
    read_manifest(corpus.uri)  # a wrong address is refused before anything is written
    with under_way():
        done = take_down(corpus, keys, job.reason)
    for key, source in zip(done.removed, done.sources, strict=True):
        say(f"{key}: taken out of the shards; its encoded file is not touched: {source}")
    for key in sorted(set(keys) - set(done.removed)):
        say(f"{key}: was in no shard, and will be in none")
    if done.page_deleted:
        say(f"describe.html deleted: it plays clips; make it again: python jobs/describe_corpus.py corpus={job.corpus}")
    say(f"{len(done.removed)} songs gone, {len(done.shards)} shards written anew")
    say(f"{done.manifest.uri}, version {done.manifest.version}: {len(done.manifest)} songs")


if __name__ == "__main__":
    run_job(TakeDownJob, "take_down", main, __doc__)
