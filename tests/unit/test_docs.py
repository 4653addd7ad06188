"""The documents and the jobs' help are true: commands compose, Python runs, links, settings and files exist."""

from __future__ import annotations

import configparser
import dataclasses
import json
import math
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.documents import (
    DOCUMENTS,
    LANGUAGES,
    NOTEBOOK,
    ROOT,
    anchors,
    blocks,
    commands,
    help_commands,
    inline_code,
    job_commands,
    links,
    notebook_source,
    run_python,
    settings_of,
    tables,
)

import genrescale
from genrescale.audio import seconds_to_len
from genrescale.config import RunConfig
from genrescale.data.manifest import Manifest
from genrescale.data.reading.plan import check_workers
from genrescale.models import fixed_crop_len, full_dials, min_crop_len
from genrescale.models.ssast import patch_grid

MAX_WIDTH = 120
README = ROOT / "README.md"
RECIPES = ROOT / "docs" / "recipes.md"
CHANGELOG = ROOT / "CHANGELOG.md"
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
each_job_command = pytest.mark.parametrize(
    ("job", "overrides"),
    [
        pytest.param(*command, id=" ".join([command[0], *command[1]])[:60])
        for command in [*help_commands(), *(command for document in DOCUMENTS for command in job_commands(document))]
    ],
)


@pytest.mark.parametrize("document", [*DOCUMENTS, CHANGELOG], ids=lambda path: path.stem)
def test_no_line_is_wider_than_the_code(document: Path):
    wide = [number for number, line in enumerate(document.read_text().splitlines(), 1) if len(line) > MAX_WIDTH]
    assert wide == []


def test_the_readme_is_one_page():
    assert len(README.read_text().splitlines()) <= 100


def test_the_readme_leads_to_every_document():
    named = {(ROOT / target.partition("#")[0]).resolve() for target in links(README)}
    assert {*DOCUMENTS, NOTEBOOK, CHANGELOG} - {README} <= named


@each_document
def test_every_code_block_says_what_it_is(document: Path):
    assert {block.language for block in blocks(document)} <= set(LANGUAGES)


@each_document
def test_links_lead_to_files_and_headings_that_exist(document: Path):
    for target in links(document):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@each_document
def test_files_and_modules_that_are_named_exist(document: Path):
    for code in inline_code(document):
        if re.fullmatch(r"(genrescale|jobs|docs|tests|benchmarks|cluster)(/[\w.]+)+/?", code) and "NAME" not in code:
            assert (ROOT / code).exists(), code
        if re.fullmatch(r"genrescale(\.\w+)+", code):
            path = ROOT / code.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").exists(), code


# Commands


@each_document
def test_bash_blocks_parse(document: Path):
    for block in blocks(document):
        if block.language == "bash":
            ended = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
            assert ended.returncode == 0, f"{document.name}:{block.line}: {ended.stderr}"


@each_document
def test_commands_start_what_exists(document: Path):
    for words in commands(document):
        check_command(words)


def check_command(words: list[str]) -> None:
    """Every command of the documents is one of these; another kind needs a check of its own."""
    first, rest = words[0], words[1:]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    match first:
        case "make":
            assert rest[0] in targets
        case "python":
            assert (ROOT / rest[0]).is_file(), rest[0]
        case "cluster/local.sh" | "cluster/watch.sh":
            assert rest[0] in re.findall(r"^  (\w+)\)", (ROOT / first).read_text(), re.MULTILINE)
        case "eval":
            check_command(rest[0].removeprefix("$(").removesuffix(")").split())
        case "export":
            assert all(re.fullmatch(r"[A-Z_]+=\S+", word) for word in rest)
        case "source":
            assert rest == [".venv/bin/activate"]
        case "tensorboard":
            assert rest[0] == "--logdir"
        case "ray":
            assert rest[:2] == ["job", "submit"]
            options = dict(zip(rest[2 : rest.index("--") : 2], rest[3 : rest.index("--") : 2], strict=True))
            assert set(options) <= {"--working-dir", "--runtime-env-json"}
            json.loads(options.get("--runtime-env-json", "{}"))
            check_command(rest[rest.index("--") + 1 :])
        case ".venv/bin/uvx":
            assert rest == ["pre-commit", "install"]
            assert (ROOT / ".pre-commit-config.yaml").is_file()
        case ".venv/bin/uv":
            assert rest[:3] == ["pip", "install", "--python"]
            for extra in re.findall(r"\.\[(\w+)\]", " ".join(rest)):
                assert extra in extras
        case _:
            assert first.startswith("jobs/"), f"a command that no test knows: {words}"
            assert (ROOT / first).is_file(), first


