"""What a run needs and this machine lacks: memory, packages, files, disk. Such a run is refused before it starts."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sciriff import machine
from sciriff.config import Config, SourceConfig, nearest
from sciriff.judge import access
from sciriff.manifest import Manifest
from sciriff.nodes import cluster
from sciriff.nodes.cluster import Cluster
from sciriff.plan import Plan
from sciriff.predict import access as engine_access
from sciriff.predictions import models_below
from sciriff.run_dir import RunDir
from sciriff.tasks import HELD_OUT, catalogue
from sciriff.training_memory import GIB, fits

SOURCES = ("sciriff", "tulu", "published")

PATIENCE = 120
"""Seconds that another process has to say what it lacks. The first import on a network's file system is slow."""


def problems(config: Config, plan: Plan) -> Iterator[str]:
    """Why a planned run cannot work on this machine, one line each; on an imagined one only what does not fit."""
    stages = config.active_stages
    yield from anywhere(config)
    yield from too_large(plan)
    if plan.imagined:
        return
    yield from _missing_packages(config, plan.on_gpu)
    if config.log.tracker == "wandb" and config.log.mode == "online":
        yield from _missing_key()
    if "predict" in stages and config.engine.asks:
        yield from engine_access.service(config).problems()
    yield from _missing_gpus(config, len(plan.nodes))
    if "train" in stages:
        yield from _busy_port(cluster.here())
    if "judge" in stages:
        yield from access.problems(config.judge)
    yield from _missing_files(config)
    yield from _missing_models(config)
    if "train" in stages and plan.disk:
        yield from _full_disk(RunDir(Path(config.run_dir)), plan.disk)


def _full_disk(run: RunDir, needed: float) -> Iterator[str]:
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


def anywhere(config: Config) -> Iterator[str]:
    """What is wrong on whatever machine."""
    yield from _unknown_tasks(config)
    yield from _unknown_filters(config)
    yield from _own_outputs(config)
    yield from _folder_of_runs(config)


def too_large(plan: Plan) -> Iterator[str]:
    """What does not fit into memory, with the changes that would."""
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


def _unknown_tasks(config: Config) -> Iterator[str]:
    names = [task.name for task in HELD_OUT]
    for key in ("tasks", "max_new_tokens_of"):
        for task in getattr(config.eval, key) or ():
            if task not in names:
                yield f"eval.{key}: {task} is not a held-out task{nearest(task, names)}"


def _unknown_filters(config: Config) -> Iterator[str]:
    """Names that SciRIFF does not have. Of rows of one's own only the mix stage knows what they have."""
    mix, source = config.mix, config.mix.sources.sciriff
    if "mix" not in config.active_stages or mix.path or source.path or source.hub != "allenai/SciRIFF":
        return
    for key, known in catalogue.names().items():
        for name in getattr(mix, key) or ():
            if name not in known:
                yield f"mix.{key}: {name} is not known to SciRIFF{nearest(name, known)}"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _missing_packages(config: Config, on_gpu: bool) -> Iterator[str]:
    stages = config.active_stages
    if "train" in stages and config.deepspeed.zero_stage and not _installed("deepspeed"):
        yield "the package deepspeed is missing: pip install 'sciriff[train]', or deepspeed=none"
    for package, extra, wanted, what in (
        ("peft", "train", config.train.adapts, f"train={config.train.method}"),
        ("bitsandbytes", "qlora", config.train.method == "qlora", "train=qlora"),
        ("bitsandbytes", "qlora", config.train.optimizer == "adamw_8bit", "train.optimizer=adamw_8bit"),
    ):
        if "train" in stages and wanted and not _installed(package):
            yield f"{what} needs the package {package}, which is missing: pip install 'sciriff[{extra}]'"
    for key, value, package, its_name in (
        ("attention", "flash_attention_2", "flash_attn", "flash-attn"),
        ("attention", "flash_attention_3", "flash_attn_interface", "flash-attn-3"),
        ("cross_entropy", "liger", "liger_kernel", "liger-kernel"),
    ):
        if "train" in stages and getattr(config.train, key) == value and not (on_gpu and _installed(package)):
            yield f"train.{key}={value} needs a GPU and the package {its_name}; auto takes what is there"
    if "predict" in stages and config.engine.name == "vllm" and config.engine.python is None and not _installed("vllm"):
        yield "the package vllm is missing: pip install 'sciriff[vllm]', engine.python=PYTHON or engine=transformers"
    if "predict" in stages and config.engine.python is not None and Path(config.engine.python).exists():
        yield from _missing_elsewhere(config.engine.python, config.engine.name)
    if config.log.tracker == "tensorboard" and not _installed("tensorboard"):
        yield "the package tensorboard is missing: pip install 'sciriff[tensorboard]'"
    if "report" in stages and config.report.figures and not _installed("matplotlib"):
        yield "report.figures=true needs the package matplotlib: pip install 'sciriff[figures]'"


