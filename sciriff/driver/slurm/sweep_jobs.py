"""Jobs of a sweep as the login node sees them: name, folder, config, and whether each fits or is finished."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from sciriff.config import Config
from sciriff.config.slurm import SlurmConfig
from sciriff.data.saved_answers import models_below
from sciriff.driver import pipeline, plan, preflight
from sciriff.driver.composed import checked, named
from sciriff.driver.frozen_config import refuse_another
from sciriff.driver.separate_runs import shared
from sciriff.driver.untrained_baseline import untrained_config, wants_untrained, with_beside
from sciriff.results import sweep_record
from sciriff.results.scores import read_summary
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks.own import names_of

OF_THE_LOGIN_NODE = ("plan.gpu", "plan.gpus", "plan.nodes", "dry_run", "hydra")
"""Keys not passed on to a job: it plans for its own node, and composes a single run."""


@dataclass(frozen=True)
class SweepJob:
    """One job, composed but not started."""

    number: int
    overrides: tuple[str, ...]
    name: str
    run_dir: str
    config: Config | None
    """None if it is not valid."""
    mistake: str | None = None
    """Why the config is not valid."""

    def row(self, status: str, task: str | None = None, reason: str | None = None) -> sweep_record.Job:
        """Return the job's row in the sweep's folder; `task` is its id in Slurm."""
        typed = shlex.join(self.overrides)
        return sweep_record.Job(self.number, self.name, self.run_dir, typed, status, reason=reason, slurm=task)

    @property
    def for_the_node(self) -> list[str]:
        """Overrides without those of OF_THE_LOGIN_NODE."""
        keys = {override: override.lstrip("+~").partition("=")[0] for override in self.overrides}
        return [
            override
            for override, key in keys.items()
            if not any(key == other or key.startswith((f"{other}.", f"{other}/")) for other in OF_THE_LOGIN_NODE)
        ]

    @property
    def makes_scores(self) -> bool:
        """Whether the job has a score stage, or is not valid."""
        return self.config is None or "score" in self.config.active_stages

    @property
    def mean(self) -> float | None:
        """Mean of the summary (0-1); None without scores."""
        scores = RunDir(Path(self.run_dir)).scores
        return read_summary(scores)["mean"] if self.makes_scores and scores.is_file() else None


def compose(loader: ConfigLoader, master: DictConfig, overrides: Sequence[Sequence[str]], first: int) -> list[SweepJob]:
    """Compose the jobs, numbered from `first` and named as in a sweep on one machine. A job with the folder of another
    is a mistake, unless their overrides are the same, as when a search tries values twice."""
    jobs: list[SweepJob] = []
    for number, swept in enumerate(overrides, start=first):
        composed, typed = named(loader.load_sweep_config(master, list(swept)))
        run_dir = str(Path(composed.run_dir).absolute())
        job = SweepJob(number, tuple(typed), composed.name, run_dir, None)
        other = next((earlier for earlier in jobs if earlier.run_dir == run_dir), None)
        if other and other.overrides != job.overrides:
            jobs.append(replace(job, mistake=shared(run_dir, other.overrides, typed)))
            continue
        try:
            jobs.append(replace(job, config=checked(composed)))
        except ValueError as error:
            jobs.append(replace(job, mistake=str(error)))
    return jobs


def planned(config: Config, settings: SlurmConfig) -> plan.Plan | None:
    """Plan a job on the nodes that the launcher requests; None if their GPUs are not known."""
    config = for_the_plan(config, settings)
    return plan.make(config) if config.plan.gpu and config.plan.gpus else None


def for_the_plan(config: Config, settings: SlurmConfig) -> Config:
    """Fill plan.gpu, plan.gpus and plan.nodes from the launcher's keys."""
    keys = ("gpu", "gpus", "nodes")
    return replace(
        config, plan=replace(config.plan, **{key: getattr(config.plan, key) or getattr(settings, key) for key in keys})
    )


def problem(job: SweepJob, settings: SlurmConfig) -> str | None:
    """Return why a job is not worth queueing, as far as a machine without its GPUs can know; None if it is."""
    if job.config is None:
        return job.mistake
    try:
        reasons = list(problems(job.config, settings))
        if not reasons:
            refuse_another(job.config, RunDir(Path(job.run_dir)))
    except (UserError, OSError) as error:
        return str(error)
    return f"does not fit what hydra.launcher asks for: {'; '.join(reasons)}" if reasons else None


def problems(config: Config, settings: SlurmConfig) -> Iterator[str]:
    """Yield what keeps a config from running, on any machine or on the requested nodes."""
    yield from preflight.anywhere(config)
    if (job_plan := planned(config, settings)) is not None:
        yield from preflight.too_large(job_plan)


def is_finished(job: SweepJob) -> bool:
    """Return whether nothing is left to do for a job."""
    config = job.config
    if config is None or (
        config.predictions and models_below(Path(config.predictions), names_of(config.eval.held_out))
    ):
        return False
    if wants_untrained(config):
        untrained = untrained_config(config, job.overrides)
        if not pipeline.is_finished(untrained):
            return False
        config = with_beside(config, untrained)
    return pipeline.is_finished(config)
