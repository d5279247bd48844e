"""Runs whose answers wait for a judge."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api_server import KEY
from told_by_driver import told

from sciriff.config import Config, to_yaml
from sciriff.data.records import Prediction
from sciriff.judge.__main__ import main
from sciriff.run.json_lines import write_jsonl
from sciriff.run.run_dir import RunDir
from sciriff.score import main as score

MUP = "mup_single_document_summarization"
QASPER = "qasper_abstractive_qa"


def qasper(number: int, prediction: str | None = None) -> Prediction:
    """A question of its own for each number. The answer agrees with the reference unless another is given."""
    reference = json.dumps({"answer": f"answer {number}", "evidence": [f"passage {number}", "more"]})
    prompt = f"Answer.\n\nPaper:\nQuestion: not this one\nText.\n\nQuestion: question {number}?"
    text = reference if prediction is None else prediction
    return Prediction(QASPER, f"{QASPER}:{number}", prompt, text, reference)


def mup(number: int, prediction: str = "A summary.") -> Prediction:
    return Prediction(MUP, f"{MUP}:{number}", f"Summarise.\n\nPaper title:\nPaper {number}", prediction, "Expert.")


def make_run(config: Config, rows: list[Prediction]) -> RunDir:
    """A run folder with these answers."""
    run = RunDir(Path(config.run_dir))
    for task in (MUP, QASPER):
        if of_task := [row for row in rows if row.task == task]:
            write_jsonl(run.predictions / f"{task}.jsonl", of_task)
    return run


def judge_and_score(config: Config, run: RunDir) -> dict[str, Any]:
    """scores.json after both stages."""
    main(config, run)
    score(config, run)
    return json.loads(run.scores.read_text())


def rows_of(run: RunDir, task: str = QASPER) -> list[dict[str, Any]]:
    path = run.judgements / f"{task}.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def start(config: Config, run: RunDir) -> subprocess.Popen[str]:
    """The stage as the driver starts it."""
    run.config.write_text(to_yaml(config))
    return subprocess.Popen(
        [sys.executable, "-m", "sciriff.judge", str(run.root)],
        env={**os.environ, "OPENAI_API_KEY": KEY, **told(run)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
