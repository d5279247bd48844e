"""A run makes its rows first: one command from raw corpora to scores."""

import json
from pathlib import Path

import pytest

from sciriff.run.run_dir import RunDir

SHORT = ("experiment=recreate_demo", "train.max_steps=4", "eval.max_new_tokens=8", "log=none", "name=made")


@pytest.mark.slow
def test_from_raw_corpora_to_scores_in_one_command(cli, tmp_path: Path):
    done = cli(*SHORT)
    assert done.returncode == 0, done.stderr
    run = RunDir(tmp_path / "runs" / "made")
    card = json.loads((run.recreated / "card.json").read_text())
    mix = json.loads(run.mix_card.read_text())
    assert card["rows"]["train"] > 100 and mix["read"]["sciriff"] == card["rows"]["train"]
    held_out = card["tasks"]["biored_ner"]["rows"]
    assert json.loads(run.scores.read_text())["tasks"]["biored_ner"]["n"] == held_out["validation"]
    leaks = card["shared_documents"]["biored_ner validation"]
    sentence = f"biored_ner: {leaks['shared']} of {leaks['records']} validation rows have a document"
    assert leaks["shared"] and sentence in run.report.read_text(encoding="utf-8")

    again = cli(*SHORT)
    assert again.returncode == 0
    for stage in ("recreate", "mix", "train", "predict", "score", "report"):
        assert f"{stage}: up to date" in again.stderr, stage

    (run.recreated / "train.jsonl").unlink()
    mended = cli(*SHORT)
    assert mended.returncode == 0
    assert "recreate: recreated/train.jsonl is missing or changed" in mended.stderr
    assert "mix: up to date" in mended.stderr, "the same rows again"


def test_a_task_that_fails_stops_the_run_before_its_mix(cli, tmp_path: Path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "kinds.yaml").write_text("name: kinds\n")
    done = cli(*SHORT, f"recreate.templates={tmp_path / 'templates'}", "recreate.raw=null")
    assert done.returncode == 1
    assert "kinds.yaml" in done.stderr and "mix: started" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_missing_is_said_before_anything_starts(cli):
    done = cli(*SHORT, "recreate.raw=nowhere")
    assert done.returncode == 2
    assert "recreate.raw=" in done.stderr and "does not exist" in done.stderr
