"""The dashboard of the data: crops from the store to training, and the stages that make, check and tag a corpus."""

from __future__ import annotations

from dashboards._panels import Board, PanelSpec, Query, one

DATA = Board(
    "data",
    "genrescale: data and storage",
    "Crops on their way from the store to training, and the stages that make, check and tag a corpus.",
    {
        "Reading": (
            PanelSpec(
                "Audio per second", "What ranks took, and what was read and verified for it.", "Bps",
                (
                    Query("sum(rate(%study_delivered_bytes_total[$__rate_interval]))", "delivered"),
                    Query("sum(rate(%study_fetched_bytes_total[$__rate_interval]))", "fetched"),
                ),
            ),
            one("Reads repeated per second", "Reads of the store that failed and were tried again.", "cps",
                "sum(rate(%study_storage_retries_total[$__rate_interval]))", "retries"),
            one("Time of reading by stage", "Read tasks that are busy with it, on average.", "none",
                "sum by (stage) (rate(%study_read_seconds_total[$__rate_interval]))", "{{stage}}", "stack"),
            one("Waiting by cause", "Ranks that wait for it, on average.", "none",
                "sum by (cause) (rate(%study_data_wait_seconds_total[$__rate_interval]))", "{{cause}}", "stack"),
            one("Waiting by run", "The share of its time that a rank waits for data.", "percentunit",
                "sum by (trial, rank) (rate(%data_wait_seconds_total[$__rate_interval]))", "{{trial}} rank {{rank}}"),
            one("Groups ahead", "Groups that are read and wait for the loop. Near 0, reading is what limits.", "none",
                "max by (trial, rank) (%queued_groups)", "{{trial}} rank {{rank}}"),
        ),
        "So far": (
            one("Clips trained on", "Those that a restart repeats count twice.", "short",
                "sum(%study_clips_total)", "clips", "stat", 6),
            one("Audio delivered", "To ranks, for training and validation.", "bytes",
                "sum(%study_delivered_bytes_total)", "delivered", "stat", 6),
            one("Audio fetched", "Read from the store and verified.", "bytes",
                "sum(%study_fetched_bytes_total)", "fetched", "stat", 6),
            one("Reads repeated", "Reads of the store that failed and were tried again.", "short",
                "sum(%study_storage_retries_total)", "retries", "stat", 6),
        ),
        "Stages of a corpus": (
            one("Songs per second", "By the stage that finishes them.", "cps",
                "sum by (stage) (rate(%stage_songs_total[$__rate_interval]))", "{{stage}}"),
            one("Shards per minute", "By the stage that writes or checks them.", "cpm",
                "60 * sum by (stage) (rate(%stage_shards_total[$__rate_interval]))", "{{stage}}"),
            one("Bytes of shards per second", "That are read to check them.", "Bps",
                "sum by (stage) (rate(%stage_bytes_total[$__rate_interval]))", "{{stage}}"),
            PanelSpec(
                "Items done and planned", "Songs, or shards where a stage works through shards.", "short",
                (
                    Query("sum by (stage) (%stage_songs_total)", "songs {{stage}}"),
                    Query("sum by (stage) (%stage_shards_total)", "shards {{stage}}"),
                    Query("sum by (stage) (%stage_planned_items)", "planned {{stage}}"),
                ),
            ),
            one("Songs that failed", "In this job, by stage.", "short",
                "sum by (stage) (%stage_failed_songs_total)", "{{stage}}", "stat"),
            one("Problems of a corpus", "That verifying found, by what mends them.", "short",
                "sum by (remedy) (%verify_problems_total)", "{{remedy}}", "stat"),
            PanelSpec(
                "Quarantine", "Songs by reason, and how many there may be before the job stops.", "short",
                (
                    Query("sum by (reason) (%quarantined_songs)", "{{reason}}"),
                    Query("max(%quarantine_limit_songs)", "limit"),
                ),
                width=24,
            ),
        ),
    },
)  # fmt: skip
