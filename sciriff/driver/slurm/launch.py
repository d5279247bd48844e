"""Run the jobs of a sweep with hydra/launcher=slurm: submit those neither finished nor in Slurm, and follow them."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from sciriff.config.slurm import SlurmConfig, slurm_config
from sciriff.driver import plan, sweep
from sciriff.driver.pipeline import RunFailed
from sciriff.driver.slurm import array, queue, sweep_jobs
from sciriff.driver.slurm.follow import follow
from sciriff.driver.slurm.sweep_jobs import SweepJob
from sciriff.results import sweep_record
from sciriff.run.locks import hold_or_wait
from sciriff.run.messages import say, say_error, show
from sciriff.run.slurm_command import NoAnswer
from sciriff.run.user_error import UserError


def launch(master: DictConfig, loader: ConfigLoader, overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run these jobs, numbered from `first`, for Hydra. UserError if Slurm refuses them, LeftRunning after Ctrl-C."""
    if "stages" not in master:
        raise UserError(
            "hydra/launcher=slurm submits jobs of sciriff.train: python -m sciriff.train -m hydra/launcher=slurm "
            "model=tiny stages=[recreate] recreate.add=true recreate.out=OUT recreate.tasks=[TASK],[TASK],..."
        )
    keys = OmegaConf.to_container(master.hydra.launcher, resolve=True)
    assert isinstance(keys, dict)
    settings = slurm_config({str(key): value for key, value in keys.items() if key != "_target_"})
    jobs = sweep_jobs.compose(loader, master, overrides, first)
    if sweep.searches(master.hydra.sweeper) and not all(job.makes_scores for job in jobs):
        raise UserError(sweep.NO_MEAN)
    options = _same_folders(master)
    if master.dry_run:
        _plan(sweep.folder_of(master), jobs, settings, options)
        return [_returned(job) for job in jobs]
    place = sweep.folder()
    assert place is not None, "SweepFolder names it before a job starts"
    array.refuse_without_slurm()
    first_of: dict[tuple[str, tuple[str, ...]], SweepJob] = {}
    runs = [first_of.setdefault((job.run_dir, job.overrides), job) for job in jobs]
    scripts = queue.scripts_of(place)
    scripts.mkdir(parents=True, exist_ok=True)
    with hold_or_wait(scripts / ".lock", f"{place.name}: another command is submitting its jobs; waiting"):
        submitted = _submit(place, list(first_of.values()), settings, options)
    follow(place, submitted)
    return [_returned(run, sweep_record.row(place, run.number)) for run in runs]


def _submit(
    place: Path, jobs: Sequence[SweepJob], settings: SlurmConfig, options: Sequence[str]
) -> list[sweep_record.Job]:
    """Submit the jobs that are neither done nor in Slurm. Returns the rows, as submitted, of all that are in Slurm."""
    try:
        alive = queue.of_sweep(place, queue.tasks().values())
        if not jobs[0].number:
            sweep_record.forget_from(place, jobs[-1].number + 1)
        in_slurm, wanted, done = [], [], 0
        for job in jobs:
            if job.run_dir in alive:
                in_slurm.append(job.row("queued", alive[job.run_dir].id))
            elif problem := sweep_jobs.problem(job, settings):
                sweep_record.write(place, job.row("failed", reason=problem.partition("\n")[0]))
                say_error(f"{job.name}: {problem}")
            elif sweep_jobs.is_finished(job):
                done += 1
                _note(place, job.row("done"))
            else:
                wanted.append(job)
        for count, what in ((done, "done"), (len(in_slurm), "in Slurm already")):
            if count:
                say(f"{count} of {len(jobs)} jobs are {what}")
        if wanted:
            script = array.next_script(place)
            script.write_text(array.script(settings, place, wanted, options))
            submitted = array.submit(script)
            say(f"{len(wanted)} of {len(jobs)} jobs submitted to Slurm as {submitted}: {script}")
            in_slurm += [job.row("queued", f"{submitted}_{job.number}") for job in wanted]
    except NoAnswer as error:  # sbatch may have submitted the jobs all the same; the next command finds them
        raise UserError(f"Slurm does not answer: {error}") from None
    for row in in_slurm:
        _note(place, row)
    return in_slurm


def _note(place: Path, row: sweep_record.Job) -> None:
    """Write a row, unless the job's driver has written its own, for the same task or the same finished run."""
    known = sweep_record.row(place, row.number)
    compared = ("run_dir", "slurm" if row.slurm else "status")
    if known is None or any(getattr(known, key) != getattr(row, key) for key in compared):
        sweep_record.write(place, row)


def _plan(place: Path, jobs: Sequence[SweepJob], settings: SlurmConfig, options: Sequence[str]) -> None:
    """Print the plan of each job on the launcher's nodes, if known, and the script, for dry_run=true."""
    for job in jobs:
        if job.config is None:
            show(f"run       {job.name}", f"problem   {job.mistake}")
            continue
        job_plan = sweep_jobs.planned(job.config, settings)
        if job_plan is not None:
            show(*plan.lines(sweep_jobs.for_the_plan(job.config, settings), job_plan))
        else:
            show(f"run       {job.name} in {job.run_dir}", "machine   not known here: give plan.gpu and plan.gpus")
        show(*(f"problem   {problem}" for problem in sweep_jobs.problems(job.config, settings)))
    show("", *array.script(settings, place, jobs, options).removesuffix("\n").split("\n"))


def _same_folders(master: DictConfig) -> list[str]:
    """Return the options that name the user's config folders, which a job needs to compose the same config."""
    folders = [source.path for source in master.hydra.runtime.config_sources if source.provider == "command-line"]
    search = [typed for typed in master.hydra.overrides.hydra if typed.startswith("hydra.searchpath=")]
    return [*(f"--config-dir={folder}" for folder in folders), *search]


def _returned(job: SweepJob, row: sweep_record.Job | None = None) -> JobReturn:
    """Return a job's result for the sweeper: its mean, or the failure that the sweeper raises."""
    result = JobReturn(overrides=list(job.overrides), task_name=job.name, status=JobStatus.COMPLETED)
    if row is not None and row.status == "done":
        result.return_value = job.mean
    elif row is not None:
        result.status = JobStatus.FAILED
        result.return_value = RunFailed("a job of the sweep failed; the others went on")
    return result
