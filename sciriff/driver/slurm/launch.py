"""What hydra/launcher=slurm does with the jobs of a sweep: submit what is neither done nor on its way, and follow."""

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
from sciriff.run.user_error import UserError
from sciriff.stage import say, say_error


def launch(master: DictConfig, loader: ConfigLoader, overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Hydra's hook: run these jobs, `first` being the number of the first. UserError when Slurm refuses them,
    LeftRunning when a person stops looking."""
    given = OmegaConf.to_container(master.hydra.launcher, resolve=True)
    assert isinstance(given, dict)
    settings = slurm_config({str(key): value for key, value in given.items() if key != "_target_"})
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
    """Submit the jobs that are neither done nor in Slurm. Returns the rows, as submitted, of all that are there now."""
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
    except queue.NoAnswer as error:  # of sbatch: its jobs may be there all the same, and the next command finds them
        raise UserError(f"Slurm does not answer: {error}") from None
    for row in in_slurm:
        _note(place, row)
    return in_slurm


def _note(place: Path, row: sweep_record.Job) -> None:
    """Write a row, unless the job's driver has written its own: of the same task, or of the same finished run."""
    known = sweep_record.row(place, row.number)
    same = known is not None and known.run_dir == row.run_dir
    if known is None or not same or not (known.slurm == row.slurm if row.slurm else known.status == row.status):
        sweep_record.write(place, row)


def _plan(place: Path, jobs: Sequence[SweepJob], settings: SlurmConfig, options: Sequence[str]) -> None:
    """What dry_run=true prints: the plan of each job on the launcher's nodes where they are known, and the script."""
    for job in jobs:
        if job.config is None:
            print(f"run       {job.name}\nproblem   {job.mistake}")
            continue
        there = sweep_jobs.planned(job.config, settings)
        if there is not None:
            print("\n".join(plan.lines(sweep_jobs.for_the_plan(job.config, settings), there)))
        else:
            print(f"run       {job.name} in {job.run_dir}\nmachine   not known here: give plan.gpu and plan.gpus")
        print("".join(f"problem   {problem}\n" for problem in sweep_jobs.problems(job.config, settings)), end="")
    print(f"\n{array.script(settings, place, jobs, options)}", end="")


def _same_folders(master: DictConfig) -> list[str]:
    """What was typed of the folders of a person's files, which a job needs to compose the same."""
    folders = [source.path for source in master.hydra.runtime.config_sources if source.provider == "command-line"]
    search = [typed for typed in master.hydra.overrides.hydra if typed.startswith("hydra.searchpath=")]
    return [*(f"--config-dir={folder}" for folder in folders), *search]


def _returned(job: SweepJob, row: sweep_record.Job | None = None) -> JobReturn:
    """What a sweeper gets of a job: its mean, or the failure that it raises."""
    result = JobReturn(overrides=list(job.overrides), task_name=job.name)
    if row is None:
        result.status, result.return_value = JobStatus.COMPLETED, None
    elif row.status == "done":
        result.status, result.return_value = JobStatus.COMPLETED, job.mean
    else:
        result.status = JobStatus.FAILED
        result.return_value = RunFailed("a job of the sweep failed; the others went on")
    return result
