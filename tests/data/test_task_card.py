"""Tasks of one's own in the card of a folder, which may come from anybody."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sciriff.data import task_card
from sciriff.data.task_card import own_tasks
from sciriff.run.user_error import UserError


def card(folder: Path, tasks: Any) -> Path:
    (folder / "card.json").write_text(json.dumps({"rows": 3, "tasks": tasks}))
    return folder


def test_tasks_with_a_metric_that_are_none_of_the_nine(tmp_path: Path):
    assert own_tasks(tmp_path) == {}
    tasks = {"mine": {"metric": "list_f1", "rows": {"train": 3}}, "b-2": {"metric": None}, "c": {}}
    assert own_tasks(card(tmp_path, tasks | {"biored_ner": {"metric": "bleu"}})) == {"mine": "list_f1"}
    (tmp_path / "card.json").write_text('{"by_source": {}}')
    assert own_tasks(tmp_path) == {}, "the card of something else"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"mine": {"metric": "lst_f1"}}, "tasks.mine.metric: 'lst_f1' is not known; did you mean 'list_f1'?"),
        ({"mine": {"metric": 5}}, "tasks.mine.metric=5: expected"),
        ({"mine": "list_f1"}, 'tasks.mine="list_f1": expected'),
        (["mine"], "tasks=list: expected"),
        ({"../mine": {"metric": "bleu"}}, "'../mine' is no name of a task"),
        ({"a\n\x1b[2Jb": {"metric": "bleu"}}, "'a␊␛[2Jb' is no name of a task"),
        ({"a\n\x1b[2Jb": {"metric": 5}}, "tasks.a␊␛[2Jb.metric=5: expected"),
        ({"": {"metric": "bleu"}}, "'' is no name of a task"),
        ({"x" * 101: {"metric": "bleu"}}, "is no name of a task: at most 100 letters"),
        ({"ä": {"metric": "bleu"}}, "'ä' is no name of a task"),
        ({"Summary": {"metric": "bleu"}}, "a task cannot be called Summary"),
        ({"samples_of_mine": {"metric": "bleu"}}, "a task cannot be called samples_of_mine"),
        ({"mine": {"metric": "bleu\n" * 1000}}, "tasks.mine.metric: 'bleu␊bleu␊"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(tmp_path: Path, tasks: Any, said: str):
    with pytest.raises(UserError) as error:
        own_tasks(card(tmp_path, tasks))
    line = str(error.value)
    assert line.startswith(f"{tmp_path / 'card.json'}: ") and said in line
    assert "\n" not in line and "\x1b" not in line and len(line.removeprefix(str(tmp_path))) < 400


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"tasks": NaN}', "\ud800"])
def test_a_card_that_is_none(tmp_path: Path, text: str):
    (tmp_path / "card.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match="not the card of a folder of instances"):
        own_tasks(tmp_path)


def test_a_card_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(task_card, "MOST_BYTES", 10)
    with pytest.raises(UserError, match=r"card\.json: 44 bytes are no card"):
        own_tasks(card(tmp_path, {"a": {"metric": "x"}}))


def test_what_is_no_file_is_no_card(tmp_path: Path):
    os.mkfifo(tmp_path / "card.json")  # nobody writes, so reading would wait for ever
    assert own_tasks(tmp_path) == {}
