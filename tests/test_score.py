"""The score stage: files in, scores.json and tables out, and what it refuses."""

import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from general_runs import item, write_general
from task_cases import REFERENCES

from sciriff import config, score
from sciriff.config import Config
from sciriff.data.records import Judgement, Prediction
from sciriff.results.per_instance import read_per_instance
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks import COLUMNS, NAMES
from sciriff.tasks.biored import BIORED
from sciriff.tasks.metrics.judge_rating import sample_of_100

GOOD = REFERENCES
"""A perfect answer to each task."""
ALL = len(COLUMNS)
JUDGED = 2
QASPER = "qasper_abstractive_qa"
MUP = "mup_single_document_summarization"
Composed = Callable[..., Config]


def prediction(task: str, number: int, text: str | None = None) -> Prediction:
    return Prediction(task, f"{task}:{number}", "prompt", GOOD[task] if text is None else text, GOOD[task])


def judgement(task: str, number: int, rating: int | None) -> Judgement:
    return Judgement(f"{task}:{number}", "judge", "digest", "response", rating, "ok")


def write(folder: Path, texts: dict[str, list[str]]) -> None:
    for task, answers in texts.items():
        write_jsonl(folder / f"{task}.jsonl", [prediction(task, n, text) for n, text in enumerate(answers)])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with two answers of each task, one perfect and one empty."""
    run = RunDir(tmp_path / "run")
    write(run.predictions, {task: [good, ""] for task, good in GOOD.items()})
    return run


@pytest.fixture
def scores_of(composed: Composed) -> Callable[..., dict[str, Any]]:
    """Run the stage under some overrides and read what it wrote."""

    def scores(run: RunDir, *overrides: str) -> dict[str, Any]:
        score.main(composed("experiment=demo", "name=mine", *overrides), run)
        return json.loads(run.scores.read_text())

    return scores


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def test_scores(run: RunDir, scores_of, capsys: pytest.CaptureFixture[str]):
    scores = scores_of(run)
    assert scores["model"] == "mine"
    assert scores["parity"] == "none"
    assert list(scores["tasks"]) == list(NAMES)
    ner = scores["tasks"]["biored_ner"]
    assert (ner["n"], ner["missing"], ner["readable"]) == (2, 0, 0.5)
    assert ner["unreadable"] == {"empty": 1, "no_json": 0, "null": 0, "wrong_type": 0}
    assert ner["headline"] == {"f1": pytest.approx(2 / 3)}
    assert ner["details"]["valid_json_typed_f1"] == 1
    assert ner["details"]["all_typed_r"] == 0.5
    summary = scores["summary"]
    assert list(summary["columns"]) == [name for name in COLUMNS if "lm_judge" not in name]
    assert summary["columns"]["biored_ner/f1"]["value"] == pytest.approx(2 / 3)
    low, high = summary["columns"]["biored_ner/f1"]["ci95"]
    assert 0 <= low < 0.01 and 0.99 < high <= 1, "two answers say next to nothing"
    assert summary["missing"] == [f"{MUP}/lm_judge_reference", f"{QASPER}/lm_judge_answer"]
    values = [column["value"] for column in summary["columns"].values()]
    assert summary["mean"] == pytest.approx(sum(values) / (ALL - JUDGED))
    assert summary["median"] == pytest.approx(median(values))
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if not line.startswith("[")] == score.summary_lines(scores)


def test_intervals(run: RunDir, scores_of):
    write(run.predictions, {"biored_ner": [GOOD["biored_ner"]] * 30 + [""] * 20, "scierc_ner": [GOOD["scierc_ner"]]})
    summary = scores_of(run)["summary"]
    low, high = summary["columns"]["biored_ner/f1"]["ci95"]
    assert low < summary["columns"]["biored_ner/f1"]["value"] < high
    assert "ci95" not in summary["columns"]["scierc_ner/f1"], "one instance says nothing of others"
    assert "mean_ci95" not in summary
    assert summary["columns"]["qasper_abstractive_qa/f1_evidence"]["ci95"] == pytest.approx([0, 1], abs=0.01)
    alone = scores_of(run, "eval.tasks=[biored_ner]")["summary"]
    assert alone["columns"]["biored_ner/f1"]["ci95"] == [low, high], "whatever else is scored"
    assert alone["mean_ci95"] == pytest.approx([low, high])
    assert "ci95" not in json.dumps(scores_of(run, "eval.resamples=0"))


def test_the_mean_is_surer_than_its_columns(run: RunDir, scores_of):
    write(run.predictions, {task: [good] * 20 + [""] * 20 for task, good in GOOD.items()})
    summary = scores_of(run)["summary"]
    low, high = summary["mean_ci95"]
    assert low < summary["mean"] < high
    assert high - low < min(c["ci95"][1] - c["ci95"][0] for c in summary["columns"].values())


def test_the_numbers_of_each_answer(run: RunDir, scores_of):
    scores_of(run)
    assert {path.stem for path in run.per_instance.iterdir()} == set(NAMES)
    rows = read_per_instance(run.per_instance / "biored_ner.jsonl", BIORED)
    assert list(rows) == [("biored_ner:0", 1), ("biored_ner:1", 1)]
    sums = [sum(column) for column in zip(*(row.vector for row in rows.values()), strict=True)]
    assert BIORED.scores_of_sums(sums)["all_typed_f1"] == pytest.approx(2 / 3)
    assert len({row.reference for row in rows.values()}) == 1
    scores_of(run, "eval.tasks=[scierc_ner]")
    assert {path.stem for path in run.per_instance.iterdir()} == {"scierc_ner"}


def test_the_summary_says_what_a_mean_is_of(run: RunDir, scores_of):
    lines = score.summary_lines(scores_of(run))
    assert len({len(line) for line in lines[: ALL + 3]}) == 1, "the table is aligned"
    assert lines[2].split() == ["biored_ner/f1", "2", "0.50", "66.67", "[0.2,", "99.9]"]
    assert lines[6].split() == [f"{MUP}/lm_judge_reference", "2", "0.50", "missing"]
    assert lines[ALL + 1].startswith(f"mean of {ALL - JUDGED} of {ALL} ")
    assert lines[ALL + 2].startswith(f"median of {ALL - JUDGED} of {ALL} ")
    assert "biored_ner: not readable: 1 empty" in lines


def test_what_was_too_long_is_counted_and_said(run: RunDir, scores_of):
    rows = [prediction(MUP, number) for number in range(4)]
    rows[0] = replace(rows[0], finish_reason="length", truncated_tokens=1200)
    rows[1] = replace(rows[1], finish_reason="stop", truncated_tokens=34)
    rows[2] = replace(rows[2], finish_reason="skipped")
    write_jsonl(run.predictions / f"{MUP}.jsonl", rows)
    scores = scores_of(run)
    found = scores["tasks"][MUP]
    names = ("truncated_prompts", "truncated_tokens", "skipped_prompts", "cut_answers")
    assert [found[name] for name in names] == [2, 1234, 1, 1]
    assert [scores["tasks"]["biored_ner"][name] for name in names] == [0, 0, 0, 0]
    said = [line for line in score.summary_lines(scores) if line.startswith(MUP) and "too long" in line]
    assert said == [
        f"{MUP}: 2 of 4 prompts were too long and lost 1,234 tokens, 1 of 4 prompts were too long and not answered, "
        "1 of 4 answers ran into their limit"
    ]


def test_tables(run: RunDir, scores_of):
    scores = scores_of(run)
    tasks, metrics, values = table(run.tables / "summary.tsv")
    assert " ".join(tasks[:12]) == (
        "task bioasq biored discomat evidence_inference multicite mup qasper qasper scierc scifact scifact"
    )
    assert " ".join(metrics[:12]) == (
        "metric f1 f1 bleu f1_overlap f1 lm_judge_reference lm_judge_answer f1_evidence f1 f1_label f1_evidence_token"
    )
    assert tasks[-2:] == ["mean", "median"]
    assert metrics[-2:] == [f"of {ALL - JUDGED} of {ALL}"] * 2
    assert values[0] == "mine"
    assert values[2] == "66.67"
    assert values[6:8] == ["NA", "NA"]
    assert values[-2] == f"{100 * scores['summary']['mean']:.2f}"
    names, cells = table(run.tables / "biored_ner.tsv")
    assert names == ["model", *scores["tasks"]["biored_ner"]["details"]]
    assert cells[names.index("all_typed_f1")] == "0.6667"
    assert {path.stem for path in run.tables.iterdir()} == {"summary", *NAMES}


def test_chosen_tasks_and_tables_of_earlier_ones(run: RunDir, scores_of):
    scores_of(run)
    scores = scores_of(run, "eval.tasks=[scierc_ner,biored_ner]")
    assert list(scores["tasks"]) == ["biored_ner", "scierc_ner"]
    assert len(scores["summary"]["missing"]) == ALL - 2
    assert {path.stem for path in run.tables.iterdir()} == {"summary", "biored_ner", "scierc_ner"}


def test_the_stage_as_the_driver_starts_it(run: RunDir, composed: Composed):
    run.config.write_text(config.to_yaml(composed("experiment=demo", f"run_dir={run.root}")))
    command = [sys.executable, "-m", "sciriff.score", str(run.root)]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert f"[{2 * len(NAMES)}/{2 * len(NAMES)}]" in first.stdout
    before = run.scores.read_bytes()
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert run.scores.read_bytes() == before
    (run.predictions / "biored_ner.jsonl").write_text("{\n")
    broken = subprocess.run(command, capture_output=True, text=True)
    assert broken.returncode == 2
    assert broken.stderr.startswith("error: ")
    assert len(broken.stderr.splitlines()) == 1


def test_answers_of_another_tool(run: RunDir, tmp_path: Path, scores_of):
    other = RunDir(tmp_path / "other")
    other.root.mkdir()
    rows = [{"instance_id": "x", "prediction": GOOD["biored_ner"], "reference": GOOD["biored_ner"], "more": 1}]
    write_jsonl(tmp_path / "theirs" / "biored_ner.jsonl", rows)
    scores = scores_of(other, f"predictions={tmp_path / 'theirs'}")
    assert scores["summary"]["columns"] == {"biored_ner/f1": {"value": 1.0}}
    assert (scores["summary"]["mean"], scores["summary"]["median"], len(scores["summary"]["missing"])) == (
        1,
        1,
        ALL - 1,
    )
    scores = scores_of(other, f"predictions={run.predictions}")
    assert len(scores["summary"]["columns"]) == ALL - JUDGED


def test_parity(run: RunDir, scores_of):
    write(run.predictions, {"scifact_entailment": ["[]", GOOD["scifact_entailment"]], "scierc_ner": ["s", "{}</s>"]})
    ours, theirs = scores_of(run), scores_of(run, "eval.parity=reference")
    assert theirs["parity"] == "reference"
    assert ours["tasks"]["scifact_entailment"]["details"]["all_label_r"] == 0.5
    assert theirs["tasks"]["scifact_entailment"]["details"]["all_label_r"] == 1
    assert [s["tasks"]["scierc_ner"]["end_differs"] for s in (ours, theirs)] == [1, 1]
    differs = f"the reference's stripping changes 1 of {2 * len(NAMES)} answers"
    assert f"{differs} (eval.parity=reference uses it)" in score.summary_lines(ours)
    assert f"{differs} (that was used here)" in score.summary_lines(theirs)


def flat_values(scores: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(task, name): value for task, row in scores["tasks"].items() for name, value in row["details"].items()}


@pytest.mark.parametrize("parity", ["none", "reference"])
def test_every_value_under_the_other_rules(run: RunDir, scores_of, parity: str):
    write(run.predictions, {task: [good, good + "</s>", good + "s", "[]", "s"] for task, good in GOOD.items()})
    write_jsonl(run.judgements / f"{MUP}.jsonl", [judgement(MUP, n, n + 1) for n in range(5)])
    here = scores_of(run, f"eval.parity={parity}")
    there = scores_of(run, f"eval.parity={'none' if parity == 'reference' else 'reference'}")
    other = here["other_parity"]
    assert other["parity"] == there["parity"]
    values, elsewhere = flat_values(here), flat_values(there)
    differing = {key: value for key, value in elsewhere.items() if value != pytest.approx(values[key], abs=1e-12)}
    said = {(task, name): value for task, row in other["tasks"].items() for name, value in row["details"].items()}
    assert said == pytest.approx(differing, abs=1e-12)
    assert ("scifact_entailment", "all_label_r") in said
    assert (MUP, "rouge1") in said
    columns = {name: column["value"] for name, column in here["summary"]["columns"].items()}
    assert columns | other["columns"] == pytest.approx(
        {name: column["value"] for name, column in there["summary"]["columns"].items()}
    )
    assert all(value != pytest.approx(columns[name], abs=1e-12) for name, value in other["columns"].items())
    assert (other["mean"], other["median"]) == (there["summary"]["mean"], there["summary"]["median"])
    assert (other["tasks"][MUP]["answers"], other["tasks"][MUP]["judged"]) == (2, 2)
    lines = score.summary_lines(here)
    value, change = 100 * other["mean"], 100 * (other["mean"] - here["summary"]["mean"])
    mean = f"mean of {ALL - 1} of {ALL} {value:.2f} ({change:+.2f})"
    assert mean in [" ".join(line.split()) for line in lines]
    [head] = [line for line in lines if f"eval.parity={other['parity']}:" in line]
    assert f"{len(said)} values differ, {len(other['columns'])} of them columns" in head


def test_nothing_differs_under_the_other_rules(run: RunDir, scores_of):
    write(run.predictions, {task: [good] for task, good in GOOD.items()})
    scores = scores_of(run)
    other, summary = scores["other_parity"], scores["summary"]
    assert other == {"parity": "reference", "columns": {}, "mean": summary["mean"], "median": 1.0, "tasks": {}}
    assert not any("under eval.parity" in line for line in score.summary_lines(scores))
    missing = f"missing until a judge rates the answers (judge=openai, local or recorded): {MUP}/lm_judge_reference, "
    assert f"{missing}{QASPER}/lm_judge_answer" in score.summary_lines(scores)
    del scores["other_parity"]  # of an earlier version
    assert score.summary_lines(scores)[0].startswith("column")


def test_judgements_fill_their_columns(run: RunDir, scores_of):
    good = GOOD[QASPER]
    write(run.predictions, {QASPER: [good, good, good, "", '{"answer": null, "evidence": []}']})
    # 4 counts 0.75, an unreadable rating 0.5, 5 counts 1; the two missing answers 0 without a judgement.
    write_jsonl(run.judgements / f"{QASPER}.jsonl", [judgement(QASPER, n, r) for n, r in enumerate((4, None, 5))])
    # 2 counts 0.25; an unreadable decision is left out.
    write_jsonl(run.judgements / f"{MUP}.jsonl", [judgement(MUP, 0, 2), judgement(MUP, 1, None)])
    scores = scores_of(run)
    columns = scores["summary"]["columns"]
    assert columns[f"{QASPER}/lm_judge_answer"]["value"] == pytest.approx((0.75 + 0.5 + 1) / 5)
    assert columns[f"{MUP}/lm_judge_reference"]["value"] == pytest.approx(0.25)
    assert scores["tasks"][MUP]["details"]["lm_judge_reference_comparison_n_samples"] == 1
    assert (scores["tasks"][QASPER]["rated"], scores["tasks"][MUP]["rated"]) == (5, 1)
    assert scores["summary"]["missing"] == []
    assert score.summary_lines(scores)[ALL + 1].startswith(f"mean of {ALL} of {ALL} ")
    assert table(run.tables / "summary.tsv")[1][-2:] == ["", ""]


def test_a_missing_answer_that_was_judged_keeps_its_rating(run: RunDir, scores_of):
    write(run.predictions, {QASPER: ["", ""]})
    write_jsonl(run.judgements / f"{QASPER}.jsonl", [judgement(QASPER, 0, 5)])
    assert scores_of(run)["summary"]["columns"][f"{QASPER}/lm_judge_answer"]["value"] == 0.5


def test_only_the_sample_of_mup_must_be_judged(run: RunDir, scores_of):
    write(run.predictions, {MUP: ["text"] * 150})
    sample = sample_of_100(150)
    write_jsonl(run.judgements / f"{MUP}.jsonl", [judgement(MUP, n, 3) for n in sample])
    assert scores_of(run)["tasks"][MUP]["details"]["lm_judge_reference_comparison_n_samples"] == 100
    write_jsonl(run.judgements / f"{MUP}.jsonl", [judgement(MUP, n, 3) for n in sample[1:]])
    with pytest.raises(ValueError, match=f"{MUP}:{sample[0]} is not judged"):
        scores_of(run)
    scores = scores_of(run, "allow_missing=true")
    assert scores["tasks"][MUP]["details"]["lm_judge_reference_comparison_n_samples"] == 99


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([judgement(MUP, 0, 3), judgement(MUP, 0, 3)], ":2: .* stands here twice, first at .*:1"),
        ([judgement(MUP, 9, 3)], ":1: instance .*:9 has no prediction"),
        ([judgement(MUP, 0, 6)], ":1: rating=6: expected int <= 5"),
        ([{"instance_id": f"{MUP}:0", "rating": "4"}], ':1: rating="4": expected int'),
        ([{"instance_id": f"{MUP}:0", "rating": True}], ":1: rating=true: expected int"),
        ([{"instance_id": f"{MUP}:0", "rating": [4]}], ":1: rating=list: expected int"),
        ([{"rating": 4}], ":1: instance_id is missing"),
        ([judgement(MUP, 0, 3)], f"{MUP}:1 is not judged"),
    ],
)
def test_judgements_that_are_refused(run: RunDir, scores_of, rows: list[Any], message: str):
    write_jsonl(run.judgements / f"{MUP}.jsonl", rows)
    with pytest.raises(ValueError, match=message):
        scores_of(run)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "[" * 100_000, '{"x": 1}', '{"x": {"answers": ""}}', json.dumps({MUP: {"answers": "", "prompts": []}})],
)
def test_a_broken_list_of_what_the_judge_was_asked(run: RunDir, scores_of, text: str):
    run.asked_of_judge.parent.mkdir()
    run.asked_of_judge.write_text(text)
    with pytest.raises(ValueError, match=r"asked.json: not what the judge was asked"):
        scores_of(run)


def test_missing_instances(run: RunDir, scores_of):
    expected = {"biored_ner": [f"biored_ner:{n}" for n in range(7)]}
    run.expected.write_text(json.dumps(expected))
    with pytest.raises(ValueError, match=r"biored_ner:2, biored_ner:3, biored_ner:4 and 2 more are missing of 7 inst"):
        scores_of(run)
    scores = scores_of(run, "allow_missing=true")
    assert (scores["tasks"]["biored_ner"]["n"], scores["tasks"]["biored_ner"]["missing"]) == (2, 5)
    assert "biored_ner: 5 of 7 answers are missing" in score.summary_lines(scores)


def test_a_task_that_is_missing_altogether(run: RunDir, scores_of):
    run.expected.write_text(json.dumps({task: [f"{task}:0", f"{task}:1"] for task in NAMES}))
    (run.predictions / "biored_ner.jsonl").unlink()
    with pytest.raises(ValueError, match="biored_ner:0, biored_ner:1 are missing of 2 instances"):
        scores_of(run)
    assert "biored_ner/f1" in scores_of(run, "allow_missing=true")["summary"]["missing"]
    run.expected.unlink()
    with pytest.raises(ValueError, match=r"biored_ner.jsonl does not exist"):
        scores_of(run, "eval.tasks=[biored_ner]")
    run.expected.write_text(json.dumps({"biored_ner": []}))
    with pytest.raises(ValueError, match=r"biored_ner.jsonl does not exist"):
        scores_of(run)
    with pytest.raises(ValueError, match="no predictions of the chosen tasks"):
        scores_of(run, "eval.tasks=[biored_ner]", "allow_missing=true")


def test_the_order_of_rows_does_not_matter(run: RunDir, scores_of):
    texts = [GOOD[QASPER], "", '{"answer": "pooling of messages", "evidence": ["We pool it."]}', "{}"] * 5
    rows = [prediction(QASPER, n, text) for n, text in enumerate(texts)]
    run.expected.write_text(json.dumps({QASPER: [row.instance_id for row in rows]}))
    write_jsonl(run.predictions / f"{QASPER}.jsonl", rows)
    scores_of(run)
    before = run.scores.read_bytes()
    write_jsonl(run.predictions / f"{QASPER}.jsonl", random.Random(0).sample(rows, len(rows)))
    scores_of(run)
    assert run.scores.read_bytes() == before


def test_an_instance_that_nobody_asked(run: RunDir, scores_of):
    run.expected.write_text(json.dumps({"biored_ner": ["biored_ner:0"]}))
    with pytest.raises(ValueError, match="biored_ner:1 is not among the instances that were asked"):
        scores_of(run)


@pytest.mark.parametrize("text", ["{", "[]", '{"biored_ner": "biored_ner:0"}', '{"biored_ner": [0]}'])
def test_a_broken_list_of_what_was_asked(run: RunDir, scores_of, text: str):
    run.expected.write_text(text)
    with pytest.raises(ValueError, match=r"expected.json: "):
        scores_of(run)


ROW = {"task": "biored_ner", "instance_id": "x", "prompt": "", "prediction": "{}", "reference": "{}"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], r"biored_ner.jsonl:1: not a line of JSON"),
        ([json.dumps(ROW), "", "7"], r"biored_ner.jsonl:3: expected a JSON object, found int"),
        ([json.dumps(ROW | {"prediction": None})], ":1: prediction=null: expected str"),
        ([json.dumps({"instance_id": "x", "prediction": ""})], ":1: reference is missing"),
        ([json.dumps(ROW | {"instance_id": 5})], ":1: instance_id=5: expected str"),
        ([json.dumps(ROW | {"task": "scierc_ner"})], ":1: this row is of the task 'scierc_ner', not biored_ner"),
        ([json.dumps(ROW), json.dumps(ROW)], r":2: instance x stands here twice, first at .*biored_ner.jsonl:1"),
        ([json.dumps(ROW | {"reference": "null"})], ":1: the reference is not the JSON that biored_ner needs"),
        ([json.dumps(ROW | {"reference": "[]"})], ":1: expected an object, found list"),
        ([], r"biored_ner.jsonl: there is no prediction in it"),
    ],
)
def test_rows_that_are_refused(run: RunDir, scores_of, lines: list[str], message: str):
    (run.predictions / "biored_ner.jsonl").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(ValueError, match=message):
        scores_of(run)


def test_other_files_and_names(run: RunDir, scores_of):
    with pytest.raises(ValueError, match=r"eval.tasks: biored is not a held-out task; did you mean 'biored_ner'"):
        scores_of(run, "eval.tasks=[biored]")
    (run.predictions / "bioasq.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"bioasq.jsonl: bioasq is not a held-out task; did you mean 'bioasq_list_qa'"):
        scores_of(run)


def test_no_predictions(tmp_path: Path, scores_of):
    with pytest.raises(ValueError, match=r"predictions: there are no predictions here; run the predict stage"):
        scores_of(RunDir(tmp_path))


def test_general_tasks_stand_beside_science(run: RunDir, scores_of, capsys: pytest.CaptureFixture[str]):
    plain = scores_of(run)
    printed = capsys.readouterr().out
    tables = {path.name: path.read_bytes() for path in run.tables.iterdir()}
    write_general(run, {"mmlu": {"mmlu_a": [1, 0, 1, 1], "mmlu_b": [0, 0]}, "gsm8k_cot": [1, 0]}, name="quick")
    rows = [item(n, 0, finish=finish, truncated=2 * n) for n, finish in enumerate(("length", "skipped"))]
    write_jsonl(run.general / "gsm8k_cot.jsonl", rows)
    assert scores_of(run) == plain, "the run asks for none, so these are of an earlier choice"
    capsys.readouterr()
    scores = scores_of(run, "general.tasks=[mmlu,gsm8k_cot]")
    general = scores.pop("general")
    assert json.dumps(scores) == json.dumps(plain)
    assert (general["name"], list(general["tasks"])) == ("quick", ["mmlu", "gsm8k_cot"])
    assert general["tasks"]["mmlu"]["value"] == pytest.approx(3 / 6)
    assert general["mean"]["value"] == pytest.approx(0.25)
    both = capsys.readouterr().out
    assert both.startswith(printed + "\n")
    block = both[len(printed) + 1 :].splitlines()
    assert block[0].split() == ["general", "abilities", "(quick)", "n", "score", "95", "%", "interval"]
    assert block[1].split()[:5] == ["mmlu", "6", "of", "6", "50.00"]
    assert block[3].split()[:4] == ["mean", "of", "2", "25.00"]
    assert block[5] == (
        "gsm8k_cot: 1 of 2 prompts were too long and lost examples, 1 of 2 prompts were too long and count as wrong, "
        "1 of 2 answers ran into their limit"
    )
    assert {path.name: path.read_bytes() for path in run.tables.iterdir() if path.name != "general.tsv"} == tables
    assert [row[:2] for row in table(run.tables / "general.tsv")[1:]] == [
        ["mmlu", ""],
        ["mmlu", "mmlu_a"],
        ["mmlu", "mmlu_b"],
        ["gsm8k_cot", ""],
    ]
    assert scores_of(run) == plain
    assert not (run.tables / "general.tsv").exists()


def test_general_tasks_that_are_missing_or_damaged(run: RunDir, scores_of):
    with pytest.raises(UserError, match=r"settings\.json does not exist; run the stages predict and general, or"):
        scores_of(run, "general.tasks=[mmlu]")
    assert "general" not in scores_of(run, "general.tasks=[mmlu]", "allow_missing=true")
    assert "general" not in scores_of(run, "general.tasks=[mmlu]", "stages=[score]")
    write_general(run, {"mmlu": [1, 0]})
    assert "general" in scores_of(run, "general.tasks=[mmlu]", "stages=[score]")
    (run.general / "mmlu.jsonl").write_text('{"doc_id": 0}\n')
    with pytest.raises(UserError, match=r"mmlu\.jsonl:1: doc_hash is missing; run the stages predict and general"):
        scores_of(run, "general.tasks=[mmlu]")
