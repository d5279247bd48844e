"""Scores on prompts by which the model was chosen say so, wherever they are shown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from task_cases import REFERENCES

from sciriff import compare, score
from sciriff.config import Config, to_yaml
from sciriff.data.records import Prediction
from sciriff.data.selection import CHOSEN_FILE
from sciriff.report import about
from sciriff.report.run_scores import read_run_scores, sentence
from sciriff.results.scores import SELECTED, read_summary
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.track.copying import summary_values

CHOSEN, OTHER = "bioasq_list_qa", "scierc_ner"
COLUMN = f"{CHOSEN}/f1"


def run_of(folder: Path, config: Config) -> RunDir:
    run = RunDir(folder)
    for task in (CHOSEN, OTHER):
        rows = [Prediction(task, f"{task}:{n}", "prompt", REFERENCES[task], REFERENCES[task]) for n in range(3)]
        write_jsonl(run.predictions / f"{task}.jsonl", rows)
    run.config.write_text(to_yaml(config))
    return run


def test_they_are_marked_everywhere(
    composed: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chooses = ("train.keep=best", "train.best_by=task_mean", "train.best_from=reported", "train.eval_every=9")
    config = composed("experiment=demo", "name=chosen", f"run_dir={tmp_path}/chosen", *chooses)
    run = run_of(tmp_path / "chosen", config)
    prompt = {"_instance_id": f"{CHOSEN}:1", "input": "prompt", "output": "[]", "metric": None, "ids": [1]}
    run.selection.mkdir()
    write_jsonl(run.selection_prompts, [{**prompt, "limit": 9, "thinking": 0}])
    score.main(config, run)
    scores = json.loads(run.scores.read_text())
    assert scores["tasks"][CHOSEN]["selected_on"] == 1
    assert scores["summary"]["columns"][COLUMN]["selected"] == SELECTED
    assert "selected" not in scores["summary"]["columns"][f"{OTHER}/f1"]
    printed = capsys.readouterr().out
    table = {line.split(" ")[0]: line for line in reversed(printed.splitlines()) if line}
    assert all(table[name].endswith(SELECTED) for name in (COLUMN, "mean", "median"))
    assert SELECTED not in table[f"{OTHER}/f1"]
    assert f"{SELECTED}, so that the score of another set may be lower: {CHOSEN} (1 of 3)" in printed
    shown = read_run_scores(run, "chosen")
    assert any(SELECTED in note.lower() and "1 of 3" in note for note in about.notes(config, shown, None))
    assert SELECTED in sentence(shown, [])
    values = summary_values(read_summary(run.scores))
    assert values[f"{COLUMN}_note"] == values["mean_note"] == SELECTED
    assert f"{OTHER}/f1_note" not in values

    model = tmp_path / "model"
    model.mkdir()
    (model / CHOSEN_FILE).write_text(json.dumps({"best_by": "task_mean", "instances": [f"{CHOSEN}:0", "else:1"]}))
    again = composed("experiment=demo", "name=again", "train=none", f"eval.model={model}", f"run_dir={tmp_path}/again")
    other = run_of(tmp_path / "again", again)
    score.main(again, other)
    assert json.loads(other.scores.read_text())["tasks"][CHOSEN]["selected_on"] == 1
    capsys.readouterr()
    (baseline, *others), _ = compare.read_groups([str(run.root), str(other.root)], None, each=True)
    text = compare.lines(baseline, [compare.compare(baseline, group, 0) for group in others])
    assert [line for line in text if line.startswith(f"chosen: {SELECTED}: {COLUMN}")]
    assert [line for line in text if line.startswith(f"again: {SELECTED}: {COLUMN}")]
