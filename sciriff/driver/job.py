"""One run from its composed config: plan it, check it against this machine, and run its stages."""

from pathlib import Path

from omegaconf import DictConfig

from sciriff.config import Config, as_dict
from sciriff.data.saved_answers import models_below
from sciriff.driver import pipeline, plan, preflight
from sciriff.driver.command_line import this_command
from sciriff.driver.composed import checked
from sciriff.driver.requeue import ProgressSinceStart
from sciriff.driver.untrained_baseline import beside_untrained, wants_untrained
from sciriff.run.locks import own_nodes
from sciriff.run.nodes import cluster, joined_nodes, joining_node
from sciriff.run.run_dir import RunDir


def job(composed: DictConfig, progress: ProgressSinceStart) -> float | None:
    """One run, or one of a sweep. Returns the summary mean (0-1), which a sweeper can maximise."""
    config = checked(composed)
    planned = plan.make(config)
    if config.dry_run:
        problems = [f"problem   {problem}" for problem in preflight.problems(config, planned)]
        print("\n".join([*plan.lines(config, planned), *problems]))
        return None
    preflight.refuse(config, planned)
    there = cluster.here()
    if not there.by_hand:
        return run_job(config, progress)
    run = RunDir(Path(config.run_dir))
    run.root.mkdir(parents=True, exist_ok=True)
    if there.rank > 0:
        joining_node.serve(there, run, as_dict(config))
        return None
    with own_nodes(run), joined_nodes.joined(there, run, as_dict(config)):
        return run_job(config, progress)


def run_job(config: Config, progress: ProgressSinceStart) -> float | None:
    """Run a config on the node that has the driver."""
    if config.predictions and (models := models_below(Path(config.predictions))):
        pipeline.run_each_model(config, models, again=this_command(), progress=progress)
        return None
    if wants_untrained(config):
        config = beside_untrained(config, progress)
    return pipeline.run(config, again=this_command(), progress=progress)