@each_job_command
def test_a_command_composes_and_its_settings_are_accepted(job: str, overrides: list[str]):
    """All but the data: that the corpus, the run or the file exists."""
    settings = settings_of(job, overrides)
    if job == "train":
        name, dials, data = settings.run.model.name, settings.run.model.dials, settings.run.data
        crop_len = seconds_to_len(data.crop_s)
        assert min_crop_len(name, **dials) <= crop_len
        assert fixed_crop_len(name, **dials) in (None, crop_len)
        check_workers(data.batch, data.group, settings.site.workers)
    if job == "scale_sweep":
        for family in {*settings.families, *settings.dials}:
            full_dials(family, settings.dials.get(family, {}))
    if job == "import_weights":
        full_dials(settings.model, settings.dials)


# Settings in tables and sentences

SWEEP, SHARDING = settings_of("scale_sweep", ["sweep=demo"]), settings_of("shard_corpus", ["audio=a", "out=b"])
GROUPS: dict[str, Any] = {
    **{field.name: getattr(RunConfig(), field.name) for field in dataclasses.fields(RunConfig)},
    **{name: getattr(SWEEP, name) for name in ("site", "shards", "synthesis", "search", "baselines")},
    "columns": SHARDING.columns,
}
_SETTING = re.compile(
    r"(?<![\w./-])(?:run\.)?(data|optim|augment|init|contrast|site|shards|synthesis|columns|baselines)\.(\w+)"
)
_FILE_ENDINGS = ("json", "parquet")


@each_document
def test_settings_that_are_named_exist(document: Path):
    for code in inline_code(document):
        for group, name in _SETTING.findall(code):
            assert hasattr(GROUPS[group], name) or name in _FILE_ENDINGS, f"{code}: {group} has no {name}"


@each_document
def test_tables_of_settings_are_those_of_the_jobs_with_their_defaults(document: Path):
    jobs = [settings_of(job, overrides) for job, overrides in job_commands(document)]
    for header, *rows in tables(document):
        if header[0] != "setting":
            continue
        for row in rows:
            names = [code.partition("=")[0].removeprefix("run.") for code in re.findall(r"`([^`]+)`", row[0])]
            assert names, row
            for name in names:
                of_hydra = (ROOT / "jobs" / "conf" / name).is_dir()
                assert "." in name or of_hydra or any(hasattr(owner, name) for owner in (*jobs, RunConfig())), name
            if header[1] == "default":
                check_defaults(document, names, row[1])


def check_defaults(document: Path, names: list[str], cell: str) -> None:
    """The cell ``0.1, `adam` `` has the defaults of two settings; the words none and the same stand for ""."""
    texts = re.split(r", (?![^\[]*\])", cell)
    written = ["" if text in ("none", "the same") else yaml.safe_load(text.strip("`")) for text in texts]
    owner = SHARDING if document.stem == "corpora" else RunConfig()
    for name, value in zip(names, written, strict=True):
        group, _, field = name.rpartition(".")
        if name in ("cpus", "verbose"):
            found: Any = getattr(settings_of("train", []), name)
        else:
            found = getattr(GROUPS[group] if group else owner, field)
        is_number = isinstance(found, float)
        same = math.isclose(float(value), found) if is_number else str(value).lower() == str(found).lower()
        assert same, f"{name} is {found!r}, not {value!r}"


# Python


@pytest.fixture
def example_folder(corpus: Manifest, audio_folder: Path, tmp_path: Path) -> Path:
    """What the Python examples use: ``audio``, ``shards``, ``sweep``, ``models/mine`` and ``song.mp3``."""
    from helpers.examples import make_examples

    return make_examples(tmp_path, corpus, audio_folder)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if any(b.language == "python" for b in blocks(d))],
                         ids=lambda path: path.stem)  # fmt: skip
