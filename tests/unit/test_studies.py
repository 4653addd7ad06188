"""Studies: every row of the paper's tables is a run with its parameters, and stands beside the paper's number."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.baseline_rows import write_floor
from helpers.job_runs import JOBS, run
from helpers.scored_runs import multi_label, single_label
from helpers.small_study import finish, planned, small
from omegaconf import OmegaConf

from genrescale.config import SiteConfig
from genrescale.config.data import DataConfig
from genrescale.config.study import RecipeConfig, ScaleConfig
from genrescale.data.manifest import Manifest
from genrescale.metrics import score
from genrescale.models import build_model, count_parameters
from genrescale.results import write_scores
from genrescale.results.baseline import FLOOR
from genrescale.storage.store import Store
from genrescale.studies import STUDIES
from genrescale.studies.filled import fill_tables
from genrescale.studies.formats import table_csv, table_latex, table_markdown
from genrescale.studies.plan import plan_study
from genrescale.studies.study import Group, Row, Study, StudyTable
from genrescale.studies.whole_songs import whole_path
from genrescale.studies.writing import format_study, write_study

SUFFIXES = {"k": 1e3, "M": 1e6}


def scale_of(name: str, scale: str) -> ScaleConfig:
    """A scale as the study's YAML file has it."""
    given = OmegaConf.load(JOBS / "conf" / "study" / f"{name}.yaml").scales[scale]
    found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ScaleConfig), given))
    assert isinstance(found, ScaleConfig)
    return found


@pytest.fixture(scope="module")
def paper() -> Study:
    return STUDIES["pons2018"](scale_of("pons2018", "paper"))


@pytest.fixture(scope="module")
def demo() -> Study:
    return STUDIES["pons2018"](scale_of("pons2018", "demo"))


def trained(study: Study) -> list[tuple[StudyTable, Row]]:
    return [(table, row) for table in study.tables for row in table.rows if row.runs]


@pytest.fixture
def _no_initialisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing millions of weights takes seconds, and only their number is asked for."""
    for name in ("trunc_normal_", "kaiming_uniform_", "uniform_", "normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.usefixtures("_no_initialisation")
def test_every_trained_row_has_the_parameters_that_the_paper_prints(paper: Study):
    """Cut off, not rounded. SampleCNN's 2.4M is rounded by its authors; no reading of the timbre CNN gives 220k."""
    checked = 0
    for table, row in trained(paper):
        if not row.paper_params:
            continue
        model = row.runs[0].run.model
        found = count_parameters(build_model(model.name, 139 if table.key == "table1" else 50, **model.dials))
        digits, suffix = re.fullmatch(r"([\d.]+)([kM])", row.paper_params).groups()  # type: ignore[union-attr]
        step = SUFFIXES[suffix] / 10 ** len(digits.partition(".")[2])
        slack = step / 2 if model.name in ("sample_cnn", "timbre_cnn") else 0
        low = float(digits) * SUFFIXES[suffix] - slack
        assert low <= found < low + step * (1 if slack == 0 else 2.2), (row.label, found)
        checked += 1
    assert checked == 6 + 2 + 13 + 2 + 13 + 3


def test_the_sizes_seeds_losses_and_crops_are_the_papers(paper: Study):
    table_1 = paper.table("table1")
    assert [len(row.runs) for row in table_1.rows if row.runs] == [3] * 6
    assert {run.size for run in table_1.runs} == {100_000, 500_000, 1_000_000}
    assert {(run.run.loss, run.run.data.crop_s, run.run.optim.lr) for run in table_1.runs} == {("mse", 15.0, 0.001)}
    tables_2_3 = {
        (run.run.loss, run.run.data.crop_s) for run in paper.table("table2").runs if run.run.model.name == "waveform"
    }
    assert tables_2_3 == {("bce", 3.0)}
    assert {run.normalised_on for run in table_1.runs} == {100_000}  # the same scalars at every size


def test_a_front_end_and_a_back_end_of_the_same_widths_are_one_run(paper: Study, demo: Study):
    for study in (paper, demo):
        rows = {row.label: row for row in study.table("table2").rows}
        assert rows["Filters ×2 (selected)"].runs == rows["512 CNN filters, 500 units"].runs  # noqa: RUF001
        for key, runs in (("table2", 14), ("table3", 14)):
            ids = {repr(run.run.model) + repr(run.run.data) for run in study.table(key).runs}
            assert len(ids) == len(study.table(key).runs) == runs  # no two rows are the same model by accident


