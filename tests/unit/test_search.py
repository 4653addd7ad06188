"""A search varies what it is told, compares like with like, stops by its rungs, and continues from its ledger."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import list2cmdline
from types import SimpleNamespace

import pytest
from helpers.documents import settings_of
from helpers.job_runs import run
from ray.tune.search import Searcher

from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig
from genrescale.config.search import ALGORITHMS as NAMES
from genrescale.config.search import Distribution, SearchConfig, parse_distribution
from genrescale.config.sweep import SweepConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.search.algorithms import ALGORITHMS, Bracket, Listed
from genrescale.launch.search.ledger import Ledger
from genrescale.launch.search.run import Planned, listed_trials, plan_search, tuned
from genrescale.launch.search.rungs import Rungs, rungs_of
from genrescale.launch.search.space import Space, check_names, family_space, run_with
from genrescale.launch.search.stages import plan_sweep
from genrescale.launch.search.study import JOURNAL_PATH, Study, journal
from genrescale.launch.search.tuning import Steward, Suggestions
from genrescale.launch.sweep import plan_trials
from genrescale.results.search import (
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    SearchTrial,
    best_trials,
    read_search,
    write_search,
)
from genrescale.storage.store import Store

LR = {"lr": "log(1e-4,1e-1)"}
ASHA = SearchConfig("asha", LR)
BASE = RunConfig(ModelConfig("waveform"), DataConfig(crop_s=3.0), OptimConfig(max_steps=270, validate_every=10), seed=1)


# the line that a user types

LINES = [
    'jobs/scale_sweep.py sweep=demo search.algorithm=random "search.space.lr=log(1e-4,1e-1)"',
    "jobs/scale_sweep.py sweep=demo search.algorithm=random search.space.lr='log(1e-4,1e-1)'",
    "jobs/scale_sweep.py sweep=demo search.algorithm=random search.space.lr=log\\(1e-4,1e-1\\)",
    'jobs/scale_sweep.py sweep=demo search.algorithm=random "search.space.lr=log(1e-4, 1e-1)"',
]


@pytest.mark.parametrize("line", LINES)
def test_the_line_that_is_typed_in_a_shell_is_a_search(line: str):
    printed = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
    job, *words = printed.stdout.splitlines()
    settings = settings_of(Path(job).stem, words)
    assert settings.search.distributions() == {"lr": Distribution("log", (1e-4, 1e-1))}


def test_a_submitted_line_reaches_the_job_if_it_is_quoted_twice():
    """``ray job submit`` joins the words with ``list2cmdline``, and a shell of the cluster reads them again."""
    words = shlex.split("""jobs/scale_sweep.py search.algorithm=random "'search.space.lr=log(1e-4,1e-1)'" """)
    far = f"printf '%s\\n' {list2cmdline(words)}"
    printed = subprocess.run(["bash", "-c", far], capture_output=True, text=True, check=True)
    _, *words = printed.stdout.splitlines()
    assert settings_of("scale_sweep", words).search.space == {"lr": "log(1e-4,1e-1)"}


def test_fields_have_dotted_names_and_several_may_be_searched():
    space = ["search.space.optim.lr=log(1e-4,1e-1)", "search.space.model.dropout=uniform(0,0.5)"]
    settings = settings_of("scale_sweep", ["sweep=demo", "search.algorithm=optuna", *space])
    assert settings.search.space == {"optim.lr": "log(1e-4,1e-1)", "model.dropout": "uniform(0,0.5)"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["search.algorithm=pbt", "search.space.lr=log(1e-4,1e-1)"], "population-based training copies the weights"),
        (["search.algorithm=asha"], 'needs what to search, such as "search.space.lr=log(1e-4,1e-1)"'),
        (["search.space.lr=log(1e-4,1e-1)"], "search.algorithm=grid needs choice(...)"),
        (["search.algorithm=random", "search.space.lr=0.1"], "must be log(1e-4,1e-1), uniform(0,0.5), int(2,6) or"),
        (["search.algorithm=random", "search.space.lr=log(1e-1,1e-4)"], "two ends, the lower one first"),
        (["search.algorithm=random", "search.space.lr=log(0,1)"], "must be above 0"),
        (["search.algorithm=random", "search.space.lr=normal(0,1)"], "'normal' is none of"),
        (["search.algorithm=random", "search.space.lr=choice(a,b)"], "must hold numbers"),
        (["search.algorithm=random", "search.space.lr=log(1e-4,nan)"], "must hold numbers"),
        (["search.algorithm=random", "search.space.lr=log(1e-4,1e-1)", "search.reduction=4"], "has no effect without"),
        (["search.trials=8"], "search.trials=8 has no effect without search.space"),
        (["search.algorithm=random", "search.space.lr=log(1e-4,1e-1)", "search.seed=0"], "is a seed of the grid"),
        (["search.algorithm=bayes"], "search.algorithm='bayes' is none of"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused_in_one_line(arguments: list[str], told: str):
    ended = run("scale_sweep", "sweep=demo", *arguments)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


# what is tried


def test_every_algorithm_has_an_entry():
    assert tuple(ALGORITHMS) == NAMES


def space_of(named: dict[str, str], base: RunConfig = BASE) -> Space:
    return family_space(base, {name: parse_distribution(name, text) for name, text in named.items()})


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("lr", "optim.lr"),
        ("optim.lr", "optim.lr"),
        ("model.dropout", "model.dials.dropout"),
        ("dropout", "model.dials.dropout"),
        ("augment.gain_db", "augment.gain_db"),
    ],
)
def test_a_field_may_be_named_by_its_end(name: str, full: str):
    space = space_of({name: "uniform(0.1,0.2)"})
    assert list(space.distributions) == [full]
    assert run_with(BASE, {full: 0.125}) != BASE


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("learning", "is no number of a run of waveform"),
        ("drpout", "did you mean model.dials.dropout"),
        ("data.size", "sizes=[...] or search.sizes=[...] say"),
        ("seed", "no seed is better than another"),
        ("max_steps", "trials are compared at the same steps"),
        ("optim.schedule", "is no number"),
    ],
)
def test_what_cannot_be_searched_is_said(name: str, told: str):
    with pytest.raises(ValueError, match=told.replace("[", r"\[").replace(".", r"\.")):
        check_names({"waveform": BASE}, {name: Distribution("uniform", (0.1, 0.2))})


def test_a_whole_number_is_drawn_as_one():
    with pytest.raises(ValueError, match=r"data\.batch is a whole number; use int\(low,high\) or a choice"):
        space_of({"batch": "uniform(8,32)"})
    values = ALGORITHMS["random"](bracket({"backend_units": "int(8,16)"}), SearchConfig("random", {"x": "int(1,2)"}))
    assert isinstance(values, Listed)
    drawn = [value["model.dials.backend_units"] for value in values.values]
    assert sorted(drawn) == list(range(8, 17)), "nine values are all that there are, each once"
    assert all(isinstance(value, int) for value in drawn)


def bracket(named: dict[str, str], base: RunConfig = BASE, rungs: Rungs | None = None) -> Bracket:
    return Bracket(base.model.name, base.data.size, base, space_of(named, base), "val_loss", rungs)


def drawn(search: SearchConfig, base: RunConfig = BASE) -> list[dict[str, float]]:
    found = ALGORITHMS[search.algorithm](bracket(search.space, base), search)
    assert isinstance(found, Listed)
    return found.values


def test_draws_are_seeded_and_more_of_them_are_the_same_and_further_ones():
    few, many = (drawn(SearchConfig("random", LR, trials=count)) for count in (5, 12))
    assert many[:5] == few
    assert len({value["optim.lr"] for value in many}) == 12
    assert all(1e-4 <= value["optim.lr"] <= 1e-1 for value in many)
    assert drawn(SearchConfig("random", LR, trials=5, seed=7)) != few


def test_another_searched_field_does_not_change_the_draws_of_the_first():
    both = drawn(SearchConfig("random", {**LR, "dropout": "uniform(0,0.5)"}, trials=5))
    assert [value["optim.lr"] for value in both] == [v["optim.lr"] for v in drawn(SearchConfig("random", LR, trials=5))]


def test_families_and_sizes_are_searched_at_the_same_values():
    other = RunConfig(ModelConfig("spectrogram"), replace(BASE.data, size=50), BASE.optim)
    assert drawn(ASHA) == drawn(ASHA, other)


def test_a_grid_is_every_combination():
    search = SearchConfig("grid", {"lr": "choice(0.1,0.01)", "dropout": "choice(0,0.5)"})
    assert [tuple(value.values()) for value in drawn(search)] == [(0.1, 0.0), (0.1, 0.5), (0.01, 0.0), (0.01, 0.5)]


def test_log_draws_are_even_in_decades():
    drawn = [Distribution("log", (1e-4, 1e-1)).draw((i + 0.5) / 30) for i in range(30)]
    assert [sum(low <= v < low * 10 for v in drawn) for low in (1e-4, 1e-3, 1e-2)] == [10, 10, 10]


# whom it stops


def loss(quality: float, step: int, tau: float) -> float:
    """A learning curve of the toy problem: it falls to its floor."""
    return quality + 2.718 ** (-step / tau)


TOY = [(0.2 + 0.05 * ((i * 7) % 27), 40.0 + (i * 5) % 11) for i in range(27)]
"""Floor and time constant of 27 trials, in no order; the best floor is the first's."""


