"""Tag the songs of a sharded corpus, read and verified from the shards, through Ray Data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy

from genrescale.audio import Clip
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import DamagedShardError, SongTable, read_crops
from genrescale.data.reading.plan import ScorePlan
from genrescale.export import Exported
from genrescale.models.own import use_own
from genrescale.tagging.scores import SongTags, Untagged, tag_clip
from genrescale.telemetry.stages import songs_done, stage_begins

BLOCKS = 1024  # of a corpus; results arrive block by block


@dataclass(frozen=True, eq=False)
class _Songs:
    """What every process needs, sent to each node once."""

    exported: Exported
    table: SongTable
    plan: ScorePlan


class _TagGroups:
    """A Ray Data actor that tags the songs of score groups."""

    def __init__(self, reference: dict[str, ray.ObjectRef[_Songs]], use_gpu: bool, embed: bool, whole: bool) -> None:
        self._embed, self._whole, songs = embed, whole, ray.get(reference["songs"])
        self._table, self._plan = songs.table, songs.plan
        use_own(songs.exported.spec.model)  # as it is in the process that sent it
        model = songs.exported.model.to("cuda" if use_gpu else "cpu").eval()
        self._exported = songs.exported._replace(model=model)
        if not use_gpu:
            torch.set_num_threads(1)  # because there are as many actors as cores

    def __call__(self, groups: pa.Table) -> pa.Table:
        rows = [self._row(song) for group in groups["id"].to_pylist() for song in self._plan.songs(group)]
        return pa.Table.from_pylist(rows, schema=_SCHEMA)

    def _row(self, song: int) -> dict[str, Any]:
        key = self._table.keys[song].as_py()
        try:
            pcm_T = read_crops(self._table, np.array([song]), np.array([0]), int(self._table.len_N[song]))[0]
        except DamagedShardError as error:
            return {"song": key, "error": str(error)}
        tags = tag_clip(self._exported, Clip(key, pcm_T), self._embed, self._whole)
        return {
            "song": key,
            "seconds": tags.seconds,
            "windows": tags.windows,
            "padded": tags.padded,
            "score": tags.score_K,
            "whole": tags.whole_K,
            "embedding": tags.embedding_D,
        }


_SCHEMA = pa.schema(
    [
        ("song", pa.string()),
        ("error", pa.string()),
        ("seconds", pa.float64()),
        ("windows", pa.int64()),
        ("padded", pa.bool_()),
        ("score", pa.list_(pa.float64())),
        ("whole", pa.list_(pa.float64())),
        ("embedding", pa.list_(pa.float32())),
    ]
)


def tag_corpus(
    exported: Exported, manifest: Manifest, use_gpu: bool = False, embed: bool = False, whole: bool = False
) -> Iterator[SongTags | Untagged]:
    """Yield the tags of every song of a corpus, in the manifest's order. Needs a connected Ray.

    A song whose shard is damaged is Untagged. There is one actor for each CPU of the cluster, or for each GPU.
    """
    table = SongTable.of(manifest, np.arange(len(manifest)))
    plan = ScorePlan(table.len_N, exported.spec.crop_len, exported.spec.scoring)
    # in a dict, because Ray would replace a bare reference by its object
    reference = {"songs": ray.put(_Songs(exported._replace(model=exported.model.cpu()), table, plan))}
    actors = max(1, int(ray.cluster_resources().get("GPU" if use_gpu else "CPU", 1)))
    dataset = ray.data.range(plan.num_groups, override_num_blocks=min(plan.num_groups, BLOCKS)).map_batches(
        _TagGroups,
        fn_constructor_args=(reference, use_gpu, embed, whole),
        batch_size=None,
        batch_format="pyarrow",
        num_gpus=1 if use_gpu else None,
        num_cpus=None if use_gpu else 1,
        # all at once: an actor that starts later imports PyTorch beside those that work
        compute=ActorPoolStrategy(size=min(actors, plan.num_groups)),
    )
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that its own progress is off
    stage_begins("tag_corpus", len(manifest))
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in cast(pa.Table, block).to_pylist():
            failed = row["error"] is not None
            songs_done("tag_corpus", 1 - failed, int(failed))
            yield _tags_of(row)


def _tags_of(row: dict[str, Any]) -> SongTags | Untagged:
    if row["error"] is not None:
        return Untagged(row["song"], row["error"])
    whole_K = None if row["whole"] is None else np.array(row["whole"])
    embedding_D = None if row["embedding"] is None else np.array(row["embedding"], np.float32)
    score_K = np.array(row["score"])
    return SongTags(row["song"], row["seconds"], row["windows"], row["padded"], score_K, whole_K, embedding_D)
