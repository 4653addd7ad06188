"""The dashboard of the cluster: nodes, what is taken of them, disks, money, and the telemetry itself."""

from __future__ import annotations

from dashboards._panels import Board, PanelSpec, Query, one

_COST = (
    "sum by (study) (%study_device_seconds_total) / 3600 * on (study) group_left () "
    "max by (study) (%price_per_device_hour)"
)

CLUSTER = Board(
    "cluster",
    "genrescale: cluster health and cost",
    "Nodes and what is taken of them, disks and memory as Ray measures them, and what the job costs.",
    {
        "Nodes": (
            PanelSpec(
                "Nodes", "Alive, and how many there should be.", "short",
                (Query("min(%cluster_nodes)", "alive"), Query("max(%cluster_expected_nodes)", "expected")),
            ),
            one("Logical CPUs", "Of the cluster: all, and those taken.", "short",
                "max by (state) (%cluster_cpus)", "{{state}}"),
            one("GPUs", "Of the cluster: all, and those taken.", "short",
                "max by (state) (%cluster_gpus)", "{{state}}"),
            one("CPU use by node", "As Ray measures it.", "percent",
                "avg by (instance) (%ray_node_cpu_utilization)", "{{instance}}"),
            one("Memory by node", "The share that is used, as Ray measures it.", "percentunit",
                "max by (instance) (%ray_node_mem_used) / max by (instance) (%ray_node_mem_total)", "{{instance}}"),
            one("Object store by node", "Bytes in Ray's object store.", "bytes",
                "sum by (instance) (%ray_object_store_memory)", "{{instance}}"),
        ),
        "Disks": (
            one("Disk use by node", "As Ray measures it.", "percent",
                "max by (instance) (%ray_node_disk_utilization_percentage)", "{{instance}}"),
            PanelSpec(
                "Disk of the job's folder", "Free and in all; 0 of 0 for a bucket.", "bytes",
                (
                    Query("min by (study) (%disk_free_bytes)", "free {{study}}"),
                    Query("max by (study) (%disk_size_bytes)", "in all {{study}}"),
                ),
            ),
        ),
        "Cost": (
            one("Cost so far", "Device hours times telemetry.price_per_hour, in its currency; 0 without a price.",
                "none", _COST, "{{study}}"),
            one("Cost per hour", "At the moment.", "none",
                "sum by (study) (rate(%study_device_seconds_total[$__rate_interval])) * on (study) group_left () "
                "max by (study) (%price_per_device_hour)", "{{study}}"),
            one("Budget", "telemetry.budget; 0 where none is set.", "none",
                "max by (study) (%study_budget)", "{{study}}", "stat"),
            one("Device hours by family and size", "So far.", "h",
                "sum by (family, size) (%study_device_seconds_total) / 3600", "{{family}} {{size}}", "stat"),
            one("Running for", "Time since the job began.", "s",
                "time() - min by (study) (%study_started_timestamp_seconds)", "{{study}}", "stat"),
        ),
        "Telemetry": (
            one("Targets", "1 for each that answers: the job's own, and one of Ray's for each node.", "none",
                "max by (job, instance) (%up)", "{{job}} {{instance}}"),
            PanelSpec(
                "Series", "That the collector holds, and those above its limit, which it does not show.", "short",
                (
                    Query("max by (study) (%telemetry_series)", "held {{study}}"),
                    Query("sum by (study) (increase(%telemetry_refused_series_total[$__rate_interval]))",
                          "refused {{study}}"),
                ),
            ),
            PanelSpec(
                "Reports", "Processes that report, and reports a second.", "none",
                (
                    Query("max by (study) (%telemetry_sources)", "processes {{study}}"),
                    Query("sum by (study) (rate(%telemetry_reports_total[$__rate_interval]))",
                          "reports a second {{study}}"),
                ),
            ),
        ),
    },
)  # fmt: skip
