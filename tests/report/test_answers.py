"""Counting answers, the score of one alone, and making any text of theirs fit to stand on a page."""

from collections.abc import Callable

import pytest
from report_runs import write_predictions

from sciriff.config import Config
from sciriff.data.records import Prediction
from sciriff.report.answers import evenly_spaced, read_answers
from sciriff.results.answer_scores import own_scores
from sciriff.run.run_dir import RunDir
from sciriff.run.visible import LONGEST, visible
from sciriff.tasks.biored import BIORED
from sciriff.tasks.mup import MUP
from sciriff.tasks.qasper import QASPER
from sciriff.tasks.scifact import SCIFACT
from sciriff.tasks.task import Task

MakeRun = Callable[..., tuple[Config, RunDir]]
REFERENCE = '{"Gene": ["p53", "tim-1"]}'


def test_examples_are_evenly_spaced() -> None:
    rows = list(range(100))
    assert evenly_spaced(rows, 4) == [12, 37, 62, 87]
    assert evenly_spaced(rows, 0) == []
    assert evenly_spaced(rows[:3], 10) == rows[:3] and evenly_spaced(rows, None) == rows
    assert len(set(evenly_spaced(rows, 99))) == 99


def test_answers_are_counted_and_scored_one_by_one(make_run: MakeRun) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5})
    rows = [
        Prediction("biored_ner", "0", "p", REFERENCE, REFERENCE, "length", 5, 10),
        Prediction("biored_ner", "1", "p", " \n", REFERENCE, "stop", 7, 20, 5),
        Prediction("biored_ner", "2", "p", '{"Gene": ["p53"], "Disease": ["x"]}', REFERENCE),
    ]
    write_predictions(run, rows)
    (found,) = read_answers(config, run).values()
    assert (found.at_limit, found.truncated, found.empty) == (1, 1, 1)
    assert found.known("prompt_tokens") == [5, 7] and found.known("output_tokens") == [10, 20]
    assert [row.score for row in found.rows] == [1.0, 0.0, 0.5]
    assert [row.unreadable for row in found.rows] == [None, "empty", None]


def test_without_the_score_stage_an_answer_has_no_score(make_run: MakeRun) -> None:
    config, run = make_run("r", {"biored_ner/f1": 0.5})
    write_predictions(run, [Prediction("biored_ner", "0", "p", REFERENCE, REFERENCE)])
    (run.per_instance / "biored_ner.jsonl").unlink()
    (row,) = read_answers(config, run)["biored_ner"].rows
    assert row.score is None and row.matches is not None


@pytest.mark.parametrize(
    ("task", "answer", "reference", "scores"),
    [
        (SCIFACT, '{"verdict": "NEI"}', '{"verdict": "NEI", "evidence": []}', {}),
        (
            SCIFACT,
            '{"verdict": "SUPPORT", "evidence": []}',
            '{"verdict": "SUPPORT", "evidence": ["a b"]}',
            {"f1_label": 1.0, "f1_evidence_token": 0.0},
        ),
        (BIORED, "{}", '{"Gene": []}', {}),
        (BIORED, "{}", REFERENCE, {"f1": 0.0}),
        (QASPER, '{"answer": "x"}', '{"answer": "y", "evidence": ["z"]}', {"f1_evidence": 0.0}),
        (MUP, "a b c", "a b d", {"rouge": pytest.approx(2 / 3)}),
    ],
)
def test_a_score_that_nothing_decides_is_left_out(
    task: Task, answer: str, reference: str, scores: dict[str, float]
) -> None:
    assert own_scores(task, task.vector(task.score(answer, reference))) == scores


def test_texts_are_made_visible_and_bounded() -> None:
    assert visible("a\x00\x1b\x7f\x85\u202e\u2066\ud800\n\tb") == "a␀␛␡\ufffd\ufffd\ufffd\ufffd\n\tb"
    long = visible("x" * (LONGEST + 1234))
    assert long.endswith("… and 1,234 more characters") and len(long) < LONGEST + 50
