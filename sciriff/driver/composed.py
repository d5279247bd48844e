"""From what Hydra composed to the config of a run: checked, and its paths absolute."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig

from sciriff.config import Config, SourceConfig, from_container

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