def test_python_examples_run_and_print_what_they_say(
    document: Path, example_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(example_folder)
    run_python(document)


def test_the_notebook_is_one_and_its_code_compiles():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
        assert all(len(line) <= MAX_WIDTH for line in "".join(cell["source"]).splitlines())
    compile(notebook_source(), NOTEBOOK.name, "exec")


# What is said in two places


def test_the_readmes_map_has_the_packages_folders_in_the_order_of_its_imports():
    """``.importlinter`` is the list of the layers; the README shows them as folders, from the top down."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:layers"]["layers"].split("\n")
    expected = [{name.strip() for name in layer.split("|")} for layer in layers if layer.strip()]
    [folders] = [block.text for block in blocks(README) if "genrescale/" in block.text and "jobs/" in block.text]
    inside = [line for line in folders.splitlines() if line.startswith("  ")]
    shown = [{name for name, _ in re.findall(r"(?<!\S)(\w+)(/|\.py)(?!\S)", line)} for line in inside]
    assert shown == expected


def test_the_changelog_begins_with_this_version_and_has_a_line_for_each_change():
    sections = re.split(r"^## (.+)\n", CHANGELOG.read_text(), flags=re.MULTILINE)[1:]
    texts = dict(zip(sections[::2], sections[1::2], strict=True))
    assert next(title for title in texts if title != "Unreleased") == genrescale.__version__
    lines = [line for line in texts[genrescale.__version__].splitlines() if line]
    assert all(line.startswith(("- ", "### ")) for line in lines), [x for x in lines if x[:2] not in ("- ", "##")]
    groups = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert groups == ["Breaking", "Added", "Changed", "Fixed"]


# Recipes of papers


def recipe(word: str) -> list[str]:
    """The settings of the one command of jobs/train.py in the recipes that has this setting."""
    [found] = [overrides for job, overrides in job_commands(RECIPES) if job == "train" and word in overrides]
    return found


def test_the_recipe_of_pretraining_is_the_papers():
    """512 patches, 400 of them masked, ten epochs, and a plateau of three validations that acts before the end."""
    run = settings_of("train", recipe("run.model.name=ssast_pretraining")).run
    dials, optim, data = full_dials(run.model.name, run.model.dials), run.optim, run.data
    patches = math.prod(patch_grid(dials["frames"], dials["stride"]))
    assert (patches, dials["masked_share"] * patches) == (512, 400)
    assert optim.max_steps == round(10 * data.size / data.batch)
    assert (optim.patience_steps, optim.schedule, optim.plateau_steps) == (0, "plateau", 3 * optim.validate_every)
    assert (optim.lr, optim.betas, optim.weight_decay, optim.warmup_steps) == (1e-4, [0.95, 0.999], 5e-7, 1000)
    assert (data.batch, optim.validate_every, optim.plateau_factor) == (24, 4000, 0.5)


def test_the_recipe_of_won_is_the_papers():
    """Won et al. 2020 and their code: Adam at 1e-4, weight decay 1e-4, batches of 16, then SGD at three rates."""
    run = settings_of("train", recipe("run.optim.sgd_after=80000")).run
    assert (run.optim.name, run.optim.lr, run.optim.weight_decay, run.data.batch) == ("adam", 1e-4, 1e-4, 16)
    assert (run.optim.sgd_lrs, run.data.scoring) == ([1e-3, 1e-4, 1e-5], "spread:16")


@pytest.mark.parametrize("word", ["run.optim.layer_decay=0.75", "run.optim.sgd_after=80000"])
def test_a_recipe_may_be_a_sweeps(word: str):
    of_run = [override for override in recipe(word) if not override.startswith(("site.", "run.model."))]
    of_sweep = [override.removeprefix("run.") for override in of_run]
    settings = settings_of("scale_sweep", [*of_sweep, "corpus=/data/shards", "optim.plateau_steps=2500"])
    ours, theirs = settings.optim, settings_of("train", of_run).run.optim
    for name in ("name", "schedule", "layer_decay", "sgd_after", "sgd_lrs", "sgd_lr_steps"):
        assert getattr(ours, name) == getattr(theirs, name)
