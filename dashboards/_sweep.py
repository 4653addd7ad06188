"""The dashboard of a sweep: how far it is, how its families do, and where its time goes."""

from __future__ import annotations

from dashboards._panels import Board, PanelSpec, Query, one

# runs of the grid only: those of an axis of learning rates or layers are no seeds of one another
_GRID = '* on (study, trial) group_left () max by (study, trial) (%trial_info{axis=~"(.*/)?grid(/.*)?"})'
_ACTIVITIES = "sum by (activity) (rate(%study_run_seconds_total[$__rate_interval]))"


def _band(title: str, expr: str) -> PanelSpec:
    """The seeds of a family at the size that is chosen, as mean, band and traces."""
    queries = (
        Query(f"avg({expr} {_GRID})", "mean"),
        Query(f"min({expr} {_GRID})", "least"),
        Query(f"max({expr} {_GRID})", "most"),
        Query(f"max by (trial) ({expr})", "run {{trial}}"),
    )
    description = "Mean of the seeds that train at the moment, least and most of them, and each run behind it."
    return PanelSpec(title, description, "none", queries, "band", 12)


SWEEP = Board(
    "sweep",
    "genrescale: sweep",
    "How far a sweep is, how its families and sizes do, and where its time goes.",
    {
        "Progress": (
            one("Runs by status", "Runs of the study. Reused ones had finished before the job began.", "short",
                "sum by (status) (%study_trials)", "{{status}}", "stat"),
            one("Best test score so far", "Of finished runs, by family and size. A lower RMSE is better.", "none",
                'max by (family, size, metric) (%study_best_score{metric=~"$metric"})',
                "{{family}} {{size}} {{metric}}", "stat"),
            one("Device hours so far", "Time that runs held their GPUs, or their workers without one.", "h",
                "sum by (family) (%study_device_seconds_total) / 3600", "{{family}}", "stat"),
            one("Time left by run", "Until a run's last step, at the pace of its attempt; runs that wait come after.",
                "s", "max by (family, size, trial) (%left_seconds)", "{{family}} {{size}} {{trial}}"),
            one("Clips per second", "Clips trained on, by family and size.", "cps",
                "sum by (family, size) (rate(%clips_total[$__rate_interval]))", "{{family}} {{size}}"),
            one("Restarts so far", "Attempts of runs beyond their first.", "short",
                "sum(%study_restarts_total)",
                "restarts", "stat"),
        ),
        "Scores": (
            _band("Validation scores of $family", '%validation_score{size=~"$size", metric=~"$metric"}'),
            _band("Train loss of $family", '%train_loss{size=~"$size"}'),
        ),
        "Where the time goes": (
            one("Goodput", "The share of the runs' time that training steps took which no restart repeats.",
                "percentunit",
                'sum(rate(%study_run_seconds_total{activity="train"}[$__rate_interval])) / '
                "sum(rate(%study_run_seconds_total[$__rate_interval]))", "goodput"),
            one("Time by activity", "All of the runs' time: goodput is `train`, the rest are its losses by cause.",
                "percentunit",
                f"{_ACTIVITIES} / ignoring (activity) group_left () "
                "sum(rate(%study_run_seconds_total[$__rate_interval]))", "{{activity}}", "stack"),
            one("Waiting for data by cause", "The share of ranks' time that they waited, by what they waited for.",
                "percentunit",
                "sum by (cause) (rate(%study_data_wait_seconds_total[$__rate_interval])) / ignoring (cause) "
                "group_left () sum(rate(%study_device_seconds_total[$__rate_interval]))", "{{cause}}", "stack"),
        ),
    },
    bands=True,
)  # fmt: skip
