"""A sweep is planned before it starts: each run once, its cost known, the impossible refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace

import pytest

from genrescale.config import DataConfig, OptimConfig, RunConfig, SiteConfig, run_from_dict, run_id, science
from genrescale.config.sweep import SweepConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.capacity import capacity
from genrescale.launch.sweep import check_families, plan_trials
from genrescale.metrics import score
from genrescale.training.select import select_data

DATA = DataConfig(crop_s=3.0, batch=8, group=4)
OPTIM = OptimConfig(max_steps=6, validate_every=3)
MEDIAEVAL = DataConfig(size=8, crop_s=1.0, batch=8, group=4, scoring="spread:32", validation_scoring="spread:16")


def sweep_config(**changes: object) -> SweepConfig:
    settings = {"sizes": [8, 40], "seeds": [0, 1], "data": DATA, "optim": OPTIM, **changes}
    return SweepConfig(**settings)  # type: ignore[arg-type]


def planned(corpus: Manifest, **changes: object) -> list:
    return plan_trials(sweep_config(**changes), SiteConfig(corpus=corpus.uri, out="/tmp/never"), corpus)


def test_the_grid_is_every_family_size_and_seed(corpus: Manifest):
    cells = Counter((t.run.model.name, t.run.data.size, t.run.seed) for t in planned(corpus))
    assert len(cells) == 8
    assert set(cells.values()) == {1}


def test_sizes_below_the_largest_may_have_fewer_seeds(corpus: Manifest):
    cells = Counter((t.run.data.size, t.run.seed) for t in planned(corpus, seeds_below_largest=1))
    assert cells == {(8, 0): 2, (40, 0): 2, (40, 1): 2}
    assert {t.run_id for t in planned(corpus, seeds_below_largest=1)} < {t.run_id for t in planned(corpus)}
    assert len(planned(corpus, sizes=[40], seeds_below_largest=1)) == 4  # one size is the largest
    few = Counter((t.run.data.size, t.run.seed) for t in planned(corpus, seeds_at_largest=1))
    assert few.keys() == {(8, 0), (8, 1), (40, 0)}
    with pytest.raises(ValueError, match="seeds_below_largest=3 must be from 1 to the number of seeds, 2"):
        sweep_config(seeds_below_largest=3)


def test_axes_lie_at_the_smallest_size_and_share_the_grids_runs(corpus: Manifest):
    trials = planned(corpus, lrs=[1e-4], backend_layers=[2, 3], frontend_layers=[6, 7])
    assert len({trial.run_id for trial in trials}) == len(trials) == 8 + 2 + 2 + 1
    axes = Counter(place.axis for trial in trials for place in trial.planned)
    assert axes == {"grid": 8, "lr": 4, "layers": 6}
    for trial in trials:
        if any(place.axis != "grid" for place in trial.planned):
            assert trial.run.data.size == 8
            assert trial.run.seed == 0


def test_all_sizes_share_one_normalisation(corpus: Manifest):
    runs = [trial.run for trial in planned(corpus) if trial.run.model.name == "spectrogram"]
    assert len({(run.model.dials["log_mel_mean"], run.model.dials["log_mel_std"]) for run in runs}) == 1


def test_cost_counts_crops_and_the_bytes_of_all_passes(corpus: Manifest):
    trial = next(t for t in planned(corpus) if t.run.data.size == 40)
    assert trial.clips == 6 * 8
    windows = {split: len(corpus.select(split)) for split in ("validation", "test")}  # songs of 3.1 to 5 s: one each
    assert trial.bytes == (6 * 8 + 2 * windows["validation"] + windows["test"]) * 48_000 * 2


def test_a_default_written_out_is_the_same_run(corpus: Manifest):
    plain, explicit = (
        {t.run_id for t in planned(corpus, families=["waveform"], dials=dials)}
        for dials in ({}, {"waveform": {"frontend_layers": 7, "dropout": 0.5}})
    )
    assert plain == explicit


def test_a_model_that_its_crops_cannot_feed_is_refused(corpus: Manifest):
    with pytest.raises(ValueError, match=r"needs crops of 11.07 s or more; crop_s is 3.0"):
        planned(corpus, frontend_layers=[9])


def test_a_model_of_one_length_refuses_other_crops(corpus: Manifest):
    with pytest.raises(ValueError, match=r"model dieleman.* takes crops of 2 s only .* crop_s is 3.0: change it or"):
        planned(corpus, families=["dieleman"], dials={"dieleman": {"input_len": 32_000}})
    assert planned(corpus, families=["dieleman"], dials={"dieleman": {"input_len": 48_000}})


def test_a_sweep_takes_any_model_of_the_registry(corpus: Manifest):
    trials = planned(corpus, families=["waveform", "short_chunk"], backend_layers=[2], seeds=[0])
    models = Counter(t.run.model.name for t in trials)
    assert models == {"waveform": 3, "short_chunk": 2}, "an axis of layers leaves out the models that have no such dial"
    with pytest.raises(ValueError, match=r"families \['vgg'\] are none of \[.*'vgg_gtzan', 'waveform'\]"):
        check_families(sweep_config(families=["vgg"]))


def test_a_size_above_the_corpus_is_refused(corpus: Manifest):
    with pytest.raises(ValueError, match="train songs"):
        planned(corpus, sizes=[8, 10_000])


@pytest.mark.parametrize(
    ("site", "nodes", "concurrent"),
    [
        (SiteConfig(), [{"CPU": 2}], 1),
        (SiteConfig(), [{"CPU": 4}], 2),
        (SiteConfig(workers=2, data_cpus=1), [{"CPU": 16}], 5),
        (SiteConfig(use_gpu=True), [{"CPU": 64, "GPU": 4}], 4),
        # the CPUs of three nodes add up to a worker more than fits on them
        (SiteConfig(workers=2, cpus_per_worker=1.5), [{"CPU": 2}] * 3, 1),
        (SiteConfig(workers=2, cpus_per_worker=2), [{"CPU": 2}] * 3, 1),  # the driver may spoil one of the three
        (SiteConfig(workers=4, use_gpu=True), [{"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 3}], 1),
    ],
)
def test_concurrency_follows_from_cost(site: SiteConfig, nodes: list[dict[str, float]], concurrent: int):
    assert capacity(site, nodes).concurrent == concurrent


@pytest.mark.parametrize(
    ("site", "nodes"),
    [
        (SiteConfig(workers=2), [{"CPU": 2}]),
        (SiteConfig(use_gpu=True), [{"CPU": 8}]),
        (SiteConfig(), [{"CPU": 1}]),
        (SiteConfig(cpus_per_worker=4), [{"CPU": 3}] * 8),
        (SiteConfig(cpus_per_worker=8), [{"CPU": 4}, {"CPU": 8}]),  # with the driver on it, the large one is too small
    ],
)
def test_what_never_fits_is_refused_instead_of_waited_for(site: SiteConfig, nodes: list[dict[str, float]]):
    with pytest.raises(ValueError, match="one trial needs"):
        capacity(site, nodes)


def test_identity_is_the_science_and_the_data():
    run = RunConfig()
    assert run_id(run, "a") == run_id(run_from_dict(asdict(run)), "a")
    assert run_id(run, "a") != run_id(run, "b")
    assert run_id(run, "a") != run_id(RunConfig(seed=1), "a")


def test_validation_may_be_scored_by_fewer_windows_than_the_test(corpus: Manifest):
    """MediaEval 2020: 16 and 32. Songs of 3.1 to 5 s, so that windows of 1 s have room to differ."""
    data = select_data(RunConfig(data=MEDIAEVAL), corpus)
    for plan, windows in ((data.plan.validation, 16), (data.test, 32)):
        crops = plan.crops(0, 0)
        assert (crops.songs_n == crops.songs_n[0]).sum() == windows
    same = select_data(RunConfig(data=replace(MEDIAEVAL, validation_scoring="")), corpus)
    assert same.plan.validation.scoring == same.test.scoring == "spread:32"
    with pytest.raises(ValueError, match="scoring='spread' must be"):
        DataConfig(validation_scoring="spread")


def test_a_run_without_a_validation_protocol_is_the_run_of_before_there_was_one():
    """The id was printed before the field was there."""
    assert run_id(RunConfig(), "a") == "7a3bb2d24db0"
    given = [RunConfig(data=replace(MEDIAEVAL, validation_scoring=v)) for v in ("", "spread:32", "spread:16")]
    without, same, other = (run_id(run, "a") for run in given)
    assert without == same != other
    assert "validation_scoring" not in science(given[0])["data"]
    assert run_from_dict(science(given[0])) == given[0]
    assert run_from_dict(science(given[2])) == given[2]


def test_a_whole_number_for_a_dial_of_reals_is_the_same_run(corpus: Manifest):
    whole, real = (
        {t.run_id for t in planned(corpus, families=["waveform"], dials={"waveform": {"dropout": value}})}
        for value in (0, 0.0)
    )
    assert whole == real


def test_a_figure_that_the_validation_songs_do_not_define_cannot_choose_checkpoints(corpus: Manifest):
    """Found before anything starts, not at the first validation."""
    undefined = [
        f"val_{name}"
        for name, value in score(corpus.labels_NK, corpus.labels_NK, corpus.vocabulary).items()
        if value is None
    ]
    assert "val_accuracy" in undefined
    with pytest.raises(ValueError, match="best_by=val_accuracy, but the validation songs define no accuracy"):
        planned(corpus, optim=replace(OPTIM, best_by="val_accuracy"))
    assert planned(corpus, optim=replace(OPTIM, best_by="val_pr_auc"))
