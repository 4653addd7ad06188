"""What genrescale hands on: tables without formulas, terminals without foreign control characters, and typed rows."""

from __future__ import annotations

import ast
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.sweeps import make_plan, make_trial, write_run

from genrescale.audio import Tag, Vocabulary
from genrescale.display.text import csv_bytes
from genrescale.inventory import find_items, format_items
from genrescale.report import REPORT_FILES, format_table, write_report
from genrescale.results import read_planned, read_results, write_planned
from genrescale.storage.store import Store
from genrescale.tagging.output import Show, lines
from genrescale.tagging.scores import SongTags
from genrescale.telemetry.progress import Progress
from genrescale.telemetry.terminal import printable, say

ROOT = Path(__file__).parents[2]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31mrock\u202e\x00"
WRONG = [
    ("roc_auc", "x", "roc_auc: Input should be a valid number"),
    ("steps", 1.5, "steps: Input should be a valid integer"),
    ("workers", True, "workers: Input should be a valid integer"),
    ("dials", [], "dials: Input should be an object"),
    ("streams", [{"a": "b"}], "streams.0.a.int: Input should be a valid integer"),
]


def texts_of(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode())))


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])  # noqa: RUF001
def test_no_cell_of_a_table_is_a_formula(first: str):
    [[cell, number]] = texts_of(csv_bytes([f'{first}HYPERLINK("http://evil","x")', "n"], []))
    assert cell.startswith("'")
    assert cell.endswith('HYPERLINK("http://evil","x")')
    assert number == "n"
    assert texts_of(csv_bytes(["n"], [[-1.5], [None], ["a = b"]]))[1:] == [["-1.5"], [""], ["a = b"]]


def test_no_control_character_is_shown(capsys: pytest.CaptureFixture[str]):
    say(f"first {HOSTILE}\nsecond")
    shown = capsys.readouterr().out
    assert shown == r"first \x1b]0;owned\x07\x1b[2J\r\x9b31mrock\u202e\x00" + "\nsecond\n"
    progress = Progress("tag", 3, "songs")
    progress.note(HOSTILE)
    assert printable(progress.line()) == progress.line()


def test_words_of_any_language_stay_as_they_are():
    for word in ("Música", "می‌خواهم", "क्‍ष", "日本語", "👩‍🎤", "R&B"):
        assert printable(word) == word


@pytest.mark.parametrize("format", ["text", "csv", "json"])
def test_the_tags_of_a_song_hold_no_control_character(format: Any):
    tags = SongTags(
        song=f"{HOSTILE}.mp3", seconds=3.0, windows=1, padded=False, score_K=np.array([0.7, 0.2]), whole_K=None
    )
    vocabulary = Vocabulary((Tag(HOSTILE, "classify"), Tag("=cmd", "classify")))
    shown = lines(tags, vocabulary, Show(format=format, top=2))
    assert all(printable(line) == line for line in shown.rstrip("\n").split("\n"))
    if format == "json":
        found = json.loads(shown)
        assert found["song"] == f"{HOSTILE}.mp3"
        assert [row["tag"] for row in found["tags"]] == [HOSTILE, "=cmd"]


def test_every_job_prints_by_the_one_function_that_escapes():
    """``print`` shows what it is given; a new one would open the terminal to names of files and tags again."""
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("genrescale", "jobs")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert [call.partition(":")[0] for call in calls] == ["genrescale/telemetry/terminal.py"]


def test_a_folder_whose_name_is_markup_or_escapes_has_that_name(tmp_path: Path):
    write_planned(Store(str(tmp_path / "[bold]x[" / "nope]")), [make_trial("waveform", 100, 0)])
    shown = format_items(list(find_items(Store(str(tmp_path)))), str(tmp_path), runs=True)
    assert "[bold]x[/nope]" in shown


@pytest.mark.parametrize(("field", "value", "told"), WRONG)
def test_a_row_with_a_wrong_type_is_named_and_the_report_goes_on(
    field: str, value: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("genrescale.report.page.panel_svg", lambda *_: b"<svg/>")  # drawing takes seconds
    monkeypatch.setattr("genrescale.report.scaling_png", lambda *_: b"")
    files = Store(str(tmp_path))
    write_planned(files, plan := make_plan())
    rows = [write_run(files, trial) for trial in plan]
    path = f"runs/{rows[0].run_id}/result.json"
    files.write_bytes(path, json.dumps({**rows[0].to_dict(), field: value}).encode())

    with pytest.raises(ValueError, match=told):
        read_results(files)
    report = write_report(files)
    assert f"1 result row left out that cannot be read: {files.uri}/{path}: {told}" in report.notes[0]
    assert path in format_table(report)
    missing = {trial.planned.run_id for trial in report.trials if trial.row is None}
    assert missing == {rows[0].run_id}
    assert told in report.failures[rows[0].run_id]
    for name in REPORT_FILES:
        assert files.exists(name)


def test_the_row_of_another_run_is_not_taken_for_this_one(tmp_path: Path):
    files = Store(str(tmp_path))
    one, other = (write_run(files, make_trial("waveform", 100, seed)) for seed in (0, 1))
    files.write_bytes(f"runs/{one.run_id}/result.json", files.read_bytes(f"runs/{other.run_id}/result.json"))
    with pytest.raises(ValueError, match=f"runs/{one.run_id}/result.json: it is the row of run {other.run_id}"):
        read_results(files)


@pytest.mark.parametrize("plan", ["{}", '[{"run_id": 3}]', "[" * 10_000, '[{"run_id": "a", "axis": "grid"}]', "\x00"])
def test_a_damaged_plan_is_named(plan: str, tmp_path: Path):
    files = Store(str(tmp_path))
    files.write_bytes("sweep.json", plan.encode())
    with pytest.raises(ValueError, match=f"{files.uri}/sweep.json"):
        read_planned(files)