def record(number: int, family: str = "waveform", **more: object) -> SearchTrial:
    values = {"optim.lr": float(number + 1)}
    fields = {"algorithm": "asha", "values": values, "max_steps": 270, "metric": "val_loss", **more}
    return SearchTrial(f"{family[0]}{number:011d}", family, 1000, number, "base", **fields)  # type: ignore[arg-type]


def simulate(
    ledger: Ledger, order: Sequence[int], rungs: Rungs | None, at_once: int = 1, until: Callable[[], bool] | None = None
) -> None:
    """Train the toy problem's trials, ``at_once`` at a time, a validation of each in turn."""
    waiting, running = list(order), list[tuple[int, int]]()
    for number in order:
        ledger.add(record(number))
        if rungs:
            ledger.compare(record(number).run_id, rungs)
    while (waiting or running) and not (until and until()):
        while waiting and len(running) < at_once:
            running.append((waiting.pop(0), 0))
            ledger.started(record(running[-1][0]).run_id)
        number, step = running.pop(0)
        id, step = record(number).run_id, step + 10
        if not ledger.heard(id, {"step": float(step), "val_loss": loss(TOY[number][0], step, TOY[number][1])}):
            continue
        if step < 270:
            running.append((number, step))
        else:
            ledger._change(id, status=FINISHED)


