"""What the login node knows of the jobs before they are in Slurm."""

import shlex
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sciriff.config import conf_dir
from sciriff.config.registration import register
from sciriff.driver.slurm import sweep_jobs


def test_dry_run_shows_the_plans_on_the_nodes_that_are_asked_for_and_the_script(cli, tmp_path: Path):
    result = cli(
        *("-m", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=a10:8", "hydra.launcher.nodes=2"),
        *("model=llama2_7b,llama2_70b", "engine.tensor_parallel=8", "dry_run=true"),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("16 training processes, 8 on each of 2 nodes") == 2
    assert result.stdout.count("problem   training needs about") == 1
    assert "#SBATCH --array=0,1\n#SBATCH --nodes=2\n" in result.stdout
    assert "1) run=" in result.stdout and "dry_run=" not in result.stdout
    assert not (tmp_path / "runs").exists()


def test_where_the_gpus_are_not_known_nothing_is_refused_for_them(cli):
    result = cli("-m", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=8", "model=llama2_70b", "dry_run=true")
    assert result.returncode == 0, result.stderr
    assert "problem" not in result.stdout and "not known here: give plan.gpu and plan.gpus" in result.stdout


def test_a_config_that_cannot_be_is_told_for_its_job_alone(cli):
    result = cli("-m", "hydra/launcher=slurm", "experiment=demo", "train.max_length=64,100000", "dry_run=true")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("problem   ") == 1
    assert "train.max_length=100000 does not fit train.micro_batch_tokens=1024" in result.stdout


def test_a_job_that_would_have_the_folder_of_another_is_told_so():
    """As a search may bring it, whose values nobody knows before."""
    register()
    typed = ["train=none", "log=none", "predictions=answers"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", typed, RunMode.MULTIRUN)
        jobs = sweep_jobs.compose(loader, master, [[*typed, f"eval.resamples={n}"] for n in (10, 20, 10)], 4)
    first, second, third = jobs
    assert first.config is not None and first.mistake is None
    assert second.config is None and "one has eval.resamples=10, the other eval.resamples=20" in second.mistake
    assert third.config == first.config and third.mistake is None, "the same values again are the same run"


def test_wrong_keys_of_the_launcher(cli):
    wrong = cli("-m", "hydra/launcher=slurm", "hydra.launcher.tme=3", "experiment=demo")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "hydra.launcher.tme is not a key of the launcher; did you mean 'hydra.launcher.time'?" in wrong.stderr
    basic = cli("-m", "hydra.launcher.time=3", "experiment=demo", "seed=1,2")
    assert "hydra.launcher.time is not a key of the launcher; hydra/launcher=slurm has it" in basic.stderr
    named = cli("-m", "hydra/launcher=slurm", "experiment=demo", "name=a", "seed=1,2", "dry_run=true")
    assert named.returncode == 2 and "name= is one folder for all jobs" in named.stderr


def test_the_copy_of_a_cluster_of_ones_own(cli, tmp_path: Path):
    place = tmp_path / "mine/hydra/launcher"
    place.mkdir(parents=True)
    (place / "lab.yaml").write_text("defaults: [slurm]\npartition: gpu\ntime: 12:30:00\n")
    result = cli("-m", "--config-dir=mine", "hydra/launcher=lab", "experiment=demo", "seed=1,2", "dry_run=true")
    assert result.returncode == 0, result.stderr
    assert "#SBATCH --partition=gpu" in result.stdout and "#SBATCH --nodes=1" in result.stdout
    assert "#SBATCH --time=12:30:00\n" in result.stdout
    assert f'-m sciriff.train --config-dir={tmp_path}/mine "${{job[@]}}" hydra.mode=RUN\n' in result.stdout


def test_a_job_searches_where_the_sweep_does(cli, tmp_path: Path):
    place = tmp_path / "my conf/experiment"
    place.mkdir(parents=True)
    (place / "mine.yaml").write_text("# @package _global_\ndefaults: [demo]\n")
    search = f"hydra.searchpath=['file://{tmp_path}/my conf']"
    result = cli("-m", search, "hydra/launcher=slurm", "experiment=mine", "seed=1,2", "dry_run=true")
    assert result.returncode == 0, result.stderr
    assert f"-m sciriff.train {shlex.quote(search)} " in result.stdout


def test_a_single_run_is_not_taken_for_a_sweep(cli, tmp_path: Path):
    result = cli("hydra/launcher=slurm", "experiment=demo")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "this launcher takes sweeps: add -m" in result.stderr and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_search_needs_scores(cli):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install 'sciriff[sweeps]'")
    search = ("-m", "hydra/launcher=slurm", "hydra/sweeper=optuna", "experiment=demo", "seed=choice(1,2)")
    result = cli(*search, "stages=[mix]")
    assert result.returncode == 2 and "this job makes no scores" in result.stderr
