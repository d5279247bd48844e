"""Real local runs of Trackio and MLflow, and artifacts in an offline W&B run, read back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from told_by_driver import told
from wandb_file import offline_records

from sciriff.config import Config, LogConfig, to_yaml
from sciriff.run.manifest import Manifest, StageRecord
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.track.__main__ import copy
from sciriff.track.artifacts import tracked_artifacts

SECRETS = {
    "HF_TOKEN": "hf_a5ecretofthehub",
    "WANDB_API_KEY": "5ec2e7" + "0" * 34,
    "MLFLOW_TRACKING_PASSWORD": "a5ecretofthetracker",
    "TRACKIO_WRITE_TOKEN": "a5ecretofthespace",
}
SCORES = {
    "model": "m",
    "tasks": {},
    "summary": {
        "columns": {"biored_ner/f1": {"value": 0.5, "ci95": [0.4, 0.6]}},
        "mean": 0.5,
        "median": 0.5,
        "missing": ["discomat_te/bleu"],
    },
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A finished run: three steps, scores, a mix, and a model that is no real one."""
    run = RunDir(tmp_path / "run")
    for folder in (run.model, run.mix.parent, run.tables):
        folder.mkdir(parents=True)
    steps = [{"step": step, "steps": 3, "loss": 1 / step, "lr": 3e-4, "tokens": 100} for step in (1, 2, 3)]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in steps))
    run.scores.write_text(json.dumps(SCORES))
    run.mix.write_text('{"dataset": "d", "id": "1", "messages": []}\n')
    run.mix_card.write_text('{"rows": 1}')
    (run.model / "config.json").write_text("{}")
    (run.model / "model.safetensors").write_bytes(b"weights")
    (run.tables / "summary.tsv").write_text("model\tbiored\nmetric\tf1\nm\t50.00\n")
    Manifest(run.manifest, stages={"score": StageRecord("done", {})}).write()
    return run


def track(run: RunDir, config: Config, times: int = 1) -> str:
    """What the real process says, which has secrets in its environment and a home of its own."""
    run.config.write_text(to_yaml(config))
    home = run.root.parent / "home"
    home.mkdir(exist_ok=True)
    said = ""
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-m", "sciriff.track", str(run.root)],
            env={**os.environ, **SECRETS, **told(run), "HOME": str(home), "HF_HOME": str(home / "hf")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    for path in (path for path in run.root.parent.rglob("*") if path.is_file()):
        held = path.read_bytes()
        assert not [name for name, value in SECRETS.items() if value.encode() in held], path
    assert not [name for name, value in SECRETS.items() if value in said]
    return said


@pytest.mark.slow
def test_trackio_has_each_step_once_after_two_copies(
    run: RunDir, composed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    from trackio import sqlite_storage

    said = track(run, composed("experiment=demo", "log=trackio", "name=a run", f"run_dir={run.root}"), times=2)
    assert "trackio show --project sciriff" in said
    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", run.root / "trackio")
    rows = sqlite_storage.SQLiteStorage.get_logs("sciriff", "a run")
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    (scores,) = [row for row in rows if "biored_ner/f1" in row]
    assert (scores["biored_ner/f1"], scores["summary/mean"], scores["biored_ner/f1_ci95_high"]) == (0.5, 0.5, 0.6)
    config = sqlite_storage.SQLiteStorage.get_run_config("sciriff", "a run")
    assert config["train"]["learning_rate"] == 2e-3 and config["_Username"] is None


@pytest.mark.slow
def test_mlflow_has_one_run_with_each_step_once(
    run: RunDir, composed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a database in the run folder, and of one at an address, where a copy goes on with the run that is there."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # where it keeps files of a database that names no place for them
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared.db")
    config = composed("experiment=demo", "log=mlflow", "log.artifacts=[mix,model]", "log.tags=[t]", "name=a run")
    rows = run.metrics.read_text().splitlines(keepends=True)
    own, shared = f"sqlite:///{run.root}/mlflow/mlflow.db", f"sqlite:///{tmp_path}/shared.db"
    for mode, uri in (("offline", own), ("online", shared)):
        log = replace(config.log, mode=mode)
        run.metrics.write_text("".join(rows[:2]))
        copy(replace(config, log=log), run, follow=False)
        run.metrics.write_text("".join(rows))
        if mode == "online":
            copy(replace(config, log=log), run, follow=False)
        client = mlflow.MlflowClient(uri)
        (found,) = client.search_runs([client.get_experiment_by_name("sciriff").experiment_id])
        losses = client.get_metric_history(found.info.run_id, "train/loss")
        wanted = [(1, 1.0), (2, 0.5), (3, 1 / 3)][: 3 if mode == "online" else 2]
        assert [(metric.step, metric.value) for metric in losses] == wanted
        assert (found.data.metrics["biored_ner/f1"], found.data.metrics["mean"]) == (0.5, 0.5)
        assert found.data.params["train.learning_rate"] == "0.002" and found.data.tags["t"] == "yes"
        assert (found.info.run_name, found.info.status) == ("a run", "FINISHED")
        names = {item.path for item in client.list_artifacts(found.info.run_id)}
        assert {"scores.json", "tables", "mix", "model"} <= names
        models = {item.path for item in client.list_artifacts(found.info.run_id, "model")}
        assert models == {"model/config.json", "model/model.safetensors"}
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert not [name for name, value in SECRETS.items() if value.encode() in path.read_bytes()], path


@pytest.mark.slow
def test_an_offline_wandb_run_has_the_lineage_of_its_scores(run: RunDir, composed: Callable[..., Config]) -> None:
    wanted = "log.artifacts=[mix,model,scores]"
    track(run, composed("experiment=demo", "log=offline", wanted, "name=a run", f"run_dir={run.root}"))
    found = {record.name: record for record in offline_records(run, "artifact")}
    mix, model, scores = (found[f"a-run-{kind}"] for kind in ("mix", "model", "scores"))
    assert [(one.type, one.use_after_commit) for one in (mix, model, scores)] == [
        ("dataset", True),
        ("model", False),
        ("evaluation", False),
    ], "the run read the mix, and made the model and the scores"
    of_mix, of_model, of_scores = (json.loads(one.metadata) for one in (mix, model, scores))
    assert of_mix.items() <= of_model.items() <= of_scores.items() and set(of_scores) == {"mix", "model", "scores"}
    assert {entry.path for entry in model.manifest.contents} == {"config.json", "model.safetensors"}
    copies = list(run.tracker.rglob("*.safetensors"))
    assert copies == [], "weights are sent from where they lie"


def test_artifacts_are_those_that_the_run_has(run: RunDir) -> None:
    assert [artifact.kind for artifact in tracked_artifacts(run, ["scores", "adapter", "model"])] == ["model", "scores"]
    before = [artifact.about for artifact in tracked_artifacts(run, ["scores"])]
    run.mix.write_text("another\n")
    assert [artifact.about for artifact in tracked_artifacts(run, ["scores"])] != before


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tracker": "tensorboard", "artifacts": ["mix"]}, "log.artifacts=[mix]"),
        ({"tracker": "trackio", "mode": "online"}, "trackio sync"),
    ],
)
def test_what_a_tracker_cannot_do_is_refused(values: dict, said: str) -> None:
    with pytest.raises(UserError) as refused:
        LogConfig(**values)
    assert said in str(refused.value)
