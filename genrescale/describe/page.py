"""Render the page of a corpus: one HTML file with inline images and clips, which loads nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from genrescale.audio import SAMPLE_RATE
from genrescale.data.manifest import PAGE_PATH, Manifest
from genrescale.data.sharding.errors import CorpusChangedError
from genrescale.data.summary import read_summary
from genrescale.describe.facts import (
    co_occurrence,
    imbalance,
    overlap_sentence,
    quarantine_reasons,
    shared_artists,
    split_facts,
    splits_of,
    tag_facts,
    top_pairs,
)
from genrescale.describe.figures import (
    MAX_MATRIX_TAGS,
    co_occurrence_svg,
    histogram_svg,
)
from genrescale.describe.reading import ClipChoice, DescribeSettings, HeardSong, ShardHeard
from genrescale.describe.words import listed, notes
from genrescale.display.html import data_uri, render_template
from genrescale.display.pixels import log_mel_png
from genrescale.display.sound import flac_bytes
from genrescale.display.style import dark_svg
from genrescale.display.text import count_text
from genrescale.models.parts.log_mels import log_mels
from genrescale.storage.lease import writing
from genrescale.storage.store import Store

MAX_ROWS = 200
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class ClipView:
    """A clip and its log-mel image, both as data URIs."""

    key: str
    split: str
    others: str
    value: str
    audio: str
    picture: str


@dataclass(frozen=True)
class TagClips:
    tag: str
    clips: list[ClipView]


@dataclass(frozen=True)
class Spread:
    """Quantiles (0, 5, 50, 95, 100 %) of a value over the songs of a split."""

    split: str
    songs: int
    values: tuple[float, ...]


def spreads(values: dict[str, np.ndarray]) -> list[Spread]:
    return [
        Spread(split, len(of_split), tuple(np.quantile(of_split, _QUANTILES).tolist()))
        for split, of_split in values.items()
        if len(of_split)
    ]


def render_page(
    manifest: Manifest,
    settings: DescribeSettings,
    loudness: Sequence[int],
    clips: Sequence[ClipChoice],
    heard: Iterable[ShardHeard],
) -> str:
    """Render the whole page as text, for the songs chosen for loudness and as clips.

    ``heard`` are the results of ``hear_shard`` for the requests of ``plan_reads``, in any order.
    """
    answers = list(heard)
    songs = {song.row: song for answer in answers for song in answer.songs}
    damaged = sorted(row for answer in answers for row in answer.damaged)
    measured = [songs[row] for row in loudness if row in songs]
    tags, splits = tag_facts(manifest), split_facts(manifest)
    names, count_CC = co_occurrence(manifest)
    together = len(names) > 1 and not manifest.vocabulary.exclusive
    split_N = manifest.column("split")
    seconds_N = manifest.column("num_samples") / SAMPLE_RATE
    seconds = {split: seconds_N[split_N == split] for split in splits_of(manifest)}
    level = {split: np.array([s.rms_db for s in measured if split_N[s.row] == split]) for split in splits_of(manifest)}
    spread_of_labels = imbalance(tags)
    return render_template(
        "genrescale.describe",
        {"count": count_text},
        manifest=manifest,
        settings=settings,
        hours=sum(split.hours for split in splits),
        splits=splits,
        shared=shared_artists(manifest),
        overlap=overlap_sentence(manifest),
        classify=[facts for facts in tags if facts.tag.kind == "classify"],
        regress=[facts for facts in tags if facts.tag.kind == "regress"],
        max_rows=MAX_ROWS,
        imbalance=spread_of_labels,
        notes=[*notes(manifest), *_heard_notes(manifest, measured, damaged)],
        matrix=_shown(co_occurrence_svg(names, count_CC)) if together else None,
        matrix_tags=min(len(names), MAX_MATRIX_TAGS),
        num_used=len(names),
        pairs=top_pairs(names, count_CC, len(manifest)) if together else [],
        durations=_shown(histogram_svg(seconds, "Durations", "seconds")),
        duration_spreads=spreads(seconds),
        levels=_shown(histogram_svg(level, "Loudness", "RMS, dBFS")) if measured else None,
        level_spreads=spreads(level),
        num_measured=len(measured),
        clipped=sum(song.clipped > 0 for song in measured),
        loudest=_extremes(manifest, measured, loudest=True),
        quietest=_extremes(manifest, measured, loudest=False),
        clips=_clip_views(manifest, clips, songs),
        quarantine=quarantine_reasons(Store(manifest.uri)),
    )


def _shown(svg: bytes) -> dict[str, str]:
    """A figure for a light page and one for a dark page."""
    return {"light": data_uri(svg), "dark": data_uri(dark_svg(svg))}


def _extremes(manifest: Manifest, measured: Sequence[HeardSong], loudest: bool) -> list[tuple[str, float]]:
    ordered = sorted(measured, key=lambda song: song.rms_db, reverse=loudest)
    return [(manifest.songs["key"][song.row].as_py(), song.rms_db) for song in ordered[:3]]


def _heard_notes(manifest: Manifest, measured: Sequence[HeardSong], damaged: Sequence[int]) -> list[str]:
    texts = []
    if quiet := [song for song in measured if song.rms_db < -60]:
        texts.append(f"{count_text(len(quiet), 'measured song')} below -60 dBFS, i.e. almost silent.")
    if damaged:
        keys = [manifest.songs["key"][row].as_py() for row in damaged]
        texts.append(
            f"{count_text(len(damaged), 'song')} could not be read, because the bytes do not match the manifest: "
            f"{listed(keys)}. Run jobs/verify_corpus.py corpus={manifest.uri}."
        )
    return texts


def _clip_views(manifest: Manifest, clips: Sequence[ClipChoice], songs: dict[int, HeardSong]) -> list[TagClips]:
    """Make the clips of each tag, with one brightness scale for all images, so that they can be compared."""
    wave_of = {}
    for choice in clips:
        song = songs.get(choice.row)
        if song is not None and song.clip_T is not None:
            wave_of[choice.row] = song.clip_T
    if not wave_of:
        return []
    mels = dict(zip(wave_of, log_mels(list(wave_of.values())), strict=True))
    low, high = np.quantile(np.concatenate([mel_FN.ravel() for mel_FN in mels.values()]), [0.01, 0.998]).tolist()
    audio = {row: data_uri(flac_bytes(clip_T), "audio/flac") for row, clip_T in wave_of.items()}
    pictures = {row: data_uri(log_mel_png(mel_FN, low, high), "image/png") for row, mel_FN in mels.items()}
    views: dict[int, list[ClipView]] = {}
    for choice in clips:
        if choice.row not in mels:
            continue
        tag, labels_K = manifest.vocabulary.tags[choice.tag], manifest.labels_NK[choice.row]
        others = [
            name
            for name, value in manifest.vocabulary.carried(labels_K).items()
            if name != tag.name and value == 1 and manifest.vocabulary.classify_K[manifest.vocabulary.names.index(name)]
        ]
        view = ClipView(
            key=manifest.songs["key"][choice.row].as_py(),
            split=manifest.songs["split"][choice.row].as_py(),
            others=listed(others),
            value=f"{labels_K[choice.tag]:.2f}" if tag.kind == "regress" else "",
            audio=audio[choice.row],
            picture=pictures[choice.row],
        )
        views.setdefault(choice.tag, []).append(view)
    return [TagClips(manifest.vocabulary.names[tag], clips_of_tag) for tag, clips_of_tag in views.items()]


def write_page(out: Store, page: str, manifest: Manifest) -> str:
    """Write the page of a corpus and return its address.

    Raises CorpusChangedError if it would lie in the corpus, and that has changed: clips of a song that was taken down
    must not come back.
    """
    with writing(out, "describe_corpus") as lease:
        if out.uri == manifest.uri and read_summary(out).version != manifest.version:
            raise CorpusChangedError(f"{out.uri} was changed while its songs were read; run this again")
        lease.publish(PAGE_PATH, page.encode())
    return f"{out.uri.rstrip('/')}/{PAGE_PATH}"
