"""Check before a run starts that this machine has what it needs: memory, packages, files, disk space."""

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from sciriff.config import BEST_ROWS, Config, nearest
from sciriff.data.selection import origin_of_prompts
from sciriff.driver.own_tasks import makes_its_instances
from sciriff.driver.plan import Plan
from sciriff.driver.preflight import files, general, packages, publishing, sources, thoughts, weights
from sciriff.models.api.service import answering_service, judge_problems
from sciriff.models.training_memory import fits
from sciriff.run import machine
from sciriff.run.nodes import cluster
from sciriff.run.nodes.cluster import Cluster
from sciriff.run.number_format import duration
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError
from sciriff.tasks import catalogue
from sciriff.tasks.own import names_of

FREE_HOURS = 1 / 60
"""Hours of answers that choose the best model which are never too many."""


def refuse(config: Config, plan: Plan) -> None:
    """UserError with all problems of the plan, if it has any, and a command that works on any machine."""
    if found := [f"  - {problem}" for problem in problems(config, plan)]:
        raise UserError(
            f"{config.name} cannot run here:",
            *found,
            "The plan is printed by dry_run=true. This runs on any machine: python -m sciriff.train experiment=demo",
        )


def problems(config: Config, plan: Plan) -> Iterator[str]:
    """Why a planned run cannot work here, one line each; for another machine (plan.gpu) only what does not fit."""
    stages = config.active_stages
    yield from anywhere(config)
    yield from too_large(plan)
    yield from too_much_to_answer(config, plan)
    if plan.imagined:
        return
    yield from packages.missing_packages(config, plan.on_gpu)
    if config.log.tracker == "wandb" and config.log.mode == "online":
        yield from packages.missing_key()
    if config.log.tracker == "mlflow" and config.log.mode == "online":
        yield from packages.missing_server()
    if "predict" in stages and config.engine.asks:
        yield from answering_service(config).problems()
    yield from _missing_gpus(config, len(plan.nodes))
    if "train" in stages:
        yield from _busy_port(cluster.here())
    if "judge" in stages:
        yield from judge_problems(config.judge)
    if "publish" in stages:
        yield from publishing.unmade(config)
        yield from publishing.refused_push(config)
    yield from files.missing_files(config)
    yield from sources.unusable_sources(config)
    yield from files.missing_models(config)
    yield from weights.missing_weights(config)
    yield from thoughts.unknown_parser(config)
    yield from general.asked_of_lm_eval(config)
    if "train" in stages and plan.disk:
        yield from files.full_disk(RunDir(Path(config.run_dir)), plan.disk)
    if "merge" in stages and plan.disk:
        yield from files.full_disk(RunDir(Path(config.run_dir)), plan.disk, "merge")


def anywhere(config: Config) -> Iterator[str]:
    """Problems that do not depend on the machine."""
    yield from _unknown_names(config)
    yield from general.only_likelihoods(config)
    yield from thoughts.no_room(config)
    yield from weights.untrainable_weights(config)
    yield from weights.unknown_layers(config)
    yield from files.own_outputs(config)
    yield from files.folder_of_runs(config)
    yield from _nothing_to_choose_by(config)


def too_large(plan: Plan) -> Iterator[str]:
    """Problems of memory, with settings that would fit."""
    if plan.memory is not None and not plan.on_gpu and plan.memory.total > plan.capacity:
        yield (
            f"there is no NVIDIA GPU, and on the CPU training needs about {plan.memory.total:.0f} GiB of memory; "
            f"this machine has {plan.capacity:.0f}"
        )
    elif plan.memory is not None and plan.on_gpu and not fits(plan.memory, plan.capacity):
        ways = "; ".join(map(str, plan.ways_to_fit)) or "nothing on such GPUs; a smaller train.max_length may"
        yield (
            f"training needs about {plan.memory.total:.0f} GiB on "
            + (f"each of {plan.processes} GPUs, which have" if plan.processes > 1 else "its GPU, which has")
            + f" {plan.capacity:.0f}. What would fit: {ways}"
        )
    if plan.generation_problem is not None:
        yield plan.generation_problem


def too_much_to_answer(config: Config, plan: Plan) -> Iterator[str]:
    """Answers that choose the best model and take longer than the training itself. A rough estimate neither refuses
    what takes no time nor stops a training that has begun, whose steps may not have been known before."""
    chosen, training = plan.selection, plan.training_hours
    if chosen is None or chosen.hours is None or training is None or chosen.hours <= max(training, FREE_HOURS):
        return
    if not plan.imagined and RunDir(Path(config.run_dir)).selection_prompts.is_file():
        return
    assert plan.steps is not None and chosen.times is not None, "hours follow from them"
    times = int(chosen.times * training / chosen.hours)
    rarely = f"train.eval_every={math.ceil(plan.steps / times)} or more, " if times else ""
    yield (
        f"train.best_by=task_mean would answer {chosen.prompts:,} prompts {chosen.times:,} times, about "
        f"{duration(3600 * chosen.hours)}, and the training itself takes about {duration(3600 * training)}: give "
        f"{rarely}fewer train.best_rows (now {config.train.best_rows or BEST_ROWS}), or a "
        f"larger engine.batch_tokens (now {config.engine.batch_tokens:,})"
    )


def _nothing_to_choose_by(config: Config) -> Iterator[str]:
    """No prompts for train.best_by=task_mean but those that are reported."""
    if "train" in config.active_stages and config.train.answers:
        try:
            origin_of_prompts(config)
        except UserError as error:
            yield str(error)


def _unknown_names(config: Config) -> Iterator[str]:
    """Tasks that are not held out, and mix filters that SciRIFF lacks; the mix stage checks those of own rows."""
    held_out, wanted = list(names_of(config.eval.held_out)), config.eval
    if makes_its_instances(config) and config.recreate.templates:  # any of its tasks may have a metric
        held_out += sorted(path.stem for path in Path(config.recreate.templates).glob("*.yaml"))
    filters = [(f"eval.{key}", getattr(wanted, key), held_out) for key in ("tasks", "max_new_tokens_of")]
    mix, source = config.mix, config.mix.sources["sciriff"]
    science = [name for name in mix.own_sources if mix.kind_of(name) == "science"]
    published = not mix.path and not source.path and source.hub == "allenai/SciRIFF"
    if "mix" in config.active_stages and published and not science:
        filters += [(f"mix.{key}", getattr(mix, key), list(known)) for key, known in catalogue.names().items()]
    for key, names, known in filters:
        what = "a held-out task" if known is held_out else "known to SciRIFF"
        yield from (f"{key}: {name} is not {what}{nearest(name, known)}" for name in names or () if name not in known)


def _busy_port(nodes: Cluster) -> Iterator[str]:
    """A MASTER_PORT that is in use on the first node. Without one, a free port is chosen."""
    if nodes.rank or nodes.port is None:
        return
    try:
        socket.create_server(("", nodes.port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        yield f"MASTER_PORT={nodes.port} cannot be opened here ({reason}): name another, or leave it out"


def _missing_gpus(config: Config, nodes: int) -> Iterator[str]:
    """GPUs that the engine needs and this machine lacks. A machine without GPUs may use vLLM's CPU build."""
    engine, count = config.engine, len(machine.gpus())
    if "predict" not in config.active_stages:
        return
    if engine.batch_invariant and not count:
        yield "engine.batch_invariant=true needs an NVIDIA GPU, and there is none"
    try:
        cluster.replicas_per_node(engine.replicas, engine.tensor_parallel, count, nodes)
    except UserError as error:
        yield str(error)
