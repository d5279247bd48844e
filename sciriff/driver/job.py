"""One run from its composed config: plan it, check it against this machine, and run its stages."""

from pathlib import Path

from omegaconf import DictConfig

from sciriff.config import Config, as_dict
from sciriff.data.saved_answers import models_below
from sciriff.driver import pipeline
from sciriff.driver.command_line import this_command
from sciriff.driver.composed import checked
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.driver.untrained_baseline import beside_untrained, wants_untrained
from sciriff.run.messages import show
from sciriff.run.nodes import cluster, without_slurm
from sciriff.run.run_dir import RunDir
from sciriff.tasks.own import names_of


def job(composed: DictConfig, progress: ProgressSinceStart) -> float | None:
    """One run, or one of a sweep. Returns the summary mean (0-1), which a sweeper can maximise."""
    from sciriff.driver import plan, preflight  # a third of this package's imports, which --help does not need

    config = checked(composed)
    planned = plan.make(config)
    if config.dry_run:
        problems = [f"problem   {problem}" for problem in preflight.problems(config, planned)]
        show(*plan.lines(config, planned), *problems)
        return None
    preflight.refuse(config, planned)
    for what, line in (("attention", planned.slow_attention), ("layers   ", planned.slow_layers)):
        if line is not None:
            show(f"{what} {line}")
    nodes = cluster.here()
    if not nodes.by_hand:
        return run_job(config, progress)
    run = RunDir(Path(config.run_dir))
    if nodes.rank > 0:
        without_slurm.follow(nodes, run, as_dict(config), lambda order: pipeline.take_part(order, nodes))
        return None
    with without_slurm.lead(nodes, run, as_dict(config)):
        return run_job(config, progress)


def run_job(config: Config, progress: ProgressSinceStart) -> float | None:
    """Run a config on the node that has the driver."""
    if config.predictions and (models := models_below(Path(config.predictions), names_of(config.eval.held_out))):
        pipeline.run_each_model(config, models, again=this_command(), progress=progress)
        return None
    if wants_untrained(config):
        config = beside_untrained(config, progress)
    return pipeline.run(config, again=this_command(), progress=progress)
