"""Evaluation alone on real records, end to end: the tiny model answers, the answers are scored and reported."""

import json
from pathlib import Path

import pytest

from sciriff.data.records import Prediction
from sciriff.run.json_lines import read_jsonl
from sciriff.run.run_dir import RunDir

RECORDS = Path(__file__).parents[3] / "shared" / "data" / "sciriff" / "validation.jsonl"
SIZES = {
    "bioasq_list_qa": 64,
    "multicite_intent_classification": 100,
    "scierc_ner": 50,
    "scifact_entailment": 184,
}
COLUMNS = {
    *("bioasq_list_qa/f1", "multicite_intent_classification/f1", "scierc_ner/f1"),
    *("scifact_entailment/f1_label", "scifact_entailment/f1_evidence_token"),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDS.is_file(), reason="needs the shared records"),
]


def test_real_records_are_answered_scored_and_reported(cli, tmp_path: Path) -> None:
    asked = ("experiment=demo", "train=none", "name=tiny", f"eval.path={RECORDS}", "eval.max_new_tokens=16", "log=none")
    done = cli(*asked)
    assert done.returncode == 0, done.stderr
    run = RunDir(tmp_path / "runs" / "tiny")
    rows = {
        task: list(read_jsonl(run.predictions / f"{task}.jsonl", Prediction))
        for task in json.loads(run.expected.read_text())
    }
    assert {task: len(answers) for task, answers in rows.items()} == SIZES
    records = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    given = {record["_instance_id"]: record for record in records}
    answers = [row for task in rows.values() for row in task]
    assert {row.instance_id: row.reference for row in answers} == {i: one["output"] for i, one in given.items()}
    whole = [row for row in answers if not row.truncated_tokens]
    assert 0 < len(whole) < len(answers), "papers are longer than the model's context, abstracts are not"
    assert all(row.prompt == given[row.instance_id]["input"] for row in whole)
    for row in answers:
        said = given[row.instance_id]["input"]
        assert row.prompt[:40] == said[:40] and row.prompt[-40:] == said[-40:], "the instruction stays"
        assert 0 < (row.output_tokens or 0) <= 16 and (row.prompt_tokens or 0) <= 1024 - 16
    scores = json.loads(run.scores.read_text())
    assert {task: found["n"] for task, found in scores["tasks"].items()} == SIZES
    assert set(scores["summary"]["columns"]) == COLUMNS
    cut = sum(found["truncated_prompts"] for found in scores["tasks"].values())
    assert cut == len(answers) - len(whole)
    page = run.report.read_text()
    assert "The instances are local ones" in page and all(task in page for task in SIZES)
    again = cli(*asked)
    assert again.returncode == 0 and "predict" in again.stdout + again.stderr
    assert json.loads(run.scores.read_text()) == scores


def test_the_references_of_real_records_score_as_perfect_answers(cli, tmp_path: Path) -> None:
    """Every reference can be read, and is all that its own metric wants."""
    given = tmp_path / "given"
    given.mkdir()
    for line in RECORDS.read_text().splitlines():
        record = json.loads(line)
        row = {key: record[name] for key, name in (("instance_id", "_instance_id"), ("reference", "output"))}
        task = record["_instance_id"].partition(":")[0]
        with (given / f"{task}.jsonl").open("a") as file:
            file.write(json.dumps({**row, "prediction": record["output"]}) + "\n")
    done = cli("experiment=demo", "train=none", f"predictions={given}", "name=perfect", "log=none")
    assert done.returncode == 0, done.stderr
    columns = json.loads(RunDir(tmp_path / "runs" / "perfect").scores.read_text())["summary"]["columns"]
    assert {name: column["value"] for name, column in columns.items()} == pytest.approx(dict.fromkeys(COLUMNS, 1.0))