def ledger_of(folder: Path) -> Ledger:
    return Ledger(Store(str(folder)))


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_asha_finds_the_grids_best_score_in_half_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, seed: int
):
    """In the order of draws, which is by chance."""
    monkeypatch.setattr(Ledger, "save", lambda ledger: None)  # a thousand small files
    order = random.Random(seed).sample(range(27), 27)
    grid, asha = ledger_of(tmp_path / "grid"), ledger_of(tmp_path / "asha")
    simulate(grid, order, None, at_once)
    simulate(asha, order, rungs_of(ASHA, BASE.optim), at_once)
    spent = {name: sum(trial.steps for trial in ledger) for name, ledger in (("grid", grid), ("asha", asha))}
    assert spent["grid"] == 27 * 270
    assert spent["asha"] <= spent["grid"] / 2
    best = [best_trials(list(ledger))["waveform", 1000] for ledger in (grid, asha)]
    assert best[0].score == best[1].score
    assert best[0].run_id == best[1].run_id


def test_a_stopped_trial_says_why_and_what_it_cost(tmp_path: Path):
    ledger = ledger_of(tmp_path)
    simulate(ledger, range(27), rungs_of(ASHA, BASE.optim))
    stopped = [trial for trial in ledger if trial.status == STOPPED]
    assert {trial.steps for trial in stopped} == {30, 90}
    assert all(trial.reason.endswith(f"had reached step {trial.steps} by then") for trial in stopped)
    assert all(str(trial.steps) in trial.rungs for trial in stopped)


