"""The jobs of a sweep as the login node sees them: name, folder, config, and whether one fits or is done already."""

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

OF_THE_LOGIN_NODE = ("plan.gpu", "plan.gpus", "plan.nodes", "dry_run", "hydra")
"""Keys that a job is not given: it plans for the node that it has, and composes a single run."""


@dataclass(frozen=True)
class SweepJob:
    """One job, composed but not started."""

    number: int
    overrides: tuple[str, ...]
    name: str
    run_dir: str
    config: Config | None
    """None where it cannot be."""
    mistake: str | None = None
    """Why it cannot be."""

    def row(self, status: str, task: str | None = None, reason: str | None = None) -> sweep_record.Job:
        """Its row in the sweep's folder; `task` is its id in Slurm."""
        typed = shlex.join(self.overrides)
        return sweep_record.Job(self.number, self.name, self.run_dir, typed, status, reason=reason, slurm=task)

    @property
    def for_the_node(self) -> list[str]:
        """The overrides that are left for the node."""
        return [o for o in self.overrides if not _is_one_of(o.lstrip("+~").partition("=")[0], OF_THE_LOGIN_NODE)]

    @property
    def makes_scores(self) -> bool:
        """Whether it does, or fails before anything starts."""
        return self.config is None or "score" in self.config.active_stages

    @property
    def mean(self) -> float | None:
        """Of its summary (0-1); None without scores."""
        scores = RunDir(Path(self.run_dir)).scores
        if not self.makes_scores or not scores.is_file():
            return None
        return read_summary(scores)["mean"]


def compose(loader: ConfigLoader, master: DictConfig, overrides: Sequence[Sequence[str]], first: int) -> list[SweepJob]:
    """The jobs, `first` being the number of the first; each is named as it would be in a sweep on one machine, and one
    that would have the folder of another is told so. Where a search has tried the same values twice, it is one run."""
    found: list[SweepJob] = []
    for number, given in enumerate(overrides, start=first):
        composed, typed = named(loader.load_sweep_config(master, list(given)))
        run_dir = str(Path(composed.run_dir).absolute())
        job = SweepJob(number, tuple(typed), composed.name, run_dir, None)
        other = next((earlier for earlier in found if earlier.run_dir == run_dir), None)
        if other and other.overrides != job.overrides:
            found.append(replace(job, mistake=shared(run_dir, other.overrides, typed)))
            continue
        try:
            found.append(replace(job, config=checked(composed)))
        except ValueError as error:
            found.append(replace(job, mistake=str(error)))
    return found


def planned(config: Config, settings: SlurmConfig) -> plan.Plan | None:
    """The plan of a job on the nodes that the launcher asks for; None where their GPUs are not known here."""
    there = for_the_plan(config, settings)
    return plan.make(there) if there.plan.gpu and there.plan.gpus else None


def for_the_plan(config: Config, settings: SlurmConfig) -> Config:
    """The config with what the launcher's keys say of the nodes."""
    typed = config.plan
    nodes = replace(
        typed,
        gpu=typed.gpu or settings.gpu,
        gpus=typed.gpus or settings.gpus,
        nodes=typed.nodes or settings.nodes,
    )
    return replace(config, plan=nodes)


def problem(job: SweepJob, settings: SlurmConfig) -> str | None:
    """Why a job is not worth queueing, as far as a machine without its GPUs can know; None where it is."""
    if job.config is None:
        return job.mistake
    try:
        found = list(problems(job.config, settings))
        if not found:
            refuse_another(job.config, RunDir(Path(job.run_dir)))
    except (UserError, OSError) as error:
        return str(error)
    return f"does not fit what hydra.launcher asks for: {'; '.join(found)}" if found else None


def problems(config: Config, settings: SlurmConfig) -> Iterator[str]:
    """What keeps a config from running, on any machine or on the nodes that are asked for."""
    yield from preflight.anywhere(config)
    if (there := planned(config, settings)) is not None:
        yield from preflight.too_large(there)


def is_finished(job: SweepJob) -> bool:
    """Whether nothing is left to do for a job."""
    config = job.config
    if config is None or (config.predictions and models_below(Path(config.predictions))):
        return False
    if wants_untrained(config):
        before = untrained_config(config, job.overrides)
        if not pipeline.is_finished(before):
            return False
        config = with_beside(config, before)
    return pipeline.is_finished(config)


def _is_one_of(key: str, keys: Sequence[str]) -> bool:
    return any(key == other or key.startswith((f"{other}.", f"{other}/")) for other in keys)
