"""Reports become series: nothing is lost, nothing counts twice, runs that ended leave, and series are bounded."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from genrescale.telemetry.collector import LINGER_S, MAX_SERIES, Collector
from genrescale.telemetry.exposition import Exposition
from genrescale.telemetry.metric_table import (
    ACTIVITIES,
    METRICS,
    READ_STAGES,
    STEP_PARTS,
    TRIAL_STATUSES,
    WAIT_CAUSES,
    run_labels,
)
from genrescale.telemetry.recorder import Recorder, Silent, recorder, recording

CLIPS, STEP = "genrescale_clips_total", "genrescale_step"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def series(collector: Collector) -> dict[tuple[str, ...], float]:
    """Values by metric and, in the table's order, labels without the study."""
    return {
        (sample.name, *(sample.labels[label] for label in METRICS[sample.name].labels)): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def labels(trial: str = "0123456789ab") -> dict[str, str]:
    return {**run_labels(trial, "waveform", 40), "rank": "0"}


OURS = ("01234567", "waveform", "40")


def test_reports_that_are_lost_late_or_sent_again_change_no_total():
    own, collector = Recorder("a", labels()), Collector("s")
    reports = []
    for _ in range(4):
        own.add(CLIPS, 10)
        reports.append(own.report())
    collector.merge(reports[0])
    collector.merge(reports[3])  # two were lost
    collector.merge(reports[1])  # one came late
    collector.merge(reports[3])  # one came again
    assert series(collector)[(CLIPS, *OURS)] == 40


def test_a_worker_that_dies_and_comes_back_adds_to_what_it_had_done():
    collector = Collector("s")
    for source, clips in (("attempt 1", 30), ("attempt 2", 12)):
        own = Recorder(source, labels())
        own.add(CLIPS, clips)
        collector.merge(own.report())
    first = Recorder("attempt 1", labels())
    first.add(CLIPS, 30)
    collector.merge(first.report())  # the last report of the dead one arrives after all, once more
    assert series(collector)[(CLIPS, *OURS)] == 42
    assert series(collector)[("genrescale_study_clips_total", "waveform", "40")] == 42


def test_a_collector_that_has_to_begin_anew_counts_only_what_is_new_of_sources_that_the_dead_one_knew():
    known, new = Recorder("known", labels()), Recorder("new", labels("89abcdef0123"))
    known.add(CLIPS, 100)
    known.report()
    collector = Collector("s", began_anew=True)
    collector.merge(known.report())
    new.add(CLIPS, 5)
    collector.merge(new.report())
    known.add(CLIPS, 7)
    collector.merge(known.report())
    assert series(collector)[("genrescale_study_clips_total", "waveform", "40")] == 12


def test_gauges_are_those_of_the_last_report_and_a_missing_value_goes():
    own, collector = Recorder("a", labels()), Collector("s")
    own.set(STEP, 3)
    own.set("genrescale_train_loss", 0.5)
    collector.merge(own.report())
    own.set(STEP, 4)
    own.set("genrescale_train_loss", float("nan"))
    collector.merge(own.report())
    assert series(collector)[(STEP, *OURS)] == 4
    assert ("genrescale_train_loss", *OURS) not in series(collector)


def test_a_run_that_ended_leaves_after_some_scrapes_and_its_sums_stay():
    clock = Clock()
    collector = Collector("s", clock=clock)
    worker, driver = Recorder("w", labels()), Recorder("driver")
    worker.add(CLIPS, 8)
    collector.merge(worker.report())
    driver.end("01234567")
    collector.merge(driver.report())
    clock.now_s = LINGER_S - 1
    assert (CLIPS, *OURS) in series(collector)
    clock.now_s = LINGER_S
    assert (CLIPS, *OURS) not in series(collector)
    late = worker.report()
    collector.merge(late)
    assert (CLIPS, *OURS) not in series(collector)
    assert series(collector)[("genrescale_study_clips_total", "waveform", "40")] == 8


def test_a_run_that_is_started_again_after_its_end_stays():
    clock = Clock()
    collector, driver = Collector("s", clock=clock), Recorder("driver")
    driver.end("01234567")
    collector.merge(driver.report())
    driver.begin("01234567")
    collector.merge(driver.report())
    worker = Recorder("w", labels())
    worker.add(CLIPS, 8)
    collector.merge(worker.report())
    clock.now_s = 10 * LINGER_S
    assert series(collector)[(CLIPS, *OURS)] == 8


POSSIBLE: Mapping[str, tuple[str, ...]] = {
    "activity": ACTIVITIES,
    "part": STEP_PARTS,
    "cause": WAIT_CAUSES,
    "stage": READ_STAGES,
    "metric": ("loss", "roc_auc", "pr_auc", "rmse"),  # accuracy and RMSE are of other vocabularies
    "status": TRIAL_STATUSES,
    "device": ("gpu",),
    "seed": ("0",),
    "lr": ("0.01",),
    "axis": ("grid",),
}


def full_worker(trial: str) -> Recorder:
    """All that a run of one worker can say."""
    own = Recorder(trial, labels(trial))
    for metric in METRICS.values():
        if "trial" not in metric.labels:
            continue
        combinations = [{}]
        for label in metric.own_labels:
            combinations = [{**given, label: value} for given in combinations for value in POSSIBLE[label]]
        for given in combinations:
            (own.add if metric.kind == "counter" else own.set)(metric.name, 1, **given)
    return own


@pytest.mark.parametrize("at_a_time", [8, 1000])
def test_a_sweep_of_a_thousand_trials_stays_below_fifty_thousand_series(at_a_time: int):
    clock = Clock()
    collector, driver = Collector("s", clock=clock), Recorder("driver")
    trials = [f"{i:08x}" for i in range(1000)]
    most = 0
    for number, trial in enumerate(trials):
        collector.merge(full_worker(trial).report())
        if number >= at_a_time:
            driver.end(trials[number - at_a_time])
            collector.merge(driver.report())
        clock.now_s += 30
        most = max(most, len(series(collector)) if number % 100 == 99 else 0)
    shown = series(collector)
    assert most < MAX_SERIES == 50_000
    assert shown[("genrescale_telemetry_refused_series_total",)] == 0
    assert shown[("genrescale_study_clips_total", "waveform", "40")] == 1000
    assert at_a_time == 1000 or most < 1500


def test_series_above_the_limit_are_counted_and_not_shown_but_in_the_sums():
    collector = Collector("s", max_series=1_010)  # 1,000 of them for what is of no single run
    for trial in range(30):
        own = Recorder(str(trial), labels(f"{trial:08x}"))
        own.add(CLIPS, 1)
        collector.merge(own.report())
    shown = series(collector)
    assert sum(key[0] == CLIPS for key in shown) < 30
    assert shown[("genrescale_telemetry_refused_series_total",)] > 0
    assert shown[("genrescale_study_clips_total", "waveform", "40")] == 30


@pytest.mark.parametrize(
    ("name", "given"),
    [("genrescale_clips_total", {"colour": "red"}), ("genrescale_step", {}), ("genrescale_read_seconds_total", {})],
)
def test_what_is_not_in_the_table_is_refused(name: str, given: dict[str, str]):
    with pytest.raises(ValueError, match=name):
        Recorder("a", labels()).add(name, 1, **given)
    with pytest.raises(KeyError):
        Recorder("a").add("genrescale_songs_per_fortnight")


def test_a_process_is_silent_unless_it_records():
    assert not recorder()
    recorder().add("nothing of this", colour="red")
    own = Recorder("a")
    with recording(own):
        assert recorder() is own
    assert isinstance(recorder(), Silent)


def test_what_is_served_is_read_by_prometheus_own_parser_and_holds_names_from_outside_as_text():
    from urllib.request import urlopen

    own = Recorder("a")
    own.set("genrescale_quarantined_songs", 2, reason='a "quoted" \\ reason\nof two lines')
    collector = Collector('st"udy')
    collector.merge(own.report())
    served = Exposition(collector, "127.0.0.1", 0)
    try:
        with urlopen(f"http://127.0.0.1:{served.port}/metrics") as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    finally:
        served.close()
    (sample,) = [s for f in families for s in f.samples if s.name == "genrescale_quarantined_songs"]
    assert sample.labels == {"study": 'st"udy', "reason": 'a "quoted" \\ reason\nof two lines'}
    assert {family.name for family in families} >= {"genrescale_telemetry_series"}
    assert not [family.name for family in families if not family.name.startswith("genrescale_")]
