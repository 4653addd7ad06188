"""The documents as data: code blocks, commands, links, headings and tables of README, CONTRIBUTING and docs/."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "jobs"
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
LANGUAGES = ("bash", "python", "python ray", "text")
_FENCE = re.compile(r"^```(.*)$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One code block: its language, its text, and the number of its first line in the document."""

    language: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    """The fenced code blocks of a document, in order."""
    found, inside, language, first = [], [], None, 0
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence and language is None:
            language, inside, first = fence[1], [], number + 1
        elif fence:
            found.append(Block(str(language), "\n".join(inside), first))
            language = None
        else:
            inside.append(line)
    assert language is None, f"{document}: a code block is not closed"
    return found


def prose(document: Path) -> list[str]:
    """The lines of a document outside of its code blocks."""
    lines, inside = [], False
    for line in document.read_text().splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            lines.append(line)
    return lines


def inline_code(document: Path) -> list[str]:
    """What stands between backticks outside of the code blocks."""
    return [code for line in prose(document) for code in re.findall(r"`([^`]+)`", line)]


def links(document: Path) -> list[str]:
    """The targets of a document's links, as they are written."""
    return _LINK.findall("\n".join(prose(document)))


def anchors(document: Path) -> set[str]:
    """The names by which GitHub knows a document's headings."""
    titles = [line.lstrip("#").strip() for line in prose(document) if re.match(r"#{1,6} ", line)]
    return {_slug(title) for title in titles}


def _slug(title: str) -> str:
    kept = [c for c in title.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN"]
    return "".join(kept).replace(" ", "-")


def tables(document: Path) -> Iterator[list[list[str]]]:
    """The tables of a document: rows of cells, the header first and without the rule below it."""
    rows: list[list[str]] = []
    for line in [*prose(document), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            yield [rows[0], *rows[2:]]
            rows = []


def commands(document: Path) -> list[list[str]]:
    """The commands of a document's bash blocks, as words; a line that ends with a backslash goes on in the next."""
    lines = [
        line
        for block in blocks(document)
        if block.language == "bash"
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def job_commands(document: Path) -> list[tuple[str, list[str]]]:
    """The jobs that a document's commands start, with their settings; submitted ones too."""
    return [command for words in commands(document) if (command := _job_command(words))]


def help_commands() -> list[tuple[str, list[str]]]:
    """The commands in the docstrings of the jobs, which ``--help`` prints.

    Two spaces end a command, ``...`` stands for further settings.
    """
    found = []
    for job in sorted(JOBS.glob("[a-z]*.py")):
        for line in (ast.get_docstring(ast.parse(job.read_text())) or "").splitlines():
            if line.startswith(("python jobs/", "ray job submit ")):
                words = shlex.split(line.partition("  ")[0])
                found.append(_job_command([word for word in words if "..." not in word]))
    return [command for command in found if command]


def _job_command(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """A job and its settings; None for another command."""
    words = words[words.index("--") + 1 :] if "--" in words else words
    words = words[1:] if words[0] == "python" else words
    return (Path(words[0]).stem, list(words[1:])) if words[0].startswith("jobs/") else None


def settings_of(job: str, overrides: Sequence[str]) -> Any:
    """The checked settings that a job's ``main`` would get: the job ends before it."""
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(JOBS)
        _cli = importlib.import_module("_cli")

        run_job = _cli.run_job

        def without_main(schema: type, job: str, main: Any, doc: str | None, **more: Any) -> None:
            run_job(schema, job, found.append, doc, **more)

        patch.setattr(_cli, "run_job", without_main)
        patch.setattr(sys, "argv", [f"{JOBS}/{job}.py", *overrides])
        with pytest.raises(SystemExit):
            runpy.run_path(f"{JOBS}/{job}.py", run_name="__main__")
    assert found, f"{job} refuses {shlex.join(overrides)}"
    return found[0]


def run_python(document: Path, languages: Sequence[str] = ("python",)) -> None:
    """Execute a document's Python blocks one after the other, in one namespace and the current folder.

    A line ``print(...)  # TEXT`` has to print TEXT; AssertionError that lists the lines which do not.
    """
    printed: dict[int, str] = {}

    def record(*values: object) -> None:
        printed[sys._getframe(1).f_lineno] = " ".join(str(value) for value in values)

    namespace: dict[str, Any] = {"print": record, "__name__": "document"}
    wrong = []
    for block in blocks(document):
        if block.language not in languages:
            continue
        # the block's lines keep their numbers in the document, also in a traceback
        exec(compile("\n" * (block.line - 1) + block.text, str(document), "exec"), namespace)
        for number, line in enumerate(block.text.splitlines(), start=block.line):
            code, _, expected = line.partition("  # ")
            if expected and code.lstrip().startswith("print(") and printed.get(number) != expected:
                wrong.append(f"{document.name}:{number} prints {printed.get(number)}")
    if wrong:
        raise AssertionError("\n".join(wrong))


def notebook_source() -> str:
    """The code cells of the notebook as one script."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
