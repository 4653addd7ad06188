"""Every metric that genrescale exposes: its name, kind, unit, labels, what it means and which module writes it.

Names follow Prometheus: base units, ``_total`` for counters. Every series also has the label ``study``, the name of the
job's folder, which the collector adds. A recorder refuses what is not in the table, and the dashboards are generated
from it, so that names cannot drift.

Series of a run have the labels RUN and leave the exposition soon after the run has ended. Of a counter that is marked
``kept`` the collector also adds up ``genrescale_study_...`` by family and size, which stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

PREFIX = "genrescale_"
STUDY = "study"
RUN: tuple[str, ...] = (
    "trial",
    "family",
    "size",
)  # the first 8 characters of the run id, the model, the number of songs
RANKED: tuple[str, ...] = (*RUN, "rank")
OF_STUDY: tuple[str, ...] = ("family", "size")
TRIAL_LEN = 8

STEP_PARTS: tuple[str, ...] = ("data_wait", "copy", "forward", "backward", "collectives", "optimizer")
WAIT_CAUSES: tuple[str, ...] = ("storage", "verify", "copy", "object_store")
READ_STAGES: tuple[str, ...] = ("fetch", "verify", "copy")
ACTIVITIES: tuple[str, ...] = ("start", "train", "data_wait", "validate", "checkpoint", "rework", "score")
TRIAL_STATUSES: tuple[str, ...] = ("waiting", "running", "finished", "stopped", "failed", "reused")

_LOOP = "genrescale/training/observe.py"
_SWEEP = "genrescale/launch/sweep_metrics.py"
_SITE = "genrescale/launch/site_metrics.py"
_SHARDING = "genrescale/data/sharding/job.py"
_VERIFYING = "genrescale/data/upkeep/verify_corpus.py"
_STAGES = "genrescale/telemetry/stages.py"
_COLLECTOR = "genrescale/telemetry/collector.py"


def run_labels(run_id: str, family: str, size: int) -> dict[str, str]:
    """The labels of a run's series: enough of its id to find it by, its model, and its number of songs."""
    return {"trial": run_id[:TRIAL_LEN], "family": family, "size": str(size)}


Kind = Literal["counter", "gauge"]
Unit = Literal["", "seconds", "bytes", "ratio", "timestamp", "flops", "flops_per_second", "currency"]


@dataclass(frozen=True)
class Metric:
    """One metric. ``unit`` "" means that it counts things, which its name says."""

    name: str
    kind: Kind
    unit: Unit
    labels: tuple[str, ...]
    help: str
    writer: str
    kept: bool = False

    @property
    def study_name(self) -> str:
        """The name of what the collector adds up over the runs of a study."""
        return self.name.replace(PREFIX, f"{PREFIX}study_", 1)

    @property
    def own_labels(self) -> tuple[str, ...]:
        """The labels besides those that say which run and rank it is."""
        return tuple(label for label in self.labels if label not in RANKED)

    def of_study(self) -> Metric:
        """The sum over the runs of a study, by family and size."""
        text = f"Over all runs of the study, also those that have ended: {self.help[0].lower()}{self.help[1:]}"
        return replace(
            self, name=self.study_name, labels=(*OF_STUDY, *self.own_labels), help=text, writer=_COLLECTOR, kept=False
        )


def _counter(name: str, labels: tuple[str, ...], help: str, writer: str, unit: Unit = "", kept: bool = False) -> Metric:
    return Metric(PREFIX + name, "counter", unit, labels, help, writer, kept)


def _gauge(name: str, labels: tuple[str, ...], help: str, writer: str, unit: Unit = "") -> Metric:
    return Metric(PREFIX + name, "gauge", unit, labels, help, writer)


