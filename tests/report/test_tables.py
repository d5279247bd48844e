"""Numbers as people read them, and the sentence that compares runs."""

import pytest

from sciriff.report.run_scores import RunScores, best_per_column, difference, points, sentence, titles
from sciriff.results.scores import ColumnScore, Summary
from sciriff.tasks import COLUMNS, HELD_OUT


def scored(name: str, columns: dict[str, float]) -> RunScores:
    mean = sum(columns.values()) / len(columns) if columns else None
    found: dict[str, ColumnScore] = {key: {"value": value} for key, value in columns.items()}
    summary: Summary = {"columns": found, "mean": mean, "median": mean, "missing": []}
    return RunScores(name, {"model": "m", "parity": "none", "tasks": {}, "summary": summary})


def test_the_eleven_columns_stand_in_the_papers_order() -> None:
    found = list(titles(HELD_OUT).items())
    assert found[0] == ("bioasq_list_qa/f1", "bioasq f1")
    assert found[10] == ("scifact_entailment/f1_evidence_token", "scifact f1_evidence_token")


@pytest.mark.parametrize(("value", "text"), [(0.5153, "51.5"), (0.0, "0.0"), (None, "–"), (1.0, "100.0")])
def test_points(value: float | None, text: str) -> None:
    assert points(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.18, "+18.0"), (-0.004, "−0.4"), (0.00001, "0.0"), (-0.00001, "0.0")])
def test_difference(value: float, text: str) -> None:
    assert difference(value) == text


def test_means_over_other_columns_are_not_compared() -> None:
    run = scored("a", {"biored_ner/f1": 0.5, "scierc_ner/f1": 0.3})
    same = scored("b", {"biored_ner/f1": 0.4, "scierc_ner/f1": 0.2})
    more = scored("c", {"biored_ner/f1": 0.4, "discomat_te/bleu": 0.9})
    other = scored("d", {"discomat_te/bleu": 0.9})
    assert sentence(run, [same, more, other]) == (
        f"Mean 40.0 (mean of 2 of {len(COLUMNS)} columns), +10.0 over b, +10.0 over c on the 1 column that both have, "
        "no column in common with d."
    )


def test_the_best_of_a_column_needs_runs_that_differ() -> None:
    run = scored("a", {"biored_ner/f1": 0.5, "scierc_ner/f1": 0.3})
    assert best_per_column([run]) == best_per_column([run, run]) == {}
    assert best_per_column([run, scored("b", {"biored_ner/f1": 0.6})]) == {"biored_ner/f1": 0.6}
