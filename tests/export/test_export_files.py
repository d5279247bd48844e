"""The export command: what it writes, and what it refuses in one line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from exports import VALIDATION, export

from sciriff.config import conf_dir
from sciriff.export.exported import defaults
from sciriff.tasks import HELD_OUT

PAGE = Path(__file__).parents[2] / "docs" / "exporting.md"

JUDGED_ALONE = "mup_single_document_summarization"


def row(task: str, number: int, reference: str) -> str:
    return json.dumps({"_instance_id": f"{task}:validation:{number}", "input": "Name it.", "output": reference}) + "\n"


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text().replace("!function ", ""))


def test_the_paper_s_evaluation_is_the_default(monkeypatch, tmp_path, capsys):
    assert export(monkeypatch, "lm_eval", tmp_path / "out") == 0
    names = [task.name for task in HELD_OUT if task.name != JUDGED_ALONE]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*(f"{name}.{kind}" for name in names for kind in ("py", "yaml")), "export.json"]
    )
    said = yaml.safe_load((conf_dir() / "eval" / "sciriff.yaml").read_text())
    found = read_yaml(tmp_path / "out" / "qasper_abstractive_qa.yaml")
    assert (found["dataset_path"], found["dataset_name"]) == (said["source"]["hub"], said["source"]["config"])
    assert found["validation_split"] == said["split"]
    assert found["generation_kwargs"]["max_gen_toks"] == said["max_new_tokens"]
    assert [metric["metric"] for metric in found["metric_list"]] == ["f1_evidence"]
    printed = capsys.readouterr()
    assert "8 tasks with 9 columns" in printed.err
    assert f"{JUDGED_ALONE}/lm_judge_reference, qasper_abstractive_qa/lm_judge_answer" in printed.err
    assert f"--include_path {tmp_path}/out --tasks sciriff" in printed.out


@pytest.mark.skipif(not PAGE.is_file(), reason="the document is not here")
def test_the_page_has_every_option_with_its_default(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        export(monkeypatch, "--help")
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    lines = dict(re.findall(r"^\| `(--[a-z-]+)` \| ([^|]*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    paper = defaults()
    assert lines == {
        "--data": paper.source.hub,
        "--config": paper.source.config,
        "--split": paper.split,
        "--tasks": "all",
        "--max-new-tokens": str(paper.max_new_tokens),
    }
    assert options == set(lines)


def test_another_dataset_of_the_hub(monkeypatch, tmp_path):
    options = ("--data", "me/rows", "--config", "small", "--split", "test", "--tasks", "biored_ner")
    assert export(monkeypatch, "lm_eval", tmp_path / "out", *options, "--max-new-tokens", 64) == 0
    found = read_yaml(tmp_path / "out" / "biored_ner.yaml")
    assert (found["dataset_path"], found["dataset_name"], found["validation_split"]) == ("me/rows", "small", "test")
    assert found["generation_kwargs"]["max_gen_toks"] == 64
    assert export(monkeypatch, "inspect", tmp_path / "two", *options) == 0
    assert "rows_of_hub(\"biored_ner\", 'me/rows', 'small', 'test')" in (tmp_path / "two" / "biored_ner.py").read_text()


def test_the_command_for_inspect_has_no_absolute_path(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert export(monkeypatch, "inspect", tmp_path / "a" / "my tasks") == 0
    assert "inspect eval 'a/my tasks' --model hf/local" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path / "a" / "my tasks")
    assert export(monkeypatch, "inspect", ".") == 0
    assert capsys.readouterr().out.startswith(f"cd {tmp_path}/a && inspect eval 'my tasks' --model")


def test_tasks_of_ones_own_have_the_metric_of_the_card(monkeypatch, tmp_path):
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "validation.jsonl").write_text(row("my-task", 0, '["a"]') + row("biored_ner", 0, '{"Gene": ["b"]}'))
    (rows / "card.json").write_text(json.dumps({"tasks": {"my-task": {"metric": "list_f1"}, "biored_ner": {}}}))
    assert export(monkeypatch, "lm_eval", tmp_path / "out", "--data", rows) == 0
    assert 'Scoring("my-task", "list_f1")' in (tmp_path / "out" / "my-task.py").read_text()
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == ["biored_ner.jsonl", "my-task.jsonl"]


def test_an_export_is_replaced_by_the_next_one(monkeypatch, tmp_path):
    out = tmp_path / "out"
    assert export(monkeypatch, "lm_eval", out, "--data", VALIDATION, "--tasks", "biored_ner", "scierc_ner") == 0
    (out / "__pycache__").mkdir()
    (out / "__pycache__" / "biored_ner.cpython-311.pyc").write_bytes(b"left by Python")
    assert export(monkeypatch, "lm_eval", out, "--tasks", "scierc_ner") == 0
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert {name for name in files if "pycache" not in name} == {"export.json", "scierc_ner.py", "scierc_ner.yaml"}


def test_what_no_export_has_written_stays(monkeypatch, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert export(monkeypatch, "lm_eval", out) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_file_that_was_changed_since_stays(monkeypatch, tmp_path, capsys):
    assert export(monkeypatch, "lm_eval", tmp_path / "out") == 0
    changed = tmp_path / "out" / "biored_ner.yaml"
    changed.write_text(changed.read_text() + "# mine\n")
    assert export(monkeypatch, "lm_eval", tmp_path / "out") == 2
    assert f"{changed} was changed" in capsys.readouterr().err
    assert changed.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tasks", "biored"), "'biored' is not a held-out task; did you mean 'biored_ner'?"),
        (("--tasks", JUDGED_ALONE), "scored by a judge alone"),
        (("--max-new-tokens", "0"), "--max-new-tokens 0"),
        (("--data", "rows/nowhere.jsonl"), "rows/nowhere.jsonl: there is no such file"),
        (("--data", "nowhere"), "nowhere: there is no such file"),
        (("--data", VALIDATION, "--config", "4096"), "--config 4096"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, said, monkeypatch, tmp_path, capsys):
    assert export(monkeypatch, "lm_eval", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (row("biored_ner", 7, "no JSON"), "biored_ner:validation:7: "),
        (row(JUDGED_ALONE, 0, "A text."), f"only of tasks that a judge scores: {JUDGED_ALONE}"),
        (row("biored_ner", 0, "{}") * 2, "biored_ner:validation:0 is already at"),
        ("{\n", "rows.jsonl:1"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(text, said, monkeypatch, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text(text)
    assert export(monkeypatch, "lm_eval", tmp_path / "out", "--data", tmp_path / "rows.jsonl") == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and said in error[0]
    assert not (tmp_path / "out").exists()


def test_a_harness_is_not_needed_to_export(tmp_path):
    heavy = "{'lm_eval', 'inspect_ai', 'torch', 'transformers', 'datasets'}"
    code = f"from sciriff.export.__main__ import main; import sys; print(main(), {heavy} & set(sys.modules))"
    for harness in ("lm_eval", "inspect"):
        command = [sys.executable, "-c", code, harness, str(tmp_path / harness), "--data", str(VALIDATION)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "0 set()"
