"""Names are drawn as they are: a dollar is no formula, and a character has a font where the machine has one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.text import Text

from genrescale.describe.figures import co_occurrence_svg
from genrescale.display import fonts
from genrescale.display.confusion import confusion_png
from genrescale.display.style import panel_svg
from genrescale.tagging.output import _text
from genrescale.tagging.picture import draw_tags
from genrescale.tagging.scores import SongTags

DOLLARS = ["Ba$$in", "$uicideboy$", r"A$AP \$ {x}_2"]
EAST = ["华语流行", "케이팝", "演歌"]
Draw = Callable[[list[str]], bytes]
PICTURES: list[Draw] = [
    lambda names: draw_tags(np.full((3, 3), 0.5), np.full(3, 0.5), names, 3.0, names[0], names[1]),
    lambda names: confusion_png(np.eye(3, dtype=int), names, names[0]),
    lambda names: co_occurrence_svg(names, np.eye(3, dtype=int) + 1),
    lambda names: panel_svg(lambda axes: _titled(axes, names), (3.0, 2.0)),
]


def _titled(axes: Axes, names: list[str]) -> None:
    axes.set_title(names[0])
    axes.plot([1, 2], label=names[1])
    axes.legend(title=names[2])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The texts that are drawn as text; a formula is drawn otherwise."""
    texts: set[str] = set()
    preprocess = Text._preprocess_math  # pyright: ignore[reportAttributeAccessIssue]

    def noted(self: Text, text: str) -> tuple[str, bool]:
        shown, is_formula = preprocess(self, text)
        if not is_formula:
            texts.add(shown)
        return shown, is_formula

    monkeypatch.setattr(Text, "_preprocess_math", noted)
    return texts


@pytest.fixture(autouse=True)
def nothing_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_LOOKED_AT", set())


@pytest.mark.parametrize("draw", PICTURES)
def test_a_dollar_in_a_name_is_a_dollar(draw: Draw, drawn: set[str]):
    draw(DOLLARS)
    assert all(any(name in text for text in drawn) for name in DOLLARS)


@pytest.mark.parametrize("draw", PICTURES)
def test_a_character_that_no_font_has_is_one_note(
    draw: Draw, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    monkeypatch.setattr(fonts, "_families_with", lambda missing: [])
    draw(EAST)
    draw(EAST)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("[picture] no font of this machine has ")
    assert not list(recwarn)


@pytest.mark.parametrize("draw", PICTURES)
def test_a_character_of_another_font_is_drawn_in_it(
    draw: Draw, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
):
    # matplotlib brings STIX with it; a font of pictures that is installed here has characters in the private range, too
    found: list[list[str]] = []
    families_with = fonts._families_with
    monkeypatch.setattr(fonts, "_families_with", lambda missing: found.append(families_with(missing)) or found[-1])
    draw(["\ue000 a", "\ue001 b", "\ue002 c"])
    assert ["STIXNonUnicode" in families for families in found] == [True]
    assert capsys.readouterr().err == ""
    assert not list(recwarn)


def test_a_font_that_was_installed_later_is_found(monkeypatch: pytest.MonkeyPatch):
    stix = next(entry.fname for entry in font_manager.fontManager.ttflist if "STIXNonUni.ttf" in entry.fname)
    before = font_manager.fontManager.ttflist
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [e for e in before if e.name != "STIXNonUnicode"])
    assert fonts._families_with({0xE000}) == []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [stix, "/nowhere/broken.ttf"])
    assert fonts._families_with({0xE000}) == ["STIXNonUnicode"]


def test_tags_of_wide_characters_stand_in_columns():
    tags = SongTags("a", 3.0, 1, False, np.array([0.5, 0.5]), None)
    wide, narrow = _text(tags, [("演歌", 0.5, None), ("rock", 0.5, None)]).splitlines()[1:]
    assert wide.index("0.50") + 2 == narrow.index("0.50")  # each of the two takes two cells
