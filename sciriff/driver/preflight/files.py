"""Check the files, folders and models that a run reads, its run folder, and the free disk space."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from sciriff.config import Config
from sciriff.data.saved_answers import models_below
from sciriff.models.mergeable import parents_of
from sciriff.models.stored_formats import NO_MODEL, is_no_model
from sciriff.models.training_memory import GIB
from sciriff.run.manifest import Manifest
from sciriff.run.run_dir import RunDir
from sciriff.tasks.own import names_of


def missing_files(config: Config) -> Iterator[str]:
    """Files and folders named in the config that do not exist."""
    stages, mix = config.active_stages, config.mix
    wanted: list[tuple[str, str]] = []
    if "mix" in stages:
        wanted += [("mix.path", mix.path)] if mix.path else _sources(config)
    if "predict" in stages or ("mix" in stages and mix.overlap == "drop"):
        wanted += [("eval.path", config.eval.path or "")]
    if "predict" in stages:
        wanted += [("engine.python", config.engine.python or "")]
    if "general" in stages:
        wanted += [("general.data", config.general.data or "")]
        wanted += [("general.include", folder) for folder in config.general.include]
    if "score" in stages:
        wanted += [("predictions", config.predictions or "")]
    if "report" in stages:
        wanted += [("report.beside", beside) for beside in config.report.beside]
    if "recreate" in stages:
        made = Path(config.recreate.out or "")
        wanted = [(key, path) for key, path in wanted if not (path and Path(path).is_relative_to(made))]
        wanted += [(f"recreate.{key}", getattr(config.recreate, key) or "") for key in ("templates", "raw")]
    for key, path in wanted:
        if path and not Path(path).exists():
            yield f"{key}={path} does not exist"


def _sources(config: Config) -> list[tuple[str, str]]:
    return [(f"mix.sources.{name}.path", source.path) for name, source in config.mix.sources.items() if source.path]


def missing_models(config: Config) -> Iterator[str]:
    """Models that are neither a folder nor a hub id (OWNER/NAME or NAME)."""
    stages, model = config.active_stages, config.model
    wanted = []
    if {"mix", "train", "predict"} & set(stages):
        wanted += [("model.path", model.path), ("model.tokenizer", model.tokenizer)]
    if "predict" in stages:
        wanted.append(("eval.model", config.eval.model))
    for key, path in wanted:
        if path is not None and is_no_model(path):
            yield f"{key}={path} {NO_MODEL}"


def own_outputs(config: Config) -> Iterator[str]:
    """Inputs inside the run's own outputs, which a stage would remove or overwrite."""
    run, model = RunDir(Path(config.run_dir)), config.model
    outputs_of = {
        "mix": [run.mix.parent],
        "train": [run.model, run.adapter, run.checkpoints],
        "merge": [run.model, run.partial_model],
    }
    outputs = [path.resolve() for stage in config.active_stages for path in outputs_of.get(stage, [])]
    inputs = [("model.path", model.path), ("model.tokenizer", model.tokenizer), ("mix.path", config.mix.path)]
    if "merge" in config.active_stages:
        inputs = [(one.key, str(one.folder)) for one in parents_of(config.merge) if one.folder is not None]
    for key, path in [*inputs, *_sources(config)]:
        # a relative path is a hub id
        if path and Path(path).is_absolute() and any(Path(path).resolve().is_relative_to(out) for out in outputs):
            yield f"{key}={path} is an output of this run, and would be lost: copy it, or choose another name=..."


def folder_of_runs(config: Config) -> Iterator[str]:
    """A run_dir that is a folder of runs, which only `predictions=` with several models may write to."""
    root = Path(config.run_dir)
    if RunDir(root).config.is_file() or (
        config.predictions and models_below(Path(config.predictions), names_of(config.eval.held_out))
    ):
        return
    for manifest in sorted(root.glob(f"*/{RunDir(root).manifest.name}")):
        if RunDir(manifest.parent).config.is_file():
            yield f"run_dir={root} is a folder of runs, such as {manifest.parent.name}: choose run_dir={root / 'NAME'}"
            return


def full_disk(run: RunDir, needed: float, stage: str = "train") -> Iterator[str]:
    """A disk with less than the `needed` GiB for training or merging. Bytes that this run has already written count as
    free."""
    before = Manifest.read(run.manifest).stages.get(stage)
    if before is not None and before.status == "done":
        return
    folder = next(path for path in (run.root, *run.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    files = (*run.checkpoints.rglob("*"), *run.model.rglob("*"), *run.partial_model.rglob("*"))
    written = sum(file.stat().st_size for file in files if file.is_file())
    if needed > (free + written) / GIB:
        what = "model and checkpoints need" if stage == "train" else "the merged model needs"
        yield f"{what} about {needed:.0f} GiB on the disk of {folder}; {free / GIB:.0f} are free"