def test_the_rule_of_a_rung():
    rungs = Rungs((30, 90), 3)
    assert rungs.keeps(9.0, [], lower=True), "nobody waits: the first goes on"
    assert not rungs.keeps(2.0, [1.0], lower=True)
    assert rungs.keeps(2.0, [1.0], lower=False)
    assert rungs.keeps(1.5, [1.0, 2.0, 3.0, 4.0, 5.0], lower=True), "two of six"
    assert not rungs.keeps(2.5, [1.0, 2.0, 3.0, 4.0, 5.0], lower=True)


def test_trials_of_other_families_and_sizes_are_not_compared(tmp_path: Path):
    ledger, rungs = ledger_of(tmp_path), Rungs((10,), 3)
    trials = [record(0), record(1, family="spectrogram"), replace(record(2), size=50)]
    ledger.add(*trials)
    for trial, value in zip(trials, (0.1, 0.5, 0.9), strict=True):
        ledger.compare(trial.run_id, rungs)
        assert ledger.heard(trial.run_id, {"step": 10.0, "val_loss": value}), "each is the first of its place"
    assert not ledger.heard(_compared(ledger, record(3, family="spectrogram"), rungs), {"step": 10.0, "val_loss": 0.6})


def _compared(ledger: Ledger, trial: SearchTrial, rungs: Rungs) -> str:
    ledger.add(trial)
    ledger.compare(trial.run_id, rungs)
    return trial.run_id


def test_rungs_lie_at_validations_and_before_the_end():
    assert rungs_of(ASHA, BASE.optim).steps == (30, 90)
    assert rungs_of(replace(ASHA, first_rung=25), BASE.optim).steps == (30, 80, 230)
    with pytest.raises(ValueError, match="asha has no rung before the end"):
        rungs_of(ASHA, OptimConfig(max_steps=270, validate_every=300))


@pytest.mark.parametrize("after", [3, 60, 140])
def test_a_search_that_is_killed_decides_as_if_it_had_not_been(tmp_path: Path, after: int):
    """The same rungs with the same scores: the next process has the file, and the curves since its last line."""
    rungs, order = rungs_of(ASHA, BASE.optim), [(i * 11) % 27 for i in range(27)]
    undisturbed = ledger_of(tmp_path / "undisturbed")
    simulate(undisturbed, order, rungs)
    heard = iter(range(10_000))
    killed = ledger_of(tmp_path / "killed")
    simulate(killed, order, rungs, until=lambda: next(heard) >= after)
    again = ledger_of(tmp_path / "killed")
    left = [number for number in order if again[record(number).run_id].status not in (FINISHED, STOPPED)]
    before = {trial.run_id: trial for trial in again if trial.status in (FINISHED, STOPPED)}
    simulate(again, left, rungs)
    assert all(again[id] == trial for id, trial in before.items()), "what was over stays as it was"
    decided = [{t.run_id: (t.status, t.rungs, t.score) for t in ledger} for ledger in (undisturbed, again)]
    assert decided[0] == decided[1]


