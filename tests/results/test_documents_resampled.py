"""Runs about shared documents are scored, compared and pooled by document, with older runs beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sciriff import score
from sciriff.compare import lines
from sciriff.config import Config, load, to_yaml
from sciriff.data.records import Prediction
from sciriff.report.about import notes
from sciriff.report.run_scores import read_run_scores
from sciriff.report.sweep.sweep_page import render
from sciriff.results.comparison import compare
from sciriff.results.finished_runs import read_run
from sciriff.results.latex_table import latex_table
from sciriff.results.per_instance import read_per_instance
from sciriff.results.seeds import Group, pooled
from sciriff.results.shared_documents import SharedDocuments, documents_lines
from sciriff.results.summary_table import interval_lines, summary_lines
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.tasks.bioasq import BIOASQ

COLUMN = f"{BIOASQ.name}/f1"
AS_ONE = "answers about one document count as one (docs/statistics.md)"
ORDER = "Answer the question with a JSON array of strings, and do not write anything else beside it."


def prompt(number: int, documents: int) -> str:
    paper = number % documents
    text = " ".join(f"Sentence {place} of paper {paper} tells of the gene G{paper}." for place in range(4))
    return f"{ORDER}\n\n{text}\n\nQuestion: which is number {number}?"


Make = Callable[..., RunDir]


@pytest.fixture
def make(tmp_path: Path, composed: Callable[..., Config]) -> Make:
    """`make(name, right, documents)` is a scored run whose answers are right as listed; 0 documents: no prompts."""

    def run(name: str, right: list[bool], documents: int, *overrides: str) -> RunDir:
        made = RunDir(tmp_path / name)
        rows = [
            Prediction(
                BIOASQ.name,
                f"{BIOASQ.name}:{n:03}",
                prompt(n, documents) if documents else "",
                json.dumps(["a"] if good else ["b"]),
                '["a"]',
            )
            for n, good in enumerate(right)
        ]
        write_jsonl(made.predictions / f"{BIOASQ.name}.jsonl", rows)
        options = ("experiment=demo", "train=none", f"name={name}", f"run_dir={made.root}", "eval.resamples=2000")
        settings = composed(*options, *overrides)
        made.config.write_text(to_yaml(settings))
        score.main(settings, made)
        return made

    return run


def scores_of(run: RunDir) -> dict[str, Any]:
    return json.loads(run.scores.read_text())


def width(scores: dict[str, Any]) -> float:
    low, high = scores["summary"]["columns"][COLUMN]["ci95"]
    return float(high - low)


HARD = [n % 40 < 15 for n in range(120)]
"""Three answers to each of 40 documents, which are hard or easy as a whole."""


def test_a_run_is_resampled_by_document(make: Make):
    known, unknown = scores_of(make("known", HARD, 40)), scores_of(make("unknown", HARD, 0))
    assert known["tasks"][BIOASQ.name]["documents"] == 40
    assert "documents" not in unknown["tasks"][BIOASQ.name]
    assert known["tasks"][BIOASQ.name]["n"] == unknown["tasks"][BIOASQ.name]["n"] == 120
    assert known["summary"]["columns"][COLUMN]["value"] == unknown["summary"]["columns"][COLUMN]["value"]
    assert width(known) / width(unknown) == pytest.approx(3**0.5, rel=0.1)
    assert f"{BIOASQ.name} (40 documents of 120 instances): {AS_ONE}" in summary_lines(known)  # type: ignore[arg-type]


def test_too_few_documents_are_said(make: Make):
    few, unknown = make("few", HARD, 20), make("unknown", HARD, 0)
    scores = scores_of(few)
    assert "documents" not in scores["tasks"][BIOASQ.name]
    assert "fewer than 30 documents" in scores["summary"]["columns"][COLUMN]["ci95_note"]
    assert width(scores) == width(scores_of(unknown))
    [line] = interval_lines(scores)  # type: ignore[arg-type]
    assert line.startswith(f"{COLUMN}: 95 % interval: fewer than 30 documents, so")
    assert line in summary_lines(scores)  # type: ignore[arg-type]
    assert f"{line}." in notes(load(few.config), read_run_scores(few, "few"), None)
    compared = compare(Group((read_run(few.root),)), Group((read_run(unknown.root),)), 200)
    [line] = documents_lines(compared.documents)
    assert line.startswith(f"{BIOASQ.name} (20 documents of 120 instances): fewer than 30 documents, so")


def test_a_table_says_it_once():
    rows = [("a", 87, 107), ("b", 166, 184), ("c", 5, 9), ("a", 87, 107), ("a", 80, 90)]
    first, second = documents_lines(SharedDocuments(*row) for row in rows)
    assert first == f"a (87 documents of 107 instances and 80 of 90), b (166 of 184): {AS_ONE}"
    assert second.startswith("c (5 documents of 9 instances): fewer than 30 documents")
    assert documents_lines([]) == []


def test_the_digests_are_kept(make: Make):
    run = make("known", HARD, 40)
    rows = read_per_instance(run.per_instance / f"{BIOASQ.name}.jsonl", BIOASQ)
    digests = [row.document for row in rows.values()]
    assert digests[:40] == digests[40:80] == digests[80:]
    assert len(set(digests)) == 40
    path = make("unknown", HARD, 0).per_instance / f"{BIOASQ.name}.jsonl"
    assert "document" not in path.read_text()
    path.write_text(path.read_text().replace('"unreadable"', '"document": "../../etc", "unreadable"', 1))
    with pytest.raises(ValueError, match=r"\.jsonl:1: not the numbers of an answer"):
        read_per_instance(path, BIOASQ)


def test_two_runs_are_compared_by_document(make: Make):
    """Both answers to a document change together: 15 documents that one run knows and the other does not are no 45."""
    runs = {
        name: Group((read_run(make(name, right, documents).root),))
        for name, right, documents in (
            ("one", [False] * 120, 40),
            ("two", HARD, 40),
            ("old", HARD, 0),
            ("apart", HARD, 120),
            ("old one", [False] * 120, 0),
        )
    }
    by_document = compare(runs["one"], runs["two"], 4000)
    assert by_document.documents == [SharedDocuments(BIOASQ.name, 40, 120)] and not by_document.notes
    said = f"{BIOASQ.name} (40 documents of 120 instances): {AS_ONE}"
    groups = [runs["one"], runs["two"], runs["old"]]
    every = [compare(groups[0], group, 200) for group in groups[1:]]
    page = render("page", groups, 200, compared=every).decode()
    assert lines(groups[0], every).count(said) == latex_table(groups, every).count(said) == page.count(said) == 1
    [column] = by_document.columns
    assert (column.n, column.difference) == (120, pytest.approx(15 / 40))
    by_instance = compare(runs["old one"], runs["old"], 4000)
    assert not by_instance.notes and not by_instance.documents
    [narrow] = by_instance.columns
    assert column.ci95 is not None
    assert narrow.ci95 is not None
    ratio = (column.ci95[1] - column.ci95[0]) / (narrow.ci95[1] - narrow.ci95[0])
    assert ratio == pytest.approx(3**0.5, rel=0.1)
    # a run without prompts does not contradict one that has them; one that finds other documents does
    assert compare(runs["one"], runs["old"], 4000).columns == by_document.columns
    assert not compare(runs["one"], runs["apart"], 200).documents


def test_seeds_are_pooled_by_document(make: Make):
    group = Group(tuple(read_run(make(f"s{seed}", HARD, 40, f"seed={seed}").root) for seed in (1, 2)))
    columns, notes, documents = pooled(group, 2000)
    assert documents == [SharedDocuments(BIOASQ.name, 40, 120)] and not notes
    assert columns[0].n == 120
    limits = columns[0].ci95
    assert limits is not None
    assert limits[1] - limits[0] == pytest.approx(width(scores_of(RunDir(group.runs[0].folder))), rel=0.05)
