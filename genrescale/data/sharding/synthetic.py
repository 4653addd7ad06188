"""Make the embedded corpus, synthesised as encoded files and then sharded, for a machine without music."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from genrescale.audio import SAMPLE_BYTES, SAMPLE_RATE
from genrescale.config.corpus import ShardSettings, SynthesisConfig
from genrescale.data.corpora import list_songs
from genrescale.data.manifest import MANIFEST_PATH
from genrescale.data.sharding.job import write_corpus
from genrescale.data.sharding.plan_file import fix_plan
from genrescale.data.synthesis.write import FACTS_FILE, SongRow, write_song, write_table
from genrescale.data.tasks import run_tasks
from genrescale.storage.json_bytes import JSON_BYTES, read_object
from genrescale.storage.lease import writing
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress
from genrescale.telemetry.stages import songs_done, stage_begins
from genrescale.telemetry.terminal import say

SONGS_PER_TASK = 16
ENCODED_BYTES_PER_S = 92_000  # measured over the mix of formats; most of it is FLAC


def synthesize_corpus(folder: Store, config: SynthesisConfig) -> None:
    """Write the songs as MP3, FLAC and OGG files, and their table, to ``folder``; existing files are kept."""
    with writing(folder, "synthesize_corpus"):
        _synthesize(folder, config)


def _synthesize(folder: Store, config: SynthesisConfig) -> None:
    _refuse_other_songs(folder, config)
    indices = iter(range(config.songs))
    chunks = iter(lambda: (folder, config, list(islice(indices, SONGS_PER_TASK))), (folder, config, []))
    rows: list[SongRow] = []
    stage_begins("synthesize_corpus", config.songs)
    with Progress("synthesize_corpus", config.songs, "songs") as progress:
        for part in run_tasks(_write_songs, chunks, "synthesize_songs"):
            rows += part
            songs_done("synthesize_corpus", len(part))
            progress.advance(len(part))
    write_table(folder, sorted(rows, key=lambda row: row["index"]))


def _refuse_other_songs(folder: Store, config: SynthesisConfig) -> None:
    """Raise ValueError if ``folder`` holds songs of another seed or range of lengths.

    Existing files are recognised by number only, so a folder belongs to one seed and one range.
    """
    facts = {"seed": config.seed, "min_s": config.min_s, "max_s": config.max_s}
    if not folder.exists(FACTS_FILE):
        folder.write_bytes(FACTS_FILE, json.dumps(facts).encode())
    elif (found := _facts(folder)) != facts:
        raise ValueError(f"{folder.uri} holds songs of {found}, not of {facts}; use another folder or delete it")


def _facts(folder: Store) -> dict[str, Any]:
    return read_object(folder.read_bytes(FACTS_FILE, JSON_BYTES), f"{folder.uri}/{FACTS_FILE}")


def _write_songs(task: tuple[Store, SynthesisConfig, Sequence[int]]) -> list[SongRow]:
    folder, config, indices = task
    return [write_song(folder, config.seed, index, config.min_s, config.max_s) for index in indices]


def announce_disk(out: Store, synthesis: SynthesisConfig) -> None:
    """Print the expected disk usage of songs and shards. Raises ValueError if a local disk has less space."""
    seconds = synthesis.songs * (synthesis.min_s + synthesis.max_s) / 2
    need = seconds * (ENCODED_BYTES_PER_S + SAMPLE_RATE * SAMPLE_BYTES) / 1e9
    say(f"[synthesize_corpus] {synthesis.songs:,} songs and their shards take about {need:.1f} GB", sys.stderr)
    if (folder := out.local_path()) is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    used = sum(sum(out.sizes(name).values()) for name in ("audio", "shards"))
    have = (shutil.disk_usage(folder).free + used) / 1e9
    if need > have:
        raise ValueError(
            f"{folder} has {have:.1f} GB left for {need:.1f} GB; use another out= or fewer songs (synthesis.songs)"
        )


def is_made(out: Store, facts: dict[str, Any]) -> bool:
    """Whether ``out`` holds the finished corpus with these facts. Raises ValueError if it holds another corpus.

    The encoded songs may have been deleted since.
    """
    if not (out.exists(FACTS_FILE) and out.child("shards").exists(MANIFEST_PATH)):
        return False
    if (found := _facts(out)) != facts:
        changed = sorted(name for name in {*found, *facts} if found.get(name) != facts.get(name))
        raise ValueError(
            f"{out.uri} holds a corpus of other songs or shards ({', '.join(changed)} changed); use another out="
        )
    return True


def embedded_corpus(out: Store, synthesis: SynthesisConfig, settings: ShardSettings) -> None:
    """Make the synthetic corpus, encoded in ``out``/audio and sharded in ``out``/shards; finished parts are kept."""
    facts = {"synthesis": asdict(synthesis), "shards": settings.of_plan()}
    if is_made(out, facts):
        return
    audio, shards = out.child("audio"), out.child("shards")
    announce_disk(out, synthesis)
    if not shards.exists(MANIFEST_PATH):  # an existing corpus may be another one
        out.write_bytes(FACTS_FILE, json.dumps(facts).encode())  # marks the songs as those of this sweep
    synthesize_corpus(audio, synthesis)
    songs, vocabulary = list_songs("synthetic", audio.uri)
    write_corpus(fix_plan(songs, vocabulary, settings, shards), shards)
    out.write_bytes(FACTS_FILE, json.dumps(facts).encode())