def test_the_ledger_is_checked_when_it_is_read(tmp_path: Path):
    files = Store(str(tmp_path))
    write_search(files, [record(0)])
    assert read_search(files) == [record(0)]
    values = json.loads(files.read_bytes("search.json"))
    files.write_bytes("search.json", json.dumps([{**values[0], "steps": "many"}]).encode())
    with pytest.raises(ValueError, match=r"search\.json: 0\.steps"):
        read_search(files)


def test_trials_of_another_recipe_are_not_compared_with_new_ones(tmp_path: Path):
    ledger = ledger_of(tmp_path)
    ledger.add(record(0), record(1))
    ledger.forget_others("waveform", 1000, "base", allowed=False)
    with pytest.raises(ValueError, match=r"2 searched trial\(s\) of waveform at 1,000 songs that vary another recipe"):
        ledger.forget_others("waveform", 1000, "other", allowed=False)
    ledger.forget_others("waveform", 1000, "other", allowed=True)
    assert list(ledger) == []


def test_a_trial_that_diverged_is_not_tried_again_and_one_that_lost_its_node_is(tmp_path: Path):
    ledger = ledger_of(tmp_path)
    ledger.add(record(0), record(1))
    ledger.failed(record(0).run_id, "ValueError: validation loss is nan at step 10: training diverged; use a lower lr")
    ledger.failed(record(1).run_id, "ActorDiedError: its node died")
    again = ledger_of(tmp_path)
    again.reopen()
    assert [again[record(i).run_id].status for i in (0, 1)] == ["failed", "waiting"]


# Optuna


def study_with(
    files: Store, trials: int, known: Sequence[SearchTrial], points: Sequence = ()
) -> list[dict[str, float]]:
    """The values of ``trials`` trials in all that a study suggests after the known ones; each scores at once."""
    search, values = SearchConfig("optuna", LR, trials=trials), []
    with journal(files) as storage:
        study = ALGORITHMS["optuna"](bracket(LR), search)
        assert isinstance(study, Study)
        study.begin(storage, known, points)
        while (suggested := study.next()) is not None:
            values.append(suggested)
            study.took(optuna_trial(len(known) + len(values) - 1, suggested))
            study.told(optuna_trial(len(known) + len(values) - 1, suggested))
    return values


def optuna_trial(number: int, values: dict[str, float]) -> SearchTrial:
    score = abs(values["optim.lr"] - 0.01)
    return record(number, algorithm="optuna", values=values, status=FINISHED, score=score)


def test_optuna_continues_with_the_same_suggestions_after_a_kill(tmp_path: Path):
    whole = study_with(Store(str(tmp_path / "a")), 8, [])
    begun = study_with(Store(str(tmp_path / "b")), 5, [])
    known = [optuna_trial(number, values) for number, values in enumerate(whole[:5])]
    assert begun[:2] == whole[:2], "the first are random, by the seed"
    assert study_with(Store(str(tmp_path / "c")), 8, known) == whole[5:]
    assert study_with(Store(str(tmp_path / "d")), 5, known) == []


def test_optunas_own_storage_opens_the_journal_with_finished_rows_as_first_points(tmp_path: Path):
    import optuna
    from optuna.storages.journal import JournalFileBackend

    files = Store(str(tmp_path))
    study_with(files, 4, [], points=[("f" * 12, {"optim.lr": 0.02}, 0.3), ("e" * 12, {"optim.lr": 5.0}, 0.1)])
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL_PATH)))
    study = optuna.load_study(study_name="waveform, 1,000 songs", storage=storage)
    assert study.direction.name == "MINIMIZE"
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5, "a point outside of the range is left out"
    assert (study.trials[0].user_attrs["run_id"], study.trials[0].params, study.trials[0].value) == (
        "f" * 12,
        {"optim.lr": 0.02},
        0.3,
    )


