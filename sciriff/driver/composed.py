"""From what Hydra composed to the config of a run: checked, its paths absolute, and the untrained run beside it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from sciriff.config import Config, SourceConfig, as_dict, from_container
from sciriff.driver.run_name import run_name
from sciriff.driver.untrained_baseline import untrained_overrides

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


def checked(composed: DictConfig) -> Config:
    """The config of a run. UserError for what cannot be."""
    return absolute(from_container(composed))


def wants_untrained(config: Config) -> bool:
    """Whether the report shows the model as it was before training."""
    return config.report.untrained and {"train", "predict"} <= set(config.active_stages)


def untrained_config(config: Config, typed: Sequence[str]) -> Config:
    """The config of the run that answers with the untrained model; `typed` are the overrides of the run itself."""
    kept = untrained_overrides(typed, random_weights=config.model.path is None)
    # What they refer to by ${...} is the run's own, which may be left out here.
    overrides = list(OmegaConf.create({**as_dict(config), "typed": kept}).typed)
    composed = hydra.compose("config", [*overrides, "hydra.mode=RUN"], return_hydra_config=True)
    name = run_name(overrides, composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    composed.name = name
    return checked(composed)


def with_beside(config: Config, before: Config) -> Config:
    """The config with that run in its report."""
    beside = list(dict.fromkeys([*config.report.beside, before.run_dir]))
    return replace(config, report=replace(config.report, beside=beside))
