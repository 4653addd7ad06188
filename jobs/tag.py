#!/usr/bin/env python
"""Tag songs with an exported model (jobs/export.py or jobs/import_weights.py makes one).

python jobs/tag.py song.mp3 model=/models/musicnn                              the ten likeliest tags, to read
python jobs/tag.py song.mp3 model=/models/musicnn picture=tags.png             and a picture of them by second
python jobs/tag.py /music model=/models/musicnn format=csv out=tags.csv        every song of a folder
python jobs/tag.py /data/shards model=s3://models/a format=json out=tags.jsonl    a sharded corpus, on Ray

embeddings=FILE.parquet keeps the songs' embeddings. A song that cannot be read is named; the exit status is then 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.launch.cluster import check_gpu, connect
from genrescale.launch.telemetry import TelemetryConfig, serving


@dataclass
class TagJob:
    songs: list[str] = field(default_factory=list)
    model: str = MISSING
    format: str = "text"
    top: int = 10
    threshold: float = 0.0
    out: str = ""
    picture: str = ""
    embeddings: str = ""
    store: str = ""
    allow_internal_urls: bool = False
    whole_song: bool = False
    own_model: str = ""
    use_gpu: bool = False
    cpus: int = 0
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)


def main(job: TagJob) -> int:
    from genrescale.data.manifest import read_manifest
    from genrescale.export import load_exported
    from genrescale.tagging.embeddings import keep_embeddings
    from genrescale.tagging.files import decode_song, is_corpus, list_audio, tag_files
    from genrescale.tagging.output import Show, write_tags
    from genrescale.tagging.picture import refuse_picture, write_picture

    show = Show(job.format, job.top, job.threshold, job.whole_song)
    if not job.songs:
        raise ValueError("which songs? python jobs/tag.py SONG.mp3 model=FOLDER (a file, a folder or a sharded corpus)")
    out = place(job.store, job.out, "out") if job.out else None
    kept = place(job.store, job.embeddings, "embeddings") if job.embeddings else None
    check_gpu(job.use_gpu, "use_gpu")
    model = place(job.store, job.model, "model").uri
    if len(job.songs) == 1 and is_corpus(first := place(job.store, job.songs[0], "songs")):
        from genrescale.tagging.corpus import tag_corpus  # with Ray, which files do not need

        exported, manifest = load_exported(model, own_model=job.own_model), read_manifest(first.uri)
        refuse_picture(job.picture, "this is a corpus")
        with connect(job.cpus), serving(job.telemetry, first):
            results = tag_corpus(exported, manifest, job.use_gpu, bool(kept), job.whole_song)
            return write_tags(keep_embeddings(results, kept), len(manifest), exported.vocabulary, show, out)
    if job.cpus or job.telemetry.port is not None:
        raise ValueError("cpus= is of a sharded corpus, as telemetry= is: Ray tags it; files are tagged one by one")
    exported = load_exported(model, "cuda" if job.use_gpu else "cpu", job.own_model)
    songs, unlisted = list_audio(job.songs, lambda song: place(job.store, song, "songs"))
    refuse_picture(job.picture, f"these are {len(songs + unlisted)}" if len(songs + unlisted) > 1 else "")
    results = chain(unlisted, tag_files(exported, songs, bool(kept), job.allow_internal_urls, job.whole_song))
    failed = write_tags(keep_embeddings(results, kept), len(songs + unlisted), exported.vocabulary, show, out)
    if job.picture and not failed:
        clip = decode_song(songs[0], job.allow_internal_urls)
        write_picture(place(job.store, job.picture, "picture"), exported, clip, show)
    return failed


if __name__ == "__main__":
    run_job(TagJob, "tag", main, __doc__, positional="songs")