def test_optuna_trains_nothing_twice_and_ends(tmp_path: Path):
    """A choice of two values has two trials, however many are asked for."""
    search, run_ids = SearchConfig("optuna", {"lr": "choice(0.1,0.01)"}, trials=8), set[str]()
    with journal(Store(str(tmp_path))) as storage:
        study = ALGORITHMS["optuna"](bracket(search.space), search)
        assert isinstance(study, Study)
        study.begin(storage, [], [])
        while (values := study.next()) is not None:
            trial = replace(optuna_trial(round(values["optim.lr"] * 100), values), number=0)
            run_ids.add(trial.run_id)
            study.took(trial)
            study.told(trial)
        states = [trial.state.name for trial in study._study.trials]
    assert len(run_ids) == 2
    assert states == ["COMPLETE"] * 8


def test_trials_of_an_earlier_space_are_none_of_a_search_by_optuna(tmp_path: Path):
    earlier = [
        record(number, algorithm="optuna", values={"optim.lr": 0.5 + number}, status=FINISHED, score=1.0)
        for number in range(8)
    ]
    assert len(study_with(Store(str(tmp_path)), 4, earlier)) == 4


def test_a_suggestion_that_no_run_can_have_is_replaced_by_another_one(tmp_path: Path):
    search = SearchConfig("optuna", {"batch": "int(8,64)"}, trials=4)
    with journal(Store(str(tmp_path))) as storage:
        study = ALGORITHMS["optuna"](bracket(search.space), search)
        assert isinstance(study, Study)
        study.begin(storage, [], [])
        taken, refused = [], 0
        while (values := study.next()) is not None:
            if values["data.batch"] % 2:
                refused += 1
                study.refused()
            else:
                taken.append(values)
                study.took(record(len(taken), algorithm="optuna", values=values, status=FINISHED, score=1.0))
        assert len(taken) == 4
        assert [trial.state.name for trial in study._study.trials].count("FAIL") == refused > 0


# Tune's part


def test_a_trial_that_tune_starts_again_has_not_failed(tmp_path: Path):
    files, ended = Store(str(tmp_path)), []
    ledger = ledger_of(tmp_path)
    ledger.add(record(0))
    steward = Steward(ledger, files, ended.append)
    again = SimpleNamespace(config={"run_id": record(0).run_id}, should_recover=lambda: True)
    ledger.started(record(0).run_id)
    steward.on_trial_error(None, again)
    assert (ledger[record(0).run_id].status, ended) == (RUNNING, [])
    lost = SimpleNamespace(
        config={"run_id": record(0).run_id}, should_recover=lambda: False, get_error=lambda: "its node is gone"
    )
    steward.on_trial_error(None, lost)
    assert [(trial.status, trial.reason) for trial in ended] == [(FAILED, "its node is gone")]


def test_a_restart_costs_what_both_attempts_took(tmp_path: Path):
    ledger = ledger_of(tmp_path)
    ledger.add(record(0))
    id = record(0).run_id
    ledger.started(id)
    for step, seconds in ((10, 30.0), (20, 60.0), (20, 5.0), (30, 25.0)):  # the third is of the second attempt
        ledger.heard(id, {"step": step, "val_loss": 0.5}, seconds)
    assert ledger[id].seconds == 85


def test_trackers_get_the_settings_of_each_trial_of_a_search(corpus: Manifest):
    [first, *_] = listed_trials(planned(corpus, SearchConfig("random", LR, trials=2)))
    tickets = iter([first.ticket, None])
    suggestions = Suggestions(lambda: next(tickets), tracked=True)
    assert suggestions.suggest("a")["settings"]["optim.lr"] == first.run.optim.lr
    assert suggestions.suggest("b") == Searcher.FINISHED


# a sweep's search


def test_values_inside_of_a_range_that_no_run_can_have_are_refused_before_the_search(corpus: Manifest):
    with pytest.raises(ValueError, match=r"search\.space: data\.batch=\d+ of waveform: .*multiple"):
        listed_trials(planned(corpus, SearchConfig("random", {"batch": "int(8,64)"}, trials=8)))


