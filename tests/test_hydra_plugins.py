"""Sweeps by Hydra's own plugins: jobs beside each other (joblib), and values that Optuna chooses."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sciriff.run.run_dir import RunDir

pytestmark = pytest.mark.slow


def jobs(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(runs.glob("sweep-*/jobs/*.json"))]


def test_joblib_runs_jobs_beside_each_other_and_what_they_share_is_built_once(cli, tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'sciriff[sweeps]'")
    short = (
        "train.max_steps=2",
        "eval.limit=1",
        "eval.tasks=[biored_ner]",
        "eval.max_new_tokens=4",
        "log=none",
        "report.untrained=true",
    )
    beside = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    result = cli("-m", "experiment=demo", *short, *beside, "train.learning_rate=1e-3,2e-3")
    assert result.returncode == 0, result.stderr
    first, second = jobs(tmp_path / "runs")
    assert (first["status"], second["status"]) == ("done", "done")
    assert result.stdout.count(" done ") == 2 and "page: " in result.stdout
    runs = [RunDir(Path(job["run_dir"])) for job in (first, second)]
    began = [json.loads(run.manifest.read_text())["stages"] for run in runs]
    assert all(stage["status"] == "done" for stages in began for stage in stages.values())
    assert runs[0].tokens.resolve() == runs[1].tokens.resolve()
    (untrained,) = (tmp_path / "runs").glob("*-untrained")
    assert RunDir(untrained).log("predict").read_text().count("-m sciriff.predict") == 1, "one waits for the other"


@pytest.fixture
def answers(tmp_path: Path) -> list[Path]:
    """Folders of answers, of which none, some and all are right."""
    folders = []
    for right in range(3):
        folder = tmp_path / f"answers-{right}"
        folder.mkdir()
        rows = [
            {
                "task": "biored_ner",
                "instance_id": str(number),
                "prompt": "p",
                "reference": '{"Gene": ["x"]}',
                "prediction": '{"Gene": ["x"]}' if number < right else "{}",
            }
            for number in range(2)
        ]
        (folder / "biored_ner.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folders.append(folder)
    return folders


def test_optuna_finds_the_highest_mean_and_goes_on_after_a_failed_job(cli, answers: list[Path], tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install 'sciriff[sweeps]'")
    broken = tmp_path / "answers-broken"
    broken.mkdir()
    (broken / "biored_ner.jsonl").write_text("not JSON\n")
    choices = ",".join(f'"{folder}"' for folder in [broken, *answers])
    search = ("hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=6")
    scoring = ("train=none", "stages=[score]", "log=none")
    result = cli("-m", *scoring, f"predictions=choice({choices})", *search, "hydra.sweeper.n_trials=5")
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    found = {job["name"]: job["status"] for job in jobs(tmp_path / "runs")}
    assert found == {"answers-broken": "failed", **{folder.name: "done" for folder in answers}}, (
        "seed 6 draws all, the broken one first"
    )
    (best,) = (tmp_path / "runs").glob("sweep-*/optimization_results.yaml")
    assert yaml.safe_load(best.read_text()) == {
        "name": "optuna",
        "best_params": {"predictions": str(answers[2])},
        "best_value": 1.0,
    }


def test_a_grid_of_optuna_whose_last_job_fails_is_no_crash(cli, tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install 'sciriff[sweeps]'")
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "biored_ner.jsonl").write_text("not JSON\n")
    search = ("hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=1")
    scoring = ("train=none", "stages=[score]", "log=none", f'predictions=choice("{tmp_path / "answers"}")')
    result = cli("-m", *scoring, *search)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == "error: a job of the sweep failed; the others went on"


def test_a_search_without_scores_is_refused(cli, tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install 'sciriff[sweeps]'")
    result = cli("-m", "experiment=demo", "seed=choice(1,2)", "hydra/sweeper=optuna", "dry_run=true")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: dry_run=true does not go with hydra/sweeper=optuna")
    assert not (tmp_path / "runs").exists()
