"""Counters of the stages that make and check a corpus or tag it: what each has to do, has done and could not do.

A stage is called by the name of its job.
"""

from __future__ import annotations

from genrescale.telemetry.recorder import recorder


def stage_begins(stage: str, planned: int) -> None:
    """Note how many songs, or shards, a stage has to do; its counters exist from here on."""
    said = recorder()
    said.set("genrescale_stage_planned_items", planned, stage=stage)
    songs_done(stage, 0)
    shards_done(stage, 0)


def songs_done(stage: str, songs: int, failed: int = 0) -> None:
    """Count songs that are finished, and those that could not be done."""
    said = recorder()
    said.add("genrescale_stage_songs_total", songs, stage=stage)
    said.add("genrescale_stage_failed_songs_total", failed, stage=stage)


def shards_done(stage: str, shards: int, num_bytes: int = 0) -> None:
    """Count shards that are finished, and what was read of them."""
    said = recorder()
    said.add("genrescale_stage_shards_total", shards, stage=stage)
    said.add("genrescale_stage_bytes_total", num_bytes, stage=stage)