def sweep_of(search: SearchConfig, **more: object) -> SweepConfig:
    settings = {"sizes": [8, 40], "seeds": [0, 1], "data": DataConfig(crop_s=3.0, batch=8, group=4), "search": search}
    return SweepConfig(**{**settings, "optim": OptimConfig(max_steps=18, validate_every=2), **more})  # type: ignore[arg-type]


def planned(corpus: Manifest, search: SearchConfig, **more: object) -> list[Planned]:
    return plan_search(sweep_of(search, **more), SiteConfig(corpus=corpus.uri, out="/tmp/never"), corpus)


@pytest.mark.parametrize("algorithm", ["random", "asha", "optuna"])
def test_a_search_by_any_algorithm_is_planned_and_listed(algorithm: str, corpus: Manifest, tmp_path: Path):
    """Optuna names its trials while it runs, so there is none to look at before."""
    search = SearchConfig(algorithm, {"lr": "log(1e-4,1e-1)"}, trials=2, first_rung=4 if algorithm == "asha" else 0)
    plan = plan_sweep(sweep_of(search), SiteConfig(corpus=corpus.uri, out=str(tmp_path)), corpus)
    assert len(listed_trials(plan.brackets)) == (0 if algorithm == "optuna" else 4)
    assert f"search by {algorithm} of lr=log(0.0001,0.1): " in plan.listed([{"CPU": 4.0}])


def test_searched_trials_are_runs_of_no_mean(corpus: Manifest):
    """Their seed is not of the grid, so that the luckiest run is not a point of the comparison."""
    search = SearchConfig("random", LR, trials=2)
    searched = listed_trials(planned(corpus, search))
    site = SiteConfig(corpus=corpus.uri, out="/tmp/never")
    grid = plan_trials(sweep_of(search), site, corpus)
    assert {trial.planned[0].axis for trial in searched} == {"search"}
    assert [(t.run.model.name, t.run.data.size, t.run.seed) for t in searched[::2]] == [
        ("waveform", 8, 1000),
        ("spectrogram", 8, 1000),
    ]
    assert {trial.run_id for trial in grid} == {
        trial.run_id for trial in plan_trials(sweep_of(SearchConfig()), site, corpus)
    }
    assert not {trial.run_id for trial in grid} & {trial.run_id for trial in searched}


def test_a_field_that_one_family_has_is_searched_for_that_family(corpus: Manifest):
    places = planned(corpus, SearchConfig("random", {"frontend_layers": "int(6,7)"}, trials=2))
    assert [place.bracket.family for place in places] == ["waveform"]


def test_an_end_of_a_range_that_no_run_can_have_is_refused_before_the_search(corpus: Manifest):
    with pytest.raises(ValueError, match=r"model\.dials\.frontend_layers=9 of waveform: .*needs crops of 11\.07 s"):
        planned(corpus, SearchConfig("random", {"frontend_layers": "int(7,9)"}))


def test_the_best_values_of_a_family_are_carried_to_larger_sizes(corpus: Manifest):
    search = SearchConfig("random", LR, then="scale")
    sweep = sweep_of(search, sizes=[8, 20, 40])
    lr = {("waveform", 8): 0.02, ("waveform", 20): 0.005, ("spectrogram", 20): 0.001}
    best = {place: record(0, family=place[0], values={"optim.lr": value}) for place, value in lr.items()}
    trials = plan_trials(sweep, SiteConfig(corpus=corpus.uri, out="/tmp/never"), corpus, tuned(sweep, best))
    rates = {(t.run.model.name, t.run.data.size): t.run.optim.lr for t in trials}
    assert [rates["waveform", size] for size in (8, 20, 40)] == [0.02, 0.005, 0.005]
    assert [rates["spectrogram", size] for size in (8, 20, 40)] == [0.001, 0.001, 0.001]
    with pytest.raises(ValueError, match="no searched trial of spectrogram finished"):
        tuned(sweep, {place: trial for place, trial in best.items() if place[0] == "waveform"})
