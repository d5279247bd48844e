"""Tables for the terminal show what they are given, a row on a line, and none of it steers the terminal."""

import pytest

from sciriff.results.terminal_table import table_lines


def test_words_stand_left_and_numbers_right():
    assert table_lines(("run", "n", "note"), [("a", "7", "x y"), ("longer", "1234", "")], right=("n",)) == [
        "run        n  note",
        "a          7  x y",
        "longer  1234",
    ]


def test_a_last_column_of_numbers_is_filled_up():
    assert table_lines(("run", "mean"), [("a", "46.45"), ("b", "")], right=("mean",)) == [
        "run   mean",
        "a    46.45",
        "b         ",
    ]


@pytest.mark.parametrize(
    "narrow", [{"COLUMNS": "20"}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}, {"TERM": "dumb"}]
)
def test_no_cell_is_cut_wrapped_or_coloured(narrow: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in narrow.items():
        monkeypatch.setenv(name, value)
    long = "word " * 1000 + "end"
    assert table_lines(("a", "b"), [(long, "https://x.org/1"), ("x", "/a/b")]) == [
        f"a{' ' * len(long)} b",
        f"{long}  https://x.org/1",
        f"x{' ' * len(long)} /a/b",
    ]


def test_what_is_in_a_cell_has_no_meaning():
    hostile = "[bold]x[/bold] [/] :smile: \x1b[31m\x9b2J a\nb\tc\rd\u202e\ud800"
    _, line = table_lines(("run", "n"), [(hostile, "1")], right=("n",))
    assert line == "[bold]x[/bold] [/] :smile: ␛[31m\ufffd2J a␊b␉c␍d\ufffd\ufffd  1"


def test_wide_characters_take_two_columns():
    assert table_lines(("run", "n"), [("模型", "1"), ("abcd", "22")], right=("n",)) == [
        "run    n",
        "模型   1",
        "abcd  22",
    ]