def _busy_port(nodes: Cluster) -> Iterator[str]:
    """A port that was named for training's processes to meet at under Slurm, and belongs to somebody else. Where none
    was named, and wherever nodes have joined by hand, they meet at a free one."""
    if nodes.size == 1 or not nodes.slurm or nodes.port is None:
        return
    try:
        socket.create_server(("", nodes.port)).close()
    except OSError as error:
        why = os.strerror(error.errno or 0)
        yield f"MASTER_PORT={nodes.port} cannot be opened here ({why}): name another, or leave it out"


def _missing_gpus(config: Config, nodes: int) -> Iterator[str]:
    """What the engine needs of GPUs that this machine does not have. Without any, vLLM's CPU build may answer."""
    engine, count = config.engine, len(machine.gpus())
    if "predict" not in config.active_stages:
        return
    if engine.batch_invariant and not count:
        yield "engine.batch_invariant=true needs an NVIDIA GPU, and there is none"
    try:
        cluster.replicas_per_node(engine.replicas, engine.tensor_parallel, count, nodes)
    except ValueError as error:
        yield str(error)


def _missing_elsewhere(python: str, engine: str) -> Iterator[str]:
    """What the interpreter of engine.python lacks."""
    needed = [engine, "transformers", "omegaconf", "pyarrow"]
    code = f"import importlib.util as u; print(*(p for p in {needed!r} if u.find_spec(p) is None))"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except OSError as error:
        yield f"engine.python={python} cannot be run: {error.strerror}"
        return
    except subprocess.TimeoutExpired:
        yield f"engine.python={python} does not answer within {PATIENCE} s: is it a Python interpreter?"
        return
    if result.returncode:
        yield f"engine.python={python} is not a Python interpreter that works: {result.stderr.strip()[-200:]}"
    elif result.stdout.strip():
        package = "sciriff[vllm]" if engine == "vllm" else "sciriff"
        yield f"engine.python={python} lacks {', '.join(result.stdout.split())}: pip install '{package}' there"


LOGIN = """
import os, sys, wandb
status = 1
try:
    wandb.login(verify=False)
    status = 0
except Exception as error:
    print(error, file=sys.stderr)
finally:
    sys.stderr.flush()
    os._exit(status)
"""
"""Ends without goodbye to wandb's service, which was seen to wait for ever for the end of a process it had begun."""


def _missing_key() -> Iterator[str]:
    """What keeps W&B from sending anything: it alone knows all the places of a key. Does not ask the server."""
    command = [sys.executable, "-c", LOGIN]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"the package wandb does not answer within {PATIENCE} s."
    else:
        if not result.returncode:
            return
        reason = (result.stderr.strip().splitlines() or ["it does not say why."])[-1]
    yield f"log=wandb: {reason} log=offline needs no account, and `wandb sync` sends the run later"


def _own_outputs(config: Config) -> Iterator[str]:
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


def _folder_of_runs(config: Config) -> Iterator[str]:
    """A folder that holds runs is none itself; only that of several models' answers gets some."""
    root = Path(config.run_dir)
    if RunDir(root).config.is_file() or (config.predictions and models_below(Path(config.predictions))):
        return
    for manifest in sorted(root.glob(f"*/{RunDir(root).manifest.name}")):
        if RunDir(manifest.parent).config.is_file():
            yield f"run_dir={root} is a folder of runs, such as {manifest.parent.name}: run_dir={root / 'NAME'} is one"
            return


def _missing_models(config: Config) -> Iterator[str]:
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


def _missing_files(config: Config) -> Iterator[str]:
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


def refuse(config: Config, plan: Plan) -> None:
    """ValueError with all that is missing and a command that does work here, when the plan has problems."""
    if found := "\n".join(f"  - {problem}" for problem in problems(config, plan)):
        raise ValueError(
            f"{config.name} cannot run here:\n{found}\n"
            "The plan is printed by dry_run=true. This runs on any machine: python -m sciriff.train experiment=demo"
        )
