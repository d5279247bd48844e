"""Folders, files and models that a run is to read, where it writes, and whether there is room."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from sciriff.config import Config, SourceConfig
from sciriff.data.saved_answers import models_below
from sciriff.models.training_memory import GIB
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir

SOURCES = ("sciriff", "tulu", "published")


def missing_files(config: Config) -> Iterator[str]:
    stages, sources = config.active_stages, config.mix.sources
    wanted: list[tuple[str, str | None]] = []
    if "mix" in stages:
        wanted.append(("mix.path", config.mix.path))
        for name in SOURCES:
            source: SourceConfig = getattr(sources, name)
            wanted.append((f"mix.sources.{name}.path", source.path if config.mix.path is None else None))
        if config.mix.overlap == "drop" and "predict" not in stages:
            wanted.append(("eval.path", config.eval.path))
    if "predict" in stages:
        wanted += [("eval.path", config.eval.path), ("engine.python", config.engine.python)]
    if "score" in stages:
        wanted.append(("predictions", config.predictions))
    if "report" in stages:
        wanted += [("report.beside", beside) for beside in config.report.beside]
    for key, path in wanted:
        if path is not None and not Path(path).exists():
            yield f"{key}={path} does not exist"


def missing_models(config: Config) -> Iterator[str]:
    """What is no folder here, and no hub id either: OWNER/NAME, or NAME alone."""
    stages, model = config.active_stages, config.model
    wanted = []
    if {"mix", "train", "predict"} & set(stages):
        wanted += [("model.path", model.path), ("model.tokenizer", model.tokenizer)]
    if "predict" in stages:
        wanted.append(("eval.model", config.eval.model))
    for key, path in wanted:
        if path is None or Path(path).exists():
            continue
        if path.count("/") > 1 or path.startswith((".", "/", "~")) or _holds_models(Path(path).parent):
            yield f"{key}={path} does not exist, and is no id on the Hugging Face hub"


def _holds_models(folder: Path) -> bool:
    """Whether it is a folder of a person's, and not the owner in a hub id."""
    return folder != Path() and any(next(folder.glob(f"*/config.{end}"), None) for end in ("yaml", "json"))


def own_outputs(config: Config) -> Iterator[str]:
    """What a stage is to read and the run itself makes, and so removes first or writes over."""
    run, sources = RunDir(Path(config.run_dir)), config.mix.sources
    made = {"mix": [run.mix.parent], "train": [run.model, run.adapter, run.checkpoints]}
    own = [path.resolve() for stage in config.active_stages for path in made.get(stage, [])]
    read = {
        "model.path": config.model.path,
        "model.tokenizer": config.model.tokenizer,
        "mix.path": config.mix.path,
        **{f"mix.sources.{name}.path": getattr(sources, name).path for name in SOURCES},
    }
    for key, path in read.items():
        # a relative one is a hub id
        if path and Path(path).is_absolute() and any(Path(path).resolve().is_relative_to(place) for place in own):
            yield f"{key}={path} is made by this run itself, and would be lost: copy it, or choose another name=..."


def folder_of_runs(config: Config) -> Iterator[str]:
    """A folder that holds runs is none itself; only that of several models' answers gets some."""
    root = Path(config.run_dir)
    if RunDir(root).config.is_file() or (config.predictions and models_below(Path(config.predictions))):
        return
    for manifest in sorted(root.glob(f"*/{RunDir(root).manifest.name}")):
        if RunDir(manifest.parent).config.is_file():
            yield f"run_dir={root} is a folder of runs, such as {manifest.parent.name}: run_dir={root / 'NAME'} is one"
            return


def full_disk(run: RunDir, needed: float) -> Iterator[str]:
    """Whether training finds so many GiB. What this run has written already is not needed a second time."""
    train = Manifest.read(run.manifest).stages.get("train")
    if train is not None and train.status == "done":
        return
    there = next(place for place in (run.root, *run.root.parents) if place.exists())
    free = shutil.disk_usage(there).free
    files = (*run.checkpoints.rglob("*"), *run.model.rglob("*"))
    written = sum(file.stat().st_size for file in files if file.is_file())
    if needed > (free + written) / GIB:
        yield f"model and checkpoints need about {needed:.0f} GiB on the disk of {there}; {free / GIB:.0f} are free"
