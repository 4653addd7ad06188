"""The dashboard of one run: learning, speed, memory and checkpoints."""

from __future__ import annotations

from dashboards._panels import Board, PanelSpec, Query, one

_STEPS = "on (trial) group_left () sum by (trial) (rate(%steps_total[$__rate_interval]))"
_RUN_TIME = "ignoring (activity) group_left () sum by (trial) (rate(%run_seconds_total[$__rate_interval]))"

RUN = Board(
    "run",
    "genrescale: run",
    "One run, or those that are chosen: what it learns, how fast, and what that takes.",
    {
        "Learning": (
            PanelSpec(
                "Losses", "Mean of the clips since the last validation, and of the last validation.", "none",
                (
                    Query("max by (trial) (%train_loss)", "train {{trial}}"),
                    Query('max by (trial) (%validation_score{metric="loss"})', "validation {{trial}}"),
                ),
            ),
            one("Validation scores", "Of the last validation.", "none",
                'max by (trial, metric) (%validation_score{metric!="loss"})', "{{metric}} {{trial}}"),
            one("Learning rate", "Of the last step.", "none", "max by (trial) (%learning_rate)", "{{trial}}"),
            one("Share of steps done", "Of all steps; a run that stops early has fewer.", "percentunit",
                "max by (trial) (%step) / max by (trial) (%planned_steps)", "{{trial}}"),
            one("Epochs", "Epochs that are done.", "none", "max by (trial) (%epochs)", "{{trial}}"),
            one("Time left", "Until the last step, at the pace of this attempt.", "s",
                "max by (trial) (%left_seconds)", "{{trial}}"),
        ),
        "Speed": (
            one("Clips per second", "Over all ranks.", "cps",
                "sum by (trial) (rate(%clips_total[$__rate_interval]))", "{{trial}}"),
            one("Time of a step by part", "Mean over ranks, as the device saw it.", "s",
                f"avg by (trial, part) (rate(%step_seconds_total[$__rate_interval])) / {_STEPS}",
                "{{part}} {{trial}}", "stack"),
            one("Waiting for data in a step by cause", "Mean over ranks, training and validation.", "s",
                f"avg by (trial, cause) (rate(%data_wait_seconds_total[$__rate_interval])) / {_STEPS}",
                "{{cause}} {{trial}}", "stack"),
            one("Operations per second", "Of convolutions and matrix products, over all ranks.", "flops",
                "sum by (trial) (rate(%model_flops_total[$__rate_interval]))", "{{trial}}"),
            one("Share of the device's rate", "Of the rate of a large matrix product on the same device.",
                "percentunit",
                "sum by (trial) (rate(%model_flops_total[$__rate_interval])) / "
                "max by (trial) (%device_flops_per_second)", "{{trial}}"),
            one("Time by activity", "All of the run's time, by rank 0.", "percentunit",
                f"sum by (trial, activity) (rate(%run_seconds_total[$__rate_interval])) / {_RUN_TIME}",
                "{{activity}} {{trial}}", "stack"),
        ),
        "Reading": (
            PanelSpec(
                "Audio per second", "What ranks took, and what was read and verified for it.", "Bps",
                (
                    Query("sum by (trial) (rate(%delivered_bytes_total[$__rate_interval]))", "delivered {{trial}}"),
                    Query("sum by (trial) (rate(%fetched_bytes_total[$__rate_interval]))", "fetched {{trial}}"),
                ),
                width=6,
            ),
            one("Time of reading by stage", "Read tasks that are busy with it, on average.", "none",
                "sum by (trial, stage) (rate(%read_seconds_total[$__rate_interval]))", "{{stage}} {{trial}}", "stack",
                6),
            one("Reads repeated per second", "Reads of the store that failed and were tried again.", "cps",
                "sum by (trial) (rate(%storage_retries_total[$__rate_interval]))", "{{trial}}", width=6),
            one("Devices that are held", "GPUs, or workers without one.", "none",
                "sum by (trial, device) (rate(%device_seconds_total[$__rate_interval]))", "{{device}} {{trial}}",
                width=6),
        ),
        "Health": (
            one("Time since something was done", "A step or a batch of a validation. It grows where a run hangs.", "s",
                "time() - max by (trial) (%progress_timestamp_seconds)", "{{trial}}"),
            one("Losses that were no number", "How many were seen.", "short",
                "sum by (trial) (increase(%nonfinite_losses_total[$__rate_interval]))", "{{trial}}"),
            one("Restarts", "Attempts after the first one.", "short",
                "sum by (trial) (%restarts_total)", "{{trial}}", "stat"),
            one("Age of the last checkpoint", "What a restart would have to repeat.", "s",
                "time() - max by (trial) (%checkpoint_timestamp_seconds)", "{{trial}}"),
            one("Checkpoints", "Bytes that rank 0 wrote for them, a second.", "Bps",
                "sum by (trial) (rate(%checkpoint_bytes_total[$__rate_interval]))", "{{trial}}"),
            one("Checkpoints written", "So far.", "short", "sum by (trial) (%checkpoints_total)", "{{trial}}", "stat"),
            one("Memory of workers", "Resident memory by rank.", "bytes",
                "max by (trial, rank) (%host_memory_bytes)", "{{trial}} rank {{rank}}"),
            one("Memory of GPUs", "The most that tensors took, by rank; 0 without a GPU.", "bytes",
                "max by (trial, rank) (%device_memory_bytes)", "{{trial}} rank {{rank}}"),
            one("Groups ahead", "Groups that are read and wait for the loop, by rank.", "none",
                "max by (trial, rank) (%queued_groups)", "{{trial}} rank {{rank}}"),
        ),
    },
)  # fmt: skip