_RUN_METRICS = (
    _counter("steps_total", RUN, "Optimiser steps done, those that a restart repeats too.", _LOOP, kept=True),
    _counter("clips_total", RUN, "Clips trained on, over all ranks.", _LOOP, kept=True),
    _counter("restarts_total", RUN, "Attempts of the run after its first.", _LOOP, kept=True),
    _counter(
        "run_seconds_total", (*RUN, "activity"), "Where the run's time goes, by rank 0. The parts add up to all of it.",
        _LOOP, "seconds", kept=True,
    ),
    _counter(
        "device_seconds_total", (*RUN, "device"), "Time that the run held its GPUs, or its workers without one.",
        _LOOP, "seconds", kept=True,
    ),
    _counter(
        "step_seconds_total", (*RANKED, "part"), "Time of training steps by part, as the device saw it.", _LOOP,
        "seconds",
    ),
    _counter(
        "data_wait_seconds_total", (*RANKED, "cause"), "Time that a rank waited for data, by what it waited for.",
        _LOOP, "seconds", kept=True,
    ),
    _counter(
        "read_seconds_total", (*RANKED, "stage"), "Time that read tasks took for the groups that arrived, by stage.",
        _LOOP, "seconds", kept=True,
    ),
    _counter("delivered_bytes_total", RANKED, "Audio of clips that a rank took.", _LOOP, "bytes", kept=True),
    _counter("fetched_bytes_total", RANKED, "Audio that was read and verified for them.", _LOOP, "bytes", kept=True),
    _counter("storage_retries_total", RANKED, "Reads of the store that failed and were repeated.", _LOOP, kept=True),
    _counter("model_flops_total", RUN, "Operations of convolutions and matrix products, all ranks.", _LOOP, "flops"),
    _gauge(
        "device_flops_per_second", RUN, "The rate of a large matrix product on this device, times the ranks.", _LOOP,
        "flops_per_second",
    ),
    _gauge("step", RUN, "Steps of the run that are done.", _LOOP),
    _gauge("planned_steps", RUN, "Steps that the run will have unless it stops early.", _LOOP),
    _gauge("epochs", RUN, "Epochs of the run that are done.", _LOOP),
    _gauge("left_seconds", RUN, "Time until the last step, at the pace of this attempt.", _LOOP, "seconds"),
    _gauge("train_loss", RUN, "Mean loss of the clips since the last validation.", _LOOP),
    _gauge("learning_rate", RUN, "Learning rate of the last step.", _LOOP),
    _gauge("validation_score", (*RUN, "metric"), "What the last validation found, by metric.", _LOOP),
    _counter("nonfinite_losses_total", RUN, "Losses that were no number.", _LOOP, kept=True),
    _gauge("progress_timestamp_seconds", RUN, "When a step or a validation batch was last done.", _LOOP, "timestamp"),
    _counter("checkpoints_total", RUN, "Checkpoints written.", _LOOP, kept=True),
    _counter("checkpoint_bytes_total", RUN, "Size of rank 0's part of them.", _LOOP, "bytes", kept=True),
    _gauge(
        "checkpoint_timestamp_seconds", RUN, "When the last checkpoint was written, or the attempt began.", _LOOP,
        "timestamp",
    ),
    _gauge("queued_groups", RANKED, "Groups that are read and wait for the loop, on average.", _LOOP),
    _gauge("host_memory_bytes", RANKED, "Resident memory of the worker.", _LOOP, "bytes"),
    _gauge("device_memory_bytes", RANKED, "The most that tensors took of a GPU; 0 without one.", _LOOP, "bytes"),
)  # fmt: skip

_SWEEP_METRICS = (
    _gauge("trial_info", (*RUN, "seed", "lr", "axis"), "1 for each run that trains: what it is.", _SWEEP),
    _gauge("study_trials", ("status",), "Runs of the sweep, or trials of its search, by status.", _SWEEP),
    _gauge(
        "study_best_score", (*OF_STUDY, "metric"), "Best test score of finished runs of the grid, by metric.",
        _SWEEP,
    ),
)  # fmt: skip

_SITE_METRICS = (
    _gauge("study_started_timestamp_seconds", (), "When the job began.", _SITE, "timestamp"),
    _gauge("price_per_device_hour", (), "What a device costs in an hour; 0 if nobody said.", _SITE, "currency"),
    _gauge("study_budget", (), "What the job may cost; 0 if nobody said.", _SITE, "currency"),
    _gauge("cluster_nodes", (), "Nodes of the cluster that are alive.", _SITE),
    _gauge("cluster_expected_nodes", (), "Nodes that the cluster should have.", _SITE),
    _gauge("cluster_cpus", ("state",), "Logical CPUs of the cluster, all of them and those taken.", _SITE),
    _gauge("cluster_gpus", ("state",), "GPUs of the cluster, all of them and those taken.", _SITE),
    _gauge("disk_free_bytes", (), "Room on the disk of the job's folder; 0 of 0 for a bucket.", _SITE, "bytes"),
    _gauge("disk_size_bytes", (), "Size of the disk of the job's folder; 0 for a bucket.", _SITE, "bytes"),
)  # fmt: skip

_STAGE_METRICS = (
    _counter("stage_songs_total", ("stage",), "Songs that a stage has finished.", _STAGES),
    _counter("stage_shards_total", ("stage",), "Shards that a stage has finished.", _STAGES),
    _counter("stage_bytes_total", ("stage",), "Bytes of shards that a stage has read.", _STAGES, "bytes"),
    _counter("stage_failed_songs_total", ("stage",), "Songs that a stage could not do.", _STAGES),
    _gauge("stage_planned_items", ("stage",), "Songs, or shards, that a stage has to do in all.", _STAGES),
    _gauge("quarantined_songs", ("reason",), "Songs in quarantine by reason; rare reasons are one.", _SHARDING),
    _gauge("quarantine_limit_songs", (), "Songs that may be in quarantine before the job stops.", _SHARDING),
    _counter("verify_problems_total", ("remedy",), "Problems of a corpus by what mends them.", _VERIFYING),
)

_OWN_METRICS = (
    _gauge("telemetry_series", (), "Series that the collector holds.", _COLLECTOR),
    _gauge("telemetry_sources", (), "Processes that report to the collector.", _COLLECTOR),
    _counter("telemetry_reports_total", (), "Reports that arrived.", _COLLECTOR),
    _counter("telemetry_refused_series_total", (), "Series above the limit, which are not shown.", _COLLECTOR),
)

_WRITTEN = (*_RUN_METRICS, *_SWEEP_METRICS, *_SITE_METRICS, *_STAGE_METRICS, *_OWN_METRICS)
METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*_WRITTEN, *(metric.of_study() for metric in _WRITTEN if metric.kept))
}
"""By name, the sums of a study included."""