def test_whole_songs_are_scored_by_the_models_of_the_windows(paper: Study):
    rows = paper.table("windows").rows
    assert [row.scoring for row in rows] == ["windows", "windows", "whole", "whole"] * 2
    assert rows[0].runs == rows[2].runs == paper.table("table4").rows[0].runs
    assert [run.run.data.crop_s for row in rows[:2] for run in row.runs] == [15.0, 3.0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sizes": [5, 3]}, "ascending"),
        ({"seeds": []}, "seeds"),
        ({"data": DataConfig(size=5)}, "sizes="),
    ],
)
def test_a_recipe_that_cannot_act_is_refused(settings: dict, words: str):
    with pytest.raises(ValueError, match=words):
        RecipeConfig(**settings)


def test_a_scale_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="narrow=3"):
        ScaleConfig(narrow=3)


# ---- the small study


def test_a_number_is_the_mean_of_its_runs_and_stands_beside_the_papers(corpus: Manifest, tmp_path: Path):
    plan = planned(small(), corpus, tmp_path)
    first, second = plan.study.tables[0].rows[0].runs
    finish(plan, first, noise=1)
    finish(plan, second, noise=2)
    tables, _ = fill_tables(plan)
    cell = tables[0].rows[0].cells[1]
    found = [plan_row.pr_auc for plan_row in (t.row for t in tables[0].rows[0].trials) if plan_row]
    assert len(found) == 2
    assert cell.ours.mean == pytest.approx(sum(filter(None, found)) / 2)
    assert cell.ours.spread is not None
    assert cell.difference == pytest.approx((cell.ours.mean or 0) - 0.5)
    alone = tables[0].rows[2]
    assert not alone.planned
    assert (alone.cells[0].paper, alone.cells[0].ours.mean) == (0.9, None)


def test_a_row_of_whole_songs_shows_their_scores_and_nothing_before_they_are_there(corpus: Manifest, tmp_path: Path):
    plan = planned(small(), corpus, tmp_path)
    first = plan.study.tables[0].rows[0].runs[0]
    finish(plan, first)
    cells = fill_tables(plan)[0][0].rows[1].cells
    assert cells[1].ours.text == "missing"
    table, names = multi_label(skill=3.0, num_tags=len(corpus.vocabulary)), corpus.vocabulary.names
    write_scores(Store(str(tmp_path)), whole_path(plan.trials[first].run_id), table, names)
    cells = fill_tables(plan)[0][0].rows[1].cells
    assert cells[1].ours.mean == pytest.approx(score(table.true_NK, table.score_NK, corpus.vocabulary)["pr_auc"])


def test_a_row_of_a_baseline_is_filled_by_the_largest_of_its_corpus(corpus: Manifest, tmp_path: Path):
    study = small()
    floor = Row("Floor", baseline=FLOOR, paper={"pr_auc": 0.4})
    tables = (replace(study.tables[0], groups=(Group("Group", (*study.tables[0].rows, floor)),)), *study.tables[1:])
    plan = planned(replace(study, tables=tables), corpus, tmp_path)
    row = fill_tables(plan)[0][0].rows[-1]
    assert (row.planned, row.anchor, row.cells[1].ours.text) == (True, "", "missing")
    files, size = Store(str(tmp_path)), len(corpus.select("train"))
    write_floor(files, single_label(), size, id="0" * 12, corpus_version="another")
    assert fill_tables(plan)[0][0].rows[-1].baseline is None
    written = write_floor(files, single_label(), size, id="1" * 12, corpus_version=corpus.version)
    row = fill_tables(plan)[0][0].rows[-1]
    assert (row.anchor, row.cells[1].ours.mean) == (f"baseline-{'1' * 12}", written.pr_auc)
    assert row.cells[1].difference == pytest.approx((written.pr_auc or 0) - 0.4)
    write_study(plan, "paper")
    text = (tmp_path / "study.html").read_text()
    assert f'href="#baseline-{"1" * 12}"' in text
    assert f'href="baselines/{"1" * 12}/result.json"' in text


def test_the_three_formats_have_the_same_lines_and_escape_names(corpus: Manifest, tmp_path: Path):
    plan = planned(small(), corpus, tmp_path)
    finish(plan, plan.study.tables[0].rows[0].runs[0])
    table = fill_tables(plan)[0][0]
    rows = list(csv.DictReader(io.StringIO(table_csv(table).decode())))
    assert [row["model"] for row in rows] == ["Ours & theirs", "Whole", "Theirs alone"]
    assert rows[0]["pr_auc_seeds"] == "1"
    assert rows[1]["pr_auc_mean"] == "missing"
    assert rows[2]["pr_auc_mean"] == ""
    assert rows[2]["roc_auc_paper"] == "0.9"
    latex = table_latex(table)
    assert all(word in latex for word in (r"\toprule", r"\bottomrule", r"Ours \& theirs"))
    markdown = table_markdown(table).splitlines()
    assert len(markdown) == 2 + 2 + 1 + 3
    assert len({line.replace("\\|", "").count("|") for line in markdown[2:]}) == 1


