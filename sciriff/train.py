"""The entry: compose the config, check it, and run the stages. `python -m sciriff.train --help`"""

import os
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sciriff import compose_error, pipeline, plan, preflight, spawn, sweep
from sciriff.config import SAMPLE, Config, SourceConfig, conf_dir, from_container
from sciriff.predictions import models_below
from sciriff.requeue import Progress, after_stop
from sciriff.run_name import run_name
from sciriff.stage import USER_ERROR, is_users_mistake
from sciriff.untrained import untrained_overrides

Source = TypeVar("Source", bound=SourceConfig)


def absolute(config: Config) -> Config:
    """The config with every local path absolute; what is no path here is left as the hub id that it must be."""

    def place(path: str | None) -> str | None:
        return None if path is None else str(Path(path).expanduser().absolute())

    def place_or_hub_id(path: str | None) -> str | None:
        return place(path) if path is not None and Path(path).expanduser().exists() else path

    def source(given: Source) -> Source:
        return replace(given, path=place(given.path))

    sources = config.mix.sources
    return replace(
        config,
        run_dir=str(place(config.run_dir)),
        cache_dir=str(place(config.cache_dir)),
        predictions=place(config.predictions),
        model=replace(
            config.model,
            path=place_or_hub_id(config.model.path),
            tokenizer=place_or_hub_id(config.model.tokenizer),
        ),
        mix=replace(
            config.mix,
            path=place(config.mix.path),
            sources=replace(
                sources,
                sciriff=source(sources.sciriff),
                tulu=source(sources.tulu),
                published=source(sources.published),
            ),
        ),
        eval=replace(
            config.eval,
            path=place(config.eval.path),
            model=place_or_hub_id(config.eval.model),
            source=source(config.eval.source),
        ),
        engine=replace(config.engine, python=place(config.engine.python)),
        judge=replace(config.judge, path=place(config.judge.path)),
        report=replace(config.report, beside=[str(place(path)) for path in config.report.beside]),
    )


def this_command() -> str:
    """The command that was typed, for people who must type it again."""
    return " ".join(["python -m sciriff.train", *map(shlex.quote, sys.argv[1:])])


def job(composed: DictConfig, progress: Progress) -> float | None:
    """One run, or one of a sweep. Returns the summary mean (0-1), which a sweeper can maximise."""
    config = absolute(from_container(composed))
    planned = plan.make(config)
    if config.dry_run:
        problems = [f"problem   {problem}" for problem in preflight.problems(config, planned)]
        print("\n".join([*plan.lines(config, planned), *problems]))
        return None
    preflight.refuse(config, planned)
    print(f"{config.name}: {', '.join(config.active_stages)} in {config.run_dir}", file=sys.stderr, flush=True)
    if config.predictions and (models := models_below(Path(config.predictions))):
        pipeline.run_each_model(config, models, again=this_command(), progress=progress)
        return None
    if config.report.untrained and {"train", "predict"} <= set(config.active_stages):
        config = beside_untrained(config, progress)
    return pipeline.run(config, again=this_command(), progress=progress)


def beside_untrained(config: Config, progress: Progress) -> Config:
    """The config with the run of the untrained model in its report, once that run is finished."""
    typed = list(HydraConfig.get().overrides.task)
    overrides = untrained_overrides(typed, random_weights=config.model.path is None)
    composed = hydra.compose("config", [*overrides, "hydra.mode=RUN"], return_hydra_config=True)
    name = run_name(overrides, composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    composed.name = name
    before = absolute(from_container(composed))
    print(f"{name}: {', '.join(before.active_stages)} in {before.run_dir}", file=sys.stderr, flush=True)
    pipeline.run(before, again=this_command(), progress=progress, wait=True)
    beside = list(dict.fromkeys([*config.report.beside, before.run_dir]))
    return replace(config, report=replace(config.report, beside=beside))


def job_of_sweep(composed: DictConfig, progress: Progress) -> float | None:
    """One job of a sweep, with its row in the sweep's folder. A failure is told when it happens, so that the jobs after
    it run; being asked to stop ends the sweep, which Stopped does as a KeyboardInterrupt."""
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    for key in ("run_dir", "name"):
        if any(override.startswith(f"{key}=") for override in overrides):
            raise ValueError(f"{key}= is one folder for all jobs of a sweep; leave it out, and each job gets its own")
    if composed.dry_run:
        return job(composed, progress)
    place = sweep.folder()
    assert place is not None
    if composed.log.group is None:
        composed.log.group = place.name
    run_dir = str(Path(composed.run_dir).absolute())
    row = sweep.Job(hydra_config.job.num, composed.name, run_dir, " ".join(map(shlex.quote, overrides)))
    sweep.note(row)
    started = time.monotonic()
    try:
        mean = job(composed, progress)
    except (ValueError, OSError, pipeline.RunFailed) as error:
        print(f"error: {row.name}: {error}", file=sys.stderr, flush=True)
        sweep.note(sweep.ended(row, "failed", started, str(error).partition("\n")[0]))
        raise pipeline.RunFailed("a job of the sweep failed; the others went on") from None
    except spawn.Stopped:
        sweep.note(sweep.ended(row, "stopped", started))
        raise
    sweep.note(sweep.ended(row, "done", started))
    return mean


def main() -> int:
    """Run the command line. Returns the exit status: 0, 1 a stage failed, 2 a user's mistake, 130 stopped."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here instead of being printed by Hydra
    for number in spawn.ASKS_TO_STOP:
        signal.signal(number, spawn.stop_between_children)  # while a child runs, spawn.run has a handler of its own
    OmegaConf.register_new_resolver("sample", lambda name: str(SAMPLE / name), replace=True)
    ConfigStore.instance().store("schema", Config)

    errors: list[Exception] = []
    progress = Progress()

    def entry(composed: DictConfig) -> float | None:
        hydra_config = HydraConfig.get()
        if composed.name is None:
            composed.name = run_name(list(hydra_config.overrides.task), hydra_config.runtime.choices)
        if hydra_config.mode == RunMode.MULTIRUN:
            return job_of_sweep(composed, progress)
        try:
            return job(composed, progress)
        except (ValueError, OSError, pipeline.RunFailed) as error:
            # raised again below, outside Hydra, which would print a line of its own
            errors.append(error)
            return None

    try:
        try:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(entry)()
        finally:
            if (place := sweep.folder()) is not None and (found := sweep.jobs(place)):
                print("\n".join(sweep.table(found)), flush=True)
                if all(row.status != "stopped" for row in found):  # after Ctrl-C nobody waits for a page
                    print("\n".join(sweep.make_page(place)), flush=True)
        if errors:
            raise errors[0]
    except pipeline.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except spawn.Stopped as stop:
        for number in spawn.ASKS_TO_STOP:
            signal.signal(number, signal.SIG_IGN)
        print(
            f"stopped; what is finished is kept, and this goes on from there:\n  {this_command()}",
            file=sys.stderr,
            flush=True,
        )
        if said := after_stop(stop.signals, progress):
            print(said, file=sys.stderr, flush=True)
        return 130
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {compose_error.explain(error)}", file=sys.stderr)
        return USER_ERROR
    except (ValueError, OSError) as error:
        if not is_users_mistake(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
