"""Error kinds of each sort of task, counted by hand."""

import json
from typing import Any

from sciriff.report.errors import MOST, error_tables
from sciriff.tasks import HELD_OUT
from sciriff.tasks.metrics.matches import Matches
from sciriff.tasks.task import Task

TASKS = {task.short_name: task for task in HELD_OUT}


def matched(task: Task, *pairs: tuple[Any, Any]) -> list[Matches]:
    found = [task.matches(json.dumps(answer), json.dumps(reference)) for answer, reference in pairs]
    return [matches for matches in found if matches is not None]


def test_entities_by_type() -> None:
    task = TASKS["scierc"]
    answers = matched(
        task,
        ({"Method": ["pooling"], "Task": ["parsing", "mood"]}, {"Method": ["pooling", "parsing"]}),
        ({}, {"Metric": ["f1"], "Method": ["x"]}),
    )
    (table,) = error_tables(task, answers)
    assert table.columns == ("expected", "right", "missed", "wrong type", "spurious")
    assert table.rows == (
        ("Method", (3, 1, 1, 1, 0)),
        ("Metric", (1, 0, 1, 0, 0)),
        ("Task", (0, 0, 0, 0, 1)),  # `parsing` is counted where it belongs
        ("all", (4, 1, 2, 1, 1)),
    )


def test_types_without_end_share_a_line() -> None:
    task = TASKS["biored"]
    # so many that a table that was made in quadratic time would never come
    answers = matched(task, ({f"type {n:05d}": ["x"] for n in range(50_000)}, {"Gene": ["y"]}))
    (table,) = error_tables(task, answers)
    assert len(table.rows) == MOST + 1
    assert table.rows[0][0] == "Gene" and table.rows[-2] == ("49994 more", (0, 0, 0, 0, 49_994))
    assert table.rows[-1] == ("all", (1, 0, 1, 0, 50_000))


def test_findings_and_the_fields_that_keep_them_from_matching() -> None:
    task = TASKS["evidence_inference"]
    right = ["drug x", "placebo", "pain", "lower", "Pain fell."]
    answers = matched(
        task,
        ([right], [right]),
        ([[*right[:2], "mood", "higher", "Pain fell."]], [right]),
        ([["a", "b", "c", "d", "e"]], [right, ["p", "q", "r", "s", "t"]]),
    )
    whole, fields = error_tables(task, answers)
    assert whole.rows == (("all", (4, 1, 1, 2, 1)),)
    assert fields.rows == (
        ("intervention", (1, 0)),
        ("comparator", (1, 0)),
        ("outcome", (0, 1)),
        ("effect", (0, 1)),
        ("evidence", (1, 0)),
    )


def test_verdicts_against_each_other() -> None:
    task = TASKS["scifact"]

    def claim(verdict: Any, *evidence: str) -> dict[str, Any]:
        return {"verdict": verdict, "evidence": list(evidence)}

    answers = matched(
        task,
        (claim("SUPPORT", "a"), claim("SUPPORT", "A", "b")),
        (claim("NEI"), claim("SUPPORT")),
        (claim("maybe"), claim("NEI")),
        ("no object", claim("CONTRADICT")),
    )
    confusion, evidence = error_tables(task, answers)
    assert confusion.columns == ("SUPPORT", "CONTRADICT", "NEI", "(other)")
    assert confusion.rows == (("SUPPORT", (1, 0, 1, 0)), ("CONTRADICT", (0, 0, 1, 0)), ("NEI", (0, 0, 0, 1)))
    assert evidence.rows == (("all", (2, 1, 1, 0)),)


def test_labels_against_each_other() -> None:
    task = TASKS["multicite"]
    answers = matched(
        task,
        (["Uses", "Extends"], ["uses", "background"]),
        (["uses"], ["uses", "background"]),
        (["new"], ["uses"]),
        ([], []),
    )
    (table,) = error_tables(task, answers)
    assert table.columns == ("uses", "background", "(other)", "(none)")
    assert table.rows == (("uses", (2, 0, 1, 0)), ("background", (0, 0, 1, 1))), "extends and new are no labels"


def test_labels_that_are_called_as_the_table_calls_what_is_none() -> None:
    answers = matched(TASKS["multicite"], (["none"], ["other"]), (["x"], ["none"]), ([], ["other"]))
    (table,) = error_tables(TASKS["multicite"], answers)
    assert table.columns == ("other", "none", "(other)", "(none)")
    assert table.rows == (("other", (0, 1, 0, 1)), ("none", (0, 0, 1, 0)))


def test_lists_and_parts_of_answers() -> None:
    (items,) = error_tables(TASKS["bioasq"], matched(TASKS["bioasq"], (["a", "x"], ["A", "b", "c"])))
    assert items.rows == (("all", (3, 1, 2, 1)),)
    given = matched(TASKS["qasper"], ({"answer": "x"}, {"answer": "y", "evidence": ["z"]}), ("-", {"answer": "y"}))
    (parts,) = error_tables(TASKS["qasper"], given)
    assert parts.rows == (("answer", (2, 1, 1, 0)), ("evidence", (1, 0, 1, 0)))


def test_texts_that_are_compared_whole_have_no_table() -> None:
    assert TASKS["mup"].matches("a", "b") is None
    assert error_tables(TASKS["mup"], []) == error_tables(TASKS["biored"], []) == []