def test_the_page_links_each_number_to_its_run_and_says_what_is_missing(corpus: Manifest, tmp_path: Path):
    plan = planned(small(), corpus, tmp_path)
    first = plan.study.tables[0].rows[0].runs[0]
    finish(plan, first)
    page = write_study(plan, "paper")
    text = (tmp_path / "study.html").read_text()
    ids = set(re.findall(r'id="([^"]+)"', text))
    links = re.findall(r'href="#([^"]+)"', text)
    assert links
    assert set(links) <= ids
    run_id = plan.trials[first].run_id
    assert f'href="runs/{run_id}/result.json"' in text
    assert "1 of 2 runs finished" in text
    assert "three needs corpora.b=ADDRESS, corpus b" in text
    assert "0.1.0+g1a2b3c4d5e6f" in text
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        f"{key}.{end}" for key in ("one", "three") for end in ("csv", "md", "tex")
    }
    assert "missing" in format_study(page)


def test_a_table_without_its_corpus_says_what_it_needs_and_where_it_is_from(corpus: Manifest, tmp_path: Path):
    plan = planned(small(), corpus, tmp_path)
    assert [table.key for table in plan.tables()] == ["one"]
    with pytest.raises(ValueError, match=r"three needs corpora\.b=ADDRESS, corpus b: get its files, and shard it with"):
        plan.tables(["three"])
    with pytest.raises(ValueError, match="only=\\['four'\\] is none of the tables"):
        plan.tables(["four"])
    with pytest.raises(ValueError, match=r"corpora\.c is no corpus"):
        plan_study(small(), {"c": corpus.uri}, SiteConfig(out=str(tmp_path)))
    nothing = plan_study(small(), {}, SiteConfig(out=str(tmp_path)))
    with pytest.raises(ValueError, match=r"one needs corpora\.a"):
        nothing.tables()


def test_a_chain_names_its_parent_before_that_is_trained_and_waits_for_it(corpus: Manifest, tmp_path: Path):
    study = small(chained=True)
    plan = planned(study, corpus, tmp_path)
    child = study.table("two").rows[0].runs[0]
    assert child.parent is not None
    assert plan.trials[child].run.init.run == plan.trials[child.parent].run_id
    waves = plan.waves([study.table("two")])
    assert waves == [[child.parent], [child]]
    again = planned(small(chained=True), corpus, tmp_path)
    assert sorted(t.run_id for t in again.trials.values()) == sorted(t.run_id for t in plan.trials.values())


# ---- the job


def test_the_list_names_tables_corpora_and_scales():
    ended = run("study", "list")
    assert ended.returncode == 0, ended.stderr
    for word in ("pons2018", "table3", "corpora.mtt", "MagnaTagATune", "GB of shards", "scale=demo", "scale=paper"):
        assert word in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "study=NAME is needed, one of pons2018"),
        (["study=pons"], "study=pons is none of pons2018"),
        (["study=pons2018"], "table1 needs corpora.songs=ADDRESS"),
        (["study=pons2018", "scale=tiny"], "paper"),
        (["everything"], "'everything' is no setting"),
        (["name=pons2018"], "study=NAME is needed"),
        (["study=pons2018", "name=pons"], "study=NAME is needed, one of pons2018"),
        (["study=pons2018", "scales.demo.narrow=4"], "scales.demo.narrow has no effect with scale=paper"),
        (["study=pons2018", "corpora.mtg=/nowhere"], "corpora.mtg is no corpus"),
        (["study=pons2018", "scale=demo", "only=[table9]", "dry_run=true"], "table9"),
    ],
)
def test_a_mistake_in_a_study_is_one_line(arguments: list[str], words: str, tmp_path: Path):
    ended = run("study", *arguments, f"out={tmp_path}/out")
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_dry_run_lists_every_row_and_starts_nothing(tmp_path: Path):
    ended = run("study", "study=pons2018", "scale=demo", "dry_run=true", f"out={tmp_path}/out")
    assert ended.returncode == 0, ended.stderr
    for word in ("table1", "table4", "sample_cnn", "the paper's number only", "would be synthesised", "two cores"):
        assert word in ended.stdout
    assert not (tmp_path / "out").exists()
