"""`compare --marks FILE`: how persons, judge and metrics agree, on small runs made up here."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_compare import MUP, NER, RIGHT, TABLE, WRONG, good, make  # noqa: F401

from sciriff import config, score
from sciriff.compare import main
from sciriff.data.marks import Mark, answer_digest, marks_text
from sciriff.data.records import Judgement, Prediction
from sciriff.results.agreement import Agreement
from sciriff.run.json_lines import write_jsonl


@pytest.fixture
def comparing(monkeypatch, capsys):
    """Run the command and give what it printed and `marks` of its JSON."""

    def run(*arguments: str, status: int = 0) -> tuple[str, dict[str, Any]]:
        monkeypatch.setattr("sys.argv", ["compare", *arguments, "--json", "numbers.json", "--resamples", "100"])
        capsys.readouterr()
        assert main() == status
        printed = capsys.readouterr()
        if status:
            assert len(printed.err.splitlines()) == 1
            return printed.err, {}
        return printed.out, json.loads(Path("numbers.json").read_text())["marks"]

    return run


def marks_of(path: str, run: str, task: str, marks: str, right: int, **changed: str) -> None:
    """A file of marks, a letter for each answer in turn, of a run with as many `right` ones first."""
    words = {"r": "right", "w": "wrong", "u": "unclear"}
    texts = [RIGHT[task][n] if n < right else WRONG[task] for n in range(len(marks))]
    rows = [
        Mark(run, task, f"{task}:{n}", changed.get("answer", answer_digest(texts[n])), words[letter])
        for n, letter in enumerate(marks)
        if letter in words
    ]
    Path(path).write_text(marks_text(rows))


@pytest.mark.parametrize(
    "counts, agreement, kappa",
    [
        ((20, 5, 10, 15), 0.7, 0.4),
        ((45, 15, 25, 15), 0.6, 0.13043478260869568),
        ((25, 35, 5, 35), 0.6, 0.25925925925925924),
        ((0, 5, 5, 0), 0, -1),
        ((5, 5, 0, 0), 0.5, 0),
        ((5, 0, 0, 0), 1, None),
        ((0, 0, 0, 3), 1, None),
    ],
)
def test_kappa(counts, agreement, kappa):
    found = Agreement("run", "task", "a", "b", *counts)
    assert found.agreement == pytest.approx(agreement)
    assert found.kappa == (None if kappa is None else pytest.approx(kappa))


def test_two_persons_and_a_metric(make, comparing):  # noqa: F811
    make("base", good(0.5))
    marks_of("anna.json", "base", NER, "rrrrrrrrrrrrrrrwwwwwrru" + "-" * 7, 15)
    marks_of("ben.json", "base", NER, "-" * 10 + "rrrwwwwwwwruw" + "-" * 7, 15)
    printed, found = comparing("base", "--marks", "anna.json", "--marks", "ben.json")
    rows = {(row["first"], row["second"]): row for row in found["agreement"]}
    # the metric: answers 0 to 14 right; anna: 20 and 21 too, 22 unclear; ben: 10 to 12 and 20, 21 unclear
    counts = ("n", "both_right", "first_alone", "second_alone", "both_wrong")
    assert [rows["anna", "f1"][name] for name in counts] == [22, 15, 2, 0, 5]
    assert [rows["anna", "ben"][name] for name in counts] == [11, 4, 2, 0, 5]
    assert [rows["ben", "f1"][name] for name in counts] == [12, 3, 1, 2, 6]
    chance = 17 / 22 * 15 / 22 + 5 / 22 * 7 / 22
    assert rows["anna", "f1"]["kappa"] == pytest.approx((20 / 22 - chance) / (1 - chance))
    assert len(rows) == 3
    assert "biored_ner  anna  f1" in printed and "90.9%" in printed and "0.77" in printed
    assert "scores from 50 (--right-from)" in printed and "ratings those from 3" in printed
    assert "anna: 1 marks are `unclear` and left out" in printed
    assert [row["unclear"] for row in found["not_used"]] == [1, 1]


def test_a_person_called_like_a_score_has_a_name_of_its_own(make, comparing):  # noqa: F811
    make("base", good(0.5))
    marks_of("f1.json", "base", NER, "rrww" + "-" * 26, 15)
    _, found = comparing("base", "--marks", "f1.json")
    assert [(row["first"], row["second"]) for row in found["agreement"]] == [("f1.json", "f1")]


def test_the_threshold_moves(make, comparing, monkeypatch):  # noqa: F811
    monkeypatch.setitem(WRONG, NER, '{"Gene": ["b"]}')  # one of two entities: F1 is 2/3
    make("base", {NER: [False] * 12})
    marks_of("anna.json", "base", NER, "r" * 12, 0)
    for limit, agreed in (("66", 12), ("67", 0)):
        _, found = comparing("base", "--marks", "anna.json", "--right-from", limit)
        assert {(row["both_right"], row["first_alone"]) for row in found["agreement"]} == {(agreed, 12 - agreed)}
    assert "--right-from 0" in comparing("base", "--marks", "anna.json", "--right-from", "0", status=2)[0]


@pytest.mark.shows("D4")
def test_marks_of_other_answers_are_counted_named_and_never_applied(make, comparing):  # noqa: F811
    make("base", good(0.5))
    make("other", good(0.4), "eval.max_new_tokens=7")
    marks_of("old.json", "base", NER, "r" * 30, 15, answer="0" * 16)
    marks_of("far.json", "gone", NER, "r" * 30, 15)
    marks_of("mine.json", "runs/other", NER, "r" * 30, 12)
    Path("more.json").write_text(
        marks_text(
            [Mark("base", NER, "\x1b[31m", "0" * 16, "right"), Mark("base", "scierc_ner", "a", "0" * 16, "right")]
        )
    )
    files = [part for name in ("old", "far", "mine", "more") for part in ("--marks", f"{name}.json")]
    printed, found = comparing("base", "other", *files)
    assert {(row["run"], row["first"], row["n"]) for row in found["agreement"]} == {("other", "mine", 30)}
    assert "old: 30 marks are of answers that are others now, or gone: base, biored_ner:0; " in printed
    assert "and 27 more" in printed
    assert "far: 30 marks are of the run gone, that is not here" in printed
    assert "more: 2 marks are of answers" in printed and "␛[31m" in printed and "\x1b" not in printed


def test_a_judge(make, comparing):  # noqa: F811
    run = make("base", good(0.5), "allow_missing=true")
    texts = [f"summary {n}" for n in range(8)]
    write_jsonl(run.predictions / f"{MUP}.jsonl", [Prediction(MUP, f"m{n}", "", t, t) for n, t in enumerate(texts)])
    ratings = [1, 2, 3, 4, 5, 5, 5]  # the last one has none
    rows = [Judgement(f"m{n}", "judge", "digest", f"Decision: {r}", r, "rated") for n, r in enumerate(ratings)]
    write_jsonl(run.judgements / f"{MUP}.jsonl", rows)
    score.main(config.load(run.config), run)
    marks = [
        Mark("base", MUP, f"m{n}", answer_digest(text), "wrong" if n < 3 else "right") for n, text in enumerate(texts)
    ]
    Path("anna.json").write_text(marks_text(marks))
    _, found = comparing("base", "--marks", "anna.json")
    rows = {(row["first"], row["second"]): row for row in found["agreement"]}
    judged = rows["anna", "lm_judge_reference"]
    assert (judged["n"], judged["both_right"], judged["second_alone"], judged["both_wrong"]) == (7, 4, 1, 2)
    assert (rows["anna", "rouge"]["n"], rows["lm_judge_reference", "rouge"]["n"]) == (8, 7)


def test_all_of_one_kind_has_no_kappa(make, comparing):  # noqa: F811
    make("base", good(1))
    marks_of("anna.json", "base", NER, "r" * 30, 30)
    printed, found = comparing("base", "--marks", "anna.json")
    assert [(row["agreement"], row["kappa"]) for row in found["agreement"]] == [(1, None)]
    assert "kappa -: not defined" in printed


def test_answers_that_are_not_in_the_folder(make, comparing, tmp_path):  # noqa: F811
    run = make("base", good(0.5))
    marks_of("anna.json", "base", NER, "r" * 30, 15)
    elsewhere = tmp_path / "elsewhere.jsonl"
    (run.predictions / f"{NER}.jsonl").rename(elsewhere)
    printed, found = comparing("base", "--marks", "anna.json")
    assert "no mark is of an answer of these runs" in printed and not found["agreement"]
    assert "30 marks are of the run base, whose answers are not in its folder" in printed
    (run.predictions / f"{NER}.jsonl").symlink_to(elsewhere)
    assert "whose answers are not in its folder" in comparing("base", "--marks", "anna.json")[0]


def test_files_of_marks_are_checked_first(make, comparing):  # noqa: F811
    Path("anna.json").write_text("[]")
    assert "anna.json: not marks" in comparing("nothing", "--marks", "anna.json", status=2)[0]
    Path("anna.json").write_text(marks_text([]))
    assert "twice" in comparing("nothing", "--marks", "anna.json", "--marks", "anna.json", status=2)[0]
