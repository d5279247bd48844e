"""The whole job, as people run it: learning, sweeps, kills, and an installed wheel. Minutes each."""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from wandb_file import assert_is_a_copy_of, offline_file, read_wandb

from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT

pytestmark = pytest.mark.slow

SECRETS = {"WANDB_API_KEY": "5ec2e7" * 6 + "5ec2", "HF_TOKEN": "hf_a5ecretofthehub", "SLURM_JWT": "a5ecretofthecluster"}
"""In the environment of every run here, and in none of its files."""


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


SHORT = ("experiment=demo", "train.max_steps=12", "train.checkpoint_every=4", "eval.limit=3", "eval.max_new_tokens=24")
"""A whole job of seconds, for what does not depend on learning."""

WHOLE = (*SHORT, "eval.limit=8", "engine.batch_tokens=2048", "train.max_steps=16", "name=undisturbed")
"""One that goes on long enough to be killed in training and in prediction."""

TASKS = [task.name for task in HELD_OUT]
"""Of which the bundled sample has instances."""


@pytest.fixture(scope="module")
def undisturbed(cli_in, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A finished run of WHOLE, which no test changes."""
    place = tmp_path_factory.mktemp("undisturbed")
    result = cli_in(place, *WHOLE)
    assert result.returncode == 0, result.stderr
    return RunDir(place / "runs/undisturbed")


def scores(run: Path) -> dict:
    return json.loads(RunDir(run).scores.read_text())


def assert_complete(run: RunDir, *, trained: bool = True) -> None:
    """Every file that DESIGN promises of a run is there and holds what it should."""
    wanted = [run.config, run.manifest, run.scores, run.report, run.tables / "summary.tsv"]
    wanted += [run.predictions / f"{task}.jsonl" for task in TASKS]
    wanted += [run.tables / f"{task}.tsv" for task in TASKS]
    wanted += [run.log(stage) for stage in ("predict", "score", "report", "track")]
    if trained:
        wanted += [run.mix, run.mix_card, run.tokens, run.accelerate, run.metrics, run.log("mix"), run.log("train")]
        wanted += [run.model / name for name in ("config.json", "model.safetensors", "tokenizer.json")]
    missing = [str(path) for path in wanted if not path.exists()]
    assert missing == []
    assert_is_a_copy_of(run)
    stages = json.loads(run.manifest.read_text())["stages"]
    assert {record["status"] for record in stages.values()} == {"done"}
    for log in run.root.glob("logs/*.log"):
        assert "sciriff" in log.read_text().splitlines()[0], f"{log} does not begin with its command"
    for path in (path for path in run.root.rglob("*") if path.is_file()):
        held = path.read_bytes()
        assert not [name for name, value in SECRETS.items() if value.encode() in held], path


def test_demo_learns_for_two_seeds(cli, tmp_path: Path):
    untrained = cli("experiment=demo", "train=none", "name=demo-untrained")
    assert untrained.returncode == 0, untrained.stderr
    assert_complete(RunDir(tmp_path / "runs/demo-untrained"), trained=False)
    before = scores(tmp_path / "runs/demo-untrained")["summary"]
    short = ("train.max_steps=900", "report.beside=[runs/demo-untrained]")
    sweep = cli("-m", "experiment=demo", "seed=1,2", *short, timeout=1500)
    assert sweep.returncode == 0, sweep.stderr
    gains = []
    for seed in (1, 2):
        run = RunDir(tmp_path / f"runs/demo-s{seed}-max_steps-900")
        assert_complete(run)
        gains.append(100 * (scores(run.root)["summary"]["mean"] - before["mean"]))
        assert "demo-untrained" in run.report.read_text()
    print("points above the untrained model:", gains)
    assert min(gains) >= 10
    runs = [RunDir(tmp_path / f"runs/demo-s{seed}-max_steps-900") for seed in (1, 2)]
    assert len({run.mix.read_bytes() for run in runs}) == 1
    assert len({run.tokens.resolve() for run in runs}) == 1, "one tokenised mix serves the sweep"
    again = cli("experiment=demo", "seed=1", *short)
    assert again.returncode == 0
    assert again.stderr.count("up to date") == 5, again.stderr
    assert runs[0].log("track").read_text().count("--follow") == 1, "the tracker has all of it already"


def test_a_failing_job_does_not_stop_the_others(cli, tmp_path: Path):
    result = cli("-m", *SHORT, "model.shape.vocabulary=50,4096")
    assert result.returncode == 1
    assert "vocabulary" in result.stderr
    assert "Traceback" not in result.stderr
    runs = sorted(path for path in (tmp_path / "runs").iterdir() if not path.name.startswith("sweep-"))
    finished = [run for run in runs if RunDir(run).report.exists()]
    assert (len(runs), len(finished)) == (2, 1)
    assert_complete(RunDir(finished[0]))


def test_predictions_of_another_run_are_scored(cli, undisturbed: RunDir, tmp_path: Path):
    given = f"predictions={undisturbed.predictions}"
    result = cli("train=none", "stages=[score,report]", given, "run_dir=out", "log=none")
    assert result.returncode == 0, result.stderr
    assert scores(tmp_path / "out")["summary"] == scores(undisturbed.root)["summary"]


def test_changed_data_runs_what_depends_on_it(cli, undisturbed: RunDir, tmp_path: Path):
    run = RunDir(tmp_path / "runs" / undisturbed.root.name)
    shutil.copytree(undisturbed.root, run.root, symlinks=True)
    file = run.predictions / "biored_ner.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["prediction"] = rows[0]["reference"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = cli(*WHOLE, "stages=[score,report]")
    assert result.returncode == 0, result.stderr
    assert "score: its predictions changed" in result.stderr
    assert "report: its predictions and results changed" in result.stderr


def left_running(mark: str) -> list[str]:
    """Commands of live processes whose environment holds `mark`."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            environment = (process / "environ").read_bytes()
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if mark.encode() in environment and state != "Z":
            found.append(command)
    return found


def start(tmp_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sciriff.train", *arguments],
        cwd=tmp_path,
        env={**os.environ, "SCIRIFF_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], driver: "subprocess.Popen[str]", seconds: float) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
        assert time.monotonic() < give_up_at, "the moment to kill did not come"
        time.sleep(0.02)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def steps_done(run: RunDir, count: int) -> Callable[[], bool]:
    return lambda: lines(run.metrics) >= count


def answers_written(run: RunDir, count: int) -> Callable[[], bool]:
    return lambda: sum(lines(path) for path in run.predictions.glob("*.jsonl")) >= count


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a killed parent")
@pytest.mark.parametrize("moment", ["training", "prediction"])
def test_killed_whole_and_started_again_gives_the_undisturbed_result(
    moment: str, cli, undisturbed: RunDir, tmp_path: Path
):
    options = (*WHOLE[:-1], "name=killed")
    run = RunDir(tmp_path / "runs/killed")
    driver = start(tmp_path, *options)
    wait_for(steps_done(run, 6) if moment == "training" else answers_written(run, 8), driver, 300)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    give_up_at = time.monotonic() + 15
    while (left := left_running(str(tmp_path / "cache"))) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert left == []
    assert not run.scores.exists(), "it was killed too late to show anything"
    again = cli(*options)
    assert again.returncode == 0, again.stderr
    assert "resumes where it was interrupted" in again.stderr
    assert (run.model / "model.safetensors").read_bytes() == (undisturbed.model / "model.safetensors").read_bytes()
    for task in TASKS:
        name = f"{task}.jsonl"
        assert (run.predictions / name).read_bytes() == (undisturbed.predictions / name).read_bytes()
    assert scores(run.root)["summary"] == scores(undisturbed.root)["summary"]
    assert_complete(run)
    losses = [json.loads(line)["loss"] for line in run.metrics.read_text().splitlines()]
    assert losses == [json.loads(line)["loss"] for line in undisturbed.metrics.read_text().splitlines()]


def test_a_sweep_that_was_killed_and_has_a_broken_job_is_completed_by_the_same_command(cli, tmp_path: Path):
    settings = ("train.max_steps=40", "train.checkpoint_every=4", "eval.limit=1", "eval.max_new_tokens=8")
    command = ("-m", "experiment=demo", *settings, "mix.per_task=5,20", "mix.tulu=none,match", "report.untrained=true")
    name = "demo-limit-1-max_new_tokens-8-per_task-{}-tulu-{}-max_steps-40"
    runs = {
        (cap, tulu): RunDir(tmp_path / "runs" / name.format(cap, tulu)) for cap in (5, 20) for tulu in ("none", "match")
    }
    untrained = RunDir(tmp_path / "runs/demo-limit-1-max_new_tokens-8-untrained")
    killed, broken = runs[5, "match"], runs[20, "none"]
    broken.root.parent.mkdir()
    broken.root.write_text("a file where the folder of the third run should be")

    driver = start(tmp_path, *command)
    wait_for(steps_done(killed, 6), driver, 600)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert runs[5, "none"].report.exists(), "the first had finished"
    assert not killed.report.exists(), "it was killed too late to show anything"

    second = cli(*command, timeout=900)
    assert second.returncode == 1
    assert "train: resumes where it was interrupted" in second.stderr
    assert f"1 of 4 jobs failed; the same command runs only what is not done:\n  {broken.root.name}: " in second.stdout
    [page] = (tmp_path / "runs").glob("sweep-*/sweep.html")
    assert f"page: {page}" in second.stdout
    assert "3 of 4 jobs are finished." in page.read_text() and 'id="left-out"' in page.read_text()
    for run in (runs[5, "none"], killed, runs[20, "match"]):
        assert_complete(run)
        assert read_wandb(offline_file(run)).group == page.parent.name
    assert [json.loads(line)["step"] for line in killed.metrics.read_text().splitlines()] == list(range(1, 41))

    broken.root.unlink()
    finished = {run.root: run.manifest.read_bytes() for run in runs.values() if run is not broken}
    third = cli(*command, timeout=900)
    assert third.returncode == 0, third.stderr
    assert_complete(broken)
    assert {root: RunDir(root).manifest.read_bytes() for root in finished} == finished, "they were left alone"
    assert third.stdout.count(" done ") == 4
    text = page.read_text()
    assert "4 of 4 jobs are finished. 5 runs" in text and 'id="left-out"' not in text
    assert "mix.tulu=none" in text and "mix.tulu=match" in text and f"The baseline is {untrained.root.name}." in text
    assert untrained.log("predict").read_text().count("-m sciriff.predict") == 1, "one untrained model serves all"
    assert all(untrained.root.name in run.report.read_text() for run in runs.values())
    assert len({run.tokens.resolve() for run in runs.values()}) == 4
    listed = cli(module="sciriff.ls")
    assert listed.stdout.count("finished") == 5, listed.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stop_at_the_very_beginning_is_told_too(number: signal.Signals, tmp_path: Path):
    driver = start(tmp_path, *SHORT, "name=early")
    assert driver.stderr is not None
    assert "early: mix, train" in driver.stderr.readline()
    os.kill(driver.pid, number)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 130, errors
    assert "stopped; what is finished is kept" in errors


@pytest.mark.parametrize(("number", "ranks"), [(signal.SIGINT, 1), (signal.SIGUSR1, 2)])
def test_a_stop_writes_a_checkpoint_and_says_how_to_go_on(number: signal.Signals, ranks: int, cli, tmp_path: Path):
    several = f"train.num_processes={ranks}"
    options = (*SHORT, "train.max_steps=16", "train.checkpoint_every=null", "name=stopped", several)
    run = RunDir(tmp_path / "runs/stopped")
    driver = start(tmp_path, *options)
    wait_for(steps_done(run, 3), driver, 300)
    os.kill(driver.pid, number)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 130, errors
    assert "python -m sciriff.train experiment=demo" in errors
    assert len(list(run.checkpoints.glob("step-*"))) == 1
    before = read_wandb(offline_file(run))
    assert before.steps == list(range(1, lines(run.metrics) + 1))
    assert before.exit_code == 1, "it is not shown as finished"
    again = cli(*options)
    assert again.returncode == 0, again.stderr
    assert lines(run.metrics) == 16
    assert_complete(run)
    assert read_wandb(offline_file(run)).run_id == before.run_id


def test_ctrl_c_ends_a_whole_sweep(cli, tmp_path: Path):
    driver = start(tmp_path, "-m", *SHORT, "train.max_steps=400", "seed=1,2")
    first, second = (RunDir(path) for path in sorted(tmp_path / "runs" / name for name in sweep_names()))
    wait_for(steps_done(first, 2), driver, 300)
    os.kill(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 130, errors
    assert not second.root.exists()


def sweep_names() -> list[str]:
    rest = "limit-3-max_new_tokens-24-{}-max_steps-400"
    return [f"demo-{rest.format(seed)}" for seed in ("s1", "s2")]


def lend_packages(site_packages: Path) -> None:
    """Put what the wheel there requires, and all that this requires in turn, beside it as links to what is installed
    here: an installation from the network takes a minute and shows no more."""
    (wheel,) = importlib.metadata.distributions(name="sciriff", path=[str(site_packages)])
    wanted, lent = [*map(Requirement, wheel.requires or [])], set[str]()
    while wanted:
        requirement = wanted.pop()
        extras = requirement.extras or {""}
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": e}) for e in extras):
            continue
        package = importlib.metadata.distribution(requirement.name)
        assert requirement.specifier.contains(package.version, prereleases=True), requirement
        if package.name in lent:
            continue
        lent.add(package.name)
        wanted += map(Requirement, package.requires or [])
        for name in {file.parts[0] for file in package.files or []} - {"..", "__pycache__", "bin"}:
            link, there = site_packages / name, Path(str(package.locate_file(name)))
            if not link.exists():
                link.symlink_to(there)


def test_an_installed_wheel_runs_the_demo_in_another_folder(tmp_path: Path):
    project = Path(__file__).parents[1]
    if not (project / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    environment = {**os.environ, "SCIRIFF_CACHE": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)

    def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "dist", project)
    (wheel,) = (tmp_path / "dist").glob("sciriff-*.whl")
    general = project.glob("sciriff/sample/general/**/*.*")
    assert {path.relative_to(project).as_posix() for path in general} <= set(ZipFile(wheel).namelist())
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    lend_packages(Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()))
    result = run(python, "-m", "sciriff.train", *SHORT)
    assert "mean of 9 of 11" in result.stdout
    sweep = run(python, "-m", "sciriff.train", "-m", "hydra/launcher=slurm", *SHORT, "seed=1,2", "dry_run=true")
    assert "#SBATCH --array=0,1" in sweep.stdout, "the launcher is in the wheel"
    corpora = [f"recreate.{name}=${{sample:recreate/{name}}}" for name in ("templates", "raw")]
    rows = run(python, "-m", "sciriff.recreate", *corpora, "recreate.out=rows", "recreate.context_window=null")
    assert "688 rows of 2 tasks" in rows.stderr, "the raw corpora are in the wheel"
    assert str(project) not in run(python, "-c", "import sciriff; print(sciriff.__file__)").stdout
