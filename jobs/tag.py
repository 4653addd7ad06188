#!/usr/bin/env python
"""Tag songs with an exported model (jobs/export.py or jobs/import_weights.py makes one).

python jobs/tag.py song.mp3 model=/models/musicnn                              the ten likeliest tags, to read
python jobs/tag.py song.mp3 model=/models/musicnn picture=tags.png             and a picture of them by second
python jobs/tag.py song.mp3 model=/models/musicnn html=tags.html               a page that plays it beside its tags
python jobs/tag.py /music model=/models/musicnn format=csv out=tags.csv        every song of a folder
python jobs/tag.py /data/shards model=s3://models/a format=json out=tags.jsonl    a sharded corpus, on Ray

embeddings=FILE.parquet keeps the songs' embeddings. A song that cannot be read is named; the exit status is then 1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from _cli import place, run_job
from _on_ray import OnRay
from omegaconf import MISSING

from genrescale.launch.cluster import check_gpu


@dataclass
class TagJob(OnRay):
    songs: list[str] = field(default_factory=list)
    model: str = MISSING
    format: str = "text"
    top: int = 10
    threshold: float = 0.0
    out: str = ""
    picture: str = ""
    html: str = ""
    embeddings: str = ""
    store: str = ""
    allow_internal_urls: bool = False
    whole_song: bool = False
    own_model: str = ""
    use_gpu: bool = False


def main(job: TagJob) -> int:
    from genrescale.data.manifest import read_manifest
    from genrescale.export import load_exported
    from genrescale.tagging.embeddings import keep_embeddings
    from genrescale.tagging.files import is_corpus, list_audio
    from genrescale.tagging.one_by_one import Wanted, tag_listed
    from genrescale.tagging.output import Show, write_tags

    show = Show(job.format, job.top, job.threshold, job.whole_song)
    if not job.songs:
        raise ValueError("which songs? python jobs/tag.py SONG.mp3 model=FOLDER (a file, a folder or a sharded corpus)")
    outputs = {"out": job.out, "embeddings": job.embeddings, "html": job.html, "picture": job.picture}
    wanted = Wanted(**{name: place(job.store, path, name) for name, path in outputs.items() if path})
    check_gpu(job.use_gpu, "use_gpu")
    model = place(job.store, job.model, "model").uri
    if len(job.songs) == 1 and is_corpus(first := place(job.store, job.songs[0], "songs")):
        if job.picture or job.html:
            raise ValueError("picture= is of one song, html= of files; this is a corpus")
        from genrescale.tagging.corpus import tag_corpus  # with Ray, which files do not need

        exported, manifest = load_exported(model, own_model=job.own_model), read_manifest(first.uri)
        cpus = job.cpus or len(os.sched_getaffinity(0))  # an actor has one thread: more than cores are no use
        with replace(job, cpus=cpus).connected(first):
            results = tag_corpus(exported, manifest, job.use_gpu, bool(wanted.embeddings), job.whole_song)
            results = keep_embeddings(results, wanted.embeddings)
            return write_tags(results, len(manifest), exported.vocabulary, show, wanted.out)
    if job.cpus or job.verbose or job.telemetry.port is not None:
        raise ValueError("cpus=, verbose= and telemetry= are of a sharded corpus, on Ray; files are tagged one by one")
    exported = load_exported(model, "cuda" if job.use_gpu else "cpu", job.own_model)
    songs, unlisted = list_audio(job.songs, lambda song: place(job.store, song, "songs"))
    return tag_listed(exported, songs, unlisted, wanted, show, job.allow_internal_urls)


if __name__ == "__main__":
    run_job(TagJob, "tag", main, __doc__, positional="songs")
